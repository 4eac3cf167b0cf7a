"""Two bounds made into one statement: a bracket with errors, or reasons for doubt.

The cross entropy of an energy-based model is its mean energy on test data plus log Z, so two
bounds on log Z are two bounds on the cross entropy; and no model of data with noise can be
below the entropy of the noise.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from jarzynski_jax.checks import check_known
from jarzynski_jax.formatting import disbelief, format_with_error
from jarzynski_jax.free_energy.annealing_runs import LogPartitionBounds
from jarzynski_jax.free_energy.bracket_doubts import MAX_CROSSING, doubts_of_bounds

__all__ = [
    "Bracket",
    "bracket",
    "log_partition_bracket",
]


class Bracket(NamedTuple):
    """A cross entropy, or log Z itself, between two bounds, in nats; ``print`` shows it.

    lower
        The forward estimate of log Z; of a cross entropy, with the mean energy of the test
        data added to it here and below.
    upper
        The backward estimate, the larger one if there are two.
    lower_error, upper_error
        Standard errors of log Z there, over replicates.
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

    Energies are of each test sample (the mean over its noise), shape ``(n,)``; the floor is the
    entropy of the noise in the data, in nats. The doubts are those of
    :func:`log_partition_bracket`, energies that are not finite, and a value below the floor. A
    ValueError inside ``jax.jit`` or ``jax.vmap``: it looks at values.

    Examples
    --------
    >>> from jarzynski_jax.annealing import AnnealingInfo, LogPartitionBounds
    >>> info = AnnealingInfo(*(np.ones((2, 5)) for _ in range(4)))
    >>> log_z = np.array([1.0, 1.1])
    >>> bounds = LogPartitionBounds(log_z, log_z + 2, None, None, info)
    >>> print(bracket(np.array([4.0, 4.0]), bounds))
    5.050 ± 0.050 to 7.050 ± 0.050 nats
    not to be believed: the bounds are 2.0 nats apart; more annealing steps would bring them
    together
    """
    check_known("free_energy.bracket", energies)
    if np.ndim(energies) != 1:
        raise ValueError(
            f"energies must have shape (n,), one a test sample; got {np.shape(energies)}"
        )
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

    Its doubts: bounds too far apart; a lower bound above an upper one beyond their errors (the
    samples that a backward run started from are not the model's: a mode is missing), with one
    replicate, whose error nobody knows, beyond what is tolerated; walkers lost by their own
    moves; a collapsed forward run. Each says what to try. A ValueError inside ``jax.jit`` or
    ``jax.vmap``: it looks at values.

    Parameters
    ----------
    tolerance
        How far apart the bounds may be, nats; and how far the backward estimate from relaxed
        samples may lie below the forward one, for their shares of the modes are inherited
        from where they were relaxed, and never quite the model's.
    """
    check_known("free_energy.log_partition_bracket", bounds)
    forward, forward_error = _mean_and_error(bounds.forward)
    backward = {
        "the forward run's end points": (MAX_CROSSING, *_mean_and_error(bounds.backward))
    }
    relaxed = None
    if bounds.backward_from_relaxed is not None:
        relaxed, error = _mean_and_error(bounds.backward_from_relaxed)
        backward["samples relaxed from data"] = (tolerance, relaxed, error)
    uppers = [(value, error) for _, value, error in backward.values()]
    upper, upper_error = uppers[int(np.argmax([value for value, _ in uppers]))]  # a NaN counts

    doubts = doubts_of_bounds(bounds, (forward, forward_error), backward, tolerance)
    return Bracket(forward, forward_error, upper, upper_error, relaxed, 0.0, tuple(doubts))
