"""``python -m benchmarks.studies.lattice --out FOLDER``: run, draw, claim."""

import time
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks.harness import claims, command_line, jobs
from benchmarks.harness.jobs import Job
from benchmarks.harness.tables import describe, machine, markdown
from benchmarks.studies.lattice import (
    field,
    free_flow,
    gauge,
    ising,
    network,
    show,
    verdicts,
)
from benchmarks.studies.lattice.settings import FULL, QUICK, Settings

#: Longest first.
_PARTS = (field, network, gauge, ising, free_flow)


def main(
    out: Path,
    quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    processes: int = 2,
) -> None:
    """Free energies of lattice systems by walkers, networks and chains, beside exact ones.

    Parameters
    ----------
    out
        Folder for pictures, table.md, claims.json and data. A study that was interrupted goes
        on where it was.
    quick
        Small lattices, in a minute.
    processes
        How many jobs run side by side, one core each.
    """
    run(QUICK if quick else FULL, out, processes, is_quick=quick)


def names(settings: Settings) -> list[Job]:
    return [Job(part.__name__, name) for part in _PARTS for name in part.names(settings)]


def run(settings: Settings, out: Path, processes: int, is_quick: bool) -> None:
    start = time.perf_counter()
    todo = names(settings)
    jobs.prepare(out, settings)
    jobs.run_all(todo, settings, out, processes)
    conclude(settings, out, is_quick)
    print(f"in {time.perf_counter() - start:.0f} s")


def conclude(settings: Settings, out: Path, is_quick: bool) -> None:
    """Draw what the jobs found, write the table, and claim."""
    results = jobs.load(names(settings), out)
    show.draw(results, settings, out)
    header = ("Ising, β = 0.44", "method", "CPU seconds to an error of 0.01 nats", "measured")
    table = markdown(header, verdicts.equal_error_rows(results, settings))
    text = "\n\n".join([machine("jax", "flax"), describe(settings), table])
    (out / "table.md").write_text(f"{text}\n")
    claims.conclude(verdicts.all_claims(results, settings, is_quick), out)


if __name__ == "__main__":
    command_line.start(main)
