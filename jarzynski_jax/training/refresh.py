r"""Fresh walkers during training, annealed from the base to the model as it is.

The model reacts to the very walkers that weigh it: each update pushes the energy up where they
stand, and more so for some modes than for others. So the weights of walkers that have trained
for long say too little of the mass of those modes, and nothing in the ensemble can tell, for
walkers seldom cross between modes. Walkers that are annealed from the base along

.. math:: \ell_t = (1 - t)\, \ell_{\rm base} - t\, U_\theta

took no part in how :math:`\theta` came about: their weights are exact for it, and the mean of
their :math:`e^A` is unbiased for :math:`Z_\theta`. From them training goes on as it began.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
from jax import random

from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax.annealing import anneal
from jarzynski_jax.dynamics import Dynamics
from jarzynski_jax.energies import gaussian_base
from jarzynski_jax.energies.gaussian_base import GaussianBase
from jarzynski_jax.paths import geometric_path
from jarzynski_jax.training.algorithm import TrainingState
from jarzynski_jax.types import EnergyFn, Params, PRNGKey
from jarzynski_jax.walkers import Walkers

__all__ = ["Refresh", "refresh_from_base", "refresh_state"]

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


def refresh_from_base(
    energy_fn: EnergyFn, base: GaussianBase, dynamics: Dynamics, num_steps: int, every: int
) -> Refresh:
    """Anneal fresh walkers from the Gaussian that the model sits on.

    Parameters
    ----------
    energy_fn
        ``(params, x) -> scalar``.
    base
        The Gaussian.
    dynamics
        How the walkers move and resample on their way.
    num_steps
        Of annealing, at equal steps of t.
    every
        After how many updates.

    Returns
    -------
    Refresh
        For :func:`jarzynski_jax.training.fit`.

    Raises
    ------
    ValueError
        If a number is below one.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from jarzynski_jax import walkers
    >>> from jarzynski_jax.dynamics import langevin
    >>> from jarzynski_jax.energies import GaussianBase
    >>> base = GaussianBase(jnp.zeros(2), jnp.array(1.0), jnp.array(1.0))
    >>> energy_fn = lambda params, x: params * jnp.sum(x**2) / 2
    >>> refresh = refresh_from_base(energy_fn, base, langevin(0.05), num_steps=50, every=100)
    >>> fresh = refresh.start(jax.random.key(0), jnp.array(4.0), 2000)
    >>> exact = jnp.log(2 * jnp.pi / 4)
    >>> bool(abs(walkers.log_partition_function(fresh) - exact) < 0.1)
    True
    """
    for name, value in (("num_steps", num_steps), ("every", every)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}")

    def start(rng_key: PRNGKey, params: Params, num_walkers: int) -> Walkers:
        key_sample, key_anneal = random.split(rng_key)
        path = geometric_path(
            lambda x: -gaussian_base.energy(base, x), lambda x: -energy_fn(params, x)
        )
        walkers = walkers_lib.init(
            gaussian_base.sample(key_sample, base, num_walkers),
            path(0.0),
            dynamics.kernel_init,
            gaussian_base.log_partition_function(base),
        )
        times = jnp.linspace(0, 1, num_steps + 1)[1:]
        return anneal(key_anneal, walkers, path, times, dynamics)[0]

    return Refresh(every, start)


def refresh_state(rng_key: PRNGKey, state: TrainingState, start: Start) -> TrainingState:
    """Replace the walkers of a training state, the held-out ones too.

    Parameters
    ----------
    rng_key
        A key of ``jax.random``.
    state
        From a training algorithm.
    start
        Of a :class:`Refresh`.

    Returns
    -------
    TrainingState
        Parameters and optimizer as they were.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax
    >>> from jarzynski_jax import training
    >>> from jarzynski_jax.dynamics import langevin
    >>> from jarzynski_jax.energies import GaussianBase
    >>> base = GaussianBase(jnp.zeros(2), jnp.array(1.0), jnp.array(1.0))
    >>> energy_fn = lambda params, x: params * jnp.sum(x**2) / 2
    >>> algorithm = training.jarzynski(energy_fn, optax.sgd(0.1), langevin(0.05))
    >>> x = jax.random.normal(jax.random.key(0), (500, 2))
    >>> state = algorithm.init(jax.random.key(1), jnp.array(1.0), x, x, jnp.log(2 * jnp.pi))
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
