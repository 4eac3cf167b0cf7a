"""A training state spread over devices: walkers in equal parts, parameters on all of them."""

from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jarzynski_jax.walkers import Walkers, ensemble_shardings

__all__ = ["spread_state", "state_shardings"]


def state_shardings(state: Any, mesh: Mesh) -> Any:
    """Say for every leaf of a training state where it belongs.

    Walkers in equal parts, all else on every device. ValueError if the mesh has more than one
    axis, or does not divide a number of walkers.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax
    >>> from jarzynski_jax import training
    >>> from jarzynski_jax.walkers import make_mesh
    >>> from jarzynski_jax.walkers import langevin
    >>> energy_fn = lambda params, x: jnp.sum((x - params) ** 2) / 2
    >>> objective = training.jarzynski(energy_fn, optax.sgd(0.1), langevin(0.1))
    >>> x = jax.random.normal(jax.random.key(0), (500, 2))
    >>> state = objective.init(jax.random.key(1), jnp.zeros(2), x, x, jnp.log(2 * jnp.pi))
    >>> shardings = state_shardings(state, make_mesh(1))
    >>> tuple(shardings.walkers.log_weights.spec), tuple(shardings.params.spec)
    (('walkers',), ())
    """
    whole = NamedSharding(mesh, PartitionSpec())

    def of_part(part: Any) -> Any:
        return ensemble_shardings(part, mesh) if isinstance(part, Walkers) else whole

    return jax.tree.map(of_part, state, is_leaf=lambda part: isinstance(part, Walkers))


def spread_state(state: Any, mesh: Mesh) -> Any:
    """Spread the walkers of a training state over a mesh; errors as :func:`state_shardings`."""
    return jax.device_put(state, state_shardings(state, mesh))
