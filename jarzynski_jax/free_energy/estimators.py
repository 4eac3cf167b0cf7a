r"""Free-energy differences from work, forward and reverse, with errors that deserve the name.

The work of a walker is minus its log-weight, :math:`W = -A`, in nats. Forward, from samples of
the first density along the path, :math:`E[e^{-W}] = Z_1/Z_0 = e^{-\Delta F}`; in reverse, from
samples of the last one along the reversed path, :math:`E[e^{-W}] = e^{\Delta F}`. So
:math:`\log(Z_1/Z_0) = -\Delta F`. The walkers must be independent: not resampled on the way.

The exponential averages need no more than that. BAR, Crooks' crossing and the overlap need,
too, that reverse runs are forward runs turned round in time: the same targets in reverse order,
the drift -b for b, the inverse of a bijection. :func:`jarzynski_jax.annealing.work` sees to it.

All estimators are pure functions that can be jitted; :func:`estimate` runs all of them and says
whether they can be believed. None depends on an offset c common to all work,
:math:`W_F + c, W_R - c`, but for the value, which moves by c: it is taken off first, of NumPy
arrays and lists in float64, and put back last.

References: Jarzynski, *PRL* 78 (1997) 2690; Crooks, *PRE* 60 (1999) 2721; Bennett, *J. Comput.
Phys.* 22 (1976) 245; Shirts, Bair, Hooker and Pande, *PRL* 91 (2003) 140601; Shirts, *JCTC* 9
(2013) 909; Klimovich, Shirts and Mobley, *JCAMD* 29 (2015) 397.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from jarzynski_jax.checks import check_known
from jarzynski_jax.formatting import disbelief, format_with_error
from jarzynski_jax.types import Array, Scalar
from jarzynski_jax.weights import (
    effective_sample_size,
    log_mean_exp,
    normalize,
    relative_error,
)

__all__ = [
    "Bounds",
    "Crossing",
    "Estimate",
    "FreeEnergy",
    "bennett_acceptance_ratio",
    "crooks_crossing",
    "cumulant_expansion",
    "dissipation_bounds",
    "estimate",
    "exponential_average",
    "overlap",
    "two_sided_bounds",
]

#: Below this overlap an estimate rests on hardly any common samples. Klimovich et al. ask for
#: 0.03 in the off-diagonal entries of MBAR's overlap matrix, whose sum this overlap is.
MIN_OVERLAP = 0.06
#: What rests on fewer walkers than this is not held against anything.
_MIN_WALKERS = 100
#: Beyond this share of walkers that died on the way there is doubt.
_MAX_DEAD = 0.1
#: In nats. Rounding below this is no reason for doubt, however small the error.
_NEGLIGIBLE = 1e-3
#: Standard deviations of the priors of Crooks' regression, in nats and of the slope: so wide
#: that only what the samples leave open is left to them.
_WIDE = 100.0
#: In nats. Work further than this from the crossing is as good as infinite.
_FAR = 1000.0
_MAX_NEWTON_STEPS = 50


class Estimate(NamedTuple):
    """A number and its standard error, both in nats."""

    value: Array
    standard_error: Array


class Bounds(NamedTuple):
    """A lower and an upper bound in expectation, each with its standard error."""

    lower: Estimate
    upper: Estimate


class Crossing(NamedTuple):
    """Where the densities of forward and reverse work cross, and the slope there.

    difference
        ΔF, in nats.
    slope
        Of the logarithm of the ratio of the densities; 1 by Crooks' theorem.
    """

    difference: Estimate
    slope: Estimate


def exponential_average(work: Array) -> Estimate:
    r"""Jarzynski's estimate, :math:`\Delta F = -\log\frac1n\sum_i e^{-W_i}`.

    Too large on average (Jensen), by about half its variance; its error is dominated by the
    rare walkers of least work. Of reverse work it estimates :math:`-\Delta F`.

    Parameters
    ----------
    work
        W in nats, shape ``(n,)``, n ≥ 2, independent; ``inf`` for a walker that died.

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
    work, lowest = _as_work(work, "work")
    found = Estimate(-log_mean_exp(-work), relative_error(normalize(-work)))
    return _shift(found, lowest)


def cumulant_expansion(work: Array) -> Estimate:
    r"""Second-order cumulant expansion, :math:`\Delta F = \bar W - \tfrac12 {\rm var}\,W`.

    Exact for Gaussian work, which slow enough driving gives; else biased, without a sign of
    it in the error. Of reverse work it estimates :math:`-\Delta F`.

    Infinite work has no cumulants, but the weights of those that died are 0 and known: with a
    share s alive, :math:`E[e^{-W}] = s\,E[e^{-W}\,|\,{\rm alive}]`, so mean and variance are
    those of the living, and :math:`-\log s` is added.

    Parameters
    ----------
    work
        W in nats, shape ``(n,)``, n ≥ 2, independent; ``inf`` for a walker that died.

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
    work, lowest = _as_work(work, "work")
    mean, variance, num_alive = _mean_of_living(work)
    of_variance = jnp.square(variance) / (2 * (num_alive - 1))
    error = jnp.sqrt(jnp.square(mean.standard_error) + of_variance)
    return _shift(Estimate(mean.value - variance / 2, error), lowest)


def _mean_of_living(work: Array) -> tuple[Estimate, Array, Array]:
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


def bennett_acceptance_ratio(forward_work: Array, reverse_work: Array) -> Estimate:
    r"""BAR: the estimate of least variance from work in both directions.

    The root in :math:`\Delta F` of

    .. math::
        \sum_{i=1}^{n_F} f(M + W_i - \Delta F) = \sum_{j=1}^{n_R} f(-M + W_j + \Delta F),
        \qquad f(x) = \frac1{1 + e^x},\quad M = \log\frac{n_F}{n_R}

    found by bisection; both sides are monotone. Work so large that it weighs nothing counts in
    n alone, however large it is.

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
    forward_work, reverse_work, offset = _as_pair(forward_work, reverse_work)
    return _shift(_acceptance_ratio(forward_work, reverse_work), offset)


def _acceptance_ratio(forward_work: Array, reverse_work: Array) -> Estimate:
    """BAR of work without an offset.

    With s the mean of the least forward and the least reverse work, seen from half their
    difference, t = ΔF - (min W_F - min W_R)/2 - M, the largest terms of the two sums are
    f(s - t) and f(s + t), and a sum of n terms is between its largest term and n times it. As
    min(1, e^-x)/2 ≤ f(x) ≤ min(1, e^-x), the root is at |t| < max(0, -s) + log n + 2, n the
    larger number. So the bracket knows nothing of work that weighs nothing.
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
    variance = _relative_variance(of_forward) + _relative_variance(of_reverse)
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


def _relative_variance(log_values: Array) -> Array:
    """Of the mean of positive values, over its square; nothing cancels if they are alike."""
    size = log_values.shape[0]
    ratio = jnp.exp(log_values - (logsumexp(log_values) - math.log(size)))
    return jnp.mean(jnp.square(ratio - 1)) / size


def crooks_crossing(forward_work: Array, reverse_work: Array) -> Crossing:
    r"""Crooks' crossing: where :math:`p_F(W) = p_R(-W)`, by logistic regression.

    Crooks' theorem is :math:`\log(p_F(W)/p_R(-W)) = W - \Delta F`, whatever the densities. So
    the probability that work W is of a forward run and not, as -W, of a reverse one is

    .. math::
        p(W) = \frac1{1 + e^{-(M + k W - \alpha)}},\qquad M = \log\frac{n_F}{n_R},

    with a slope k = 1, and the densities cross at :math:`\Delta F = \alpha/k`. Here k and α are
    those of most likelihood (with k fixed at 1, α is BAR). If k differs from 1 by more than
    its error, the two sets of work are not those of one process and its reverse, or not in
    nats.

    What the samples leave open, as work without spread or without overlap does, is left to a
    prior: k about 1 and α about BAR, with standard deviations of 100.

    Parameters
    ----------
    forward_work
        Shape ``(n_F,)``, in nats, independent; ``inf`` for a walker that died.
    reverse_work
        Shape ``(n_R,)``, likewise.

    Returns
    -------
    Crossing
        ΔF and the slope, consistent, with asymptotic standard errors; those of the slope at
        most 100. Trust them if :func:`overlap` is not poor.

    Raises
    ------
    ValueError
        If a shape is not ``(n,)`` with n ≥ 2.

    References
    ----------
    Shirts et al. (2003) for the regression; Shirts (2013) for the slope as a check.

    Examples
    --------
    Work that is far from Gaussian, with ΔF = log 4: that of a stiffness switched at once.

    >>> import jax, jax.numpy as jnp
    >>> x = jax.random.exponential(jax.random.key(0), (2, 2000))
    >>> found = crooks_crossing(3 * x[0], -3 / 4 * x[1])
    >>> bool(abs(found.difference.value - jnp.log(4)) < 4 * found.difference.standard_error)
    True
    >>> bool(abs(found.slope.value - 1) < 4 * found.slope.standard_error)
    True
    """
    forward_work, reverse_work, offset = _as_pair(forward_work, reverse_work)
    difference = _acceptance_ratio(forward_work, reverse_work).value
    found = _crossing_near(difference, forward_work, reverse_work)
    return found._replace(difference=_shift(found.difference, offset))


#: Steps taken, a and k, their loss, the share of Newton's step to take, the size of the last.
_NewtonState = tuple[Array, Array, Array, Array, Array]


def _crossing_near(difference: Array, forward_work: Array, reverse_work: Array) -> Crossing:
    """Crooks' crossing of work without an offset, given that of slope 1.

    With w = W - ΔF of BAR, the regression is p = sigmoid(M + a + k w), by Newton's iteration
    from a = 0 and k = 1. That n_F and n_R were fixed, and not drawn with the samples, leaves
    the error of k as it is and makes that of a less (Prentice and Pyke, *Biometrika* 66 (1979)
    403): of k given, it is that of BAR of work k W.
    """
    sizes = forward_work.shape[0], reverse_work.shape[0]
    centre = jnp.where(jnp.isinf(difference), 0, difference)
    work = jnp.concatenate([forward_work - centre, -reverse_work - centre])
    work = jnp.clip(work, -_FAR, _FAR)
    log_ratio = math.log(sizes[0] / sizes[1])
    sign = jnp.concatenate([jnp.ones(sizes[0], work.dtype), -jnp.ones(sizes[1], work.dtype)])
    prior, precision = jnp.array([0, 1], work.dtype), 1 / _WIDE**2
    eps = float(jnp.finfo(work.dtype).eps)

    def loss(params: Array) -> Array:
        logit = log_ratio + params[0] + params[1] * work
        penalty = precision * jnp.sum(jnp.square(params - prior)) / 2
        return jnp.sum(jax.nn.softplus(-sign * logit)) + penalty

    def curvature(params: Array) -> tuple[Array, Array, Array, Array]:
        """Gradient, and the Hessian as H_aa, m = H_ak/H_aa and H_kk - m H_ak.

        With m, the mean of w by weight p(1 - p), the last is a sum of squares.
        """
        logit = log_ratio + params[0] + params[1] * work
        # p - 1 for forward work, p for reverse work.
        residual = -sign * jax.nn.sigmoid(-sign * logit)
        weight = jax.nn.sigmoid(logit) * jax.nn.sigmoid(-logit)
        gradient = jnp.stack([jnp.sum(residual), jnp.sum(residual * work)])
        by_intercept = jnp.sum(weight) + precision
        mean = jnp.sum(weight * work) / by_intercept
        by_slope = jnp.sum(weight * jnp.square(work - mean))
        by_slope += precision * (1 + jnp.square(mean))
        return gradient + precision * (params - prior), by_intercept, mean, by_slope

    def improve(state: _NewtonState) -> _NewtonState:
        count, params, value, scale, _ = state
        gradient, by_intercept, mean, by_slope = curvature(params)
        slope_step = (gradient[1] - mean * gradient[0]) / by_slope
        step = jnp.stack([gradient[0] / by_intercept - mean * slope_step, slope_step]) * scale
        new_value = loss(params - step)
        # Half the way if it led uphill, by more than rounding.
        is_better = new_value <= value * (1 + 16 * eps)
        return (
            count + 1,
            jnp.where(is_better, params - step, params),
            jnp.where(is_better, new_value, value),
            jnp.where(is_better, jnp.minimum(2 * scale, 1), scale / 2),
            jnp.max(jnp.abs(step) / (1 + jnp.abs(params))),
        )

    def is_moving(state: _NewtonState) -> Array:
        count, *_, size = state
        # Newton's steps square the error: after one of this size nothing is left.
        return (count < _MAX_NEWTON_STEPS) & (size > math.sqrt(eps))

    one = jnp.ones((), work.dtype)
    start = (jnp.zeros((), jnp.int32), prior, loss(prior), one, one)
    _, params, *_ = jax.lax.while_loop(is_moving, improve, start)
    _, _, mean, by_slope = curvature(params)
    intercept, slope = params
    safe_slope = jnp.where(slope == 0, 1, slope)
    crossing = -intercept / safe_slope
    # Of a + k m, m the mean: its error and that of k are independent.
    acceptance = jax.nn.log_sigmoid(-sign * (log_ratio + intercept + slope * work))
    variance = _relative_variance(acceptance[: sizes[0]])
    variance += _relative_variance(acceptance[sizes[0] :])
    variance += jnp.square(crossing - mean) / by_slope
    is_dead = jnp.isinf(difference)
    value = jnp.where(is_dead, difference, centre + crossing)
    error = jnp.where(is_dead, jnp.nan, jnp.sqrt(variance) / abs(safe_slope))
    return Crossing(Estimate(value, error), Estimate(slope, 1 / jnp.sqrt(by_slope)))


def dissipation_bounds(forward_work: Array, reverse_work: Array) -> Bounds:
    r"""The second law: :math:`-\bar W_R \le \Delta F \le \bar W_F`, in expectation.

    Wide, but the means of work have honest errors however rare the walkers of least work.
    If some died, :math:`\bar W` is the mean of the living, a share s, less :math:`\log s`,
    which is a bound as well.

    Parameters
    ----------
    forward_work
        Shape ``(n_F,)``, in nats, independent; ``inf`` for a walker that died.
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
    forward_work, reverse_work, offset = _as_pair(forward_work, reverse_work)
    lower = _negative(_mean_of_living(reverse_work)[0])
    return Bounds(_shift(lower, offset), _shift(_mean_of_living(forward_work)[0], offset))


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
    forward_work, reverse_work, offset = _as_pair(forward_work, reverse_work)
    lower = _negative(exponential_average(reverse_work))
    return Bounds(_shift(lower, offset), _shift(exponential_average(forward_work), offset))


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
    forward_work, reverse_work, _ = _as_pair(forward_work, reverse_work)
    difference = _acceptance_ratio(forward_work, reverse_work).value
    return _overlap_at(difference, forward_work, reverse_work)


def _overlap_at(difference: Array, forward_work: Array, reverse_work: Array) -> Array:
    sizes = forward_work.shape[0], reverse_work.shape[0]
    work = jnp.concatenate([forward_work, -reverse_work])
    logit = math.log(sizes[0] / sizes[1]) + work - difference
    common = jax.nn.sigmoid(logit) * jax.nn.sigmoid(-logit)
    # The dead have nothing in common, at an infinite difference neither (inf - inf).
    return jnp.sum(jnp.where(jnp.isinf(work), 0, common)) * (1 / sizes[0] + 1 / sizes[1])


class FreeEnergy(NamedTuple):
    """All that two sets of work tell about a free-energy difference, in nats; ``print`` it.

    bar
        The estimate to be reported.
    forward, reverse
        Exponential averages, both of ΔF.
    crossing
        Where the densities of forward and reverse work cross, by logistic regression.
    slope
        Of the logarithm of their ratio, there; 1 by Crooks' theorem.
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
    slope: Estimate
    cumulants: Estimate
    bounds: Bounds
    overlap: Array
    forward_effective_sample_size: Array
    reverse_effective_sample_size: Array
    doubts: tuple[str, ...]

    def __str__(self) -> str:
        """A table of the estimates, diagnostics, and a line for each doubt."""
        estimates = {
            "BAR": self.bar,
            "average of forward work": self.forward,
            "average of reverse work": self.reverse,
            "cumulants of forward work": self.cumulants,
            "Crooks' crossing": self.crossing,
            "slope there, 1 by theorem": self.slope,
        }
        rows = [f"  {name:26} {_show(found)}" for name, found in estimates.items()]
        sizes = self.forward_effective_sample_size, self.reverse_effective_sample_size
        forward, reverse = (f"{100 * float(size):.2g} %" for size in sizes)
        overlap = (
            f"overlap {float(self.overlap):.2g}; effective sample size {forward} of the "
            f"forward walkers, {reverse} of the reverse ones"
        )
        title = "free-energy difference in nats, with its standard error"
        return "\n".join([title, *rows, overlap, *map(disbelief, self.doubts)])


def _show(estimate: Estimate) -> str:
    return format_with_error(float(estimate.value), float(estimate.standard_error))


def estimate(forward_work: Array, reverse_work: Array) -> FreeEnergy:
    """Estimate a free-energy difference in all ways, and judge whether to believe it.

    Doubted is: work that is NaN or minus infinity; more than a tenth of the walkers dead; an
    overlap below 0.06; a BAR of more digits than its precision holds; and, by more than 4
    standard errors: exponential averages of the two directions that cross; a BAR that differs
    from one that rests on a hundred walkers or more, as both directions see it; a slope of
    Crooks' relation other than 1, if it rests on a hundred. So it shows if the reverse runs did
    not start from samples of the last density, or were not the forward runs turned round, or if
    work is not in nats. (One mode of two, if the forward runs miss the same, shows in nothing.)

    Parameters
    ----------
    forward_work
        Shape ``(n_F,)``, in nats, independent.
    reverse_work
        Shape ``(n_R,)``, likewise.

    Returns
    -------
    FreeEnergy
        Estimates, diagnostics and doubts, and as a ``str`` a table of them.

    Raises
    ------
    ValueError
        If a shape is not ``(n,)`` with n ≥ 2, or inside ``jax.jit`` or ``jax.vmap``: it looks
        at values.

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
    check_known("free_energy.estimate", (forward_work, reverse_work))
    # It looks at values anyway: the offset is taken off in float64 of JAX's arrays too.
    works = np.asarray(forward_work), np.asarray(reverse_work)
    forward, reverse, offset = _as_pair(*works)
    found = _estimate_all(forward, reverse)
    rounding = max(_precision(work.dtype) for work in works) * abs(float(offset))
    doubts = _doubts(found, np.asarray(forward), np.asarray(reverse), rounding)
    bar, value = found.bar, float(found.bar.value + offset)
    rounding = _precision(bar.value.dtype) * abs(value) / 2
    if rounding > max(float(bar.standard_error), _NEGLIGIBLE):
        doubts.append(
            f"BAR, {value:.7g}, is rounded by {rounding:.2g} nats, more than its standard "
            f"error of {float(bar.standard_error):.2g}: take off an offset, or use float64"
        )
    return _moved(found, offset)._replace(doubts=tuple(doubts))


def _precision(dtype: np.dtype) -> float:
    """Relative spacing of numbers; 0 of integers."""
    return float(jnp.finfo(dtype).eps) if jnp.issubdtype(dtype, jnp.floating) else 0.0


def _moved(found: FreeEnergy, offset: Scalar) -> FreeEnergy:
    lower, upper = (_shift(bound, offset) for bound in found.bounds)
    return found._replace(
        bar=_shift(found.bar, offset),
        forward=upper,
        reverse=lower,
        crossing=_shift(found.crossing, offset),
        cumulants=_shift(found.cumulants, offset),
        bounds=Bounds(lower, upper),
    )


@jax.jit
def _estimate_all(forward_work: Array, reverse_work: Array) -> FreeEnergy:
    bar = _acceptance_ratio(forward_work, reverse_work)
    bounds = two_sided_bounds(forward_work, reverse_work)
    crossing = _crossing_near(bar.value, forward_work, reverse_work)
    return FreeEnergy(
        bar,
        bounds.upper,
        bounds.lower,
        crossing.difference,
        crossing.slope,
        cumulant_expansion(forward_work),
        bounds,
        _overlap_at(bar.value, forward_work, reverse_work),
        effective_sample_size(-forward_work),
        effective_sample_size(-reverse_work),
        (),
    )


def _doubts(
    found: FreeEnergy, forward_work: np.ndarray, reverse_work: np.ndarray, rounding: float
) -> list[str]:
    """Of work without an offset, which was rounded as it came."""
    both = np.concatenate([forward_work, reverse_work])
    num_bad = int(np.sum(np.isnan(both) | np.isneginf(both)))
    if num_bad:
        return [f"{num_bad} values of the work are NaN or minus infinity"]
    doubts = []
    for direction, work in (("forward", forward_work), ("reverse", reverse_work)):
        share = float(np.mean(np.isposinf(work)))
        if share > _MAX_DEAD:
            doubts.append(f"{100 * share:.3g} % of the {direction} walkers died on the way")
    sizes = forward_work.shape[0], reverse_work.shape[0]
    if not found.overlap >= MIN_OVERLAP:
        doubts.append(
            f"overlap {float(found.overlap):.2g}, below {MIN_OVERLAP}: forward and reverse "
            "runs have hardly a sample in common; take more steps along the path"
        )
    else:
        doubts += _wrong_slope(found, sizes, rounding)
    lower, upper = (float(bound.value) for bound in found.bounds)
    error = _combined(found.bounds.lower, found.bounds.upper, rounding)
    if lower - upper > 4 * error:
        doubts.append(
            f"the lower bound is {lower - upper:.2g} nats above the upper one, "
            f"{(lower - upper) / error:.1f} standard errors: the reverse runs did not start "
            "from samples of the last density"
        )
        return doubts
    return doubts + _wrong_averages(found, forward_work, reverse_work, rounding)


def _wrong_slope(found: FreeEnergy, sizes: tuple[int, int], rounding: float) -> list[str]:
    """Where Crooks' slope is more than 4 standard errors from 1."""
    # Σ p(1 - p), at most a quarter of the samples.
    num_common = float(found.overlap) / (1 / sizes[0] + 1 / sizes[1])
    value, error = (float(number) for number in found.slope)
    # The slope's Fisher information is num_common var W; work of one direction that is
    # rounded by r moves the slope by r / var W.
    by_rounding = 4 * rounding * error**2 * num_common
    if 4 * num_common < _MIN_WALKERS or abs(value - 1) - by_rounding <= 4 * error:
        return []
    doubt = (
        f"log p_F(W)/p_R(-W) has a slope of {value:.3g}, not 1, which is "
        f"{abs(value - 1) / error:.1f} standard errors away: the reverse runs did not start "
        "from samples of the last density, or were not the forward runs turned round in time, "
        "or the work is not in nats"
    )
    return [doubt]


def _wrong_averages(
    found: FreeEnergy, forward_work: np.ndarray, reverse_work: np.ndarray, rounding: float
) -> list[str]:
    """Where BAR and an average that deserves its error differ by more than 4 of them."""
    doubts = []
    value = float(found.bar.value)
    sides = (
        ("forward", found.forward, forward_work.shape[0], reverse_work, -value),
        ("reverse", found.reverse, reverse_work.shape[0], forward_work, value),
    )
    for direction, average, size, work_back, difference_back in sides:
        seen_from_there = _variance_seen_back(work_back, difference_back, size)
        variance = max(float(average.standard_error) ** 2, seen_from_there)
        average = average._replace(standard_error=jnp.sqrt(variance))
        error = _combined(found.bar, average, rounding)
        gap = abs(value - float(average.value))
        # n over the mean square of weights of mean 1.
        rests_on = size / (1 + size * variance)
        # Jensen's inequality shifts an average by half its variance.
        if rests_on >= _MIN_WALKERS and gap - error**2 / 2 > 4 * error:
            doubts.append(
                f"BAR and the average of the {direction} work differ by {gap:.2g} nats, "
                f"{gap / error:.1f} standard errors: the reverse runs did not start from "
                "samples of the last density, or were not the forward runs turned round in time"
            )
    return doubts


@np.errstate(invalid="ignore")
def _variance_seen_back(work_back: np.ndarray, difference_back: float, size: int) -> float:
    """Of the mean of e^-W over n runs, from the work of runs in the other direction.

    By Crooks' theorem E_F[e^(-2 W_F)] = e^-ΔF E_R[e^(W_R)], so it is
    (E_R[e^(W_R + ΔF)] - 1)/n. If rare runs carry it, those averaged do not show it, but to
    runs in the other direction these are common. What n runs never show counts as n.
    """
    square = np.exp(np.minimum(work_back - difference_back, math.log(size)))
    return max(float(np.mean(square)) - 1, 0) / size


def _combined(first: Estimate, second: Estimate, rounding: float) -> float:
    """The standard error of a difference, at least that of rounding, here and before."""
    size = 1 + abs(float(first.value)) + abs(float(second.value))
    rounding = 4 * (_precision(first.value.dtype) * size + 2 * rounding)
    return max(math.hypot(first.standard_error, second.standard_error), rounding)


def _negative(estimate: Estimate) -> Estimate:
    return Estimate(-estimate.value, estimate.standard_error)


@np.errstate(over="ignore")
def _shift(estimate: Estimate, offset: Scalar) -> Estimate:
    dtype = estimate.value.dtype
    return Estimate(estimate.value + jnp.asarray(offset, dtype), estimate.standard_error)


@np.errstate(over="ignore")  # what is too large for the precision is infinite
def _as_work(work: Any, name: str) -> tuple[Array, Scalar]:
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
def _as_pair(forward_work: Any, reverse_work: Any) -> tuple[Array, Array, Scalar]:
    """W_F - c and W_R + c, whose least values are equal, and c."""
    forward, least_forward = _as_work(forward_work, "forward_work")
    reverse, least_reverse = _as_work(reverse_work, "reverse_work")
    dtype = jnp.promote_types(forward.dtype, reverse.dtype)
    middle = jnp.asarray(least_forward / 2 + least_reverse / 2, dtype)
    offset = least_forward / 2 - least_reverse / 2
    return forward.astype(dtype) + middle, reverse.astype(dtype) + middle, offset
