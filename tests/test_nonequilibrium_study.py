"""The study of nonequilibrium at tiny sizes: its jobs, its verdicts, its pictures."""

import json

import pytest

from benchmarks.harness import claims
from benchmarks.studies.nonequilibrium import (
    chains,
    fields,
    machines,
    paper,
    settings,
    show,
    verdicts,
)

TINY = settings.quick("")._replace(
    num_replicas=4,
    num_updates=60,
    num_steps=16,
    report_samples=100,
    em_starts=2,
    em_steps=20,
    num_walkers=1000,
    num_paths=1000,
)


@pytest.fixture(scope="module")
def results():
    of = {name: machines.run(name, TINY) for name in machines.names(TINY)}
    of |= {name: chains.run(name, TINY) for name in chains.NAMES}
    return of | {name: fields.run(name, TINY) for name in fields.NAMES}


def test_its_claims_hold_and_its_files_are_written(results, tmp_path):
    found = verdicts.claims(results, TINY)
    assert len(found) == 32
    claims.conclude(found, tmp_path)
    assert all(row["holds"] for row in json.loads((tmp_path / "claims.json").read_text()))
    table = paper.table(results, TINY)
    assert "low likelihood only when nearly reversible" in table
    show.draw(results, TINY, tmp_path)
    assert {path.stem for path in tmp_path.glob("*.png")} == {
        "correlators",
        "machines",
        "theorems",
        "units",
    }
