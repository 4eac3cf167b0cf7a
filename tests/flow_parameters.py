"""Parameters of flows as tests want them: moved at random, or shrunk by weight decay."""

import jax
import jax.numpy as jnp
import optax

from jarzynski_jax import training


def random_params(params, key, size=0.1):
    """Parameters away from the identity."""
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    return treedef.unflatten(
        [
            leaf + size * jax.random.normal(key, leaf.shape, leaf.dtype)
            for key, leaf in zip(keys, leaves, strict=True)
        ]
    )


def after_weight_decay(flow, params):
    """Ten steps of adamw, which shrinks all that it is given, on ones in the plane."""
    optimizer = optax.adamw(0.1, weight_decay=0.1)
    objective = training.maximum_likelihood(flow.logdensity, optimizer)
    state = objective.init(jax.random.key(0), params)
    step = jax.jit(objective.step)
    for _ in range(10):
        state, _ = step(jax.random.key(0), state, jnp.ones((5, 2)))
    return state.params
