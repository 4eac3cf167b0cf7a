"""Blocks of a pool of walkers, taken out and put back."""

import jax
import jax.numpy as jnp

from jarzynski_jax.types import Array, PRNGKey
from jarzynski_jax.walkers.ensemble import Walkers

__all__ = [
    "draw_block",
    "put",
    "take",
]


def draw_block(rng_key: PRNGKey, num_walkers: int, block_size: int) -> Array:
    """Choose N' of N walkers at random, at a cost that does not grow with the pool.

    The pool is cut into N' strata of consecutive walkers, and one is drawn uniformly from each.
    So no walker is drawn twice, each is drawn equally often (to within the rounding of the
    strata), and walkers of any two strata meet. Returns ascending indices, int32, shape
    ``(N',)``. ValueError if not 1 ≤ N' ≤ N.

    Examples
    --------
    >>> draw_block(jax.random.key(0), 4, 4).tolist()
    [0, 1, 2, 3]
    """
    if not 1 <= block_size <= num_walkers:
        raise ValueError(
            f"a block must hold between 1 walker and all {num_walkers} of them; "
            f"got block_size={block_size}"
        )
    width, longer = divmod(num_walkers, block_size)
    stratum = jnp.arange(block_size, dtype=jnp.int32)
    # The first `longer` strata have one walker more.
    start = stratum * width + jnp.minimum(stratum, longer)
    size = width + (stratum < longer)
    return start + jax.random.randint(rng_key, (block_size,), 0, size, jnp.int32)


def take(walkers: Walkers, indices: Array) -> Walkers:
    """Take the block of walkers of distinct indices out of a pool.

    A block is itself a properly weighted ensemble for the target by which it is weighed
    next, whatever was done to the other walkers meanwhile, if it is chosen without regard
    to where its walkers stand.
    """
    state, log_weights, roots = jax.tree.map(
        lambda leaf: leaf.at[indices].get(mode="promise_in_bounds"),
        (walkers.state, walkers.log_weights, walkers.roots),
    )
    return walkers._replace(state=state, log_weights=log_weights, roots=roots)


def put(walkers: Walkers, indices: Array, block: Walkers) -> Walkers:
    """Put a block back where :func:`take` took it.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from jarzynski_jax.kernels import ula
    >>> from jarzynski_jax.walkers import init
    >>> pool = init(jnp.arange(4.0), lambda x: -(x**2) / 2, ula.init)
    >>> indices = jnp.array([1, 3])
    >>> block = take(pool, indices)
    >>> block.position.tolist(), put(pool, indices, block).position.tolist()
    ([1.0, 3.0], [0.0, 1.0, 2.0, 3.0])
    """
    state, log_weights, roots = jax.tree.map(
        lambda pool, part: pool.at[indices].set(
            part, mode="promise_in_bounds", unique_indices=True
        ),
        (walkers.state, walkers.log_weights, walkers.roots),
        (block.state, block.log_weights, block.roots),
    )
    # Of the pool's weight the block has its share.
    lost = (block.leakage - walkers.leakage) * indices.shape[0] / walkers.log_weights.shape[0]
    return walkers._replace(
        state=state, log_weights=log_weights, roots=roots, leakage=walkers.leakage + lost
    )
