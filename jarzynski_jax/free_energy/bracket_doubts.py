"""Every reason not to believe a bracket of log Z, and from where on.

Those of work, of a model's samples, of chains and of regions are in
:mod:`jarzynski_jax.free_energy.doubts`.
"""

import math

import jax
import numpy as np

from jarzynski_jax.free_energy.annealing_runs import LogPartitionBounds
from jarzynski_jax.free_energy.doubts import MAX_ERRORS_OF_BOUNDS

__all__ = ["MAX_CROSSING", "doubts_of_bounds"]

#: Nats by which lost walkers may shift a bound.
_MAX_LEAKAGE = 0.02
#: Nats by which the bound from the forward run's own end points may be too low.
MAX_CROSSING = 0.1
#: Effective sample size, a fraction, below which a forward run has collapsed.
_MIN_EFFECTIVE_SAMPLE_SIZE = 0.05
#: Nats of effective sample size that steps at rest may lose along a whole path.
_MIN_STEP_LOSS = 0.3


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
    upper = float(np.max([value for _, value, _ in backward.values()]))  # NaN, if one is
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
        beyond = MAX_ERRORS_OF_BOUNDS * math.hypot(error, forward_error)
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
