"""The study of flows: parts of its quick form, from their jobs to their claims and pictures.

The whole quick form takes minutes of a processor, which the suite has not.
"""

import json

import pytest

from benchmarks.harness import claims
from benchmarks.studies.flows.settings import FULL, QUICK

pytest.importorskip(
    "bijx", reason="bijx 1.3 does not import with jax 0.12", exc_type=ImportError
)
from benchmarks.studies.flows import continuous, finite_steps, unbiased, wells
from benchmarks.studies.flows.__main__ import PARTS

SMALL = QUICK._replace(num_replicates=64)


@pytest.mark.parametrize("part", [unbiased, finite_steps])
def test_mean_weights_are_right_and_those_of_known_faults_are_not(part, tmp_path):
    results = {name: part.run(name, SMALL) for name in part.names(SMALL)}
    claims.conclude(part.claims(results, SMALL), tmp_path)
    assert all(row["holds"] for row in json.loads((tmp_path / "claims.json").read_text()))
    part.draw(results, tmp_path)
    name = part.__name__.rpartition(".")[2]
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    if part is finite_steps:
        # What weights of continuous time miss is of first order in the step.
        missed = 1 - results["finite-steps"]["euler"].mean(axis=1)
        assert missed[0] > 3 * missed[1] > 6 * missed[2] > 0


def test_the_exact_difference_of_the_wells_is_the_known_one():
    assert wells.exact() == pytest.approx(3.379901071224, abs=1e-8)


@pytest.mark.parametrize("settings", [QUICK, FULL])
def test_jobs_have_names_of_their_own(settings):
    names = [name for part in PARTS for name in part.names(settings)]
    assert len(set(names)) == len(names)
    assert len(settings.lengths) == len(settings.quartics) == len(settings.num_flow_updates)
    num_aliased = int(settings.has_aliased_flow)
    assert len(continuous.names(settings)) == 3 * len(settings.lengths) + num_aliased
