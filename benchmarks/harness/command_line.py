"""How a benchmark starts from the command line."""

import sys
from collections.abc import Callable

import tyro

from jarzynski_jax.training import TrainingDiverged


def start(main: Callable[..., None]) -> None:
    """Call it with the options given; bad input and divergence are told without a traceback."""
    try:
        tyro.cli(main)
    except (ValueError, TrainingDiverged) as error:
        sys.exit(f"error: {error}")
