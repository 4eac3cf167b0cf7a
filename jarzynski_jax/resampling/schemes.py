r"""Resampling: drawing ancestors in proportion to weights.

Each resampler has BlackJAX's signature ``(rng_key, weights, num_samples) -> ancestors`` and
is unbiased: walker :math:`i` is drawn :math:`M p_i` times on average. Weights need not be
normalised. The inverse cumulative distribution is computed in exact integer arithmetic, so
float32 is as good at a million walkers as at ten.

No scheme can draw from weights that are all zero, negative, infinite or NaN. Then every
ancestor is :data:`NO_ANCESTOR`, −1, and never a silent 0.

Decorators compose with any resampler, BlackJAX's included: :func:`from_log_weights` takes
log-weights, :func:`adaptive` resamples only when the ensemble has degenerated, and
:func:`islands` does so on each of several islands of walkers.

References: thesis, eq. 3.4.5 and 3.4.6; Douc, Cappé and Moulines, *Comparison of resampling
schemes for particle filtering*, 2005.
"""

from typing import Final

import jax
import jax.numpy as jnp

from jarzynski_jax.resampling.fixed_point import (
    FixedPoint,
    ancestors_of_slots,
    comb_ancestors,
    cumulative_distribution,
    cumulative_sum,
    expected_counts,
    search,
)
from jarzynski_jax.types import Array, PRNGKey
from jarzynski_jax.weights import as_log_weights

__all__ = [
    "NO_ANCESTOR",
    "multinomial",
    "residual",
    "stratified",
    "systematic",
]

#: What a resampler returns, in every slot, where no ancestor can be drawn.
NO_ANCESTOR: Final = -1


# A float32 holds no integer step beyond this, so neither can expected counts.
_MAX_NUM_WALKERS = 2**24


def systematic(rng_key: PRNGKey, weights: Array, num_samples: int) -> Array:
    """Systematic resampling: one uniform number shifts a regular comb of M points.

    Walker i is drawn floor(M p_i) or ceil(M p_i) times. The smallest spread of the four
    schemes in practice, and the cheapest; the default of this library. Weights are of shape
    ``(N,)``, ancestors int32, shape ``(M,)``, ascending. ValueError if a shape is wrong, M < 1,
    or N or M exceeds 2^24.

    Examples
    --------
    >>> systematic(jax.random.key(0), jnp.array([0.5, 0.0, 0.25, 0.25]), 4).tolist()
    [0, 0, 2, 3]
    """
    weights = _check(weights, num_samples)
    return _comb(rng_key, weights, num_samples, shape=())


def stratified(rng_key: PRNGKey, weights: Array, num_samples: int) -> Array:
    """Stratified resampling: one independent uniform number in each of M equal strata.

    Parameters, returns and errors as :func:`systematic`; ancestors ascend.

    Examples
    --------
    >>> stratified(jax.random.key(0), jnp.array([0.5, 0.0, 0.25, 0.25]), 4).tolist()
    [0, 0, 2, 3]
    """
    weights = _check(weights, num_samples)
    return _comb(rng_key, weights, num_samples, shape=(num_samples,))


def multinomial(rng_key: PRNGKey, weights: Array, num_samples: int) -> Array:
    """Multinomial resampling: M independent draws.

    The widest spread; for when the ancestors must be independent. Parameters, returns and
    errors as :func:`systematic`, but the ancestors are in the order of their drawing.

    Examples
    --------
    >>> multinomial(jax.random.key(0), jnp.array([0.0, 1.0, 0.0]), 3).tolist()
    [1, 1, 1]
    """
    weights = _check(weights, num_samples)
    num_walkers = weights.shape[0]
    cumulative = cumulative_distribution(weights, num_walkers)
    key_whole, key_fraction = jax.random.split(rng_key)
    points = FixedPoint(
        jax.random.randint(key_whole, (num_samples,), 0, num_walkers, jnp.int32),
        jax.random.bits(key_fraction, (num_samples,), jnp.uint32),
    )
    return _where_valid(weights, search(cumulative, points))


def residual(rng_key: PRNGKey, weights: Array, num_samples: int) -> Array:
    """Residual resampling: floor(M p_i) copies of each walker, the rest multinomial.

    Parameters, returns and errors as :func:`systematic`; the sure copies come first.

    References: Liu and Chen, *JASA* 93 (1998) 1032.

    Examples
    --------
    >>> residual(jax.random.key(0), jnp.array([0.5, 0.0, 0.25, 0.25]), 4).tolist()
    [0, 0, 2, 3]
    """
    weights = _check(weights, num_samples)
    expected = expected_counts(weights, num_samples)
    sure = jnp.floor(expected)
    num_sure = cumulative_sum(sure.astype(jnp.int32))
    slots = jnp.arange(num_samples)
    drawn = multinomial(rng_key, expected - sure, num_samples)
    ancestors = jnp.where(
        slots < num_sure[-1], ancestors_of_slots(num_sure, num_samples), drawn
    )
    return _where_valid(weights, ancestors)


def _check(weights: Array, num_samples: int) -> Array:
    weights = as_log_weights(weights)
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1; got {num_samples}")
    if max(weights.shape[0], num_samples) > _MAX_NUM_WALKERS:
        raise ValueError(
            f"at most 2^24 walkers can be resampled at once; got {weights.shape[0]} weights "
            f"and num_samples={num_samples}"
        )
    return weights


def _where_valid(weights: Array, ancestors: Array) -> Array:
    # A NaN fails both comparisons, as it should.
    is_valid = (jnp.min(weights) >= 0) & (jnp.max(weights) > 0) & jnp.all(weights < jnp.inf)
    return jnp.where(is_valid, ancestors.astype(jnp.int32), NO_ANCESTOR)


def _comb(rng_key: PRNGKey, weights: Array, num_samples: int, shape: tuple[int, ...]) -> Array:
    """Draw one point in each of M strata of equal mass; a common one if ``shape`` is ()."""
    # In units of 1/(M q) no positive expected count is far below one, so none drowns in the
    # resolution of the fixed point when M is much smaller than N.
    substrata = -(-weights.shape[0] // num_samples)
    cumulative = cumulative_distribution(weights, num_samples * substrata)
    key_whole, key_fraction = jax.random.split(rng_key)
    offset = FixedPoint(
        jax.random.randint(key_whole, shape, 0, substrata, jnp.int32),
        jax.random.bits(key_fraction, shape, jnp.uint32),
    )
    return _where_valid(weights, comb_ancestors(cumulative, offset, num_samples, substrata))
