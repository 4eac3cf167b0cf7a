"""Two bounds made into one statement: a bracket with errors, or reasons for doubt.

The cross entropy of an energy-based model is its mean energy on test data plus log Z, so two
bounds on log Z are two bounds on the cross entropy; and no model of data with noise can be
below the entropy of the noise.
"""

import math
from typing import Any, NamedTuple

import jax
import numpy as np

from jarzynski_jax.annealing import LogPartitionBounds
from jarzynski_jax.checks import check_known
from jarzynski_jax.formatting import disbelief, format_with_error

__all__ = [
    "Bracket",
    "bracket",
    "log_partition_bracket",
]

# Beyond three standard errors a difference is not chance.
_NUM_STANDARD_ERRORS = 3
# Nats by which lost walkers may shift a bound.
_MAX_LEAKAGE = 0.02
# Nats of effective sample size that steps at rest may lose along a whole path.
_MIN_STEP_LOSS = 0.3


class Bracket(NamedTuple):
    """A cross entropy, or log Z itself, between two bounds, in nats; ``print`` shows it.

    lower
        The forward estimate of log Z; of a cross entropy, with the mean energy of the test
        data added to it here and below.
    lower_error
        Standard error of log Z there, over replicates.
    upper
        The backward estimate, the larger one if there are two.
    upper_error
        Standard error of log Z there.
    relaxed
        The backward estimate from relaxed samples alone; None without them.
    test_error
        Standard error of the mean energy over test samples, common to both bounds; 0 for log Z.
    doubts
        Why the bracket is not to be believed; empty if it is.
    """

    lower: float
    lower_error: float
    upper: float
    upper_error: float
    relaxed: float | None
    test_error: float
    doubts: tuple[str, ...]

    def __str__(self) -> str:
        """The two bounds with the errors of log Z, and a line for each doubt."""
        lower = format_with_error(self.lower, self.lower_error)
        upper = format_with_error(self.upper, self.upper_error)
        return "\n".join([f"{lower} to {upper} nats", *map(disbelief, self.doubts)])


def _mean_and_error(estimates: Any) -> tuple[float, float]:
    """Mean and its standard error; one value has no known error."""
    values = np.asarray(estimates, np.float64)
    count = len(values)
    with np.errstate(invalid="ignore"):  # of infinities there is no spread: it is NaN
        error = float(np.std(values, ddof=1) / math.sqrt(count)) if count > 1 else math.inf
        return float(np.mean(values)), error


def bracket(
    energies: np.ndarray,
    bounds: LogPartitionBounds,
    entropy_floor: float | None = None,
    tolerance: float = 0.5,
) -> Bracket:
    """Combine test energies and bounds of log Z, and judge the result.

    Parameters
    ----------
    energies
        Energy of each test sample (the mean over its noise), shape ``(n,)``.
    bounds
        From :func:`jarzynski_jax.annealing.log_partition_bounds`.
    entropy_floor
        Entropy of the noise in the data, nats; None if unknown.
    tolerance
        As of :func:`log_partition_bracket`.

    Returns
    -------
    Bracket
        With the doubts of :func:`log_partition_bracket`, energies that are not finite, and a
        value below the floor.

    Raises
    ------
    ValueError
        Inside ``jax.jit`` or ``jax.vmap``: it looks at values.

    Examples
    --------
    >>> import numpy as np
    >>> from jarzynski_jax.annealing import AnnealingInfo, LogPartitionBounds
    >>> info = AnnealingInfo(*(np.ones((2, 5)) for _ in range(4)))
    >>> log_z = np.array([1.0, 1.1])
    >>> bounds = LogPartitionBounds(log_z, log_z + 2, None, None, info)
    >>> print(bracket(np.array([4.0, 4.0]), bounds))
    5.050 ± 0.050 to 7.050 ± 0.050 nats
    not to be believed: the bounds are 2.0 nats apart; more annealing steps would bring them
    together
    """
    check_known("evaluation.bracket", energies)
    energy, test_error = _mean_and_error(energies)
    log_z = log_partition_bracket(bounds, tolerance)
    lower, upper = energy + log_z.lower, energy + log_z.upper
    doubts = log_z.doubts
    num_bad = int(np.sum(~np.isfinite(energies)))
    if num_bad:
        doubts = (f"{num_bad} of {len(energies)} test energies are not finite", *doubts)
    if entropy_floor is not None and min(lower, upper) < entropy_floor:
        below = (
            f"a bound is below the entropy of the noise, {entropy_floor:.1f} nats, which no "
            "model can reach"
        )
        doubts = (*doubts, below)
    return Bracket(
        lower,
        log_z.lower_error,
        upper,
        log_z.upper_error,
        None if log_z.relaxed is None else energy + log_z.relaxed,
        test_error,
        doubts,
    )


def log_partition_bracket(bounds: LogPartitionBounds, tolerance: float = 0.5) -> Bracket:
    """Sum up bounds of log Z, and judge them.

    Parameters
    ----------
    bounds
        From :func:`jarzynski_jax.annealing.log_partition_bounds`.
    tolerance
        How far apart the bounds may be, nats; and how far the backward estimate from relaxed
        samples may lie below the forward one, for their shares of the modes are inherited
        from where they were relaxed, and never quite the model's.

    Returns
    -------
    Bracket
        Of log Z. Its doubts: bounds too far apart; a lower bound above an upper one beyond
        their errors (the samples that a backward run started from are not the model's: a mode
        is missing), with one replicate, whose error nobody knows, beyond what is tolerated;
        walkers lost by their own moves; a collapsed forward run. Each says what to try.

    Raises
    ------
    ValueError
        Inside ``jax.jit`` or ``jax.vmap``: it looks at values.

    Examples
    --------
    >>> import numpy as np
    >>> from jarzynski_jax.annealing import AnnealingInfo, LogPartitionBounds
    >>> info = AnnealingInfo(*(np.ones((2, 5)) for _ in range(4)))
    >>> log_z = np.array([1.0, 1.1])
    >>> found = log_partition_bracket(LogPartitionBounds(log_z, log_z + 0.1, None, None, info))
    >>> round(found.lower, 2), round(found.upper, 2), found.doubts
    (1.05, 1.15, ())
    """
    check_known("evaluation.log_partition_bracket", bounds)
    forward, forward_error = _mean_and_error(bounds.forward)
    backward = {"the forward run's end points": (0.1, *_mean_and_error(bounds.backward))}
    relaxed = None
    if bounds.backward_from_relaxed is not None:
        relaxed, error = _mean_and_error(bounds.backward_from_relaxed)
        backward["samples relaxed from data"] = (tolerance, relaxed, error)
    upper, upper_error = max((value, error) for _, value, error in backward.values())

    doubts = _lost_walkers(bounds)
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
        beyond = _NUM_STANDARD_ERRORS * math.hypot(error, forward_error)
        # Of one replicate the error is not known; that is no reason to believe.
        if excess > max(beyond if math.isfinite(beyond) else 0, allowed):
            doubts.append(
                f"the bound from {name} is {excess:.1f} nats below the one that it should be "
                "above: these are not samples of the model, a mode is missing"
            )
    ess = float(np.min(bounds.forward_info.shadow_effective_sample_size))
    if ess < 0.05:
        remedy = too_large_step or "take more annealing steps"
        collapsed = (
            f"the effective sample size of the forward run fell to {100 * ess:.2g} % of its "
            "walkers"
        )
        # What is said of the step above holds here too.
        doubts.append(collapsed if is_apart and too_large_step else f"{collapsed}; {remedy}")
    return Bracket(forward, forward_error, upper, upper_error, relaxed, 0.0, tuple(doubts))


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
