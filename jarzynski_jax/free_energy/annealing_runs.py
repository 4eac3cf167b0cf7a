"""What runs along a path tell: diagnostics of one, and bounds of log Z from several."""

from typing import NamedTuple

from jarzynski_jax.types import Array, Position

__all__ = ["AnnealingInfo", "LogPartitionBounds"]


class AnnealingInfo(NamedTuple):
    """What happened at each of the K steps of a path, every field of shape ``(K,)``.

    effective_sample_size
        Of the log-weights, before resampling, a fraction of N.
    shadow_effective_sample_size
        Of the shadow log-weights, likewise; this one triggers the resampling.
    is_resampled
        Whether ancestors were drawn.
    num_dead
        How many walkers died in this step.
    leakage
        By about how much log Z is too low for walkers that died by their own moves, since the
        start of the path, in nats: see :class:`~jarzynski_jax.walkers.Walkers`.
    """

    effective_sample_size: Array
    shadow_effective_sample_size: Array
    is_resampled: Array
    num_dead: Array
    leakage: Array | float = 0.0


class LogPartitionBounds(NamedTuple):
    """Estimates of log Z of the last density, in nats; R independent replicates of each.

    forward
        Shape ``(R,)``; their expectation is at most log Z.
    backward
        From the forward runs' end points, shape ``(R,)``; their expectation is at least
        log Z, if the end points are samples of the last density.
    backward_from_relaxed
        From the samples given, likewise; None if none were. So is ``relaxed_info``.
    end_points
        Samples of the last density from the forward runs, leading axes ``(R, N)``; NaN where
        no walker arrived alive, for of the dead nothing is sampled.
    forward_info, backward_info, relaxed_info
        Diagnostics of the runs, every field of shape ``(R, K)``.
    step_effective_sample_size
        What one step at the last density leaves of the shadow weights' effective sample size,
        though the target rests, shape ``(R,)``. If its K-th power is small the time step is
        too large, and more steps make it worse.
    """

    forward: Array
    backward: Array
    backward_from_relaxed: Array | None
    end_points: Position
    forward_info: AnnealingInfo
    backward_info: AnnealingInfo | None = None
    relaxed_info: AnnealingInfo | None = None
    step_effective_sample_size: Array | None = None
