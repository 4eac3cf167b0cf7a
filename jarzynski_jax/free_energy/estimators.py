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
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.checks import check_known
from jarzynski_jax.formatting import disbelief, format_with_error
from jarzynski_jax.free_energy.acceptance_ratio import acceptance_ratio, overlap_at
from jarzynski_jax.free_energy.bounds import Bounds, two_sided_bounds
from jarzynski_jax.free_energy.crossing import crossing_near
from jarzynski_jax.free_energy.exponential import cumulant_expansion
from jarzynski_jax.free_energy.work_values import Estimate, as_pair, shift
from jarzynski_jax.types import Array, Scalar
from jarzynski_jax.weights import effective_sample_size

__all__ = [
    "FreeEnergy",
    "estimate",
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
    forward, reverse, offset = as_pair(*works)
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
    lower, upper = (shift(bound, offset) for bound in found.bounds)
    return found._replace(
        bar=shift(found.bar, offset),
        forward=upper,
        reverse=lower,
        crossing=shift(found.crossing, offset),
        cumulants=shift(found.cumulants, offset),
        bounds=Bounds(lower, upper),
    )


@jax.jit
def _estimate_all(forward_work: Array, reverse_work: Array) -> FreeEnergy:
    bar = acceptance_ratio(forward_work, reverse_work)
    bounds = two_sided_bounds(forward_work, reverse_work)
    crossing = crossing_near(bar.value, forward_work, reverse_work)
    return FreeEnergy(
        bar,
        bounds.upper,
        bounds.lower,
        crossing.difference,
        crossing.slope,
        cumulant_expansion(forward_work),
        bounds,
        overlap_at(bar.value, forward_work, reverse_work),
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
