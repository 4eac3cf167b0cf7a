"""``python -m benchmarks.studies.mnist.recipe --data FOLDER --out FOLDER``: single changes."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness import command_line
from benchmarks.studies.mnist import settings, show, variants
from benchmarks.studies.mnist.problem import CLASSES
from benchmarks.studies.mnist.settings import Settings
from jarzynski_jax.formatting import format_with_error


def baseline(data: str) -> Settings:
    """Where changes are made: 14x14, with few walkers, and fresh ones now and then."""
    return settings.quick(data)._replace(
        num_walkers=2048,
        num_touched=2048,
        num_moves=1,
        num_updates=4000,
        refresh_every=500,
        learning_rate=1e-3,
        adam_b1=0.9,
        annealing_steps=1000,
    )


class Variant(NamedTuple):
    """What is changed of the baseline, or of its seed."""

    label: str
    changes: dict[str, Any]
    seed: int = 0


VARIANTS = (
    Variant("none", {}),
    Variant("none, seed 1", {}, seed=1),
    Variant("none, seed 2", {}, seed=2),
    Variant("unadjusted Langevin, h = 0.18 C", {"step_size": 0.6, "friction": math.inf}),
    Variant("not preconditioned", {"preconditioning": 0.0}),
    Variant("preconditioned as the images vary", {"preconditioning": 1.0}),
    Variant("friction 4 times as large", {"friction": 4.0}),
    Variant("two moves an update", {"num_moves": 2}),
    Variant("images not divided by their standard deviation", {"is_standardized": False}),
    Variant("never fresh walkers", {"refresh_every": 0}),
    Variant("fresh walkers half as often", {"refresh_every": 1000}),
    Variant("learning rate 2e-3", {"learning_rate": 2e-3}),
    Variant("learning rate 5e-4", {"learning_rate": 5e-4}),
    Variant("Adam's eps 1e-2", {"adam_eps": 1e-2}),
    Variant("1024 walkers", {"num_walkers": 1024, "num_touched": 1024}),
    Variant("4096 walkers", {"num_walkers": 4096, "num_touched": 4096}),
    Variant("a pool of 8192, 2048 touched", {"num_walkers": 8192}),
    Variant("resampled below 0.95", {"ess_threshold": 0.95}),
    Variant(
        "fresh walkers twice as often, in 250 steps",
        {"refresh_every": 250, "refresh_steps": 250},
    ),
    Variant(
        "fresh walkers half as often, in 1000 steps",
        {"refresh_every": 1000, "refresh_steps": 1000},
    ),
    Variant("Adam's b1 0.99", {"adam_b1": 0.99}),
    Variant(
        "Adam's b1 0.99, learning rate 2e-3, never fresh walkers",
        {"adam_b1": 0.99, "learning_rate": 2e-3, "refresh_every": 0},
    ),
    Variant(
        "the same with 8192 walkers",
        {
            "adam_b1": 0.99,
            "learning_rate": 2e-3,
            "refresh_every": 0,
            "num_walkers": 8192,
            "num_touched": 8192,
        },
    ),
)


def names() -> list[str]:
    return [f"variant_{number}" for number in range(len(VARIANTS))]


def run(name: str, chosen: Settings) -> dict[str, np.ndarray]:
    """Train with weighted walkers; all variants are judged by the same ones."""
    variant = VARIANTS[int(name.removeprefix("variant_"))]
    return variants.run(f"jarzynski_{variant.seed}", chosen._replace(**variant.changes), chosen)


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
    chosen = baseline(str(data.resolve()))
    labels = {name: (variant.label,) for name, variant in zip(names(), VARIANTS, strict=True)}
    header = (
        "change",
        "lower bound",
        "upper bound",
        *(f"share of {digit}" for digit in CLASSES),
        "from the data's",
        "from relaxed walkers'",
        "training walkers' log Z too low by",
    )
    variants.tabulate(
        "benchmarks.studies.mnist.recipe",
        labels,
        _columns,
        header,
        chosen,
        out / "recipe.md",
        processes,
    )


def _columns(arrays: dict[str, np.ndarray]) -> tuple[str, ...]:
    """Shares are of walkers annealed afresh, and how far they are from relaxed ones'."""
    return (
        *show.bounds(arrays),
        *(f"{share:.3f}" for share in show.shares(arrays, "annealed")),
        f"{show.distance_from_data(arrays):.3f}",
        format_with_error(*show.distance_of_shares(arrays)),
        f"{show.shortfall(arrays):.1f}",
    )


if __name__ == "__main__":
    command_line.start(main)
