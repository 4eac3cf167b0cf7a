"""Metropolis-adjusted moves at a target at rest."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jarzynski_jax.annealing.anneal import scan_along
from jarzynski_jax.compiling import compiled_once
from jarzynski_jax.kernels import metropolis
from jarzynski_jax.types import Array, LogDensityFn, Position, PRNGKey
from jarzynski_jax.walkers import Dynamics, check_dynamics

__all__ = [
    "relax",
]


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
    from the step size. It does not cross between modes that are far apart: how many walkers are
    in which mode is inherited from the start. Returns the positions and the mean acceptance
    rate. ValueError if the kernel is one that cannot be Metropolis-adjusted, or the dynamics
    are none.

    Examples
    --------
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
    kernel = metropolis.adjust(dynamics.move)
    states = jax.vmap(lambda x: dynamics.kernel_init(x, logdensity_fn))(positions)
    num_walkers = jax.tree.leaves(positions)[0].shape[0]

    def step(states: object, key: PRNGKey) -> tuple[object, Array]:
        keys = jax.random.split(key, num_walkers)
        states, info = jax.vmap(
            lambda key, state: kernel(key, state, logdensity_fn, *dynamics.move.args)
        )(keys, states)
        return states, jnp.mean(info.acceptance_rate)

    keys = jax.random.split(rng_key, num_steps)
    states, rates = scan_along(step, states, keys, num_steps, progress)
    return states.position, jnp.mean(rates)
