"""Bennett's acceptance ratio, and how far forward and reverse work overlap."""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from jarzynski_jax.free_energy.exponential import relative_variance
from jarzynski_jax.free_energy.work_values import Estimate, as_pair, shift
from jarzynski_jax.types import Array

__all__ = [
    "acceptance_ratio",
    "bennett_acceptance_ratio",
    "overlap",
    "overlap_at",
]


def bennett_acceptance_ratio(forward_work: Array, reverse_work: Array) -> Estimate:
    r"""BAR: the estimate of least variance from work in both directions.

    The root in :math:`\Delta F` of

    .. math::
        \sum_{i=1}^{n_F} f(M + W_i - \Delta F) = \sum_{j=1}^{n_R} f(-M + W_j + \Delta F),
        \qquad f(x) = \frac1{1 + e^x},\quad M = \log\frac{n_F}{n_R}

    found by bisection; both sides are monotone. Work so large that it weighs nothing counts in
    n alone, however large it is. With Bennett's asymptotic standard error; trust it if
    :func:`overlap` is not poor. Work is in nats, independent, shapes ``(n_F,)`` and ``(n_R,)``,
    n ≥ 2, else a ValueError; ``inf`` for a walker that died.

    Examples
    --------
    Gaussian work with ΔF = 1 and a variance of 2:

    >>> noise = jnp.sqrt(2.0) * jax.random.normal(jax.random.key(0), (2, 2000))
    >>> bar = bennett_acceptance_ratio(1 + 1 + noise[0], -1 + 1 + noise[1])
    >>> bool(abs(bar.value - 1) < 4 * bar.standard_error), bool(bar.standard_error < 0.05)
    (True, True)
    """
    forward_work, reverse_work, offset = as_pair(forward_work, reverse_work)
    return shift(acceptance_ratio(forward_work, reverse_work), offset)


def acceptance_ratio(forward_work: Array, reverse_work: Array) -> Estimate:
    """BAR of work without an offset.

    With s the mean of the least forward and the least reverse work, seen from half their
    difference, t = ΔF - (min W_F - min W_R)/2 - M, the largest terms of the two sums are
    f(s - t) and f(s + t), and a sum of n terms is between its largest term and n times it. As
    min(1, e^-x)/2 ≤ f(x) ≤ min(1, e^-x), the root is at a t of at most max(0, -s) + log n + 2
    either way, n the larger number. So the bracket knows nothing of work that weighs nothing.
    """
    least_forward, least_reverse = jnp.min(forward_work), jnp.min(reverse_work)
    sizes = forward_work.shape[0], reverse_work.shape[0]
    middle = least_forward / 2 - least_reverse / 2 + math.log(sizes[0] / sizes[1])
    mean_least = least_forward / 2 + least_reverse / 2
    width = jnp.maximum(0, -mean_least) + math.log(max(sizes)) + 2
    # All dead on one side: the root is infinite, and the bracket NaN.
    start = middle - width, middle + width
    resolution = jnp.finfo(forward_work.dtype).eps

    def is_wide(ends: tuple[Array, Array]) -> Array:
        low, high = ends
        return high - low > resolution * (1 + abs(low / 2 + high / 2))

    def halve(ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = low / 2 + high / 2
        of_forward, of_reverse = _acceptances(forward_work, reverse_work, middle)
        # In logarithms, for far from the root both sums underflow.
        is_too_low = logsumexp(of_forward) < logsumexp(of_reverse)
        return jnp.where(is_too_low, middle, low), jnp.where(is_too_low, high, middle)

    low, high = jax.lax.while_loop(is_wide, halve, start)
    is_dead = jnp.isinf(least_forward) | jnp.isinf(least_reverse)
    value = jnp.where(is_dead, least_forward - least_reverse, low / 2 + high / 2)
    of_forward, of_reverse = _acceptances(forward_work, reverse_work, value)
    variance = relative_variance(of_forward) + relative_variance(of_reverse)
    return Estimate(value, jnp.sqrt(variance))


def _acceptances(
    forward_work: Array, reverse_work: Array, difference: Array
) -> tuple[Array, Array]:
    """Logarithms of the Fermi functions of BAR, one a sample."""
    log_ratio = math.log(forward_work.shape[0] / reverse_work.shape[0])
    return (
        jax.nn.log_sigmoid(-(log_ratio + forward_work - difference)),
        jax.nn.log_sigmoid(-(-log_ratio + reverse_work + difference)),
    )


def overlap(forward_work: Array, reverse_work: Array) -> Array:
    r"""How far the two ensembles of paths have samples in common, between 0 and 1.

    With p the probability, given its work, that a sample is from the forward runs,
    :math:`\left(\frac1{n_F} + \frac1{n_R}\right)\sum p(1 - p)` over all samples: one less the
    second eigenvalue of MBAR's overlap matrix, the sum of its off-diagonal entries. 1 for the
    same distribution; below 0.06 an estimate is not to be believed. Work and its errors are as
    of :func:`bennett_acceptance_ratio`.

    Examples
    --------
    >>> round(float(overlap(jnp.zeros(10), jnp.zeros(10))), 6)
    1.0
    >>> bool(overlap(jnp.full(10, 20.0), jnp.full(10, 20.0)) < 1e-6)
    True
    """
    forward_work, reverse_work, _ = as_pair(forward_work, reverse_work)
    difference = acceptance_ratio(forward_work, reverse_work).value
    return overlap_at(difference, forward_work, reverse_work)


def overlap_at(difference: Array, forward_work: Array, reverse_work: Array) -> Array:
    """Overlap at a known free-energy difference."""
    sizes = forward_work.shape[0], reverse_work.shape[0]
    work = jnp.concatenate([forward_work, -reverse_work])
    logit = math.log(sizes[0] / sizes[1]) + work - difference
    common = jax.nn.sigmoid(logit) * jax.nn.sigmoid(-logit)
    # The dead have nothing in common, at an infinite difference neither (inf - inf).
    return jnp.sum(jnp.where(jnp.isinf(work), 0, common)) * (1 / sizes[0] + 1 / sizes[1])
