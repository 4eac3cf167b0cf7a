r"""Log Z of the last density of a path, bounded from both sides.

Forward, from exact samples of the first density, the mean weight is an unbiased estimate of
:math:`Z_1/Z_0`; by Jensen's inequality :math:`E[\log \hat Z_1] \le \log Z_1`. Backward, from
samples of the last density along the reversed path, it estimates :math:`Z_0/Z_1`, so that
:math:`E[\log Z_0 - \log \widehat{Z_0/Z_1}] \ge \log Z_1`. The gap between the two tells how
far either can be trusted.

The upper bound is as good as its samples of the last density. Those are had in two ways, and
both are reported: the end points of the forward run, which cannot show a mode that the
forward run missed, and samples relaxed from elsewhere, say from data.

Reference: Grosse, Ghahramani and Adams, *Sandwiching the marginal likelihood using
bidirectional Monte Carlo*, 2015.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax.annealing.anneal import (
    anneal,
    check_step_args,
    part_of,
    reverse_args,
)
from jarzynski_jax.annealing.paths import Path, check_ends, check_whole_schedule
from jarzynski_jax.compiling import compiled_once
from jarzynski_jax.free_energy.annealing_runs import AnnealingInfo, LogPartitionBounds
from jarzynski_jax.resampling import from_log_weights, systematic
from jarzynski_jax.types import Array, LogDensityFn, Position, PRNGKey, Scalar
from jarzynski_jax.walkers import Dynamics, Walkers, advance, check_dynamics, keep_spread
from jarzynski_jax.weights import effective_sample_size

__all__ = [
    "LogPartitionBounds",
    "log_partition_bounds",
]


def log_partition_bounds(
    rng_key: PRNGKey,
    positions: Position,
    path: Path,
    log_partition_function_0: Scalar,
    dynamics: Dynamics,
    num_steps: int | None = None,
    relaxed: Position | None = None,
    *,
    times: Array | None = None,
    step_args: tuple[Any, ...] | None = None,
    num_replicates: int | None = None,
    num_backward: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> LogPartitionBounds:
    """Bound log Z of the last density of a path from both sides.

    ValueError if not one of ``num_steps`` and ``times`` is given, an end of the path makes no
    sense, ``positions`` look like one ensemble of vectors rather than replicates, or anything
    else is not as below.

    Parameters
    ----------
    positions
        Exact, independent samples of ``path(0)``, leading axes ``(R, N)``: R independent
        replicates of N walkers each. Their spread tells the standard error. With
        ``num_replicates``, leading axis ``R N``.
    log_partition_function_0
        Exact log Z of ``path(0)``.
    num_steps
        K, steps of equal length along the path, each way. They are ill spent from a prior to a
        much narrower posterior: give ``times`` then.
    relaxed
        Samples of ``path(1)`` found without the forward runs, in the shape of ``positions``.
    times
        In place of ``num_steps``, the path's parameter after each step forward, shape ``(K,)``,
        ascending to 1; from :func:`~jarzynski_jax.annealing.refine`, say. Backward runs take
        the same way back.
    step_args
        As of :func:`anneal`, in the order of the steps forward; a step back over the same
        interval is given the same. Both estimates of ratios of partition functions are unbiased
        whatever they are; but a drift or a map that takes the density along forward takes it
        the wrong way backward, and the upper bound is loose.
    num_replicates
        R, into which an ensemble of one leading axis is cut.
    num_backward
        How many walkers of each replicate go back from the last density, a divisor of N; all
        if None.
    progress
        As of :func:`anneal`, with shares of the steps of all replicates.

    Examples
    --------
    >>> from jarzynski_jax.walkers import langevin
    >>> from jarzynski_jax.annealing.paths import geometric_path
    >>> path = geometric_path(lambda x: -(x**2) / 2, lambda x: -2 * x**2)
    >>> x = jax.random.normal(jax.random.key(0), (1000,))
    >>> bounds = log_partition_bounds(
    ...     jax.random.key(1), x, path, 0.0, langevin(0.05), 100, num_replicates=2
    ... )
    >>> bounds.forward.shape, bounds.backward.shape
    ((2,), (2,))
    """
    check_dynamics(dynamics)
    times = _schedule(num_steps, times)
    step_args = check_step_args(step_args, times.shape[0])
    positions = _by_replicate(positions, num_replicates)
    if relaxed is not None:
        relaxed = _by_replicate(relaxed, num_replicates)
    check_ends(path, jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), positions))
    return _log_partition_bounds(
        rng_key,
        positions,
        path,
        log_partition_function_0,
        dynamics,
        times,
        step_args,
        relaxed,
        _stride(num_backward, positions),
        progress,
    )


def _stride(num_backward: int | None, positions: Position) -> int:
    """Every how manieth of a replicate's end points goes back."""
    num_walkers = jax.tree.leaves(positions)[0].shape[1]
    if num_backward is None:
        return 1
    if num_backward < 1 or num_walkers % num_backward:
        raise ValueError(
            f"num_backward must divide the walkers of a replicate, {num_walkers}; got "
            f"{num_backward}"
        )
    return num_walkers // num_backward


def _schedule(num_steps: int | None, times: Array | None) -> Array:
    if (num_steps is None) == (times is None):
        raise ValueError(
            "either num_steps or times must be given, and not both; got "
            f"num_steps={num_steps} and times={times}"
        )
    if times is not None:
        return check_whole_schedule(times)
    assert num_steps is not None
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1; got {num_steps}")
    return jnp.arange(1, num_steps + 1) / num_steps


#: More replicates than this are taken for walkers, unless their number is given.
_MOST_REPLICATES = 64


def _by_replicate(positions: Position, num_replicates: int | None) -> Position:
    """Bring positions to the leading axes (R, N)."""
    leading = jax.tree.leaves(positions)[0].shape[:2]
    if num_replicates is None:
        if len(leading) < 2 or leading[0] > min(leading[1], _MOST_REPLICATES):
            raise ValueError(
                "positions must have the leading axes (R, N), R replicates of N walkers; got "
                f"{leading}, which looks like one ensemble of {leading[0]} walkers. Give "
                "num_replicates, into how many replicates it is to be cut"
            )
        return positions
    if num_replicates < 1 or leading[0] % num_replicates:
        raise ValueError(
            f"num_replicates must divide the number of walkers, {leading[0]}; got "
            f"{num_replicates}"
        )
    if leading[0] == num_replicates:
        raise ValueError(
            f"num_replicates = {num_replicates} is the length of the leading axis: a replicate "
            "would have one walker. If positions are of R replicates already, leave it out"
        )
    return jax.tree.map(
        lambda leaf: leaf.reshape(num_replicates, -1, *leaf.shape[1:]), positions
    )


@compiled_once
def _log_partition_bounds(
    rng_key: PRNGKey,
    positions: Position,
    path: Path,
    log_partition_function_0: Scalar,
    dynamics: Dynamics,
    upward: Array,
    step_args: tuple[Any, ...],
    relaxed: Position | None,
    stride: int,
    progress: Callable[[float], None] | None,
) -> LogPartitionBounds:
    num_replicates = jax.tree.leaves(positions)[0].shape[0]
    # The walkers of a replicate on many devices, and the replicates one after the other.
    positions, relaxed = keep_spread((positions, relaxed), axis=1)
    report = part_of(progress, 1 / (num_replicates * (2 if relaxed is None else 3)))
    downward = jnp.concatenate([upward[-2::-1], jnp.zeros(1, upward.dtype)])
    key_forward, key_end, key_backward, key_relaxed = (
        jax.random.split(key, num_replicates) for key in jax.random.split(rng_key, 4)
    )

    def forward(inputs: tuple[PRNGKey, PRNGKey, Position]) -> tuple:
        key, key_end, positions = inputs
        start = walkers_lib.init(positions, path(0.0), dynamics.kernel_init)
        end, info = anneal(key, start, path, upward, dynamics, step_args, progress=report)
        ancestors = from_log_weights(systematic)(
            key_end, end.log_weights, end.log_weights.shape[0]
        )
        is_alive = jnp.any(jnp.isfinite(end.log_weights))
        end_points = jax.tree.map(
            lambda leaf: _nan_unless(is_alive, leaf[ancestors]), end.position
        )
        return walkers_lib.log_partition_function(end), end_points, info

    def backward(inputs: tuple[PRNGKey, Position]) -> tuple[Array, AnnealingInfo]:
        key, positions = inputs
        start = walkers_lib.init(positions, path(1.0), dynamics.kernel_init)
        end, info = anneal(
            key, start, path, downward, dynamics, reverse_args(step_args), progress=report
        )
        return -walkers_lib.log_partition_function(end), info

    # One replicate after the other: side by side, the branch that resamples would be taken
    # at every step by all of them.
    log_ratios, end_points, info = jax.lax.map(forward, (key_forward, key_end, positions))
    end_points = keep_spread(end_points, axis=1)
    # In the order of their ancestors, so that every other one is resampled as evenly.
    going_back = jax.tree.map(lambda leaf: leaf[:, ::stride], end_points)
    going_back = keep_spread(going_back, axis=1)
    back, back_info = jax.lax.map(backward, (key_backward, going_back))
    last_args = jax.tree.map(lambda leaf: leaf[-1], step_args)
    at_last = dynamics.with_args(*last_args)
    left = jax.lax.map(
        lambda inputs: _left_by_a_step(inputs[0], inputs[1], path(1.0), at_last),
        (key_end, end_points),
    )
    relaxed_back, relaxed_info = None, None
    if relaxed is not None:
        relaxed_back, relaxed_info = jax.lax.map(backward, (key_relaxed, relaxed))
        relaxed_back = log_partition_function_0 + relaxed_back
    return LogPartitionBounds(
        log_partition_function_0 + log_ratios,
        log_partition_function_0 + back,
        relaxed_back,
        end_points,
        info,
        back_info,
        relaxed_info,
        left,
    )


def _nan_unless(is_alive: Array, leaf: Array) -> Array:
    """Positions, NaN where no walker came; integers stay integers, and have no NaN."""
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        return leaf
    return jnp.where(is_alive, leaf, jnp.nan)


def _left_by_a_step(
    rng_key: PRNGKey, positions: Position, logdensity_fn: LogDensityFn, dynamics: Dynamics
) -> Array:
    """Effective sample size, by the shadow weight, after one step at a target at rest.

    The second of two: the first has an endpoint factor at its end alone.
    """

    def step(walkers: Walkers, key: PRNGKey) -> tuple[Walkers, Array]:
        walkers, _ = advance(key, walkers, logdensity_fn, dynamics)
        return walkers, walkers_lib.shadow_log_weights(walkers)

    start = walkers_lib.init(positions, logdensity_fn, dynamics.kernel_init)
    _, shadows = jax.lax.scan(step, start, jax.random.split(rng_key))
    increments = jnp.where(jnp.isfinite(shadows[0]), shadows[1] - shadows[0], -jnp.inf)
    return effective_sample_size(increments)
