"""Jobs of a study run side by side; what one raises is told, and the others are kept."""

from typing import NamedTuple

import numpy as np
import pytest

from benchmarks.harness import jobs
from benchmarks.harness.jobs import Job


class Settings(NamedTuple):
    number: int = 3


def run(name, settings):
    """What workers call: of a job named "bad" nothing comes back."""
    if name == "bad":
        raise ValueError("bad from the first")
    return {"found": np.array(settings.number)}


def test_what_a_job_raises_is_told_and_the_others_are_kept(tmp_path, capsys):
    todo = [Job(__name__, name) for name in ("bad", "good", "better")]
    with pytest.raises(ValueError, match="bad from the first"):
        jobs.run(todo, Settings(), tmp_path, 1)
    bad, *good = capsys.readouterr().out.splitlines()
    assert bad == "[1/3] bad: failed, ValueError('bad from the first')"
    assert [line.split(":")[0] for line in good] == ["[2/3] good", "[3/3] better"]
    found = jobs.run(todo[1:], Settings(), tmp_path, 1)
    assert {name: int(arrays["found"]) for name, arrays in found.items()} == {
        "good": 3,
        "better": 3,
    }
    assert capsys.readouterr().out == ""  # nothing is run again
