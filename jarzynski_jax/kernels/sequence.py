r"""A sequence of kernels is a kernel: the moves follow each other, the increments add.

The first stage goes from the old target to the new one, the others stay at the new one. So
bijections with Langevin between them are a stochastic normalizing flow, and a few moves of one
kernel mix with those of another. Where a stage needs what the one before does not carry, such
as a gradient, it is evaluated; XLA shares what was evaluated there already.

Reference: Wu, Köhler and Noé, *Stochastic normalizing flows*, NeurIPS 2020.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.kernels.arithmetic import is_lost
from jarzynski_jax.kernels.binding import SamplingAlgorithm, bind
from jarzynski_jax.kernels.move import Move, check_move
from jarzynski_jax.types import (
    Array,
    ArrayTree,
    Kernel,
    KernelInit,
    LogDensityFn,
    Position,
    PRNGKey,
)

__all__ = [
    "SequenceInfo",
    "SequenceState",
    "as_move",
    "as_top_level_api",
    "build_init",
    "build_kernel",
]


class SequenceState(NamedTuple):
    """One walker between two runs of the sequence.

    ``first`` is the state of the first stage's kernel, at the walker's position;
    ``log_endpoint`` is that of the last stage, whose move ended there.
    """

    first: Any
    log_endpoint: Array

    @property
    def position(self) -> ArrayTree:
        """Where the walker stands."""
        return self.first.position

    @property
    def logdensity(self) -> Array:
        """The log-density there under the target by which it was last weighed."""
        return self.first.logdensity


class SequenceInfo(NamedTuple):
    """What one run of the sequence did: the sum over the stages, and their infos.

    The sum is ``-inf`` if the walker died in one of them.
    """

    log_weight_increment: Array
    is_finite: Array
    stages: tuple[Any, ...]

    @property
    def is_lost(self) -> Array:
        """Whether the stage that it died in lost it by its own move."""
        lost, is_alive = jnp.zeros_like(self.is_finite), jnp.ones_like(self.is_finite)
        for info in self.stages:
            lost |= is_alive & is_lost(info)
            is_alive &= jnp.isfinite(info.log_weight_increment)
        return lost


def build_init(stages: Sequence[Move]) -> KernelInit:
    """Build the function that weighs one walker for the first time.

    ValueError if there is no stage, or one is without a kernel.
    """
    _check(stages)

    def init(position: Position, logdensity_fn: LogDensityFn) -> SequenceState:
        first = stages[0].init(position, logdensity_fn)
        return SequenceState(first, first.log_endpoint)

    return init


def build_kernel(stages: Sequence[Move]) -> Kernel:
    """Build the kernel for one walker of stages in the order of their moves.

    Each starts afresh at every run of the sequence: a stage of
    :mod:`~jarzynski_jax.kernels.kinetic` draws its velocity anew. The kernel is
    ``kernel(rng_key, state, logdensity_fn, *stage_args)``; ``stage_args`` are none, or a tuple
    for each stage, else a ValueError, of what it takes behind its own ``args``: of a stochastic
    normalizing flow ``(layer,), (step_size,)``. ValueError if there is no stage, or one is
    without a kernel.

    Examples
    --------
    >>> from jarzynski_jax.kernels import bijection, ula
    >>> halve = lambda x: (x / 2, -jnp.log(2.0))
    >>> stages = [
    ...     Move(bijection.init, bijection.build_kernel(), (halve,)),
    ...     Move(ula.init, ula.build_kernel(), (0.05,)),
    ... ]
    >>> old, new = (lambda x: -(x**2) / 2), (lambda x: -2 * x**2)
    >>> state = build_init(stages)(jnp.array(1.0), old)
    >>> state, info = build_kernel(stages)(jax.random.key(0), state, new)
    >>> len(info.stages)
    2
    """
    _check(stages)

    def kernel(
        rng_key: PRNGKey,
        state: SequenceState,
        logdensity_fn: LogDensityFn,
        *stage_args: tuple[Any, ...],
    ) -> tuple[SequenceState, SequenceInfo]:
        given = _check_stage_args(stage_args, len(stages))
        current, infos = state.first, []
        keys = jax.random.split(rng_key, len(stages))
        for index, (key, stage, args) in enumerate(zip(keys, stages, given, strict=True)):
            if index > 0:
                current = stage.init(current.position, logdensity_fn)
            current, info = stage.kernel(key, current, logdensity_fn, *stage.args, *args)
            infos.append(info)
        log_endpoint = current.log_endpoint
        if len(stages) > 1:
            current = stages[0].init(current.position, logdensity_fn)
        increment = sum(info.log_weight_increment for info in infos)
        info = SequenceInfo(increment, jnp.isfinite(increment), tuple(infos))
        return SequenceState(current, log_endpoint), info

    return kernel


def as_move(stages: Sequence[Move]) -> Move:
    """Make a move of a sequence.

    That of more than one stage has no reverse: its target changes in the first stage, so that
    backwards it would have to change in the last, and a kernel is never told its old target. It
    leaves its target invariant if all stages do.
    """
    stages = tuple(stages)
    alone = stages[0].reverse if len(stages) == 1 else None
    reverse = None if alone is None else lambda move: as_move([alone(stages[0])])
    is_invariant = all(stage.is_invariant for stage in stages)
    is_differentiable = all(stage.is_differentiable for stage in stages)
    kernels = build_init(stages), build_kernel(stages)
    return Move(*kernels, (), reverse, None, is_invariant, is_differentiable)


def as_top_level_api(logdensity_fn: LogDensityFn, stages: Sequence[Move]) -> SamplingAlgorithm:
    """Bind the sequence to one target, as BlackJAX's samplers are."""
    return bind(build_init(stages), build_kernel(stages), logdensity_fn)


def _check(stages: Sequence[Move]) -> None:
    if not stages:
        raise ValueError("a sequence of kernels must have at least one stage; got none")
    for stage in stages:
        check_move(stage)


def _check_stage_args(stage_args: tuple, num_stages: int) -> tuple[tuple[Any, ...], ...]:
    if not stage_args:
        return ((),) * num_stages
    if len(stage_args) != num_stages or any(type(args) is not tuple for args in stage_args):
        raise ValueError(
            f"a sequence of {num_stages} kernels takes a tuple of arguments for each of them; "
            f"got {', '.join(type(args).__name__ for args in stage_args)}"
        )
    return stage_args
