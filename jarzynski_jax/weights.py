r"""Log-weights of an ensemble of walkers.

An array ``log_weights`` of shape ``(N,)`` holds :math:`A_i`, one number a walker; a dead
walker has :math:`A_i = -\infty`. Everything here stays in log space, so weights of any size
are safe. Shapes that are wrong raise a ``ValueError``. Several ensembles at once: ``jax.vmap``.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from jarzynski_jax.types import Array

__all__ = [
    "as_log_weights",
    "conditional_effective_sample_size",
    "effective_sample_size",
    "log_mean_exp",
    "normalize",
    "perplexity",
    "relative_error",
    "weighted_mean",
]


def as_log_weights(log_weights: Array) -> Array:
    """Check the shape of log-weights, ``(N,)`` with N ≥ 1, and lift them to float32 at least.

    Examples
    --------
    >>> as_log_weights(jnp.zeros(3, jnp.bfloat16)).dtype
    dtype('float32')
    """
    log_weights = jnp.asarray(log_weights)
    if log_weights.ndim != 1 or log_weights.shape[0] == 0:
        raise ValueError(
            f"weights must have shape (N,) with N ≥ 1, one number a walker; "
            f"got shape {log_weights.shape}"
        )
    return log_weights.astype(jnp.promote_types(log_weights.dtype, jnp.float32))


def log_mean_exp(log_weights: Array) -> Array:
    r"""Logarithm of the mean weight, :math:`\log \frac1N \sum_i e^{A_i}`.

    For properly weighted walkers :math:`\frac1N\sum_i e^{A_i}` is an unbiased estimate of
    :math:`Z/Z_0`; its logarithm is not: it is too low on average (Jensen), by about half its
    variance. It is ``-inf`` if all walkers are dead, NaN if a weight is NaN.

    Examples
    --------
    >>> float(log_mean_exp(jnp.array([1000.0, 1000.0])))
    1000.0
    """
    log_weights = as_log_weights(log_weights)
    return logsumexp(log_weights) - jnp.log(
        jnp.asarray(log_weights.shape[0], log_weights.dtype)
    )


def normalize(log_weights: Array) -> Array:
    r"""Normalised weights, :math:`p_i = e^{A_i} / \sum_j e^{A_j}`.

    All NaN if all walkers are dead or a weight is NaN.

    Examples
    --------
    >>> normalize(jnp.array([0.0, 0.0, -jnp.inf])).tolist()
    [0.5, 0.5, 0.0]
    """
    return jax.nn.softmax(as_log_weights(log_weights))


def effective_sample_size(log_weights: Array) -> Array:
    r"""Effective sample size as a fraction of N, :math:`(\sum e^{A})^2 / (N \sum e^{2A})`.

    Thesis, eq. 3.4.4. Between 1/N (one walker carries everything) and 1 (equal weights); 0 if
    all walkers are dead, NaN if a weight is NaN.

    Examples
    --------
    >>> float(effective_sample_size(jnp.array([5.0, 5.0, -jnp.inf, -jnp.inf])))
    0.5
    """
    log_weights = as_log_weights(log_weights)
    peak = jnp.max(log_weights)
    shifted = jnp.exp(log_weights - peak)
    ess = jnp.square(jnp.sum(shifted)) / (shifted.shape[0] * jnp.sum(jnp.square(shifted)))
    return jnp.where(jnp.isneginf(peak), jnp.zeros_like(ess), ess)


def conditional_effective_sample_size(log_weights: Array, log_increments: Array) -> Array:
    r"""Share of a weighted ensemble that would survive a further increment of its weights.

    :math:`(\sum p_i w_i)^2 / \sum p_i w_i^2` with :math:`p = {\rm softmax}(A)` and
    :math:`w = e^{\Delta A}`: 1 if all increments are equal, whatever the weights are now. Zhou,
    Johansen and Aston, *J. Comput. Graph. Stat.* 25 (2016) 701. NaN is taken as death, a weight
    of 0; the share is 0 if nothing would survive.

    Examples
    --------
    >>> log_weights = jnp.array([0.0, 0.0, -jnp.inf])
    >>> increments = jnp.array([3.0, 3.0, jnp.nan])
    >>> round(float(conditional_effective_sample_size(log_weights, increments)), 6)
    1.0
    """
    log_weights = as_log_weights(log_weights)
    increments = as_log_weights(log_increments)
    if increments.shape != log_weights.shape:
        raise ValueError(
            f"log_increments must have shape {log_weights.shape}, one number a walker; "
            f"got shape {increments.shape}"
        )
    share = normalize(log_weights)
    is_alive = (share > 0) & (increments > -jnp.inf)  # NaN is not greater
    peak = jnp.max(jnp.where(is_alive, increments, -jnp.inf))
    peak = jnp.where(jnp.isneginf(peak), 0, peak)
    survival = jnp.where(is_alive, jnp.exp(increments - peak), 0)
    mean, square = jnp.sum(share * survival), jnp.sum(share * jnp.square(survival))
    return jnp.where(square > 0, jnp.square(mean) / square, jnp.zeros_like(square))


def perplexity(log_weights: Array) -> Array:
    r"""Entropy criterion as a fraction of N, :math:`e^{H(p)}/N` with :math:`H = -\sum p\log p`.

    Read like :func:`effective_sample_size`, which it never falls below; it gives less
    importance to the largest weight. Thesis, end of §3.4; Del Moral, Doucet and Jasra,
    *Bernoulli* 18 (2012) 252. Its limits are the same.

    Examples
    --------
    >>> round(float(perplexity(jnp.array([5.0, 5.0, -jnp.inf, -jnp.inf]))), 6)
    0.5
    """
    log_weights = as_log_weights(log_weights)
    weights = normalize(log_weights)
    entropy = jnp.sum(jax.scipy.special.entr(weights))
    fraction = jnp.exp(entropy) / weights.shape[0]
    return jnp.where(jnp.isneginf(jnp.max(log_weights)), jnp.zeros_like(fraction), fraction)


def relative_error(shares: Array) -> Array:
    r"""Relative standard error of a mean weight, of N ≥ 2 independent shares of it.

    :math:`\sqrt{(N\sum_i p_i^2 - 1)/(N - 1)}`: the sample standard deviation of the weights
    over their mean and :math:`\sqrt N`; of the logarithm of the mean, the error itself. Between
    0 and 1; 1 if one share is all.

    Examples
    --------
    >>> float(relative_error(jnp.array([1.0, 0.0, 0.0])))
    1.0
    """
    size = shares.shape[0]
    # As deviations from their mean, 1/N, so that small errors do not drown in rounding.
    return jnp.sqrt(jnp.sum(jnp.square(size * shares - 1)) / size / (size - 1))


def weighted_mean(log_weights: Array, values: Any) -> Any:
    r"""Self-normalised mean, :math:`\sum_i p_i f_i`, an estimate of :math:`E_\theta[f]`.

    Consistent, with a bias of order 1/N, since numerator and denominator are both estimated.
    Dead walkers do not enter, whatever their values are (NaN too). Values are a pytree of
    arrays of shape ``(N, ...)``.

    Examples
    --------
    >>> values = jnp.array([1.0, 3.0, jnp.nan])
    >>> float(weighted_mean(jnp.array([0.0, 0.0, -jnp.inf]), values))
    2.0
    """
    weights = normalize(log_weights)

    def mean(value: Array) -> Array:
        value = jnp.asarray(value)
        if value.shape[:1] != weights.shape:
            raise ValueError(
                f"values must have leading axis {weights.shape[0]}, one entry a walker; "
                f"got shape {value.shape}"
            )
        column = weights.reshape(weights.shape + (1,) * (value.ndim - 1))
        # A weight of zero must silence a NaN, so the product alone will not do.
        return jnp.sum(jnp.where(column == 0, 0, column * value), axis=0)

    return jax.tree.map(mean, values)
