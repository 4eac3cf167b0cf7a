"""``python -m benchmarks.studies.nonequilibrium --out FOLDER``: run, judge, draw."""

import time
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks.harness import claims, command_line, jobs
from benchmarks.harness.jobs import Job
from benchmarks.harness.tables import describe, machine
from benchmarks.studies.nonequilibrium import (
    chains,
    fields,
    machines,
    paper,
    settings,
    show,
    verdicts,
)


def main(
    out: Path,
    data: Path | None = None,
    quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    processes: int = 2,
) -> None:
    """Hold entropy production, thermostats and time reversal against what is known exactly.

    Parameters
    ----------
    out
        Folder for tables, figures, claims and data. A study that was interrupted goes on.
    data
        Folder with MNIST's IDX files, gzipped or not, for the machines of the paper; without,
        they learn scikit-learn's 8x8 digits.
    quick
        Fewer machines, updates, walkers.
    processes
        How many jobs go side by side, one core each.
    """
    folder = "" if data is None else str(data.resolve())
    chosen = settings.quick(folder) if quick else settings.standard(folder)
    machines.load(chosen)  # so that what is wrong with the files is told at once
    start = time.perf_counter()
    todo = [
        *(Job(machines.__name__, name) for name in machines.names(chosen)),
        *(Job(chains.__name__, name) for name in chains.NAMES),
        *(Job(fields.__name__, name) for name in fields.NAMES),
    ]
    results = jobs.run(todo, chosen, out, processes)
    what = "MNIST" if folder else "scikit-learn's 8x8 digits"
    text = (
        f"{machine('jax', 'optax')} {describe(chosen, 'data')} Machines learn 0, 1 and 2 of "
        f"{what}.\n\n{paper.table(results, chosen)}"
    )
    (out / "table.md").write_text(text)
    show.draw(results, chosen, out)
    print(text)
    print(f"{out}, in {time.perf_counter() - start:.0f} s")
    claims.conclude(verdicts.claims(results, chosen), out)


if __name__ == "__main__":
    command_line.start(main)
