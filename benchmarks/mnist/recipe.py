"""``python -m benchmarks.mnist.recipe --data FOLDER --out FOLDER``: one change at a time."""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks import jobs
from benchmarks.jobs import Job
from benchmarks.mnist import problem, settings, show
from benchmarks.mnist import run as run_lib
from benchmarks.mnist.problem import CLASSES
from benchmarks.mnist.settings import Settings
from benchmarks.tables import Results, describe, machine, markdown

#: What is changed of the quick form's settings.
VARIANTS: dict[str, dict[str, Any]] = {
    "none": {},
    "raw images": {"is_standardized": False},
    "never fresh walkers": {"refresh_every": 10**9},
    "fresh walkers half as often": {"refresh_every": 1000},
    "fresh walkers annealed in 2000 steps": {"refresh_steps": 2000},
    "learning rate 2e-3": {"learning_rate": 2e-3},
    "learning rate 5e-4": {"learning_rate": 5e-4},
    "Adam's eps 1e-3": {"adam_eps": 1e-3},
    "1024 walkers": {"num_walkers": 1024, "num_touched": 1024},
    "4096 walkers": {"num_walkers": 4096, "num_touched": 4096},
    "a pool of 8192, 2048 touched": {"num_walkers": 8192},
    "resampled below 0.95": {"ess_threshold": 0.95},
    "unadjusted Langevin, h = 0.02": {"step_size": 0.2, "friction": math.inf},
    "h = 0.09": {"step_size": 0.09},
    "friction 4 times as large": {"friction": 4.0},
    "ConvNet": {"network": "conv"},
}


def names() -> list[str]:
    return [f"variant_{number}" for number in range(len(VARIANTS))]


def run(name: str, chosen: Settings) -> dict[str, np.ndarray]:
    """Train with weighted walkers, from seed 0."""
    number = int(name.removeprefix("variant_"))
    changes = list(VARIANTS.values())[number]
    return run_lib.run("jarzynski_0", chosen._replace(**changes))


def main(data: Path, out: Path, processes: int = 2) -> None:
    """Train with weighted walkers on 14x14 images, changing one thing at a time.

    Parameters
    ----------
    data
        Folder with MNIST's IDX files, gzipped or not.
    out
        Folder for recipe.md and data. What was interrupted goes on with the runs that were not
        finished.
    processes
        How many runs go side by side, one core each.
    """
    chosen = settings.quick(str(data.resolve()))
    problem.load(chosen)  # so that what is wrong with the files is told at once
    todo = [Job("benchmarks.mnist.recipe", name) for name in names()]
    jobs.prepare(out, chosen)
    jobs.run_all(todo, chosen, out, processes)
    header = (
        "change",
        "lower bound",
        "upper bound",
        *(f"share of {digit}" for digit in CLASSES),
        "relative error",
        "apart by",
    )
    table = markdown(header, _rows(jobs.load(todo, out)))
    text = f"{machine('jax')} {describe(chosen, 'data')}\n\n{table}\n"
    (out / "recipe.md").write_text(text)
    print(text)


def _rows(results: Results) -> list[tuple[str, ...]]:
    """Shares are of walkers annealed afresh, and how far they are from relaxed ones'."""
    rows = []
    for name, change in zip(names(), VARIANTS, strict=True):
        arrays = results[name]
        rows.append(
            (
                change,
                *show.bounds(arrays),
                *(f"{share:.3f}" for share in show.shares(arrays, "annealed")),
                f"{np.mean(np.abs(show.share_error(arrays, 'annealed'))):.2f}",
                "{:.3f} ± {:.3f}".format(*show.distance_of_shares(arrays)),
            )
        )
    return rows


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except ValueError as error:
        sys.exit(f"error: {error}")
