"""What a single move costs at a model that is at rest: whether a step size is too large."""

from collections.abc import Callable
from typing import TypeAlias

import jax

from jarzynski_jax import walkers, weights
from jarzynski_jax.types import Array, EnergyFn, Params, PRNGKey
from jarzynski_jax.walkers import Dynamics, advance, check_dynamics

__all__ = ["StepQuality", "step_quality"]

#: ``(rng_key, params, positions) -> fraction``.
StepQuality: TypeAlias = Callable[[PRNGKey, Params, Array], Array]


def step_quality(energy_fn: EnergyFn, dynamics: Dynamics) -> StepQuality:
    """Make a function that measures one move, for :class:`~jarzynski_jax.training.Watch`.

    Parameters
    ----------
    energy_fn
        ``(params, x) -> scalar``.
    dynamics
        How the training walkers move.

    Returns
    -------
    StepQuality
        ``(rng_key, params, positions) -> fraction``: the effective sample size that one move
        leaves of walkers of equal weight, which stand at ``positions``, shape ``(n, ...)``,
        e.g. data with their noise. Compiled. 1 for a kernel that leaves its target invariant.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from jarzynski_jax.walkers import langevin
    >>> energy_fn = lambda params, x: jnp.sum(x**2) / 2
    >>> x = jax.random.normal(jax.random.key(0), (1000, 2))
    >>> bad, good = (step_quality(energy_fn, langevin(h))(jax.random.key(1), (), x)
    ...              for h in (1.0, 0.1))
    >>> bool(bad < 0.7), bool(good > 0.99)
    (True, True)
    """
    check_dynamics(dynamics)
    one_move = dynamics._replace(num_moves=1)

    @jax.jit
    def measure(rng_key: PRNGKey, params: Params, positions: Array) -> Array:
        def logdensity_fn(x: Array) -> Array:
            return -energy_fn(params, x)

        ensemble = walkers.init(positions, logdensity_fn, one_move.kernel_init)
        moved, _ = advance(rng_key, ensemble, logdensity_fn, one_move)
        return weights.effective_sample_size(moved.log_weights)

    return measure
