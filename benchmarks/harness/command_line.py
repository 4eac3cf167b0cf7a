"""How a benchmark starts from the command line, and what most are asked there."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks.harness.jobs import JobDied
from jarzynski_jax.training import TrainingDiverged

Out = Annotated[
    Path,
    tyro.conf.arg(
        help="Folder for pictures, tables, claims and data. A study that was interrupted goes "
        "on where it was."
    ),
]
Quick = Annotated[
    bool,
    tyro.conf.FlagCreatePairsOff,
    tyro.conf.arg(help="Small sizes: some minutes on two cores, to see that it works."),
]
Processes = Annotated[int, tyro.conf.arg(help="How many jobs run side by side, one core each.")]
Mnist = Annotated[
    Path | None,
    tyro.conf.arg(
        help="Folder with MNIST's IDX files, gzipped or not; without it scikit-learn's digits "
        "are taken."
    ),
]


def start(main: Callable[..., None]) -> None:
    """Call it with the options given; what went wrong is told without a traceback."""
    try:
        tyro.cli(main)
    except (ValueError, JobDied, TrainingDiverged) as error:
        sys.exit(f"error: {error}")
