"""Averages of the exponential of work in one direction, and its cumulants."""

import math

import jax.numpy as jnp
from jax.scipy.special import logsumexp

from jarzynski_jax.free_energy.work_values import Estimate, as_work, shift
from jarzynski_jax.types import Array
from jarzynski_jax.weights import log_mean_exp, normalize, relative_error

__all__ = [
    "cumulant_expansion",
    "exponential_average",
    "mean_of_living",
    "relative_variance",
]


def exponential_average(work: Array) -> Estimate:
    r"""Jarzynski's estimate, :math:`\Delta F = -\log\frac1n\sum_i e^{-W_i}`.

    Too large on average (Jensen), by about half its variance; its error, propagated from that
    of the mean of e^{-W}, is dominated by the rare walkers of least work. Of reverse work it
    estimates :math:`-\Delta F`. W is in nats, shape ``(n,)``, n ≥ 2, else a ValueError;
    independent, and ``inf`` for a walker that died.

    Examples
    --------
    >>> float(exponential_average(jnp.array([2.0, 2.0, 2.0])).value)
    2.0
    """
    work, lowest = as_work(work, "work")
    found = Estimate(-log_mean_exp(-work), relative_error(normalize(-work)))
    return shift(found, lowest)


def cumulant_expansion(work: Array) -> Estimate:
    r"""Second-order cumulant expansion, :math:`\Delta F = \bar W - \tfrac12 {\rm var}\,W`.

    Exact for Gaussian work, which slow enough driving gives; else biased, without a sign of
    it in the error, which is that for Gaussian work. Of reverse work it estimates
    :math:`-\Delta F`. W is as of :func:`exponential_average`.

    Infinite work has no cumulants, but the weights of those that died are 0 and known: with a
    share s alive, :math:`E[e^{-W}] = s\,E[e^{-W}\,|\,{\rm alive}]`, so mean and variance are
    those of the living, and :math:`-\log s` is added.

    Examples
    --------
    >>> float(cumulant_expansion(jnp.array([1.0, 3.0])).value)
    1.0
    """
    work, lowest = as_work(work, "work")
    mean, variance, num_alive = mean_of_living(work)
    of_variance = jnp.square(variance) / (2 * (num_alive - 1))
    error = jnp.sqrt(jnp.square(mean.standard_error) + of_variance)
    return shift(Estimate(mean.value - variance / 2, error), lowest)


def mean_of_living(work: Array) -> tuple[Estimate, Array, Array]:
    """Mean work of a share s of walkers alive, less log s; their variance; their number."""
    is_alive = ~jnp.isposinf(work)
    size, num_alive = work.shape[0], jnp.sum(is_alive, dtype=work.dtype)
    # Divided before they are added, for the sum of huge work would overflow.
    mean = jnp.sum(jnp.where(is_alive, work, 0) / jnp.maximum(num_alive, 1))
    square = jnp.square(jnp.where(is_alive, work - mean, 0))
    variance = jnp.sum(square / (num_alive - 1))
    # Of log s, s binomial.
    of_share = (size - num_alive) / (size * num_alive)
    error = jnp.sqrt(variance / num_alive + of_share)
    return Estimate(mean - jnp.log(num_alive / size), error), variance, num_alive


def relative_variance(log_values: Array) -> Array:
    """Of the mean of positive values, over its square; nothing cancels if they are alike."""
    size = log_values.shape[0]
    ratio = jnp.exp(log_values - (logsumexp(log_values) - math.log(size)))
    return jnp.mean(jnp.square(ratio - 1)) / size
