"""Every reason not to believe a free energy or a log Z, and from where on: one table.

Work of independent walkers and brackets of replicates are judged by the same kinds of reasons:
bounds that cross, directions that have nothing in common, walkers that died, steps too large.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.free_energy.annealing_runs import LogPartitionBounds
from jarzynski_jax.free_energy.pareto import max_pareto_shape
from jarzynski_jax.free_energy.work_values import Estimate

if TYPE_CHECKING:
    from jarzynski_jax.free_energy.estimators import FreeEnergy
    from jarzynski_jax.free_energy.importance import ImportanceEstimate
    from jarzynski_jax.free_energy.macrostates import Macrostate

__all__ = [
    "MAX_CROSSING",
    "NEGLIGIBLE",
    "doubts_of_autocorrelation",
    "doubts_of_bounds",
    "doubts_of_importance",
    "doubts_of_macrostate",
    "doubts_of_work",
    "precision",
]

#: Standard errors beyond which a difference is not chance: of work, whose estimates are
#: compared in five ways by each call;
_MAX_ERRORS_OF_WORK = 4
#: of brackets, whose bounds are compared once or twice.
_MAX_ERRORS_OF_BOUNDS = 3
#: Below this overlap an estimate rests on hardly any common samples. Klimovich et al. ask for
#: 0.03 in the off-diagonal entries of MBAR's overlap matrix, whose sum this overlap is.
_MIN_OVERLAP = 0.06
#: What rests on fewer walkers than this is not held against anything.
_MIN_WALKERS = 100
#: Beyond this share of walkers that died on the way there is doubt.
_MAX_DEAD = 0.1
#: In nats. Rounding below this is no reason for doubt, however small the error.
NEGLIGIBLE = 1e-3
#: Nats by which lost walkers may shift a bound.
_MAX_LEAKAGE = 0.02
#: Nats by which the bound from the forward run's own end points may be too low.
MAX_CROSSING = 0.1
#: Effective sample size, a fraction, below which a forward run has collapsed.
_MIN_EFFECTIVE_SAMPLE_SIZE = 0.05
#: Nats of effective sample size that steps at rest may lose along a whole path.
_MIN_STEP_LOSS = 0.3
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
    if abs(value) > max(_MAX_ERRORS_OF_BOUNDS * error, NEGLIGIBLE) or math.isnan(value):
        share, reason = math.exp(min(value, 700)), "its samples are not the target's"
        if value < 0:
            reason = "modes are missing, and log Z is too small by as much"
        doubts.append(
            f"the model covers {share:.3g} of the target, {abs(value) / error:.1f} standard "
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


# ---------------------------------------------------------------- brackets


def doubts_of_bounds(
    bounds: LogPartitionBounds,
    forward_estimate: tuple[float, float],
    backward: dict[str, tuple[float, float, float]],
    tolerance: float,
) -> list[str]:
    """Of bounds whose forward estimate is (mean, error).

    ``backward`` has by its origin how much too low it may be, its mean and its error.
    """
    forward, forward_error = forward_estimate
    doubts = _lost_walkers(bounds)
    upper = max(value for _, value, _ in backward.values())
    is_leaky = bool(doubts)
    if not (math.isfinite(forward) and math.isfinite(upper)):
        doubts.append(
            "a bound is not finite: no walker came to the end alive; take a smaller step size"
        )
    is_apart = upper - forward > tolerance
    too_large_step = "" if is_leaky else _too_large_step(bounds)
    if is_apart:
        remedy = too_large_step or "more annealing steps would bring them together"
        apart = f"the bounds are {upper - forward:.1f} nats apart"
        doubts.append(apart if is_leaky else f"{apart}; {remedy}")
    for name, (allowed, value, error) in backward.items():
        excess = forward - value
        beyond = _MAX_ERRORS_OF_BOUNDS * math.hypot(error, forward_error)
        # Of one replicate the error is not known; that is no reason to believe.
        if excess > max(beyond if math.isfinite(beyond) else 0, allowed):
            doubts.append(
                f"the bound from {name} is {excess:.1f} nats below the one that it should be "
                "above: these are not samples of the model, a mode is missing"
            )
    ess = float(np.min(bounds.forward_info.shadow_effective_sample_size))
    if ess < _MIN_EFFECTIVE_SAMPLE_SIZE:
        remedy = too_large_step or "take more annealing steps"
        collapsed = (
            f"the effective sample size of the forward run fell to {100 * ess:.2g} % of its "
            "walkers"
        )
        # What is said of the step above holds here too.
        doubts.append(collapsed if is_apart and too_large_step else f"{collapsed}; {remedy}")
    return doubts


def _lost_walkers(bounds: LogPartitionBounds) -> list[str]:
    """Say of each direction how many walkers were lost by their own moves, if it matters."""
    doubts = []
    for name, sign, info in (
        ("forward", "low", bounds.forward_info),
        ("backward", "high", bounds.backward_info),
        ("backward, from relaxed samples,", "high", bounds.relaxed_info),
    ):
        if info is None or not np.max(info.leakage) > _MAX_LEAKAGE:
            continue
        leakage = float(np.max(info.leakage))
        num_dead = np.sum(info.num_dead, axis=-1).mean()
        doubts.append(
            f"walkers died on the way {name}, {num_dead:.3g} of {_num_walkers(bounds)} a "
            "replicate, where their moves led out of the support of a density: those that come "
            f"back are missing, and the bound is too {sign} by about {leakage:.2g} nats, the "
            "more so the more steps. Take Metropolis-adjusted moves (kernels.metropolis in "
            "kernels.invariant), or a bijection to an unbounded space (targets.unbounded)"
        )
    return doubts


def _num_walkers(bounds: LogPartitionBounds) -> int:
    return jax.tree.leaves(bounds.end_points)[0].shape[1]


def _too_large_step(bounds: LogPartitionBounds) -> str:
    r"""Say so if the time step, not the length of the path, is what costs effective samples.

    With :math:`\epsilon` the effective sample size that one step at the last target leaves, K
    steps lose :math:`-K \log\epsilon` nats of it however slowly the targets move. If that is
    more than half of all that the forward run lost, more steps lose more.
    """
    if bounds.step_effective_sample_size is None:
        return ""
    info = bounds.forward_info
    ess = np.asarray(info.shadow_effective_sample_size, np.float64)
    num_steps = ess.shape[-1]
    left = float(np.mean(bounds.step_effective_sample_size))
    if not left > 0:  # no walker arrived alive, and nothing is known of a step there
        return ""
    of_steps = -num_steps * math.log(left)
    is_last = np.arange(num_steps) == num_steps - 1
    counts = np.asarray(info.is_resampled, bool) | is_last
    in_all = float(np.sum(np.where(counts, -np.log(np.maximum(ess, 1e-30)), 0), axis=-1).mean())
    if not of_steps > max(0.5 * in_all, _MIN_STEP_LOSS):
        return ""
    num_resampled = np.sum(info.is_resampled, axis=-1).mean()
    return (
        f"the time step is too large: a step loses {100 * (1 - left):.3g} % of the effective "
        f"sample size at a target at rest, and walkers were resampled {num_resampled:.3g} "
        f"times in {num_steps} steps. Take a smaller step size; more annealing steps would "
        "make it worse"
    )
