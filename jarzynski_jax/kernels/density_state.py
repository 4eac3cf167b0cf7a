"""The state of kernels that need no gradient from one move to the next."""

from typing import NamedTuple

import jax.numpy as jnp

from jarzynski_jax.kernels.arithmetic import check_real, lift
from jarzynski_jax.types import Array, ArrayTree, LogDensityFn, Position

__all__ = ["DensityState", "init", "without_endpoint"]


class DensityState(NamedTuple):
    r"""One walker: its position, a pytree of real arrays, and :math:`\ell(x)` there.

    The density is that by which the walker was last weighed. ``log_endpoint`` is 0: all of the
    weight is work.
    """

    position: ArrayTree
    logdensity: Array
    log_endpoint: Array


def init(position: Position, logdensity_fn: LogDensityFn) -> DensityState:
    """Weigh one walker for the first time.

    ValueError if a leaf of the position is neither of floating point nor of integers.

    Examples
    --------
    >>> float(init(jnp.array([1.0, 2.0]), lambda x: -jnp.sum(x**2) / 2).logdensity)
    -2.5
    """
    check_real(position)
    return without_endpoint(position, logdensity_fn(lift(position)))


def without_endpoint(position: Position, logdensity: Array) -> DensityState:
    """Make a state of a position and the log-density there, which is known already.

    Examples
    --------
    >>> float(without_endpoint(jnp.zeros(2), jnp.array(-3.0)).log_endpoint)
    0.0
    """
    logdensity = lift(jnp.asarray(logdensity))
    return DensityState(position, logdensity, jnp.zeros((), logdensity.dtype))
