"""How an ensemble moves: a kernel, its arguments, how many moves, when to resample.

Training, the held-out ensemble and annealing all move walkers in the same way, so the choice
is one value, made once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.checks import check_resampler
from jarzynski_jax.kernels import kinetic, ula
from jarzynski_jax.kernels.arithmetic import check_friction, check_step_size, is_lost
from jarzynski_jax.kernels.move import Move, check_move
from jarzynski_jax.kernels.preconditioning import Preconditioner
from jarzynski_jax.resampling import AdaptiveResampler, adaptive, systematic
from jarzynski_jax.types import Array, KernelInit, LogDensityFn, Position, PRNGKey, Scalar
from jarzynski_jax.walkers.blocks import Average, Statistic, choose_block_size, scan_blocks
from jarzynski_jax.walkers.ensemble import Walkers, lost_log_weight, move_each

__all__ = [
    "Dynamics",
    "advance",
    "advance_and_average",
    "check_dynamics",
    "kinetic_langevin",
    "langevin",
]


class Dynamics(NamedTuple):
    """How an ensemble moves: ``num_moves`` moves under each new target, then the resampler.

    ``block_size`` is how many walkers move at once on each device; None for a choice by the
    size of the cache. It sets the peak memory, and no result depends on it but for rounding.
    """

    move: Move
    num_moves: int = 1
    resampler: AdaptiveResampler = adaptive(systematic, 0.5)
    block_size: int | None = None

    @property
    def kernel_init(self) -> KernelInit:
        """``(position, logdensity_fn) -> state``, for one walker."""
        return self.move.init

    def with_args(self, *args: Any) -> "Dynamics":
        """The same, with further arguments for the kernel."""
        return self._replace(move=self.move._replace(args=(*self.move.args, *args)))


def langevin(
    step_size: Scalar | None,
    num_moves: int = 1,
    resampler: AdaptiveResampler = adaptive(systematic, 0.5),  # noqa: B008
    block_size: int | None = None,
) -> Dynamics:
    """Unadjusted Langevin, systematic resampling below half of the walkers.

    ValueError if a number is not positive, or the resampler has no threshold.

    Parameters
    ----------
    step_size
        h, the time step: drift h, noise sqrt(2h). Keep h below a fifth of the smallest
        variance of the target; h above twice that variance is unstable. None for one of its
        own at each step, the ``step_args`` ``(h,)`` of :func:`jarzynski_jax.annealing.anneal`.

    Examples
    --------
    >>> langevin(step_size=0.02).num_moves
    1
    """
    if step_size is not None:
        check_step_size(step_size)
    check_resampler(resampler)
    _check_sizes(num_moves, block_size)
    move = ula.as_move() if step_size is None else ula.as_move(step_size)
    return Dynamics(move, num_moves, resampler, block_size)


def kinetic_langevin(
    step_size: Scalar | None,
    friction: Scalar,
    num_moves: int = 1,
    resampler: AdaptiveResampler = adaptive(systematic, 0.5),  # noqa: B008
    block_size: int | None = None,
    preconditioner: Preconditioner | None = None,
) -> Dynamics:
    """Kinetic Langevin, systematic resampling below half of the walkers.

    Walkers have a velocity and keep to their course for a while, so wide directions take them
    fewer steps than unadjusted Langevin needs; and its weights spread far less for a step of
    the same length, the more so the more dimensions there are. One gradient a step, as there.
    ValueError as of :func:`langevin`.

    Parameters
    ----------
    step_size
        h, the time step, in units of a standard deviation. Keep h below 0.4 times the smallest
        standard deviation of the target, in more than 120 dimensions d below
        :math:`0.4 (120 / d)^{1/4}` times that; h above twice the deviation is unstable. None
        for one of its own at each step, as of :func:`langevin`.
    friction
        γ, the rate at which velocities are forgotten. One over the largest standard deviation
        of the target is a good choice.
    preconditioner
        C, from :func:`jarzynski_jax.kernels.preconditioning.preconditioner`: standard
        deviations are then those of :math:`C^{-1/2} x`. None for the identity.

    Examples
    --------
    >>> kinetic_langevin(step_size=0.12, friction=0.5).move.args
    (0.12, 0.5, None)
    """
    if step_size is not None:
        check_step_size(step_size)
    check_friction(friction)
    check_resampler(resampler)
    _check_sizes(num_moves, block_size)
    if step_size is None:
        move = kinetic.as_move(friction, preconditioner)._replace(
            kernel=_kinetic_with_step_size_last
        )
    else:
        move = kinetic.as_move(step_size, friction, preconditioner)
    return Dynamics(move, num_moves, resampler, block_size)


def _kinetic_with_step_size_last(
    rng_key: PRNGKey,
    state: kinetic.KineticState,
    logdensity_fn: LogDensityFn,
    friction: Scalar,
    preconditioner: Preconditioner | None,
    step_size: Scalar,
) -> tuple[kinetic.KineticState, kinetic.KineticInfo]:
    kernel = kinetic.build_kernel()
    return kernel(rng_key, state, logdensity_fn, step_size, friction, preconditioner)


def _check_sizes(num_moves: int, block_size: int | None) -> None:
    if num_moves < 1:
        raise ValueError(f"num_moves must be at least 1; got {num_moves}")
    if block_size is not None and block_size < 1:
        raise ValueError(f"block_size must be at least 1; got {block_size}")


def check_dynamics(dynamics: Any) -> None:
    """Check that these are dynamics, of a kernel and a resampler; else a ValueError.

    Examples
    --------
    >>> check_dynamics(langevin)
    Traceback (most recent call last):
        ...
    ValueError: dynamics must be a Dynamics, such as dynamics.langevin(step_size); got function
    """
    if not isinstance(dynamics, Dynamics):
        raise ValueError(
            "dynamics must be a Dynamics, such as dynamics.langevin(step_size); got "
            f"{type(dynamics).__name__}"
        )
    check_move(dynamics.move)
    check_resampler(dynamics.resampler)


def advance(
    rng_key: PRNGKey, walkers: Walkers, logdensity_fn: LogDensityFn, dynamics: Dynamics
) -> tuple[Walkers, Array]:
    """Move every walker ``num_moves`` times under a new target; do not resample.

    Returns the walkers, weighed by the new target, and how many of them died on the way.

    Examples
    --------
    >>> from jarzynski_jax import walkers
    >>> target, dynamics = (lambda x: -(x**2) / 2), langevin(0.1, num_moves=3)
    >>> ensemble = walkers.init(jnp.zeros(8), target, dynamics.kernel_init)
    >>> ensemble, num_dead = advance(jax.random.key(0), ensemble, target, dynamics)
    >>> int(num_dead)
    0
    """

    def statistic(position: Position, weights: Array) -> tuple[()]:
        del position, weights
        return ()

    walkers, num_dead, _ = advance_and_average(
        rng_key, walkers, logdensity_fn, dynamics, statistic
    )
    return walkers, num_dead


def advance_and_average(
    rng_key: PRNGKey,
    walkers: Walkers,
    logdensity_fn: LogDensityFn,
    dynamics: Dynamics,
    statistic: Statistic,
    weigh: Callable[[Array], Array] = lambda log_weights: log_weights,
) -> tuple[Walkers, Array, Any]:
    r"""Move every walker as :func:`advance` does, and average over where they come to stand.

    Both are done block by block. So what the statistic has in common with the last move, say
    the energies whose gradient it takes, XLA evaluates once; and neither needs more memory than
    a block does. Returns what :func:`advance` does, and :math:`\sum_i w_i f(X_i) / \sum_i w_i`.

    Parameters
    ----------
    statistic
        ``(position, weights) -> sums``: :math:`\sum_i w_i f(X_i)` over the walkers of a block,
        positions of shape ``(n, ...)`` and weights of shape ``(n,)``; any pytree.
    weigh
        ``log_weights -> log_weights`` by which is averaged; the walkers' own are as they are.

    Examples
    --------
    >>> from jarzynski_jax import walkers
    >>> target, dynamics = (lambda x: -(x**2) / 2), langevin(0.1)
    >>> x = jax.random.normal(jax.random.key(0), (5000,))
    >>> ensemble, square = walkers.init(x, target, dynamics.kernel_init), lambda x, w: w @ x**2
    >>> key = jax.random.key(1)
    >>> _, _, variance = advance_and_average(key, ensemble, target, dynamics, square)
    >>> bool(abs(variance - 1) < 0.1)
    True
    """
    check_dynamics(dynamics)

    def move(block: tuple, keys: PRNGKey) -> tuple[tuple, None]:
        state, log_weights, was_lost = block
        state, log_weights, info = move_each(
            keys, state, log_weights, logdensity_fn, dynamics.move.kernel, *dynamics.move.args
        )
        return (state, log_weights, was_lost | is_lost(info)), None

    def advance_block(average: Average, inputs: tuple) -> tuple[Average, tuple]:
        keys, state, log_weights = inputs
        moved = state, log_weights, jnp.zeros(log_weights.shape, bool)
        if dynamics.num_moves > 1:
            moved, _ = jax.lax.scan(move, moved, jnp.moveaxis(keys[:, :-1], 1, 0))
        # The last move stands outside the loop, so that XLA can share its evaluation of the
        # energies with the statistic.
        (state, log_weights, lost), _ = move(moved, keys[:, -1])
        average = average.add(state.position, weigh(log_weights), statistic)
        return average, (state, log_weights, lost)

    num_walkers = walkers.log_weights.shape[0]
    # A walker's random numbers do not depend on the blocks.
    keys = jax.vmap(lambda key: jax.random.split(key, num_walkers), out_axes=1)(
        jax.random.split(rng_key, dynamics.num_moves)
    )
    inputs = keys, walkers.state, walkers.log_weights
    block_size = dynamics.block_size or choose_block_size(inputs)
    start = Average.nothing(walkers.position, walkers.log_weights, statistic)
    average, moved = scan_blocks(advance_block, start, inputs, block_size)
    state, log_weights, lost = moved
    num_dead = jnp.sum(jnp.isfinite(walkers.log_weights) & ~jnp.isfinite(log_weights))
    leakage = walkers.leakage + lost_log_weight(walkers.log_weights, lost)
    moved = walkers._replace(state=state, log_weights=log_weights, leakage=leakage)
    return moved, num_dead, average.mean()
