"""All states of a small lattice of spins: their energies, and their shares among walkers."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import logsumexp


@cache
def states(shape):
    """All of them, shape (2^N, *shape), int8; the i-th bit of its number is the i-th spin."""
    bits = np.arange(2 ** np.prod(shape))[:, None] >> np.arange(np.prod(shape))
    return (2 * (bits & 1) - 1).astype(np.int8).reshape(-1, *shape)


@cache
def energies(shape):
    """H = -Σ over bonds, each once, by going from site to site."""
    spins = states(shape).astype(int)
    total = np.zeros(len(spins), int)
    for i in range(shape[0]):
        for j in range(shape[1]):
            total -= spins[:, i, j] * spins[:, (i + 1) % shape[0], j]
            total -= spins[:, i, j] * spins[:, i, (j + 1) % shape[1]]
    return total


def exact_log_z(shape, beta):
    return logsumexp(-beta * energies(shape))


def index_of(spins):
    """Where a state is in the list of all states."""
    is_up = spins.reshape(-1) > 0
    return jnp.sum(jnp.where(is_up, 2 ** jnp.arange(is_up.size), 0))


def draw(key, log_probabilities, shape, num):
    """Exact samples of states with these log-probabilities, up to a constant."""
    below = jnp.cumsum(jax.nn.softmax(jnp.asarray(log_probabilities, jnp.float32)))
    drawn = jnp.searchsorted(below, jax.random.uniform(key, (num,)) * below[-1])
    return jnp.asarray(states(shape), jnp.int32)[drawn]


def frequencies(spins, weights=1.0):
    """Mean weight in each state of n walkers, shape (2^N,)."""
    size = 2 ** int(np.prod(spins.shape[1:]))
    return jnp.zeros(size).at[jax.vmap(index_of)(spins)].add(weights) / spins.shape[0]


def common(found, expected, least=1e-3):
    """The states that are not rare, and the sum of those that are, on the last axis."""
    is_common = np.asarray(expected) > least * np.sum(expected)
    return tuple(
        np.concatenate(
            [of[..., is_common], of[..., ~is_common].sum(-1, keepdims=True)], axis=-1
        )
        for of in (np.asarray(found), np.asarray(expected))
    )
