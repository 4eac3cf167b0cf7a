"""Cumulative sums of weights in exact integer arithmetic, and their inverse.

A float32 sum of a million terms loses walkers; a fixed point of 32 bits behind the point does
not.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.types import Array

__all__ = [
    "FixedPoint",
    "ancestors_of_slots",
    "comb_ancestors",
    "cumulative_distribution",
    "cumulative_sum",
    "expected_counts",
    "search",
]

#: Numbers in a block of a cumulative sum.
_BLOCK = 8


class FixedPoint(NamedTuple):
    """Non-negative numbers, exactly: ``whole + fraction / 2**32``, int32 and uint32."""

    whole: Array
    fraction: Array


def _to_fixed_point(numbers: Array) -> FixedPoint:
    whole = jnp.floor(numbers)
    # The product is exact and below 2^32: a float32 in [0, 1) has 24 significant bits.
    fraction = ((numbers - whole) * 2.0**32).astype(jnp.uint32)
    return FixedPoint(whole.astype(jnp.int32), fraction)


def cumulative_sum(integers: Array) -> Array:
    """``jnp.cumsum`` to the bit: within blocks, and of their sums.

    XLA's own takes three to eight times as long on a CPU.
    """
    num, dtype = integers.shape[0], integers.dtype
    if num <= 4 * _BLOCK:
        return jnp.cumsum(integers, dtype=dtype)
    blocks = jnp.pad(integers, (0, -num % _BLOCK)).reshape(-1, 1, _BLOCK)
    is_up_to = jnp.tri(_BLOCK, dtype=bool)
    within = jnp.sum(blocks, axis=2, where=is_up_to, dtype=dtype)
    before = cumulative_sum(within[:, -1]) - within[:, -1]
    return (within + before[:, None]).reshape(-1)[:num]


def _cumsum(numbers: FixedPoint) -> FixedPoint:
    fraction = cumulative_sum(numbers.fraction)
    carry = fraction < numbers.fraction  # the sum wrapped around
    return FixedPoint(cumulative_sum(numbers.whole + carry), fraction)


def _total(numbers: FixedPoint, dtype: jnp.dtype) -> Array:
    """Their sum, to its rounding: of 2^24 numbers the bytes have exact sums in 32 bits."""
    total = jnp.zeros((), dtype)
    for shift in (0, 8, 16, 24):
        sum_of_bytes = jnp.sum((numbers.fraction >> shift) & 255, dtype=jnp.uint32)
        total = (total + sum_of_bytes.astype(dtype)) / 256
    return total + jnp.sum(numbers.whole, dtype=jnp.int32).astype(dtype)


def expected_counts(weights: Array, total: int) -> Array:
    """Scale the weights to the sum ``total``, to one rounding of the common factor."""
    expected = weights / jnp.max(weights)
    expected = expected * (total / jnp.sum(expected))
    # A float32 sum of a million terms can be off by 1e-5 of itself; one of integers is not.
    return expected * (total / _total(_to_fixed_point(expected), weights.dtype))


def cumulative_distribution(weights: Array, total: int) -> FixedPoint:
    """Cumulative distribution, P_n of eq. 3.4.5, times ``total``; it ends there exactly.

    What rounding leaves over, less than one part in 2^23 of the total, goes to the largest
    weight: to every entry from that walker on.
    """
    expected = expected_counts(weights, total)
    cumulative = _cumsum(_to_fixed_point(expected))
    excess = FixedPoint(cumulative.whole[-1] - total, cumulative.fraction[-1])
    borrow = cumulative.fraction < excess.fraction
    corrected = FixedPoint(
        cumulative.whole - excess.whole - borrow, cumulative.fraction - excess.fraction
    )
    is_from_largest_on = jnp.arange(expected.shape[0]) >= jnp.argmax(expected)
    return jax.tree.map(partial(jnp.where, is_from_largest_on), corrected, cumulative)


def comb_ancestors(
    cumulative: FixedPoint, offset: FixedPoint, num_samples: int, substrata: int
) -> Array:
    """Invert the cumulative distribution at ``substrata * m + offset[m]``, m = 0 … M − 1."""
    stratum = cumulative.whole // substrata
    rest = FixedPoint(cumulative.whole - stratum * substrata, cumulative.fraction)
    if offset.whole.ndim == 1:
        offset = jax.tree.map(lambda part: part.at[stratum].get(mode="clip"), offset)
    num_points_below = stratum + _less(offset, rest)
    return ancestors_of_slots(num_points_below, num_samples)


def ancestors_of_slots(num_points_below: Array, num_samples: int) -> Array:
    """Ancestor of slot m: how many walkers have at most m points below their end."""
    ends = jnp.zeros(num_samples, jnp.int32).at[num_points_below].add(1, mode="drop")
    # Clipped for the sake of unusable weights alone, which are masked afterwards.
    return jnp.minimum(cumulative_sum(ends), num_points_below.shape[0] - 1)


def _less(left: FixedPoint, right: FixedPoint) -> Array:
    return (left.whole < right.whole) | (
        (left.whole == right.whole) & (left.fraction < right.fraction)
    )


def search(cumulative: FixedPoint, points: FixedPoint) -> Array:
    """Binary search: the first walker whose cumulative weight exceeds the point."""
    num_walkers = cumulative.whole.shape[0]

    def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) // 2
        is_above = _less(points, jax.tree.map(lambda part: part[middle], cumulative))
        return jnp.where(is_above, low, middle + 1), jnp.where(is_above, middle, high)

    low = jnp.zeros_like(points.whole)
    high = jnp.full_like(points.whole, num_walkers - 1)
    _, ancestors = jax.lax.fori_loop(0, num_walkers.bit_length(), halve, (low, high))
    return ancestors
