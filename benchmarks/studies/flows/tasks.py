"""The targets of the comparison, and regions of them whose shares are to be told."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.studies.log_partition.problems import PROBLEMS, Problem
from jarzynski_jax import targets
from jarzynski_jax.types import Array


class Task(NamedTuple):
    """A problem, and indicators of regions whose shares are to be told, ``x -> (m,)``."""

    label: str
    problem: Problem
    regions: Callable[[Array], Array]


def _nearest(centres: np.ndarray) -> Callable[[Array], Array]:
    def regions(x: Array) -> Array:
        nearest = jnp.argmin(jnp.sum(jnp.square(x - centres), axis=1))
        return jax.nn.one_hot(nearest, len(centres))

    return regions


#: As targets.forty_modes draws them.
_CENTRES = np.random.default_rng(0).uniform(-40, 40, (40, 2))
TASKS = {
    "forty_modes": Task("forty modes, d = 2", PROBLEMS["forty_modes"], _nearest(_CENTRES)),
    "funnel": Task("funnel, d = 10", PROBLEMS["funnel"], lambda x: 1.0 * (x[:1] > 0)),
    "many_well": Task(
        "many wells, d = 32", PROBLEMS["many_well"], lambda x: 1.0 * (x[::2] > 0)
    ),
    "two_modes": Task(
        "two modes, d = 50",
        Problem(targets.two_modes(50), 3.0, 1.0),
        lambda x: 1.0 * (x[:1] > 0),
    ),
}
