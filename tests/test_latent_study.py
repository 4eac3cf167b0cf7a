"""The study of models with latents: its parts at tiny sizes, its pictures, table and claims."""

import json
import math

import numpy as np
import pytest

from benchmarks.harness import claims, jobs
from benchmarks.harness.jobs import Job
from benchmarks.studies.latent import digits, exact, images, show, verdicts
from benchmarks.studies.latent.settings import FULL, TINY


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """All parts, run in this process, as the files of the study give them back."""
    folder = tmp_path_factory.mktemp("latent")
    parts = [
        *(Job(images.__name__, name) for name in images.names()),
        *(Job(digits.__name__, name) for name in digits.names(TINY)),
        *(Job(exact.__name__, name) for name in exact.names()),
    ]
    jobs.prepare(folder, TINY)
    for part in parts:
        jobs._run(part, TINY, folder)
    return jobs.load(parts, folder)


def test_the_study_draws_and_judges(results, tmp_path):
    show.draw(results, TINY, tmp_path)
    show.write_table(results, TINY, tmp_path)
    pictures = {"samples", "latent_plane", "rates", "excess"}
    assert {path.stem for path in tmp_path.glob("*.png")} == pictures
    table = (tmp_path / "table.md").read_text()
    assert all(label in table for name, label in show.LABELS.items() if name != "energy")
    with pytest.raises(SystemExit):  # models hardly trained do not keep all that is claimed
        claims.conclude(verdicts.judge(results, TINY), tmp_path)
    found = json.loads((tmp_path / "claims.json").read_text())
    # What does not hang on training holds here too.
    sure = [row for row in found if "normal data" in row["claim"] or "mixture" in row["claim"]]
    assert len(sure) == 3
    assert all(row["holds"] for row in sure)
    assert all(row["holds"] for row in found if "come back" in row["claim"])


def test_the_energy_is_of_the_full_form_alone():
    assert "energy" in digits.names(FULL)
    assert "energy" not in digits.names(TINY)


def test_a_bound_with_two_of_four_weights():
    log_weights = np.log(np.array([[1.0, 3.0, 2.0, 2.0]]))
    assert images._bound(log_weights, 2) == pytest.approx(math.log(2))
    assert images._bound(log_weights, 1) == pytest.approx(math.log(12) / 4)


def test_generic_coders_pack_the_bits():
    bits = images.generic_coders(np.zeros((100, 8, 8), np.int64))
    assert bits["bits_gzip"] < 64
    rng = np.random.default_rng(0)
    noise = images.generic_coders(rng.integers(0, 2, (100, 8, 8)))
    assert all(value >= 64 for value in noise.values())
