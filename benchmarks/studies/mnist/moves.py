"""``python -m benchmarks.studies.mnist.moves --data FOLDER --out FOLDER``: other settings."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.harness import command_line
from benchmarks.studies.mnist import settings, show, variants
from benchmarks.studies.mnist.settings import Settings
from jarzynski_jax.formatting import format_with_error


class Trial(NamedTuple):
    """All take as many gradients: more moves, fewer walkers."""

    algorithm: str
    num_moves: int
    learning_rate: float
    adam_b1: float


TRIALS = (
    Trial("pcd", 1, 2.5e-4, 0.9),
    Trial("pcd", 1, 5e-4, 0.9),
    Trial("pcd", 4, 2.5e-4, 0.9),
    Trial("pcd", 4, 5e-4, 0.9),
    Trial("pcd", 4, 1e-3, 0.9),
    Trial("jarzynski", 4, 5e-4, 0.9),
    Trial("jarzynski", 4, 1e-3, 0.9),
    Trial("jarzynski", 4, 1e-3, 0.99),
    Trial("pcd", 4, 1e-3, 0.99),
    Trial("pcd", 4, 2e-3, 0.9),
    Trial("pcd", 4, 4e-3, 0.9),
    Trial("jarzynski", 4, 2e-3, 0.99),
    Trial("unweighted", 4, 1e-3, 0.99),
)


def names() -> list[str]:
    return [f"trial_{number}" for number in range(len(TRIALS))]


def run(name: str, chosen: Settings) -> dict[str, np.ndarray]:
    """Train at a trial's settings, from seed 0."""
    trial = TRIALS[int(name.removeprefix("trial_"))]
    num_walkers = _num_walkers(trial, chosen)
    changed = chosen._replace(
        num_walkers=num_walkers,
        num_touched=num_walkers,
        num_moves=trial.num_moves,
        learning_rate=trial.learning_rate,
        adam_b1=trial.adam_b1,
        pcd=(),  # these settings are its own
    )
    return variants.run(f"{trial.algorithm}_0", changed, chosen)


def _num_walkers(trial: Trial, chosen: Settings) -> int:
    """As many moves in all."""
    return chosen.num_touched * chosen.num_moves // trial.num_moves


def main(data: Path, out: Path, processes: int = 2) -> None:
    """Train at 28x28 at other rates and moves, with as many walkers as make up for these.

    Parameters
    ----------
    data
        Folder with MNIST's IDX files, gzipped or not.
    out
        Folder for moves.md and data. What was interrupted goes on with the runs that were not
        finished.
    processes
        How many runs go side by side, one core each.
    """
    chosen = settings.standard(str(data.resolve()))
    labels = {name: label(trial, chosen) for name, trial in zip(names(), TRIALS, strict=True)}
    header = (
        "algorithm",
        "walkers",
        "moves an update",
        "learning rate",
        "b1",
        "lower bound",
        "upper bound",
        "shares from the data's",
        "from relaxed walkers'",
        "Fréchet",
        "training walkers' log Z too low by",
    )
    variants.tabulate(
        "benchmarks.studies.mnist.moves",
        labels,
        columns,
        header,
        chosen,
        out / "moves.md",
        processes,
    )


def label(trial: Trial, chosen: Settings) -> tuple[str, ...]:
    return (
        show.LABELS[trial.algorithm],
        str(_num_walkers(trial, chosen)),
        str(trial.num_moves),
        f"{trial.learning_rate:g}",
        f"{trial.adam_b1:g}",
    )


def columns(arrays: dict[str, np.ndarray]) -> tuple[str, ...]:
    """Walkers without weights know no log Z."""
    shortfall = show.shortfall(arrays)
    return (
        *show.bounds(arrays),
        f"{show.distance_from_data(arrays):.3f}",
        format_with_error(*show.distance_of_shares(arrays)),
        f"{float(arrays['frechet']):.1f}",
        "" if math.isnan(shortfall) else f"{shortfall:.0f}",
    )


if __name__ == "__main__":
    command_line.start(main)
