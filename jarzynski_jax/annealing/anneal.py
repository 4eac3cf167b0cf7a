r"""Walkers along a path of densities, and log Z bounded from both sides.

Forward, from exact samples of the first density, the mean weight is an unbiased estimate of
:math:`Z_1/Z_0`; by Jensen's inequality :math:`E[\log \hat Z_1] \le \log Z_1`. Backward, from
samples of the last density along the reversed path, it estimates :math:`Z_0/Z_1`, so that
:math:`E[\log Z_0 - \log \widehat{Z_0/Z_1}] \ge \log Z_1`. The gap between the two tells how
far either can be trusted.

Called outside ``jax.jit``, these functions compile once for the same functions, shapes and
numbers of Python: keep paths and dynamics, for those made anew are another program.

The upper bound is as good as its samples of the last density. Those are had in two ways, and
both are reported: the end points of the forward run, which cannot show a mode that the
forward run missed, and samples relaxed from elsewhere, say from data.

References: Neal, *Annealed importance sampling*, 2001; Grosse, Ghahramani and Adams,
*Sandwiching the marginal likelihood using bidirectional Monte Carlo*, 2015.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax.annealing.paths import Path, check_ends, check_times
from jarzynski_jax.compiling import compiled_once
from jarzynski_jax.kernels import metropolis
from jarzynski_jax.kernels.invariant import InvariantInfo
from jarzynski_jax.kernels.kinetic import KineticInfo
from jarzynski_jax.kernels.ula import ULAInfo
from jarzynski_jax.resampling.schemes import adaptive, from_log_weights, systematic
from jarzynski_jax.types import Array, LogDensityFn, Position, PRNGKey, Scalar
from jarzynski_jax.walkers.dynamics import Dynamics, advance, check_dynamics
from jarzynski_jax.walkers.ensemble import Walkers
from jarzynski_jax.weights import effective_sample_size

__all__ = [
    "AnnealingInfo",
    "LogPartitionBounds",
    "Work",
    "anneal",
    "log_partition_bounds",
    "relax",
    "work",
]


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


def anneal(
    rng_key: PRNGKey,
    walkers: Walkers,
    path: Path,
    times: Array,
    dynamics: Dynamics,
    step_args: tuple[Any, ...] | None = None,
    *,
    progress: Callable[[float], None] | None = None,
) -> tuple[Walkers, AnnealingInfo]:
    """Take walkers along a path of densities: annealed importance sampling, or SMC.

    Parameters
    ----------
    rng_key
        A key of ``jax.random``.
    walkers
        N walkers, weighed by the density at the start of the path.
    path
        ``path(t) -> logdensity_fn``.
    times
        The path's parameter after each step, shape ``(K,)``, ascending or descending in
        [0, 1]. Forward they end at 1, backward at 0.
    dynamics
        How the walkers move and resample.
    step_args
        What the kernel takes at each step behind its fixed arguments: a tuple, as these are,
        every leaf of leading axis K. In ``(h,)`` h[k] is the step size of all moves to
        ``times[k]``; in ``(jax.tree_util.Partial(fn, parameters),)`` a function of its own for
        each step, such as a layer of a flow or a drift that depends on time. The weights are
        exact for any that do not depend on the walkers.
    progress
        Called some fifty times on the way, with the share of the steps that were made since
        the call before. (Give the same function at each call, for another is compiled anew.)

    Returns
    -------
    tuple[Walkers, AnnealingInfo]
        The walkers, weighed by ``path(times[-1])``, and diagnostics.

    Raises
    ------
    ValueError
        If ``times`` is not of shape ``(K,)``, K ≥ 1, not monotone or outside [0, 1], an end of
        the path makes no sense where the walkers stand, the dynamics are none, or
        ``step_args`` are no tuple, of another leading axis, or more or fewer than the kernel
        takes.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from jarzynski_jax import walkers
    >>> from jarzynski_jax.walkers import langevin
    >>> from jarzynski_jax.annealing.paths import geometric_path
    >>> path = geometric_path(lambda x: -(x**2) / 2, lambda x: -2 * x**2)
    >>> dynamics = langevin(0.05)
    >>> x = jax.random.normal(jax.random.key(0), (1000,))
    >>> start = walkers.init(x, path(0.0), dynamics.kernel_init)
    >>> times = jnp.linspace(0, 1, 101)[1:]
    >>> end, info = anneal(jax.random.key(1), start, path, times, dynamics)
    >>> float(abs(walkers.log_partition_function(end) + jnp.log(2))) < 0.1
    True

    With shorter steps where the density is narrower:

    >>> step_sizes = 0.1 / (1 + 3 * times)
    >>> end, info = anneal(
    ...     jax.random.key(1), start, path, times, langevin(None), (step_sizes,)
    ... )
    >>> float(abs(walkers.log_partition_function(end) + jnp.log(2))) < 0.1
    True
    """
    check_dynamics(dynamics)
    # In the precision of the weights, or a path would change it on the way.
    times = check_times(times).astype(walkers.log_weights.dtype)
    step_args = _check_step_args(step_args, times.shape[0])
    check_ends(path, walkers.position, is_strict=False)
    return _anneal(rng_key, walkers, path, times, dynamics, step_args, progress)


def _check_step_args(step_args: tuple[Any, ...] | None, num_steps: int) -> tuple[Any, ...]:
    if step_args is None:
        return ()
    # A NamedTuple is a tuple too, but one argument.
    if type(step_args) is not tuple:
        raise ValueError(
            "step_args must be a tuple of what the kernel takes behind its fixed arguments; "
            f"got {type(step_args).__name__}: write (step_args,) if it is one argument"
        )
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(step_args)]
    if any(shape[:1] != (num_steps,) for shape in shapes):
        raise ValueError(
            f"every leaf of step_args must have the leading axis K = {num_steps}, an entry for "
            f"each of the times; got shapes {shapes}"
        )
    return step_args


@compiled_once
def _anneal(
    rng_key: PRNGKey,
    walkers: Walkers,
    path: Path,
    times: Array,
    dynamics: Dynamics,
    step_args: tuple[Any, ...],
    progress: Callable[[float], None] | None,
) -> tuple[Walkers, AnnealingInfo]:
    def step(walkers: Walkers, inputs: tuple) -> tuple[Walkers, AnnealingInfo]:
        key, time, args = inputs
        key_move, key_resample = jax.random.split(key)
        at_step = dynamics._replace(kernel_args=(*dynamics.kernel_args, *args))
        walkers, num_dead = advance(key_move, walkers, path(time), at_step)
        walkers, info = walkers_lib.resample(key_resample, walkers, dynamics.resampler)
        return walkers, AnnealingInfo(
            info.effective_sample_size,
            info.shadow_effective_sample_size,
            info.is_resampled,
            num_dead,
            walkers.leakage,
        )

    keys = jax.random.split(rng_key, times.shape[0])
    return _scan(step, walkers, (keys, times, step_args), times.shape[0], progress)


_NUM_REPORTS = 50


def _scan(
    step: Callable,
    carry: object,
    inputs: object,
    num_steps: int,
    progress: Callable[[float], None] | None,
) -> tuple:
    """``jax.lax.scan`` that reports its progress."""
    if progress is None:
        return jax.lax.scan(step, carry, inputs)
    num_reports = min(num_steps, _NUM_REPORTS)
    is_reported = np.diff(np.arange(num_steps + 1) * num_reports // num_steps) > 0
    report = partial(jax.debug.callback, partial(progress, 1 / num_reports))

    def step_and_report(carry: object, inputs: tuple) -> tuple:
        result = step(carry, inputs[0])
        jax.lax.cond(inputs[1], report, lambda: None)
        return result

    return jax.lax.scan(step_and_report, carry, (inputs, jnp.asarray(is_reported)))


def relax(
    rng_key: PRNGKey,
    positions: Position,
    logdensity_fn: LogDensityFn,
    dynamics: Dynamics,
    num_steps: int,
    *,
    progress: Callable[[float], None] | None = None,
) -> tuple[Position, Array]:
    """Relax positions towards a fixed target by Metropolis-adjusted moves.

    The target is left exactly invariant (with ULA as the kernel this is MALA, with kinetic
    Langevin generalized HMC; a Markov kernel is taken as it is), so long relaxation has no bias
    from the step size. It does not cross between modes that are far apart: how many walkers
    are in which mode is inherited from the start.

    Parameters
    ----------
    rng_key
        A key of ``jax.random``.
    positions
        Where to start, every leaf with leading axis N.
    logdensity_fn
        The target.
    dynamics
        Its kernel and the kernel's arguments are used.
    num_steps
        How many moves.
    progress
        As of :func:`anneal`.

    Returns
    -------
    tuple[Position, Array]
        The positions and the mean acceptance rate.

    Raises
    ------
    ValueError
        If the kernel is one that cannot be Metropolis-adjusted, or the dynamics are none.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from jarzynski_jax.walkers import langevin
    >>> target = lambda x: -jnp.sum(x**2) / 2
    >>> x, rate = relax(jax.random.key(0), jnp.zeros((500, 1)), target, langevin(0.1), 100)
    >>> bool(abs(jnp.var(x) - 1) < 0.3), bool(rate > 0.9)
    (True, True)
    """
    check_dynamics(dynamics)
    return _relax(rng_key, positions, logdensity_fn, dynamics, num_steps, progress)


@compiled_once
def _relax(
    rng_key: PRNGKey,
    positions: Position,
    logdensity_fn: LogDensityFn,
    dynamics: Dynamics,
    num_steps: int,
    progress: Callable[[float], None] | None,
) -> tuple[Position, Array]:
    kernel = metropolis.adjust(dynamics.kernel)
    states = jax.vmap(lambda x: dynamics.kernel_init(x, logdensity_fn))(positions)
    num_walkers = jax.tree.leaves(positions)[0].shape[0]

    def step(states: object, key: PRNGKey) -> tuple[object, Array]:
        keys = jax.random.split(key, num_walkers)
        states, info = jax.vmap(
            lambda key, state: kernel(key, state, logdensity_fn, *dynamics.kernel_args)
        )(keys, states)
        return states, jnp.mean(info.acceptance_rate)

    keys = jax.random.split(rng_key, num_steps)
    states, rates = _scan(step, states, keys, num_steps, progress)
    return states.position, jnp.mean(rates)


class Work(NamedTuple):
    """Work of independent walkers in nats, ``inf`` for one that died.

    forward
        From samples of the first density, shape ``(n,)``.
    reverse
        From samples of the last density along the reversed path, shape ``(m,)``.
    """

    forward: Array
    reverse: Array


def work(
    rng_key: PRNGKey,
    first_positions: Position,
    last_positions: Position,
    path: Path,
    times: Array,
    dynamics: Dynamics,
    reverse_dynamics: Dynamics | None = None,
    step_args: tuple[Any, ...] | None = None,
) -> Work:
    """Work in both directions, for :mod:`jarzynski_jax.free_energy`.

    Reverse runs are forward runs turned round in time, move for move; walkers are never
    resampled, whatever the dynamics say, so that they are independent.

    Parameters
    ----------
    rng_key
        A key of ``jax.random``.
    first_positions
        Exact, independent samples of ``path(0)``, leading axis n. Of a state that is one well
        of several, samples of that well alone: those that were left in or fell into others
        shift ΔF, and no doubt of :mod:`~jarzynski_jax.free_energy` tells.
    last_positions
        Independent samples of ``path(times[-1])``, leading axis m.
    path
        ``path(t) -> logdensity_fn``.
    times
        The path's parameter after each step, shape ``(K,)``, ascending, as for :func:`anneal`:
        runs start at ``path(0)``. (A first time of 0 is a step at rest, and does no harm.)
    dynamics
        How the walkers move.
    reverse_dynamics
        How they move back, with as many moves at each time. The same if None, which holds for
        unadjusted and kinetic Langevin and for Markov kernels with detailed balance, such as
        MALA, HMC and NUTS. Escorted walkers need the drift -b, a bijection its inverse, a
        sequence its stages in reverse order.
    step_args
        As of :func:`anneal`. A move back is given those of the move that it undoes: step sizes,
        or the parameters of a map, of which the reverse dynamics take the inverse. (A drift
        that depends on time belongs to both ends of a move, and is not turned round by this.)

    Returns
    -------
    Work
        Forward and reverse; ΔF is that from the first density to the last.

    Raises
    ------
    ValueError
        If the times do not ascend, the dynamics are none, or the kernel is one that does not
        undo itself and no ``reverse_dynamics`` are given, or ``step_args`` are not as of
        :func:`anneal`.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from jarzynski_jax import free_energy
    >>> from jarzynski_jax.walkers import langevin
    >>> from jarzynski_jax.annealing.paths import geometric_path
    >>> path = geometric_path(lambda x: -(x**2) / 2, lambda x: -2 * x**2)
    >>> x = jax.random.normal(jax.random.key(0), (2, 1000))
    >>> times = jnp.linspace(0, 1, 21)[1:]
    >>> found = work(jax.random.key(1), x[0], x[1] / 2, path, times, langevin(0.05))
    >>> bar = free_energy.estimate(*found).bar
    >>> bool(abs(bar.value - jnp.log(2)) < 4.5 * bar.standard_error)
    True
    """
    times = check_times(times, is_ascending=True)
    check_dynamics(dynamics)
    step_args = _check_step_args(step_args, times.shape[0])
    if reverse_dynamics is None:
        _check_undoes_itself(first_positions, path, dynamics, step_args)
        reverse_dynamics = dynamics
    check_dynamics(reverse_dynamics)
    check_ends(path, first_positions, is_strict=False)
    return _work(
        rng_key,
        first_positions,
        last_positions,
        path,
        times,
        dynamics,
        reverse_dynamics,
        step_args,
    )


@compiled_once
def _work(
    rng_key: PRNGKey,
    first_positions: Position,
    last_positions: Position,
    path: Path,
    times: Array,
    dynamics: Dynamics,
    reverse_dynamics: Dynamics,
    step_args: tuple[Any, ...],
) -> Work:
    # Target by target as the moves see them, so that they can be read backwards.
    start = jnp.zeros(1, times.dtype)
    targets = jnp.concatenate([start, jnp.repeat(times, dynamics.num_moves)])
    move_args = jax.tree.map(
        lambda leaf: jnp.repeat(jnp.asarray(leaf), dynamics.num_moves, axis=0), step_args
    )

    def run(
        key: PRNGKey,
        positions: Position,
        targets: Array,
        dynamics: Dynamics,
        move_args: tuple[Any, ...],
    ) -> Array:
        alone = dynamics._replace(num_moves=1, resampler=adaptive(systematic, 0.0))
        start = walkers_lib.init(positions, path(targets[0]), alone.kernel_init)
        return -anneal(key, start, path, targets[1:], alone, move_args)[0].log_weights

    key_forward, key_reverse = jax.random.split(rng_key)
    return Work(
        run(key_forward, first_positions, targets, dynamics, move_args),
        run(
            key_reverse,
            last_positions,
            targets[::-1],
            reverse_dynamics,
            _reversed(move_args),
        ),
    )


def _reversed(step_args: tuple[Any, ...]) -> tuple[Any, ...]:
    return jax.tree.map(lambda leaf: leaf[::-1], step_args)


def _check_undoes_itself(
    positions: Position, path: Path, dynamics: Dynamics, step_args: tuple[Any, ...]
) -> None:
    def move(key: PRNGKey, position: Position, args: tuple[Any, ...]) -> object:
        state = dynamics.kernel_init(position, path(0.0))
        return dynamics.kernel(key, state, path(0.0), *dynamics.kernel_args, *args)[1]

    one, args = jax.tree.map(lambda leaf: leaf[0], (positions, step_args))
    info = jax.eval_shape(move, jax.random.key(0), one, args)
    if not isinstance(info, (ULAInfo, KineticInfo, InvariantInfo)):
        raise ValueError(
            "reverse_dynamics must be given for a kernel that does not undo itself, with the "
            "drift -b for b, the inverse of a bijection, stages in reverse order; got a kernel "
            f"whose info is {type(info).__name__}"
        )


class LogPartitionBounds(NamedTuple):
    """Estimates of log Z of the last density, in nats; R independent replicates of each.

    forward
        Shape ``(R,)``; their expectation is at most log Z.
    backward
        From the forward runs' end points, shape ``(R,)``; their expectation is at least
        log Z, if the end points are samples of the last density.
    backward_from_relaxed
        From the samples given, likewise; None if none were.
    end_points
        Samples of the last density from the forward runs, leading axes ``(R, N)``; NaN where
        no walker arrived alive, for of the dead nothing is sampled.
    forward_info
        Diagnostics of the forward runs, every field of shape ``(R, K)``.
    backward_info
        Those of the backward runs, likewise.
    relaxed_info
        Those of the backward runs from relaxed samples; None if none were given.
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
    progress: Callable[[float], None] | None = None,
) -> LogPartitionBounds:
    """Bound log Z of the last density of a path from both sides.

    Parameters
    ----------
    rng_key
        A key of ``jax.random``.
    positions
        Exact, independent samples of ``path(0)``, leading axes ``(R, N)``: R independent
        replicates of N walkers each. Their spread tells the standard error. With
        ``num_replicates``, leading axis ``R N``.
    path
        ``path(t) -> logdensity_fn``.
    log_partition_function_0
        Exact log Z of ``path(0)``.
    dynamics
        How the walkers move and resample.
    num_steps
        K, steps of equal length along the path, each way. From a prior to a posterior that is
        much narrower they are ill spent; give ``times`` then, as
        :func:`~jarzynski_jax.annealing.schedules.anneal_adaptively` finds them.
    relaxed
        Samples of ``path(1)`` found without the forward runs, in the shape of ``positions``.
    times
        In place of ``num_steps``, the path's parameter after each step forward, shape ``(K,)``,
        ascending to 1, as for :func:`anneal`; from
        :func:`~jarzynski_jax.annealing.refine`, say. Backward runs take the same way back.
    step_args
        As of :func:`anneal`, in the order of the steps forward; a step back over the same
        interval is given the same. Whatever they are, both estimates of ratios of partition
        functions are unbiased. Which of them are useful is another matter: a drift or a map
        that takes the density along forward takes it the wrong way backward, and the upper
        bound is loose.
    num_replicates
        R, into which an ensemble of one leading axis is cut.
    progress
        As of :func:`anneal`, with shares of the steps of all replicates.

    Returns
    -------
    LogPartitionBounds
        All estimates, and the forward runs' end points.

    Raises
    ------
    ValueError
        If ``num_steps`` is below one, not one of ``num_steps`` and ``times`` is given, an end
        of the path makes no sense, ``positions`` look like one ensemble of vectors rather than
        replicates, the dynamics are none, or ``step_args`` are not as of :func:`anneal`.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
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
    step_args = _check_step_args(step_args, times.shape[0])
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
        progress,
    )


def _schedule(num_steps: int | None, times: Array | None) -> Array:
    if (num_steps is None) == (times is None):
        raise ValueError(
            "either num_steps or times must be given, and not both; got "
            f"num_steps={num_steps} and times={times}"
        )
    if times is not None:
        return check_times(times, is_ascending=True)
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
    progress: Callable[[float], None] | None,
) -> LogPartitionBounds:
    num_replicates = jax.tree.leaves(positions)[0].shape[0]
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
            lambda leaf: jnp.where(is_alive, leaf[ancestors], jnp.nan), end.position
        )
        return walkers_lib.log_partition_function(end), end_points, info

    def backward(inputs: tuple[PRNGKey, Position]) -> tuple[Array, AnnealingInfo]:
        key, positions = inputs
        start = walkers_lib.init(positions, path(1.0), dynamics.kernel_init)
        end, info = anneal(
            key, start, path, downward, dynamics, _reversed(step_args), progress=report
        )
        return -walkers_lib.log_partition_function(end), info

    # One replicate after the other: side by side, the branch that resamples would be taken
    # at every step by all of them.
    log_ratios, end_points, info = jax.lax.map(forward, (key_forward, key_end, positions))
    back, back_info = jax.lax.map(backward, (key_backward, end_points))
    last_args = jax.tree.map(lambda leaf: leaf[-1], step_args)
    at_last = dynamics._replace(kernel_args=(*dynamics.kernel_args, *last_args))
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


def part_of(
    progress: Callable[[float], None] | None, share: float
) -> Callable[[float], None] | None:
    """Report the progress of a part, which is ``share`` of the whole."""
    return None if progress is None else lambda made: progress(share * made)


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
