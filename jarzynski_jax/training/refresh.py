r"""Fresh walkers during training, annealed from the base to the model as it is.

The model reacts to the very walkers that weigh it: each update pushes the energy up where they
stand, and more so for some modes than for others. So the weights of walkers that have trained
for long say too little of the mass of those modes, and where walkers seldom cross between modes
nothing in the ensemble can tell. Walkers that are annealed from the base along

.. math:: \ell_t = (1 - t)\, \ell_{\rm base} - t\, U_\theta

took no part in how :math:`\theta` came about: their weights are exact for it, and the mean of
their :math:`e^A` is unbiased for :math:`Z_\theta`. From them training goes on as it began.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
from jax import random

from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax.annealing import Path, anneal
from jarzynski_jax.density import Density, check_exact
from jarzynski_jax.energies import gaussian_base
from jarzynski_jax.energies.gaussian_base import GaussianBase
from jarzynski_jax.training.bounding import path_from_base
from jarzynski_jax.training.energy_based import TrainingState
from jarzynski_jax.types import EnergyFn, Params, PRNGKey
from jarzynski_jax.walkers import Dynamics, Walkers, check_dynamics

__all__ = [
    "Refresh",
    "check_refreshable",
    "refresh_along_path",
    "refresh_from_base",
    "refresh_state",
]

#: ``(rng_key, params, num_walkers) -> Walkers``, properly weighted for the model.
Start: TypeAlias = Callable[[PRNGKey, Params, int], Walkers]


class Refresh(NamedTuple):
    """When :func:`jarzynski_jax.training.fit` takes fresh walkers, and where from.

    every
        After so many updates; not after the last.
    start
        ``(rng_key, params, num_walkers) -> Walkers``, properly weighted for the model.
    """

    every: int
    start: Start


def refresh_along_path(
    base_of: Callable[[Params], Density],
    path_to: Callable[[Params], Path],
    dynamics: Dynamics,
    num_steps: int,
    every: int,
) -> Refresh:
    """Anneal fresh walkers along any path that ends at the model.

    ValueError if a number is below one, or the dynamics are none.

    Parameters
    ----------
    base_of
        ``params -> density``: where the path starts, with exact samples and an exact log Z.
    path_to
        ``params -> path``; at t = 1 the path is ``-U`` of these parameters.
    num_steps
        Of annealing, at equal steps of t.
    every
        After how many updates.

    Examples
    --------
    A restricted Boltzmann machine, from where its units are independent:

    >>> import jax, numpy as np
    >>> from jarzynski_jax import walkers
    >>> from jarzynski_jax.walkers import Dynamics
    >>> from jarzynski_jax.energies import restricted_boltzmann as rbm
    >>> from jarzynski_jax.kernels import gibbs
    >>> from jarzynski_jax.resampling import adaptive, systematic
    >>> data = np.array([[0.0, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 1]])
    >>> params = rbm.init(jax.random.key(0), 3, 2, data)
    >>> refresh = refresh_along_path(
    ...     rbm.base_density,
    ...     lambda params: rbm.parameter_path(rbm.base(params), params),
    ...     Dynamics(gibbs.as_move(2), 1, adaptive(systematic, 0.5)),
    ...     num_steps=20,
    ...     every=100,
    ... )
    >>> fresh = refresh.start(jax.random.key(1), params, 2000)
    >>> exact = rbm.log_partition_function(params)
    >>> bool(abs(walkers.log_partition_function(fresh) - exact) < 0.05)
    True
    """
    check_dynamics(dynamics)
    for name, value in (("num_steps", num_steps), ("every", every)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}")

    def start(rng_key: PRNGKey, params: Params, num_walkers: int) -> Walkers:
        key_draw, key_anneal = random.split(rng_key)
        path = path_to(params)
        sample, log_z = check_exact(base_of(params))
        positions = sample(key_draw, num_walkers)
        walkers = walkers_lib.init(positions, path(0.0), dynamics.kernel_init, log_z)
        times = jnp.linspace(0, 1, num_steps + 1)[1:]
        return anneal(key_anneal, walkers, path, times, dynamics)[0]

    return Refresh(every, start)


def refresh_from_base(
    energy_fn: EnergyFn, base: GaussianBase, dynamics: Dynamics, num_steps: int, every: int
) -> Refresh:
    """Anneal fresh walkers from the Gaussian that the model sits on.

    As :func:`refresh_along_path`.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from jarzynski_jax import walkers
    >>> from jarzynski_jax.walkers import langevin
    >>> from jarzynski_jax.energies import GaussianBase
    >>> base = GaussianBase(jnp.zeros(2), jnp.array(1.0), jnp.array(1.0))
    >>> energy_fn = lambda params, x: params * jnp.sum(x**2) / 2
    >>> refresh = refresh_from_base(energy_fn, base, langevin(0.05), num_steps=50, every=100)
    >>> fresh = refresh.start(jax.random.key(0), jnp.array(4.0), 2000)
    >>> exact = jnp.log(2 * jnp.pi / 4)
    >>> bool(abs(walkers.log_partition_function(fresh) - exact) < 0.1)
    True
    """
    path_to = partial(path_from_base, base, energy_fn)
    return refresh_along_path(
        lambda _: gaussian_base.density(base), path_to, dynamics, num_steps, every
    )


def refresh_state(rng_key: PRNGKey, state: TrainingState, start: Start) -> TrainingState:
    """Replace the walkers of a training state, the held-out ones too.

    Parameters and optimizer stay as they are.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax
    >>> from jarzynski_jax import training
    >>> from jarzynski_jax.walkers import langevin
    >>> from jarzynski_jax.energies import GaussianBase
    >>> base = GaussianBase(jnp.zeros(2), jnp.array(1.0), jnp.array(1.0))
    >>> energy_fn = lambda params, x: params * jnp.sum(x**2) / 2
    >>> objective = training.jarzynski(energy_fn, optax.sgd(0.1), langevin(0.05))
    >>> x = jax.random.normal(jax.random.key(0), (500, 2))
    >>> state = objective.init(jax.random.key(1), jnp.array(1.0), x, x, jnp.log(2 * jnp.pi))
    >>> refresh = refresh_from_base(energy_fn, base, langevin(0.05), num_steps=50, every=100)
    >>> refresh_state(jax.random.key(2), state, refresh.start).walkers.log_weights.shape
    (500,)
    """
    key_training, key_held_out = random.split(rng_key)

    def fresh(key: PRNGKey, walkers: Walkers | None) -> Walkers | None:
        if walkers is None:
            return None
        return start(key, state.params, walkers.log_weights.shape[0])

    return state._replace(
        walkers=fresh(key_training, state.walkers),
        held_out=fresh(key_held_out, state.held_out),
    )


def check_refreshable(state: Any) -> None:
    """Raise a ``ValueError`` if a state has no walkers that could be replaced."""
    if not isinstance(state, TrainingState):
        raise ValueError(
            "only walkers of an energy-based model can be refreshed; got the state "
            f"{type(state).__name__}, which has none"
        )
