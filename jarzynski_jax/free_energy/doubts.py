"""Every reason not to believe a free energy or a log Z, and from where on: one table.

Those of brackets are in :mod:`jarzynski_jax.free_energy.bracket_doubts`. Both are of the same
kinds: bounds that cross, directions that have nothing in common, walkers that died.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from jarzynski_jax.free_energy.pareto import max_pareto_shape
from jarzynski_jax.free_energy.work_values import Estimate

if TYPE_CHECKING:
    from jarzynski_jax.free_energy.estimators import FreeEnergy
    from jarzynski_jax.free_energy.importance import ImportanceEstimate
    from jarzynski_jax.free_energy.macrostates import Macrostate

__all__ = [
    "MAX_ERRORS_OF_BOUNDS",
    "NEGLIGIBLE",
    "doubts_of_autocorrelation",
    "doubts_of_importance",
    "doubts_of_macrostate",
    "doubts_of_work",
    "precision",
]

#: Standard errors beyond which a difference is not chance: of work, whose estimates are
#: compared in five ways by each call;
_MAX_ERRORS_OF_WORK = 4
#: of brackets, whose bounds are compared once or twice.
MAX_ERRORS_OF_BOUNDS = 3
#: Below this overlap an estimate rests on hardly any common samples. Klimovich et al. ask for
#: 0.03 in the off-diagonal entries of MBAR's overlap matrix, whose sum this overlap is.
_MIN_OVERLAP = 0.06
#: What rests on fewer walkers than this is not held against anything.
_MIN_WALKERS = 100
#: Beyond this share of walkers that died on the way there is doubt.
_MAX_DEAD = 0.1
#: In nats. Rounding below this is no reason for doubt, however small the error.
NEGLIGIBLE = 1e-3
#: Share of the whole weight of a model's samples that one of them may have.
_MAX_SHARE = 0.1
#: The shape of fewer weights is mostly noise: of the N(0, 1) by N(0, 0.8), whose shape is 0.2,
#: it would be above its limit in a fifth of all sets of 100, and in 4 % of those of 250.
_MIN_SAMPLES_OF_SHAPE = 250
#: How many times the error that is stated the one that the target's samples see may be.
_MAX_HIDDEN_ERROR = 2
#: Windows that a chain must be long to tell its autocorrelation time. A window is five times
#: at least, so that is fifty of them.
_MIN_WINDOWS = 10


# ---------------------------------------------------------------- work


def doubts_of_work(
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
    if not found.overlap >= _MIN_OVERLAP:
        doubts.append(
            f"overlap {float(found.overlap):.2g}, below {_MIN_OVERLAP}: forward and reverse "
            "runs have hardly a sample in common; take more steps along the path"
        )
    else:
        doubts += _wrong_slope(found, sizes, rounding)
    lower, upper = (float(bound.value) for bound in found.bounds)
    error = _combined(found.bounds.lower, found.bounds.upper, rounding)
    if lower - upper > _MAX_ERRORS_OF_WORK * error:
        doubts.append(
            f"the lower bound is {lower - upper:.2g} nats above the upper one, "
            f"{(lower - upper) / error:.1f} standard errors: the reverse runs did not start "
            "from samples of the last density"
        )
        return doubts
    return doubts + _wrong_averages(found, forward_work, reverse_work, rounding)


def _wrong_slope(found: FreeEnergy, sizes: tuple[int, int], rounding: float) -> list[str]:
    """Where Crooks' slope is not 1."""
    # Σ p(1 - p), at most a quarter of the samples.
    num_common = float(found.overlap) / (1 / sizes[0] + 1 / sizes[1])
    value, error = (float(number) for number in found.slope)
    # The slope's Fisher information is num_common var W; work of one direction that is
    # rounded by r moves the slope by r / var W.
    by_rounding = 4 * rounding * error**2 * num_common
    if (
        4 * num_common < _MIN_WALKERS
        or abs(value - 1) - by_rounding <= _MAX_ERRORS_OF_WORK * error
    ):
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
    """Where BAR and an average that deserves its error differ by more than chance."""
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
        if rests_on >= _MIN_WALKERS and gap - error**2 / 2 > _MAX_ERRORS_OF_WORK * error:
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


def doubts_of_rounding(name: str, found: Estimate) -> list[str]:
    """Of a value so large that its error is smaller than what is between two numbers."""
    value, error = (float(of) for of in found)
    rounding = precision(found.value.dtype) * abs(value) / 2
    if not rounding > max(error, NEGLIGIBLE):
        return []
    doubt = (
        f"{name}, {value:.7g}, is rounded by {rounding:.2g} nats, more than its standard error "
        f"of {error:.2g}: take off an offset, or use float64"
    )
    return [doubt]


# ---------------------------------------------------------------- importance sampling


def doubts_of_importance(
    found: ImportanceEstimate, of_model: np.ndarray, of_target: np.ndarray | None
) -> list[str]:
    """Of log-weights of a model's samples and, if there are some, of its target's."""
    # Where a sample of the target has no density under the model its weight is infinite, and
    # right; a sample of the target that has no density under the target is no such sample.
    both = of_model if of_target is None else np.concatenate([of_model, -of_target])
    num_bad = int(np.sum(np.isnan(both) | np.isposinf(both)))
    if num_bad:
        return [f"{num_bad} of the log-weights are NaN or infinite"]
    doubts, share = [], float(found.largest_share)
    if not share <= _MAX_SHARE:
        doubts.append(
            f"one sample has {share:.2g} of the whole weight: the model's density is too small "
            "where the target's is not"
        )
    doubts += _heavy_tail(found, of_model)
    if found.log_coverage is None or of_target is None:
        return doubts
    value, error = (float(of) for of in found.log_coverage)
    if abs(value) > max(MAX_ERRORS_OF_BOUNDS * error, NEGLIGIBLE) or math.isnan(value):
        share, reason = math.exp(min(value, 700)), "its samples are not the target's"
        num_errors = abs(value) / error if error > 0 else math.inf
        if value < 0:
            reason = "modes are missing, and log Z is too small by as much"
        doubts.append(
            f"the model covers {share:.3g} of the target, {num_errors:.1f} standard "
            f"errors from all of it: {reason}"
        )
        return doubts
    return doubts + _hidden_error(found, of_model, of_target)


def _heavy_tail(found: ImportanceEstimate, of_model: np.ndarray) -> list[str]:
    """Where the largest weights have a shape with which a mean is not reliable."""
    num_alive, shape = int(np.sum(of_model > -np.inf)), float(found.pareto_shape)
    # The largest weight over the mean: weights that differ by rounding alone have no tail.
    is_spread = float(found.largest_share) * num_alive > 1 + NEGLIGIBLE
    if num_alive < _MIN_SAMPLES_OF_SHAPE or not is_spread:
        return []
    largest = max_pareto_shape(num_alive)
    if not shape > largest:
        return []
    doubt = (
        f"the largest weights have a Pareto shape of {shape:.2f}, above {largest:.2f} for "
        f"{num_alive} samples: rare ones carry the mean, and neither log Z nor its error is "
        "reliable. Train the model longer, or anneal its samples on in more steps, and hand in "
        "samples of the target, which see what the model's miss"
    )
    return [doubt]


def _hidden_error(
    found: ImportanceEstimate, of_model: np.ndarray, of_target: np.ndarray
) -> list[str]:
    """Where samples of the target see a larger error than the model's samples do."""
    size = of_model.shape[0]
    assert found.upper is not None
    if min(size, of_target.shape[0]) < _MIN_WALKERS:
        return []
    stated = float(found.log_partition_function.standard_error)
    seen = math.sqrt(_variance_seen_back(of_target, float(found.upper.value), size))
    if not seen > max(_MAX_HIDDEN_ERROR * stated, NEGLIGIBLE):
        return []
    doubt = (
        f"samples of the target see a standard error of {seen:.2g} nats, not of {stated:.2g}: "
        "the model hardly ever draws what carries the weight there, and log Z is likely to be "
        "too small by several of the errors stated. Train the model longer, or anneal its "
        "samples on in more steps"
    )
    return [doubt]


# ---------------------------------------------------------------- chains


def doubts_of_autocorrelation(spread: float, length: int, window: int) -> list[str]:
    """Of chains of so many values, with a window of 0 where these do not change."""
    if not math.isfinite(spread):
        return ["some values are NaN or infinite"]
    if window == 0:
        return ["the values do not change: a chain that is frozen tells nothing"]
    if length < _MIN_WINDOWS * window:
        too_short = (
            f"the chains are too short: {length} steps are {length / window:.2g} windows of "
            f"autocorrelation, of which it takes {_MIN_WINDOWS}; the time may be much longer "
            "than it seems, and burn-in may be left in"
        )
        return [too_short]
    return []


# ---------------------------------------------------------------- regions


def doubts_of_macrostate(found: Macrostate) -> list[str]:
    """Of one region, by a model's samples and, if there are some, its target's."""
    if found.num_samples < 2 or found.importance is None:
        doubt = (
            f"{found.num_samples} of the model's samples are in the region: the model does not "
            "reach it, and nothing is known of its free energy"
        )
        return [doubt]
    doubts = []
    # Samples of the target tell of what the model's do not reach, so few of these may do.
    if found.num_samples < _MIN_WALKERS and found.work is None:
        doubts.append(
            f"only {found.num_samples} of the model's samples are in the region: it may reach "
            "the edge of it alone, and the free energy is then too high"
        )
    doubts += found.importance.doubts
    return doubts + list(found.work.doubts if found.work is not None else ())


def _combined(first: Estimate, second: Estimate, rounding: float) -> float:
    """The standard error of a difference, at least that of rounding, here and before."""
    size = 1 + abs(float(first.value)) + abs(float(second.value))
    rounding = 4 * (precision(first.value.dtype) * size + 2 * rounding)
    return max(math.hypot(first.standard_error, second.standard_error), rounding)


def precision(dtype: np.dtype) -> float:
    """Relative spacing of numbers; 0 of integers."""
    return float(jnp.finfo(dtype).eps) if jnp.issubdtype(dtype, jnp.floating) else 0.0
