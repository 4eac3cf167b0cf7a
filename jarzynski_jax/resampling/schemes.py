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

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jarzynski_jax.types import Array, PRNGKey, Resampler
from jarzynski_jax.weights import as_log_weights, effective_sample_size, log_mean_exp

__all__ = [
    "NO_ANCESTOR",
    "AdaptiveResampler",
    "ResamplingInfo",
    "adaptive",
    "from_log_weights",
    "islands",
    "multinomial",
    "residual",
    "stratified",
    "systematic",
]

#: What a resampler returns, in every slot, where no ancestor can be drawn.
NO_ANCESTOR: Final = -1

# A float32 holds no integer step beyond this, so neither can expected counts.
_MAX_NUM_WALKERS = 2**24


class _FixedPoint(NamedTuple):
    """Non-negative numbers, exactly: ``whole + fraction / 2**32``, int32 and uint32."""

    whole: Array
    fraction: Array


def systematic(rng_key: PRNGKey, weights: Array, num_samples: int) -> Array:
    """Systematic resampling: one uniform number shifts a regular comb of M points.

    Walker i is drawn floor(M p_i) or ceil(M p_i) times. The smallest spread of the four
    schemes in practice, and the cheapest; the default of this library.

    Parameters
    ----------
    rng_key
        A key of ``jax.random``.
    weights
        Non-negative, shape ``(N,)``; of any sum.
    num_samples
        M, how many ancestors to draw.

    Returns
    -------
    Array
        Ancestors, int32, shape ``(M,)``, ascending; all −1 if the weights are all zero or
        one of them is negative or not finite.

    Raises
    ------
    ValueError
        If a shape is wrong, M < 1, or N or M exceeds 2^24.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
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
    >>> import jax, jax.numpy as jnp
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
    >>> import jax, jax.numpy as jnp
    >>> multinomial(jax.random.key(0), jnp.array([0.0, 1.0, 0.0]), 3).tolist()
    [1, 1, 1]
    """
    weights = _check(weights, num_samples)
    num_walkers = weights.shape[0]
    cumulative = _cumulative(weights, num_walkers)
    key_whole, key_fraction = jax.random.split(rng_key)
    points = _FixedPoint(
        jax.random.randint(key_whole, (num_samples,), 0, num_walkers, jnp.int32),
        jax.random.bits(key_fraction, (num_samples,), jnp.uint32),
    )
    return _where_valid(weights, _search(cumulative, points))


def residual(rng_key: PRNGKey, weights: Array, num_samples: int) -> Array:
    """Residual resampling: floor(M p_i) copies of each walker, the rest multinomial.

    Parameters, returns and errors as :func:`systematic`; the sure copies come first.

    References: Liu and Chen, *JASA* 93 (1998) 1032.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> residual(jax.random.key(0), jnp.array([0.5, 0.0, 0.25, 0.25]), 4).tolist()
    [0, 0, 2, 3]
    """
    weights = _check(weights, num_samples)
    expected = _expected_counts(weights, num_samples)
    sure = jnp.floor(expected)
    num_sure = jnp.cumsum(sure.astype(jnp.int32))
    slots = jnp.arange(num_samples)
    drawn = multinomial(rng_key, expected - sure, num_samples)
    ancestors = jnp.where(
        slots < num_sure[-1], _ancestors_of_slots(num_sure, num_samples), drawn
    )
    return _where_valid(weights, ancestors)


def from_log_weights(resampler: Resampler) -> Resampler:
    """Let a resampler take log-weights.

    Parameters
    ----------
    resampler
        ``(rng_key, weights, num_samples) -> ancestors``, ours or BlackJAX's.

    Returns
    -------
    Resampler
        ``(rng_key, log_weights, num_samples) -> ancestors``. The log-weights need no
        normalisation; −inf is a weight of zero, all −inf or a NaN give −1 throughout.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> resample = from_log_weights(systematic)
    >>> resample(jax.random.key(0), jnp.array([-2000.0, -jnp.inf, -2000.0]), 2).tolist()
    [0, 2]
    """

    def resample(rng_key: PRNGKey, log_weights: Array, num_samples: int) -> Array:
        log_weights = as_log_weights(log_weights)
        peak = jnp.max(log_weights)
        # The sum is one to rounding, which foreign resamplers take for granted.
        ancestors = resampler(rng_key, jax.nn.softmax(log_weights), num_samples)
        return jnp.where(jnp.isfinite(peak), ancestors, NO_ANCESTOR)

    return resample


class ResamplingInfo(NamedTuple):
    """What an adaptive resampling did.

    effective_sample_size
        The value of the criterion before it, as a fraction of N.
    is_resampled
        Whether ancestors were drawn.
    is_dead
        Whether no walker had a usable weight (all −inf, or a NaN): nothing was drawn.
    """

    effective_sample_size: Array
    is_resampled: Array
    is_dead: Array


#: ``resample(rng_key, log_weights) -> (ancestors, log_weights, info)``.
AdaptiveResampler: TypeAlias = Callable[[PRNGKey, Array], tuple[Array, Array, ResamplingInfo]]


def adaptive(
    resampler: Resampler,
    ess_threshold: float,
    criterion: Callable[[Array], Array] = effective_sample_size,
) -> AdaptiveResampler:
    r"""Resample only when the effective sample size has fallen below a threshold.

    After resampling, each log-weight is the logarithm of the mean weight before it, so
    :math:`\frac1N \sum e^{A_i}` is the same before and after, and goes on estimating
    :math:`Z/Z_0`. Without resampling, ancestors are ``arange(N)`` and the weights stay.

    Parameters
    ----------
    resampler
        ``(rng_key, weights, num_samples) -> ancestors``.
    ess_threshold
        Resample when the criterion is below it; a fraction of N in [0, 1]. 0 is never.
    criterion
        ``log_weights -> fraction``: :func:`~jarzynski_jax.weights.effective_sample_size`
        or :func:`~jarzynski_jax.weights.perplexity`.

    Returns
    -------
    AdaptiveResampler
        ``(rng_key, log_weights) -> (ancestors, log_weights, ResamplingInfo)``. An ensemble
        with a NaN or no finite log-weight is left as it is and reported as dead.

    Raises
    ------
    ValueError
        If the threshold is outside [0, 1].

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> resample = adaptive(systematic, ess_threshold=0.5)
    >>> log_weights = jnp.log(jnp.array([4.0, 0.0, 0.0, 0.0]))
    >>> ancestors, new, info = resample(jax.random.key(0), log_weights)
    >>> ancestors.tolist(), jnp.exp(new).tolist(), bool(info.is_resampled)
    ([0, 0, 0, 0], [1.0, 1.0, 1.0, 1.0], True)
    """
    if not 0 <= ess_threshold <= 1:
        raise ValueError(
            f"ess_threshold must be a fraction of the walkers, in [0, 1]; got {ess_threshold}"
        )
    draw = from_log_weights(resampler)

    def resample(rng_key: PRNGKey, log_weights: Array) -> tuple[Array, Array, ResamplingInfo]:
        log_weights = as_log_weights(log_weights)
        num_walkers = log_weights.shape[0]
        fraction = criterion(log_weights)
        log_mean = log_mean_exp(log_weights)
        is_dead = ~jnp.isfinite(log_mean)
        is_resampled = (fraction < ess_threshold) & ~is_dead
        ancestors = jax.lax.cond(
            is_resampled,
            lambda: draw(rng_key, log_weights, num_walkers).astype(jnp.int32),
            lambda: jnp.arange(num_walkers, dtype=jnp.int32),
        )
        log_weights = jnp.where(is_resampled, log_mean, log_weights)
        return ancestors, log_weights, ResamplingInfo(fraction, is_resampled, is_dead)

    return resample


def islands(
    resampler: Resampler,
    num_islands: int,
    ess_threshold: float,
    exchange_threshold: float = 0.5,
) -> AdaptiveResampler:
    r"""Resample each island of walkers by itself, all together only when islands differ.

    With as many islands as devices, walkers stay on their devices. After resampling an
    island's log-weights are the logarithm of its own mean weight, so
    :math:`\frac1N \sum e^{A_i}` is the same before and after, on each island and in all.
    Islands whose mean weights drift apart waste their walkers: then all are resampled together.

    Parameters
    ----------
    resampler
        ``(rng_key, weights, num_samples) -> ancestors``.
    num_islands
        I, a divisor of N: walkers 0 to N/I - 1 are the first island, and so on.
    ess_threshold
        An island is resampled when its effective sample size is below it, a fraction of N/I.
    exchange_threshold
        All are resampled together when the effective sample size of the islands' mean weights
        is below it, a fraction of I.

    Returns
    -------
    AdaptiveResampler
        ``(rng_key, log_weights) -> (ancestors, log_weights, ResamplingInfo)``. It raises a
        ``ValueError`` if I does not divide N. A dead island waits for an exchange.

    Raises
    ------
    ValueError
        If a threshold is outside [0, 1] or there is no island.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> resample = islands(systematic, 2, ess_threshold=0.9)
    >>> log_weights = jnp.log(jnp.array([2.0, 0.0, 1.0, 1.0]))
    >>> ancestors, new, info = resample(jax.random.key(0), log_weights)
    >>> ancestors.tolist(), jnp.exp(new).tolist()
    ([0, 0, 2, 3], [1.0, 1.0, 1.0, 1.0])
    """
    if num_islands < 1:
        raise ValueError(f"num_islands must be at least 1; got {num_islands}")
    if not 0 <= exchange_threshold <= 1:
        raise ValueError(
            "exchange_threshold must be a fraction of the islands, in [0, 1]; "
            f"got {exchange_threshold}"
        )
    alone, together = adaptive(resampler, ess_threshold), adaptive(resampler, 1.0)

    def resample(rng_key: PRNGKey, log_weights: Array) -> tuple[Array, Array, ResamplingInfo]:
        log_weights = as_log_weights(log_weights)
        num_walkers = log_weights.shape[0]
        if num_walkers % num_islands:
            raise ValueError(
                f"num_islands must divide the number of walkers, {num_walkers}; "
                f"got {num_islands}"
            )
        key_islands, key_exchange = jax.random.split(rng_key)
        of_islands = log_weights.reshape(num_islands, -1)
        drift = effective_sample_size(jax.vmap(log_mean_exp)(of_islands))

        def resample_alone() -> tuple[Array, Array, Array]:
            keys = jax.random.split(key_islands, num_islands)
            ancestors, new, info = jax.vmap(alone)(keys, of_islands)
            first = jnp.arange(num_islands, dtype=jnp.int32) * of_islands.shape[1]
            ancestors = (ancestors + first[:, None]).reshape(-1)
            return ancestors, new.reshape(-1), jnp.any(info.is_resampled)

        def resample_together() -> tuple[Array, Array, Array]:
            ancestors, new, info = together(key_exchange, log_weights)
            return ancestors, new, info.is_resampled

        ancestors, new, is_resampled = jax.lax.cond(
            drift < exchange_threshold, resample_together, resample_alone
        )
        is_dead = ~jnp.isfinite(log_mean_exp(log_weights))
        fraction = effective_sample_size(log_weights)
        return ancestors, new, ResamplingInfo(fraction, is_resampled, is_dead)

    return resample


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


def _to_fixed_point(numbers: Array) -> _FixedPoint:
    whole = jnp.floor(numbers)
    # The product is exact and below 2^32: a float32 in [0, 1) has 24 significant bits.
    fraction = ((numbers - whole) * 2.0**32).astype(jnp.uint32)
    return _FixedPoint(whole.astype(jnp.int32), fraction)


def _cumsum(numbers: _FixedPoint) -> _FixedPoint:
    fraction = jnp.cumsum(numbers.fraction, dtype=jnp.uint32)
    carry = fraction < numbers.fraction  # the sum wrapped around
    whole = jnp.cumsum(numbers.whole + carry, dtype=jnp.int32)
    return _FixedPoint(whole, fraction)


def _expected_counts(weights: Array, total: int) -> Array:
    """Scale the weights to the sum ``total``, to one rounding of the common factor."""
    expected = weights / jnp.max(weights)
    expected = expected * (total / jnp.sum(expected))
    # A float32 sum of a million terms can be off by 1e-5 of itself; the exact one is not.
    whole, fraction = (part[-1] for part in _cumsum(_to_fixed_point(expected)))
    exact_sum = whole.astype(weights.dtype) + fraction.astype(weights.dtype) * 2.0**-32
    return expected * (total / exact_sum)


def _cumulative(weights: Array, total: int) -> _FixedPoint:
    """Cumulative distribution, P_n of eq. 3.4.5, times ``total``; it ends there exactly.

    What rounding leaves over, less than one part in 2^23 of the total, goes to the largest
    weight: to every entry from that walker on.
    """
    expected = _expected_counts(weights, total)
    cumulative = _cumsum(_to_fixed_point(expected))
    excess = _FixedPoint(cumulative.whole[-1] - total, cumulative.fraction[-1])
    borrow = cumulative.fraction < excess.fraction
    corrected = _FixedPoint(
        cumulative.whole - excess.whole - borrow, cumulative.fraction - excess.fraction
    )
    is_from_largest_on = jnp.arange(expected.shape[0]) >= jnp.argmax(expected)
    return jax.tree.map(partial(jnp.where, is_from_largest_on), corrected, cumulative)


def _comb(rng_key: PRNGKey, weights: Array, num_samples: int, shape: tuple[int, ...]) -> Array:
    """Draw one point in each of M strata of equal mass; a common one if ``shape`` is ()."""
    # In units of 1/(M q) no positive expected count is far below one, so none drowns in the
    # resolution of the fixed point when M is much smaller than N.
    substrata = -(-weights.shape[0] // num_samples)
    cumulative = _cumulative(weights, num_samples * substrata)
    key_whole, key_fraction = jax.random.split(rng_key)
    offset = _FixedPoint(
        jax.random.randint(key_whole, shape, 0, substrata, jnp.int32),
        jax.random.bits(key_fraction, shape, jnp.uint32),
    )
    return _where_valid(weights, _comb_ancestors(cumulative, offset, num_samples, substrata))


def _comb_ancestors(
    cumulative: _FixedPoint, offset: _FixedPoint, num_samples: int, substrata: int
) -> Array:
    """Invert the cumulative distribution at ``substrata * m + offset[m]``, m = 0 … M − 1."""
    stratum = cumulative.whole // substrata
    rest = _FixedPoint(cumulative.whole - stratum * substrata, cumulative.fraction)
    if offset.whole.ndim == 1:
        offset = jax.tree.map(lambda part: part.at[stratum].get(mode="clip"), offset)
    num_points_below = stratum + _less(offset, rest)
    return _ancestors_of_slots(num_points_below, num_samples)


def _ancestors_of_slots(num_points_below: Array, num_samples: int) -> Array:
    """Ancestor of slot m: how many walkers have at most m points below their end."""
    ends = jnp.zeros(num_samples, jnp.int32).at[num_points_below].add(1, mode="drop")
    # Clipped for the sake of unusable weights alone, which are masked afterwards.
    return jnp.minimum(jnp.cumsum(ends, dtype=jnp.int32), num_points_below.shape[0] - 1)


def _less(left: _FixedPoint, right: _FixedPoint) -> Array:
    return (left.whole < right.whole) | (
        (left.whole == right.whole) & (left.fraction < right.fraction)
    )


def _search(cumulative: _FixedPoint, points: _FixedPoint) -> Array:
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
