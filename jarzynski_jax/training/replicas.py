"""Many models at once, by one objective: alike but for their random numbers."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.training.objective import Objective
from jarzynski_jax.types import Array, Params, PRNGKey

__all__ = ["ReplicaState", "replicate"]


class ReplicaState(NamedTuple):
    """The number of updates made, and the states of all replicas, every leaf on an axis R."""

    step: Array
    replicas: Any

    @property
    def params(self) -> Params:
        """Of all replicas, every leaf with the leading axis R."""
        return self.replicas.params


def replicate(objective: Objective, num_replicas: int) -> Objective:
    """Train R models side by side, each on data and random numbers of its own.

    A batch is divided among them, so that ``batch_size`` must be a multiple of R; metrics are
    means over the replicas. One compiled program trains them all. ValueError if R is below one
    or does not divide the batch.

    Parameters
    ----------
    objective
        Of one model. Its monitor is taken over: it sees the means.
    num_replicas
        R.

    Returns
    -------
    Objective
        ``init(rng_key, params, *args)``, with parameters that have the leading axis R on every
        leaf; the other arguments are those of the objective's own ``init``, for all alike.

    Examples
    --------
    >>> import optax
    >>> from jax.scipy.stats import norm
    >>> from jarzynski_jax import training
    >>> one = training.maximum_likelihood(lambda mean, x: norm.logpdf(x, mean), optax.sgd(0.1))
    >>> many = replicate(one, 3)
    >>> state = many.init(jax.random.key(0), jnp.array([-1.0, 0.0, 5.0]))
    >>> data = jax.random.normal(jax.random.key(1), (200,))
    >>> key = jax.random.key(2)
    >>> result = training.fit(key, many, state, data, num_steps=100, batch_size=60)
    >>> bool(jnp.all(jnp.abs(result.state.params) < 0.5))
    True
    """
    if num_replicas < 1:
        raise ValueError(f"num_replicas must be at least 1; got {num_replicas}")

    def init(rng_key: PRNGKey, params: Params, *args: Any) -> ReplicaState:
        shapes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(params)}
        if shapes != {(num_replicas,)}:
            raise ValueError(
                f"parameters of {num_replicas} replicas must have that leading axis on every "
                f"leaf; got {sorted(shapes)}"
            )
        keys = jax.random.split(rng_key, num_replicas)
        states = jax.vmap(lambda key, params: objective.init(key, params, *args))(keys, params)
        return ReplicaState(states.step[0], states)

    def step(rng_key: PRNGKey, state: ReplicaState, batch: Any) -> tuple[ReplicaState, Any]:
        keys = jax.random.split(rng_key, num_replicas)
        divided = None if batch is None else jax.tree.map(_divide, batch)
        axes = (0, 0, None if batch is None else 0)
        states, metrics = jax.vmap(objective.step, axes)(keys, state.replicas, divided)
        means = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), metrics)
        return ReplicaState(states.step[0], states), means

    def _divide(leaf: Array) -> Array:
        if leaf.shape[0] % num_replicas:
            raise ValueError(
                f"a batch must divide into {num_replicas} of one size, one a replica; got "
                f"{leaf.shape[0]} data"
            )
        return leaf.reshape(num_replicas, -1, *leaf.shape[1:])

    return objective._replace(init=init, step=step)
