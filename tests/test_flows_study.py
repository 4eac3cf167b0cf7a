"""The study of flows at tiny sizes: one part from its jobs to its claims and picture."""

import json

import pytest

from benchmarks.harness import claims
from benchmarks.studies.flows.settings import FULL, QUICK

pytest.importorskip(
    "bijx", reason="bijx 1.3 does not import with jax 0.12", exc_type=ImportError
)
from benchmarks.studies.flows import continuous, coupling, finite_steps, unbiased, wells

SMALL = QUICK._replace(num_replicates=64)


def test_mean_weights_are_right_and_those_of_known_faults_are_not(tmp_path):
    results = {name: unbiased.run(name, SMALL) for name in unbiased.names(SMALL)}
    found = unbiased.claims(results, SMALL)
    assert len(found) == 2 * len(unbiased.SAMPLERS)
    claims.conclude(found, tmp_path)
    assert all(row["holds"] for row in json.loads((tmp_path / "claims.json").read_text()))
    unbiased.draw(results, tmp_path)
    assert (tmp_path / "unbiased.png").stat().st_size > 10_000


def test_weights_of_continuous_time_need_short_steps_and_exact_ones_do_not(tmp_path):
    (name,) = finite_steps.names(SMALL)
    results = {name: finite_steps.run(name, SMALL)}
    assert all(claim.holds for claim in finite_steps.claims(results, SMALL))
    # What they miss is of first order in the step.
    missed = 1 - results[name]["euler"].mean(axis=1)
    assert missed[0] > 3 * missed[1] > 6 * missed[2] > 0
    finite_steps.draw(results, tmp_path)
    assert (tmp_path / "finite_steps.png").stat().st_size > 5000


def test_the_exact_difference_of_the_wells_is_the_known_one():
    assert wells.exact() == pytest.approx(3.379901071224, abs=1e-8)


@pytest.mark.parametrize("settings", [QUICK, FULL])
def test_jobs_have_names_of_their_own(settings):
    names = [
        name
        for part in (unbiased, finite_steps, wells, coupling, continuous)
        for name in part.names(settings)
    ]
    assert len(set(names)) == len(names)
    assert len(settings.lengths) == len(settings.quartics) == len(settings.num_flow_updates)
