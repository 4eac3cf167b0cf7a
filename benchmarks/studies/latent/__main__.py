"""``python -m benchmarks.studies.latent --out FOLDER``: train, bound, code, draw, judge."""

import time
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks.harness import claims, command_line, jobs
from benchmarks.harness.jobs import Job
from benchmarks.studies.latent import digits, exact, images, settings, show, verdicts


def main(
    out: Path,
    quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    data: Path | None = None,
    processes: int = 2,
) -> None:
    """Bound and bracket likelihoods of models with latents, and compress by them.

    Parameters
    ----------
    out
        Folder for claims.json, table.md, pictures and data. A study that was interrupted goes
        on with the parts that were not finished.
    quick
        Small sizes, on scikit-learn's digits at a threshold in place of MNIST.
    data
        Folder with MNIST's IDX files, gzipped or not; without it the digits are taken.
    processes
        How many parts run side by side, one core each.
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
