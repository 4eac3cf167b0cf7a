"""The study of flows in its quick form, from its jobs to its claims and pictures."""

import json

import numpy as np
import pytest

from benchmarks.studies.flows.settings import FULL, QUICK

pytest.importorskip(
    "bijx", reason="bijx 1.3 does not import with jax 0.12", exc_type=ImportError
)
from benchmarks.studies.flows import continuous, wells
from benchmarks.studies.flows.__main__ import PARTS, main


def test_quick_study(tmp_path):
    """All of it, and every claim holds."""
    main(tmp_path, quick=True)
    found = json.loads((tmp_path / "claims.json").read_text())
    assert len(found) > 30
    assert all(claim["holds"] for claim in found)
    for part in PARTS:
        assert (tmp_path / f"{part.__name__.rpartition('.')[2]}.png").stat().st_size > 5000
    # What weights of continuous time miss is of first order in the step.
    with np.load(tmp_path / "data" / "finite-steps.npz") as means:
        missed = 1 - means["euler"].mean(axis=1)
    assert missed[0] > 3 * missed[1] > 6 * missed[2] > 0


def test_the_exact_difference_of_the_wells_is_the_known_one():
    assert wells.exact() == pytest.approx(3.379901071224, abs=1e-8)


@pytest.mark.parametrize("settings", [QUICK, FULL])
def test_jobs_have_names_of_their_own(settings):
    names = [name for part in PARTS for name in part.names(settings)]
    assert len(set(names)) == len(names)
    assert len(settings.lengths) == len(settings.quartics) == len(settings.num_flow_updates)
    # Each gradient at the other's rate too, at one length, if that is another.
    num_swapped = 2 * (len(set(settings.flow_rates)) - 1)
    assert len(continuous.names(settings)) == 3 * len(settings.lengths) + num_swapped
