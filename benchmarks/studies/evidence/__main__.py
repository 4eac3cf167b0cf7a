"""``python -m benchmarks.studies.evidence --out FOLDER``: compare, draw, tabulate, claim."""

import time

from benchmarks.harness import command_line, jobs
from benchmarks.harness.claims import conclude
from benchmarks.harness.command_line import Out, Processes, Quick
from benchmarks.harness.jobs import Job
from benchmarks.studies.evidence import comparison, report
from benchmarks.studies.evidence.settings import QUICK, STANDARD


def main(out: Out, quick: Quick = False, processes: Processes = 2) -> None:
    """Compare log evidences of NumPyro models with nested samplers of other libraries.

    The quick form takes one model, and no jaxns.
    """
    settings = QUICK if quick else STANDARD
    start = time.perf_counter()
    todo = [Job(comparison.__name__, model) for model in settings.models]
    results = jobs.run(todo, settings, out, processes)
    report.draw(results, settings, out)
    report.write_table(results, settings, out)
    print(f"{out / 'table.md'}, in {time.perf_counter() - start:.0f} s")
    conclude(report.claims_of(results, settings), out)


if __name__ == "__main__":
    command_line.start(main)
