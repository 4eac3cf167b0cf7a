"""The targets, and where and how finely all methods start on them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax import targets
from jarzynski_jax.density import Density
from jarzynski_jax.types import Array, LogDensityFn, PRNGKey


class Problem(NamedTuple):
    """A target, and a Gaussian to start from.

    base_scale
        Standard deviation of that Gaussian, wide enough for the target.
    step_size
        Of a leapfrog step: about the target's smallest width. What is tried is a multiple.
    """

    target: Density
    base_scale: float
    step_size: float

    @property
    def base(self) -> Density:
        """The normalised Gaussian."""
        scale, dimension = self.base_scale, self.target.dimension
        assert dimension is not None

        def logdensity_fn(x: Array) -> Array:
            log_norm = dimension * jnp.log(jnp.sqrt(2 * jnp.pi) * scale)
            return -jnp.sum(jnp.square(x / scale)) / 2 - log_norm

        def sample(rng_key: PRNGKey, num_samples: int) -> Array:
            return scale * jax.random.normal(rng_key, (num_samples, dimension))

        return Density(logdensity_fn, 0.0, sample, dimension)

    @property
    def log_likelihood(self) -> LogDensityFn:
        """What takes the Gaussian to the target."""
        base = self.base
        return lambda x: self.target.logdensity_fn(x) - base.logdensity_fn(x)


_MIXED = targets.product(
    [targets.two_modes(2), targets.double_well(), targets.gaussian([0.25, 4.0])]
)

PROBLEMS = {
    "gaussian": Problem(targets.gaussian(np.logspace(-1, 1, 20)), 3.0, 0.3),
    "two_modes": Problem(targets.two_modes(10), 4.0, 1.0),
    "forty_modes": Problem(targets.forty_modes(), 30.0, 1.3),
    "funnel": Problem(targets.funnel(), 3.0, 1.0),
    "double_well": Problem(targets.double_well(), 2.0, 0.2),
    "many_well": Problem(targets.many_well(), 2.0, 0.2),
    "product": Problem(_MIXED, 4.0, 0.2),
}
LABELS = {
    "gaussian": "Gaussian, d = 20, variances 0.1 to 10",
    "two_modes": "two modes, d = 10",
    "forty_modes": "forty modes, d = 2",
    "funnel": "funnel, d = 10",
    "double_well": "double well, d = 1",
    "many_well": "many wells, d = 32",
    "product": "two modes × double well × Gaussian, d = 5",
}
