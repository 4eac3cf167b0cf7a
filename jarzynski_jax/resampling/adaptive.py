"""When to resample: only when the ensemble has degenerated, by log-weights, or by islands."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jarzynski_jax.resampling.schemes import NO_ANCESTOR
from jarzynski_jax.types import Array, PRNGKey, Resampler
from jarzynski_jax.weights import as_log_weights, effective_sample_size, log_mean_exp

__all__ = [
    "AdaptiveResampler",
    "ResamplingInfo",
    "adaptive",
    "from_log_weights",
    "islands",
]


def from_log_weights(resampler: Resampler) -> Resampler:
    """Let a resampler take log-weights.

    The log-weights need no normalisation; −inf is a weight of zero, all −inf or a NaN give −1
    throughout.

    Examples
    --------
    >>> from jarzynski_jax.resampling import systematic
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

    ``effective_sample_size`` is the value of the criterion before it, as a fraction of N. If
    ``is_dead`` no walker had a usable weight (all −inf, or a NaN): nothing was drawn.
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
    r"""Resample only when the effective sample size has fallen below a threshold, a share of N.

    After resampling, each log-weight is the logarithm of the mean weight before it, so
    :math:`\frac1N \sum e^{A_i}` is the same before and after, and goes on estimating
    :math:`Z/Z_0`. Without resampling, ancestors are ``arange(N)`` and the weights stay; so it
    is of an ensemble with a NaN or no finite log-weight, which is reported as dead. The
    threshold is in [0, 1], else a ValueError; 0 is never. The criterion may be
    :func:`~jarzynski_jax.weights.perplexity` instead.

    Examples
    --------
    >>> from jarzynski_jax.resampling import systematic
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

    Walkers 0 to N/I - 1 are the first island, and so on; the resampler raises a ValueError if I
    does not divide N. An island is resampled when its effective sample size is below
    ``ess_threshold``, a fraction of N/I; all are when that of the islands' mean weights is
    below ``exchange_threshold``, a fraction of I. A dead island waits for an exchange.
    ValueError if a threshold is outside [0, 1] or there is no island.

    Examples
    --------
    >>> from jarzynski_jax.resampling import systematic
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
