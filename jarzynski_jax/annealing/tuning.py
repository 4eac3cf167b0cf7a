r"""Choosing a step size before it matters: the one with a wanted quality of a single step.

At a fixed target a kernel's :math:`\Delta A` is a Metropolis log-ratio. Its mean acceptance, or
the effective sample size that a step leaves, falls as the step size grows; the step size with
the value wanted is found by bisection. The weights are exact for any step size, so the choice
costs no exactness, if it is made on samples of its own and not on the walkers that use it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.compiling import compiled_once
from jarzynski_jax.kernels.move import Move, check_move
from jarzynski_jax.types import Array, LogDensityFn, Position, PRNGKey

__all__ = ["TunedStepSize", "acceptance_rate", "find_step_size"]

_SMALLEST, _LARGEST = 1e-8, 1e4
_NUM_BISECTIONS = 40


class TunedStepSize(NamedTuple):
    """The step size h found, and the measure ``reached`` there.

    It is far from what was wanted if no step size between 1e-8 and 1e4 has it.
    """

    step_size: Array
    reached: Array


def acceptance_rate(log_increments: Array) -> Array:
    r"""Mean acceptance of Metropolis' rule, :math:`\frac1N\sum_i \min(1, e^{\Delta A_i})`.

    The increments, shape ``(N,)``, are of a fixed target; walkers that died are rejections.

    Examples
    --------
    >>> float(acceptance_rate(jnp.array([1.0, jnp.log(0.5), -jnp.inf])))
    0.5
    """
    return jnp.mean(jnp.exp(jnp.minimum(log_increments, 0)))


def find_step_size(
    rng_key: PRNGKey,
    positions: Position,
    logdensity_fn: LogDensityFn,
    move: Move,
    *,
    target: float,
    measure: Callable[[Array], Array] = acceptance_rate,
) -> TunedStepSize:
    """Find the step size at which one step has the quality wanted.

    All step sizes are tried with the same random numbers. ValueError if ``target`` is not
    between 0 and 1, or the move is none or leaves its target invariant.

    Parameters
    ----------
    positions
        Samples of the target, leading axis N; not those that will be weighed.
    move
        Without its step size, which comes before its other arguments: ``ula.as_move()``,
        ``kinetic.as_move(friction)``.
    target
        The value wanted, between 0 and 1.
    measure
        ``log_increments -> value``, falling with the step size: :func:`acceptance_rate`, or
        :func:`jarzynski_jax.weights.effective_sample_size` for what a step leaves of the
        ensemble.

    Examples
    --------
    >>> from jarzynski_jax.kernels import ula
    >>> x = jax.random.normal(jax.random.key(0), (1000, 10))
    >>> found = find_step_size(
    ...     jax.random.key(1), x, lambda x: -jnp.sum(x**2) / 2, ula.as_move(), target=0.9
    ... )
    >>> bool(abs(found.reached - 0.9) < 0.01)
    True
    """
    if not 0 < target < 1:
        raise ValueError(f"target must be between 0 and 1; got {target}")
    check_move(move)
    if move.is_invariant:
        raise ValueError(
            "a kernel that leaves its target invariant has no increments at a fixed "
            "target, whatever its step size; tune it by its own acceptance rate"
        )
    # As an array, so that another target is not another program.
    wanted = jnp.asarray(target)
    return _find_step_size(rng_key, positions, logdensity_fn, move, wanted, measure)


@compiled_once
def _find_step_size(
    rng_key: PRNGKey,
    positions: Position,
    logdensity_fn: LogDensityFn,
    move: Move,
    target: Array,
    measure: Callable[[Array], Array],
) -> TunedStepSize:
    states = jax.vmap(lambda x: move.init(x, logdensity_fn))(positions)
    keys = jax.random.split(rng_key, jax.tree.leaves(positions)[0].shape[0])

    def measured(log_step_size: Array) -> Array:
        step_size = jnp.exp(log_step_size)
        _, info = jax.vmap(
            lambda key, state: move.kernel(key, state, logdensity_fn, step_size, *move.args)
        )(keys, states)
        return measure(info.log_weight_increment)

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        is_good = measured(middle) >= target
        return jnp.where(is_good, middle, low), jnp.where(is_good, high, middle)

    ends = jnp.log(jnp.array(_SMALLEST)), jnp.log(jnp.array(_LARGEST))
    low, _ = jax.lax.fori_loop(0, _NUM_BISECTIONS, halve, ends)
    return TunedStepSize(jnp.exp(low), measured(low))
