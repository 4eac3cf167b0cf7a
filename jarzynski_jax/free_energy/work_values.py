"""Estimates, and work as it comes: the offset common to all of it is taken off first."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.types import Array, Scalar

__all__ = [
    "Estimate",
    "as_pair",
    "as_work",
    "negative",
    "shift",
]


class Estimate(NamedTuple):
    """A number and its standard error, both in nats."""

    value: Array
    standard_error: Array


def negative(estimate: Estimate) -> Estimate:
    """Change the sign of the value."""
    return Estimate(-estimate.value, estimate.standard_error)


@np.errstate(over="ignore")
def shift(estimate: Estimate, offset: Scalar) -> Estimate:
    """Put an offset back."""
    dtype = estimate.value.dtype
    return Estimate(estimate.value + jnp.asarray(offset, dtype), estimate.standard_error)


@np.errstate(over="ignore")  # what is too large for the precision is infinite
def as_work(work: Any, name: str) -> tuple[Array, Scalar]:
    """Work less the least of it, and the least, 0 if that is infinite.

    A JAX array keeps its precision, float32 at least; all else, whose values are known, is
    float64 until the least is off.
    """
    numpy: Any = jnp if isinstance(work, jax.Array) else np
    work = numpy.asarray(work)
    if work.ndim != 1 or work.shape[0] < 2:
        raise ValueError(f"{name} must have shape (n,) with n ≥ 2; got shape {work.shape}")
    dtype = jnp.promote_types(jax.dtypes.canonicalize_dtype(work.dtype), jnp.float32)
    work = work.astype(dtype if numpy is jnp else np.float64)
    least = numpy.min(work)
    least = numpy.where(numpy.isfinite(least), least, 0)
    return jnp.asarray((work - least).astype(dtype)), least


@np.errstate(over="ignore")
def as_pair(forward_work: Any, reverse_work: Any) -> tuple[Array, Array, Scalar]:
    """W_F - c and W_R + c, whose least values are equal, and c."""
    forward, least_forward = as_work(forward_work, "forward_work")
    reverse, least_reverse = as_work(reverse_work, "reverse_work")
    dtype = jnp.promote_types(forward.dtype, reverse.dtype)
    middle = jnp.asarray(least_forward / 2 + least_reverse / 2, dtype)
    offset = least_forward / 2 - least_reverse / 2
    return forward.astype(dtype) + middle, reverse.astype(dtype) + middle, offset
