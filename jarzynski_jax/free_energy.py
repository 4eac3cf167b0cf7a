r"""Free-energy differences from work, forward and reverse, with errors that deserve the name.

The work of a walker is minus its log-weight, :math:`W = -A`, in nats. Forward, from samples of
the first density along the path, :math:`E[e^{-W}] = Z_1/Z_0 = e^{-\Delta F}`; in reverse, from
samples of the last one along the reversed path, :math:`E[e^{-W}] = e^{\Delta F}`. So
:math:`\log(Z_1/Z_0) = -\Delta F`. The walkers must be independent: not resampled on the way.

The exponential averages need no more than that. BAR, Crooks' crossing and the overlap need,
too, that reverse runs are forward runs turned round in time: the same targets in reverse order,
the drift -b for b, the inverse of a bijection. :func:`jarzynski_jax.annealing.work` sees to it.

All estimators are pure functions that can be jitted; :func:`estimate` runs all of them and says
whether they can be believed.

References: Jarzynski, *PRL* 78 (1997) 2690; Crooks, *PRE* 60 (1999) 2721; Bennett, *J. Comput.
Phys.* 22 (1976) 245; Shirts, Bair, Hooker and Pande, *PRL* 91 (2003) 140601; Goette and
Grubmüller, *J. Comput. Chem.* 30 (2009) 447; Klimovich, Shirts and Mobley, *JCAMD* 29 (2015)
397.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from jarzynski_jax.types import Array
from jarzynski_jax.weights import (
    effective_sample_size,
    log_mean_exp,
    normalize,
    relative_error,
)

__all__ = [
    "Bounds",
    "Estimate",
    "FreeEnergy",
    "bennett_acceptance_ratio",
    "cumulant_expansion",
    "dissipation_bounds",
    "estimate",
    "exponential_average",
    "gaussian_crossing",
    "overlap",
    "two_sided_bounds",
]

#: Below this overlap an estimate rests on hardly any common samples. Klimovich et al. ask for
#: 0.03 in the off-diagonal entries of MBAR's overlap matrix, whose sum this overlap is.
MIN_OVERLAP = 0.06
#: Averages that rest on fewer walkers than this are not held against each other.
_MIN_WALKERS = 100
#: Beyond this share of walkers that died on the way there is doubt.
_MAX_DEAD = 0.1
_NUM_BISECTIONS = 100


class Estimate(NamedTuple):
    """A number and its standard error, both in nats."""

    value: Array
    standard_error: Array


class Bounds(NamedTuple):
    """A lower and an upper bound in expectation, each with its standard error."""

    lower: Estimate
    upper: Estimate


def exponential_average(work: Array) -> Estimate:
    r"""Jarzynski's estimate, :math:`\Delta F = -\log\frac1n\sum_i e^{-W_i}`.

    Too large on average (Jensen), by about half its variance; its error is dominated by the
    rare walkers of least work. Of reverse work it estimates :math:`-\Delta F`.

    Parameters
    ----------
    work
        W in nats, shape ``(n,)``, n ≥ 2, independent.

    Returns
    -------
    Estimate
        ΔF and the standard error, by propagation from that of the mean of e^{-W}.

    Raises
    ------
    ValueError
        If the shape is not ``(n,)`` with n ≥ 2.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> float(exponential_average(jnp.array([2.0, 2.0, 2.0])).value)
    2.0
    """
    work = _as_work(work, "work")
    return Estimate(-log_mean_exp(-work), relative_error(normalize(-work)))


def cumulant_expansion(work: Array) -> Estimate:
    r"""Second-order cumulant expansion, :math:`\Delta F = \bar W - \tfrac12 {\rm var}\,W`.

    Exact for Gaussian work, which slow enough driving gives; else biased, without a sign of
    it in the error. Of reverse work it estimates :math:`-\Delta F`.

    Parameters
    ----------
    work
        W in nats, shape ``(n,)``, n ≥ 2, independent.

    Returns
    -------
    Estimate
        ΔF and the standard error for Gaussian work.

    Raises
    ------
    ValueError
        If the shape is not ``(n,)`` with n ≥ 2.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> float(cumulant_expansion(jnp.array([1.0, 3.0])).value)
    1.0
    """
    work = _as_work(work, "work")
    size = work.shape[0]
    variance = jnp.var(work, ddof=1)
    error = jnp.sqrt(variance / size + jnp.square(variance) / (2 * (size - 1)))
    return Estimate(jnp.mean(work) - variance / 2, error)


def bennett_acceptance_ratio(forward_work: Array, reverse_work: Array) -> Estimate:
    r"""BAR: the estimate of least variance from work in both directions.

    The root in :math:`\Delta F` of

    .. math::
        \sum_{i=1}^{n_F} f(M + W_i - \Delta F) = \sum_{j=1}^{n_R} f(-M + W_j + \Delta F),
        \qquad f(x) = \frac1{1 + e^x},\quad M = \log\frac{n_F}{n_R}

    found by bisection; both sides are monotone.

    Parameters
    ----------
    forward_work
        Shape ``(n_F,)``, in nats, independent; ``inf`` for a walker that died.
    reverse_work
        Shape ``(n_R,)``, likewise.

    Returns
    -------
    Estimate
        ΔF and Bennett's asymptotic standard error. Trust it if :func:`overlap` is not poor.

    Raises
    ------
    ValueError
        If a shape is not ``(n,)`` with n ≥ 2.

    Examples
    --------
    Gaussian work with ΔF = 1 and a variance of 2:

    >>> import jax, jax.numpy as jnp
    >>> noise = jnp.sqrt(2.0) * jax.random.normal(jax.random.key(0), (2, 2000))
    >>> bar = bennett_acceptance_ratio(1 + 1 + noise[0], -1 + 1 + noise[1])
    >>> bool(abs(bar.value - 1) < 4 * bar.standard_error), bool(bar.standard_error < 0.05)
    (True, True)
    """
    forward_work, reverse_work = _as_pair(forward_work, reverse_work)
    # Beyond these all samples of one side are on the far side of the Fermi function.
    ratio = abs(jnp.log(forward_work.shape[0]) - jnp.log(reverse_work.shape[0]))
    both = jnp.concatenate([forward_work, -reverse_work])
    is_alive = jnp.isfinite(both)
    lowest = jnp.min(both, where=is_alive, initial=jnp.inf)
    highest = jnp.max(both, where=is_alive, initial=-jnp.inf)
    start = lowest - ratio - 40, highest + ratio + 40

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        of_forward, of_reverse = _acceptances(forward_work, reverse_work, middle)
        # In logarithms, for far from the root both sums underflow.
        is_too_low = logsumexp(of_forward) < logsumexp(of_reverse)
        return jnp.where(is_too_low, middle, low), jnp.where(is_too_low, high, middle)

    low, high = jax.lax.fori_loop(0, _NUM_BISECTIONS, halve, start)
    value = (low + high) / 2

    def relative_variance(log_acceptance: Array) -> Array:
        """Of the mean acceptance: its squares over the square of the mean, less one, over n."""
        size = log_acceptance.shape[0]
        log_ratio = logsumexp(2 * log_acceptance) - 2 * logsumexp(log_acceptance)
        return jnp.exp(log_ratio) - 1 / size

    of_forward, of_reverse = _acceptances(forward_work, reverse_work, value)
    variance = relative_variance(of_forward) + relative_variance(of_reverse)
    return Estimate(value, jnp.sqrt(jnp.maximum(variance, 0)))


def _acceptances(
    forward_work: Array, reverse_work: Array, difference: Array
) -> tuple[Array, Array]:
    """Logarithms of the Fermi functions of BAR, one a sample."""
    offset = jnp.log(forward_work.shape[0]) - jnp.log(reverse_work.shape[0])
    return (
        jax.nn.log_sigmoid(-(offset + forward_work - difference)),
        jax.nn.log_sigmoid(-(-offset + reverse_work + difference)),
    )


def gaussian_crossing(forward_work: Array, reverse_work: Array) -> Estimate:
    r"""Crooks' crossing: where :math:`p_F(W) = p_R(-W)`, with normal densities fitted to both.

    Crooks' theorem says that the two cross at :math:`W = \Delta F`. Of the two crossings of
    normal densities the one nearer to the midpoint of their means is taken; without any
    spread it is the midpoint.

    Parameters
    ----------
    forward_work
        Shape ``(n_F,)``, in nats, independent.
    reverse_work
        Shape ``(n_R,)``, likewise.

    Returns
    -------
    Estimate
        ΔF and the standard error for Gaussian work, by propagation from means and variances.

    Raises
    ------
    ValueError
        If a shape is not ``(n,)`` with n ≥ 2.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> float(gaussian_crossing(jnp.array([1.0, 3.0]), jnp.array([-1.0, 1.0])).value)
    1.0
    """
    forward_work, reverse_work = _as_pair(forward_work, reverse_work)
    samples = (forward_work, -reverse_work)
    means = jnp.stack([jnp.mean(work) for work in samples])
    variances = jnp.stack([jnp.var(work, ddof=1) for work in samples])
    sizes = jnp.array([work.shape[0] for work in samples], means.dtype)
    value, (of_means, of_variances) = jax.value_and_grad(
        lambda arguments: _crossing(*arguments)
    )((means, variances))
    error = jnp.square(of_means) * variances / sizes
    error += jnp.square(of_variances) * 2 * jnp.square(variances) / (sizes - 1)
    return Estimate(value, jnp.sqrt(jnp.sum(error)))


def _crossing(means: Array, variances: Array) -> Array:
    """Where two normal densities are equal, nearest the midpoint m of their means.

    With x = m + u, s the half distance of the means and v the variances,
    (u - s)²/v₀ - (u + s)²/v₁ + log(v₀/v₁) = 0, a quadratic a u² + 2 b u + c = 0 with the root
    of least size -c / (b + sign(b) sqrt(b² - a c)), which is safe at a = 0.
    """
    half = (means[0] - means[1]) / 2
    # Work without spread, as a perfect map has it: any width will do.
    variances = jnp.maximum(variances, jnp.finfo(variances.dtype).tiny ** 0.5)
    inverse = 1 / variances
    a = inverse[0] - inverse[1]
    b = -half * (inverse[0] + inverse[1])
    c = jnp.square(half) * a + jnp.log(variances[0] / variances[1])
    square = jnp.square(b) - a * c
    # The square is positive but for rounding; its root has no derivative at 0.
    root = jnp.sqrt(jnp.where(square > 0, square, 1)) * (square > 0)
    sign = jnp.where(b < 0, -1, 1)
    below = b + sign * root
    return jnp.mean(means) - jnp.where(c == 0, 0, c / jnp.where(below == 0, 1, below))


def dissipation_bounds(forward_work: Array, reverse_work: Array) -> Bounds:
    r"""The second law: :math:`-\bar W_R \le \Delta F \le \bar W_F`, in expectation.

    Wide, but the means of work have honest errors however rare the walkers of least work.

    Parameters
    ----------
    forward_work
        Shape ``(n_F,)``, in nats, independent.
    reverse_work
        Shape ``(n_R,)``, likewise.

    Returns
    -------
    Bounds
        Of ΔF.

    Raises
    ------
    ValueError
        If a shape is not ``(n,)`` with n ≥ 2.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> bounds = dissipation_bounds(jnp.array([1.0, 3.0]), jnp.array([-2.0, 1.0]))
    >>> float(bounds.lower.value), float(bounds.upper.value)
    (0.5, 2.0)
    """
    forward_work, reverse_work = _as_pair(forward_work, reverse_work)

    def mean(work: Array) -> Estimate:
        error = jnp.std(work, ddof=1) / jnp.sqrt(work.shape[0])
        return Estimate(jnp.mean(work), error)

    return Bounds(_negative(mean(reverse_work)), mean(forward_work))


def two_sided_bounds(forward_work: Array, reverse_work: Array) -> Bounds:
    r"""Jensen: the exponential averages bound :math:`\Delta F` from both sides, in expectation.

    :math:`\log\overline{e^{-W_R}} \le \Delta F \le -\log\overline{e^{-W_F}}`. Much tighter
    than :func:`dissipation_bounds`. If they cross by more than their errors something is
    wrong, above all with the samples that the reverse runs started from.

    Parameters
    ----------
    forward_work
        Shape ``(n_F,)``, in nats, independent.
    reverse_work
        Shape ``(n_R,)``, likewise.

    Returns
    -------
    Bounds
        Of ΔF.

    Raises
    ------
    ValueError
        If a shape is not ``(n,)`` with n ≥ 2.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> bounds = two_sided_bounds(jnp.array([1.0, 3.0]), jnp.array([-1.0, 1.0]))
    >>> bool(bounds.lower.value < 1.0 < bounds.upper.value)
    True
    """
    forward_work, reverse_work = _as_pair(forward_work, reverse_work)
    lower = _negative(exponential_average(reverse_work))
    return Bounds(lower, exponential_average(forward_work))


def overlap(forward_work: Array, reverse_work: Array) -> Array:
    r"""How far the two ensembles of paths have samples in common, between 0 and 1.

    With p the probability, given its work, that a sample is from the forward runs,
    :math:`\left(\frac1{n_F} + \frac1{n_R}\right)\sum p(1 - p)` over all samples: one less the
    second eigenvalue of MBAR's overlap matrix, the sum of its off-diagonal entries. 1 for the
    same distribution; below 0.06 an estimate is not to be believed.

    Parameters
    ----------
    forward_work
        Shape ``(n_F,)``, in nats, independent.
    reverse_work
        Shape ``(n_R,)``, likewise.

    Returns
    -------
    Array
        A scalar.

    Raises
    ------
    ValueError
        If a shape is not ``(n,)`` with n ≥ 2.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> round(float(overlap(jnp.zeros(10), jnp.zeros(10))), 6)
    1.0
    >>> bool(overlap(jnp.full(10, 20.0), jnp.full(10, 20.0)) < 1e-6)
    True
    """
    forward_work, reverse_work = _as_pair(forward_work, reverse_work)
    difference = bennett_acceptance_ratio(forward_work, reverse_work).value
    return _overlap_at(difference, forward_work, reverse_work)


def _overlap_at(difference: Array, forward_work: Array, reverse_work: Array) -> Array:
    sizes = forward_work.shape[0], reverse_work.shape[0]
    logit = jnp.log(sizes[0]) - jnp.log(sizes[1]) - difference
    logit = logit + jnp.concatenate([forward_work, -reverse_work])
    common = jnp.sum(jax.nn.sigmoid(logit) * jax.nn.sigmoid(-logit))
    return common * (1 / sizes[0] + 1 / sizes[1])


class FreeEnergy(NamedTuple):
    """All that two sets of work tell about a free-energy difference; in nats.

    bar
        The estimate to be reported.
    forward, reverse
        Exponential averages, both of ΔF.
    crossing
        Where fitted normal densities cross.
    cumulants
        From forward work.
    bounds
        Jensen's, from both sides.
    overlap
        Between 0 and 1.
    forward_effective_sample_size, reverse_effective_sample_size
        Of the weights e^{-W}, as fractions.
    doubts
        Why the result is not to be believed; empty if there is no reason.
    """

    bar: Estimate
    forward: Estimate
    reverse: Estimate
    crossing: Estimate
    cumulants: Estimate
    bounds: Bounds
    overlap: Array
    forward_effective_sample_size: Array
    reverse_effective_sample_size: Array
    doubts: tuple[str, ...]


def estimate(forward_work: Array, reverse_work: Array) -> FreeEnergy:
    """Estimate a free-energy difference in all ways, and judge whether to believe it.

    Doubted is: work that is NaN or minus infinity; more than a tenth of the walkers dead; an
    overlap below 0.06; and, by more than 4 standard errors: exponential averages of the two
    directions that cross; a BAR that differs from one that rests on a hundred walkers or more.
    So it shows if the reverse runs did not start from samples of the last density, or were not
    the forward runs turned round. (One mode of two, if the forward runs miss the same, shows
    in nothing.)

    Parameters
    ----------
    forward_work
        Shape ``(n_F,)``, in nats, independent.
    reverse_work
        Shape ``(n_R,)``, likewise.

    Returns
    -------
    FreeEnergy
        Estimates, diagnostics and doubts. It looks at values, so it cannot be jitted.

    Raises
    ------
    ValueError
        If a shape is not ``(n,)`` with n ≥ 2.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> noise = jax.random.normal(jax.random.key(0), (2, 2000))
    >>> estimate(0.5 + noise[0], 0.5 + noise[1]).doubts
    ()
    >>> poor = estimate(40 + 9 * noise[0], 40 + 9 * noise[1])
    >>> poor.doubts[0][:7]
    'overlap'
    """
    forward_work, reverse_work = _as_pair(forward_work, reverse_work)
    found = _estimate_all(forward_work, reverse_work)
    doubts = _doubts(found, np.asarray(forward_work), np.asarray(reverse_work))
    return found._replace(doubts=tuple(doubts))


@jax.jit
def _estimate_all(forward_work: Array, reverse_work: Array) -> FreeEnergy:
    bar = bennett_acceptance_ratio(forward_work, reverse_work)
    bounds = two_sided_bounds(forward_work, reverse_work)
    return FreeEnergy(
        bar,
        bounds.upper,
        bounds.lower,
        gaussian_crossing(forward_work, reverse_work),
        cumulant_expansion(forward_work),
        bounds,
        _overlap_at(bar.value, forward_work, reverse_work),
        effective_sample_size(-forward_work),
        effective_sample_size(-reverse_work),
        (),
    )


def _doubts(found: FreeEnergy, forward_work: np.ndarray, reverse_work: np.ndarray) -> list[str]:
    both = np.concatenate([forward_work, reverse_work])
    num_bad = int(np.sum(np.isnan(both) | np.isneginf(both)))
    if num_bad:
        return [f"{num_bad} values of the work are NaN or minus infinity"]
    doubts = []
    for direction, work in (("forward", forward_work), ("reverse", reverse_work)):
        share = float(np.mean(np.isposinf(work)))
        if share > _MAX_DEAD:
            doubts.append(f"{100 * share:.2g} % of the {direction} walkers died on the way")
    if not found.overlap >= MIN_OVERLAP:
        doubts.append(
            f"overlap {float(found.overlap):.2g}, below {MIN_OVERLAP}: forward and reverse "
            "runs have hardly a sample in common; take more steps along the path"
        )
    return doubts + _inconsistencies(found, forward_work.shape[0], reverse_work.shape[0])


def _inconsistencies(found: FreeEnergy, num_forward: int, num_reverse: int) -> list[str]:
    """Where the estimates contradict each other by more than 4 standard errors."""
    lower, upper = (float(bound.value) for bound in found.bounds)
    error = _combined(found.bounds.lower, found.bounds.upper)
    if lower - upper > 4 * error:
        doubt = (
            f"the lower bound is {lower - upper:.2g} nats above the upper one, "
            f"{(lower - upper) / error:.1f} standard errors: the reverse runs did not start "
            "from samples of the last density"
        )
        return [doubt]
    doubts = []
    sides = (
        ("forward", found.forward, num_forward * found.forward_effective_sample_size),
        ("reverse", found.reverse, num_reverse * found.reverse_effective_sample_size),
    )
    for direction, average, rests_on in sides:
        gap = abs(float(found.bar.value - average.value))
        error = _combined(found.bar, average)
        # Jensen's inequality shifts an average by half its variance.
        if rests_on >= _MIN_WALKERS and gap - error**2 / 2 > 4 * error:
            doubts.append(
                f"BAR and the average of the {direction} work differ by {gap:.2g} nats, "
                f"{gap / error:.1f} standard errors: the reverse runs did not start from "
                "samples of the last density, or were not the forward runs turned round in time"
            )
    return doubts


def _combined(first: Estimate, second: Estimate) -> float:
    """The standard error of a difference, at least that of rounding."""
    size = 1 + abs(float(first.value)) + abs(float(second.value))
    rounding = 4 * float(jnp.finfo(first.value.dtype).eps) * size
    return max(math.hypot(first.standard_error, second.standard_error), rounding)


def _negative(estimate: Estimate) -> Estimate:
    return Estimate(-estimate.value, estimate.standard_error)


def _as_work(work: Array, name: str) -> Array:
    work = jnp.asarray(work)
    if work.ndim != 1 or work.shape[0] < 2:
        raise ValueError(f"{name} must have shape (n,) with n ≥ 2; got shape {work.shape}")
    return work.astype(jnp.promote_types(work.dtype, jnp.float32))


def _as_pair(forward_work: Array, reverse_work: Array) -> tuple[Array, Array]:
    forward = _as_work(forward_work, "forward_work")
    reverse = _as_work(reverse_work, "reverse_work")
    dtype = jnp.promote_types(forward.dtype, reverse.dtype)
    return forward.astype(dtype), reverse.astype(dtype)
