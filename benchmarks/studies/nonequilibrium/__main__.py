"""``python -m benchmarks.studies.nonequilibrium --out FOLDER``: run, judge, draw."""

import time

from benchmarks.harness import claims, command_line, jobs
from benchmarks.harness.command_line import Mnist, Out, Processes, Quick
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


def main(out: Out, data: Mnist = None, quick: Quick = False, processes: Processes = 2) -> None:
    """Hold entropy production, thermostats and time reversal against what is known exactly."""
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
