"""``python -m benchmarks.studies.latent --out FOLDER``: train, bound, code, draw, judge."""

import time
from pathlib import Path

from benchmarks.harness import claims, command_line, jobs
from benchmarks.harness.command_line import Mnist, Out, Processes, Quick
from benchmarks.harness.jobs import Job
from benchmarks.studies.latent import digits, exact, images, settings, show, verdicts


def main(out: Out, quick: Quick = False, data: Mnist = None, processes: Processes = 2) -> None:
    """Bound and bracket likelihoods of models with latents, and compress by them.

    The quick form takes scikit-learn's digits whatever is given.
    """
    chosen = settings.QUICK if quick else settings.FULL
    if data is not None and not quick:
        chosen = chosen._replace(data=str(data.resolve()))
    run(chosen, out, processes)


def run(chosen: settings.Settings, out: Path, processes: int) -> None:
    start = time.perf_counter()
    parts = [
        *(Job(images.__name__, name) for name in images.names()),
        *(Job(digits.__name__, name) for name in digits.names(chosen)),
        *(Job(exact.__name__, name) for name in exact.names()),
    ]
    results = jobs.run(parts, chosen, out, processes)
    show.draw(results, chosen, out)
    show.write_table(results, chosen, out)
    print(f"{out / 'table.md'}, in {time.perf_counter() - start:.0f} s")
    claims.conclude(verdicts.judge(results, chosen), out)


if __name__ == "__main__":
    command_line.start(main)
