"""``python -m benchmarks.studies.flows --out FOLDER``: train, weigh, draw, claim."""

import time
from typing import Any

from benchmarks.harness import claims, command_line, jobs
from benchmarks.harness.command_line import Out, Processes, Quick
from benchmarks.harness.jobs import Job
from benchmarks.studies.flows import (
    comparison,
    continuous,
    coupling,
    finite_steps,
    unbiased,
    wells,
)
from benchmarks.studies.flows.settings import FULL, QUICK

#: Each has ``names``, ``run``, ``claims`` and ``draw``.
PARTS: tuple[Any, ...] = (unbiased, finite_steps, wells, coupling, continuous, comparison)


def main(out: Out, quick: Quick = False, processes: Processes = 2) -> None:
    """Train flows, correct them by exact weights, and see what they claim."""
    settings = QUICK if quick else FULL
    start = time.perf_counter()
    todo = [Job(part.__name__, name) for part in PARTS for name in part.names(settings)]
    results = jobs.run(todo, settings, out, processes)
    for part in PARTS:
        part.draw(results, out)
    print(f"{out}, in {time.perf_counter() - start:.0f} s")
    claims.conclude([claim for part in PARTS for claim in part.claims(results, settings)], out)


if __name__ == "__main__":
    command_line.start(main)
