"""A buffer of weighted positions, drawn from in proportion to their weights, in log space.

A weight may be of any size: one that is enormous makes no other NaN. An entry is dead, of
weight 0 and never drawn, if its position or one of its numbers is not finite, an infinite
weight included.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.kernels.arithmetic import all_finite, keep_finite
from jarzynski_jax.types import Array, Position, PRNGKey

__all__ = ["Replay", "draw", "empty", "put", "reweigh"]


class Replay(NamedTuple):
    """M entries: positions, leading axis M; log-weights, log q there, both ``(M,)``.

    ``next_index`` is where the next ones will be put, int32: the oldest are overwritten.
    """

    positions: Position
    log_weights: Array
    log_q: Array
    next_index: Array


def empty(like: Position, size: int) -> Replay:
    """A buffer for positions like this one, shape ``(...)``, all of whose entries are dead."""
    positions = jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype), like)
    leaf = jax.tree.leaves(positions)[0]
    dtype = jnp.promote_types(leaf.dtype, jnp.float32)
    dead = jnp.full(size, -jnp.inf, dtype)
    return Replay(positions, dead, jnp.zeros(size, dtype), jnp.zeros((), jnp.int32))


def put(replay: Replay, positions: Position, log_weights: Array, log_q: Array) -> Replay:
    """Put n positions in the place of the oldest; n divides M.

    Examples
    --------
    >>> log_q = jnp.array([0.0, jnp.nan])
    >>> replay = put(empty(jnp.zeros(()), 4), jnp.ones(2), jnp.zeros(2), log_q)
    >>> replay.positions.tolist(), replay.log_weights.tolist()
    ([1.0, 1.0, 0.0, 0.0], [0.0, -inf, -inf, -inf])
    """
    size, num_new = replay.log_weights.shape[0], log_weights.shape[0]
    if size % num_new:
        raise ValueError(
            f"the buffer must hold a multiple of the {num_new} positions that are put into it "
            f"at a time; got {size}"
        )
    zeros = jax.tree.map(jnp.zeros_like, positions)
    kept = keep_finite(positions, zeros)
    is_whole = jax.vmap(all_finite)(positions)

    def write(old: Array, new: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(
            old, new.astype(old.dtype), replay.next_index, axis=0
        )

    log_weights = jnp.where(is_whole, log_weights, -jnp.inf)
    log_weights, log_q = _bury(log_weights, log_q)
    return Replay(
        jax.tree.map(write, replay.positions, kept),
        write(replay.log_weights, log_weights),
        write(replay.log_q, log_q),
        (replay.next_index + num_new) % size,
    )


def draw(rng_key: PRNGKey, replay: Replay, num_samples: int) -> Array:
    """Draw indices, shape ``(num_samples,)``, independently in proportion to the weights.

    Of a buffer in which all are dead they are of no account.
    """
    return jax.random.categorical(rng_key, replay.log_weights, shape=(num_samples,))


def reweigh(replay: Replay, indices: Array, log_q: Array) -> Replay:
    r"""Let entries know of another q: weights :math:`p^2/q` times the old q over the new.

    Examples
    --------
    >>> replay = put(empty(jnp.zeros(()), 2), jnp.ones(2), jnp.zeros(2), jnp.zeros(2))
    >>> reweigh(replay, jnp.array([1]), jnp.array([-2.0])).log_weights.tolist()
    [0.0, 2.0]
    """
    log_weights = replay.log_weights[indices] + replay.log_q[indices] - log_q
    log_weights, log_q = _bury(log_weights, log_q)
    return replay._replace(
        log_weights=replay.log_weights.at[indices].set(log_weights),
        log_q=replay.log_q.at[indices].set(log_q),
    )


def _bury(log_weights: Array, log_q: Array) -> tuple[Array, Array]:
    is_alive = jnp.isfinite(log_weights) & jnp.isfinite(log_q)
    return jnp.where(is_alive, log_weights, -jnp.inf), jnp.where(is_alive, log_q, 0)
