"""How a benchmark starts from the command line."""

import sys
from collections.abc import Callable

import tyro

from benchmarks.harness.jobs import JobDied
from jarzynski_jax.training import TrainingDiverged


def start(main: Callable[..., None]) -> None:
    """Call it with the options given; what went wrong is told without a traceback."""
    try:
        tyro.cli(main)
    except (ValueError, JobDied, TrainingDiverged) as error:
        sys.exit(f"error: {error}")
