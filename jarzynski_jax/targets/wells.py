r"""Double wells, and many of them: 2^m modes of known mass."""

import math
from functools import cache

import jax.numpy as jnp
import numpy as np

from jarzynski_jax.density import Density
from jarzynski_jax.targets.gaussians import gaussian
from jarzynski_jax.targets.product import product
from jarzynski_jax.targets.vectors import check_vector
from jarzynski_jax.types import Array, PRNGKey
from jarzynski_jax.uniform import open_uniform

__all__ = ["double_well", "many_well"]

# The energy grows as x⁴: at ±6 it is a thousand nats above its minima.
_GRID = np.linspace(-6.0, 6.0, 200_001)


@cache
def _tabulate(tilt: float) -> tuple[float, np.ndarray]:
    """Log Z by trapezoids, exact to rounding for so smooth and short a density, and the CDF."""
    logdensity = -(_GRID**4) + 6 * _GRID**2 + tilt * _GRID
    peak = np.max(logdensity)
    cumulative = np.cumsum(np.exp(logdensity - peak))
    log_z = float(peak + math.log(cumulative[-1] * (_GRID[1] - _GRID[0])))
    return log_z, cumulative / cumulative[-1]


def double_well(tilt: float = 0.5) -> Density:
    r"""Two wells on a line, :math:`\ell = -x^4 + 6x^2 + \tfrac12 x`, with a barrier of 9 nats.

    The tilt, the factor of x, is between -2 and 2, else a ValueError. Log Z is by quadrature;
    samples are by inverting the distribution function on a grid of spacing 6e-5.

    Examples
    --------
    >>> round(double_well(0.0).log_partition_function, 2)
    9.05
    """
    if not -2 <= tilt <= 2:
        raise ValueError(f"tilt must be between -2 and 2; got {tilt}")
    log_z, cumulative = _tabulate(tilt)

    def logdensity_fn(x: Array) -> Array:
        check_vector(x, 1)
        x = x[0]
        return -jnp.square(jnp.square(x)) + 6 * jnp.square(x) + tilt * x

    def sample(rng_key: PRNGKey, num_samples: int) -> Array:
        uniform = open_uniform(rng_key, (num_samples, 1))
        return jnp.interp(uniform, jnp.asarray(cumulative), jnp.asarray(_GRID))

    return Density(logdensity_fn, log_z, sample, 1)


def many_well(dimension: int = 32) -> Density:
    r"""d/2 double wells, each beside a unit Gaussian, the coordinates x and y alternating.

    :math:`\ell = \sum_i (-x_i^4 + 6x_i^2 + \frac12 x_i - \frac12 y_i^2)`, :math:`2^{d/2}`
    modes; d even, else a ValueError. Midgley, Stimper, Simm, Schölkopf and Hernández-Lobato,
    ICLR 2023; Wu, Köhler and Noé, NeurIPS 2020.

    Examples
    --------
    >>> round(many_well().log_partition_function, 2)
    164.7
    """
    if dimension < 2 or dimension % 2:
        raise ValueError(f"dimension must be a positive even number; got {dimension}")
    return product([double_well(), gaussian([1.0])] * (dimension // 2))
