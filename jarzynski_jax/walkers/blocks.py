"""Walkers in blocks: peak memory is set by the block, and its arrays stay in the cache.

What is done to each walker alone can be done to one block after the other. On a CPU that is
faster, too, when the ensemble is larger than the cache: XLA goes over all walkers once for
each operation.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp

from jarzynski_jax.types import Array, Position

__all__ = ["Average", "Statistic", "average", "choose_block_size", "scan_blocks"]

Carry = TypeVar("Carry")
#: ``(position, weights) -> sums``, weighted sums over a block of walkers, any pytree.
Statistic: TypeAlias = Callable[[Position, Array], Any]

# On a CPU a block's arrays are to fit the cache that its cores share, and to be large enough
# for XLA to use all cores; matrix products with fewer rows than this are slow.
_BYTES_IN_CACHE = 2**23
_FEWEST = 512


def choose_block_size(inputs: Any) -> int:
    """Choose how many walkers, of inputs with leading axis N, to evaluate at once.

    On a CPU as many as have 8 MiB, but no fewer than 512, and rather a divisor of N; elsewhere
    N, all of them.

    Examples
    --------
    >>> choose_block_size(jnp.zeros((100, 3)))
    100
    """
    leaves = jax.tree.leaves(inputs)
    num_walkers = leaves[0].shape[0]
    if jax.default_backend() != "cpu":
        return num_walkers
    num_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    most = max(_BYTES_IN_CACHE * num_walkers // num_bytes, _FEWEST)
    if num_walkers <= most:
        return num_walkers
    divisors = (size for size in range(most, most // 2, -1) if num_walkers % size == 0)
    return next(divisors, most)


def scan_blocks(
    fn: Callable[[Carry, Any], tuple[Carry, Any]], carry: Carry, inputs: Any, block_size: int
) -> tuple[Carry, Any]:
    """Scan ``(carry, block) -> (carry, outputs)`` over blocks, the last one shorter if need be.

    Every leaf of the inputs and of the outputs has the leading axis N, inside the function that
    of the block. Where a mesh is set (``jax.set_mesh``), as :func:`jarzynski_jax.training.fit`
    does, every device works on a block of its own at a time. ValueError if the block size is
    below one.

    Examples
    --------
    >>> total, squares = scan_blocks(
    ...     lambda total, x: (total + jnp.sum(x), x**2), 0, jnp.arange(5), block_size=2
    ... )
    >>> int(total), squares.tolist()
    (10, [0, 1, 4, 9, 16])
    """
    if block_size < 1:
        raise ValueError(f"block_size must be at least 1; got {block_size}")
    num_walkers = jax.tree.leaves(inputs)[0].shape[0]
    num_parts = _count_parts(num_walkers)
    size = num_walkers // num_parts
    if size <= block_size:
        return fn(carry, inputs)
    num_blocks, num_left = divmod(size, block_size)
    num_whole = num_blocks * block_size

    # A block is made of one from each part, so that no walker leaves its device.
    def split(leaf: jax.Array) -> jax.Array:
        whole = leaf[:, :num_whole].reshape(num_parts, num_blocks, block_size, *leaf.shape[2:])
        return _merge(jnp.moveaxis(whole, 1, 0), 1)

    def join(leaf: jax.Array) -> jax.Array:
        blocks = leaf.reshape(num_blocks, num_parts, block_size, *leaf.shape[2:])
        return _merge(jnp.moveaxis(blocks, 0, 1), 1)

    parts = jax.tree.map(lambda leaf: leaf.reshape(num_parts, size, *leaf.shape[1:]), inputs)
    carry, outputs = jax.lax.scan(fn, carry, jax.tree.map(split, parts))
    outputs = jax.tree.map(join, outputs)
    if num_left:
        carry, last = fn(
            carry, jax.tree.map(lambda leaf: _merge(leaf[:, num_whole:], 0), parts)
        )
        outputs = jax.tree.map(
            lambda whole, left: jnp.concatenate(
                [whole, left.reshape(num_parts, num_left, *left.shape[1:])], axis=1
            ),
            outputs,
            last,
        )
    return carry, jax.tree.map(lambda leaf: _merge(leaf, 0), outputs)


def _count_parts(num_walkers: int) -> int:
    """In how many parts, one a device, the walkers lie: of the mesh that is set, if any."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else math.gcd(num_walkers, mesh.size)


def _merge(leaf: jax.Array, axis: int) -> jax.Array:
    """Make one axis of this and the next."""
    return leaf.reshape(*leaf.shape[:axis], -1, *leaf.shape[axis + 2 :])


class Average(NamedTuple):
    """A weighted mean on the way: log-weights may be of any size, so the largest is taken off.

    ``log_scale`` is that so far; ``total`` and ``sums`` are sums of the weights and of the
    statistic over ``exp(log_scale)``.
    """

    log_scale: Array
    total: Array
    sums: Any

    @classmethod
    def nothing(cls, position: Position, log_weights: Array, statistic: Statistic) -> "Average":
        """Begin: no walker yet; of those given only the shapes are looked at."""
        zero = jnp.zeros((), log_weights.dtype)
        shapes = jax.eval_shape(statistic, position, log_weights)
        sums = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return cls(zero - jnp.inf, zero, sums)

    def add(self, position: Position, log_weights: Array, statistic: Statistic) -> "Average":
        """Add a block of walkers."""
        log_scale = jnp.maximum(self.log_scale, jnp.max(log_weights))
        shift = jnp.where(jnp.isneginf(log_scale), 0, log_scale)
        weights, before = jnp.exp(log_weights - shift), jnp.exp(self.log_scale - shift)
        sums = jax.tree.map(
            lambda sums, new: before.astype(sums.dtype) * sums + new,
            self.sums,
            statistic(position, weights),
        )
        return Average(log_scale, before * self.total + jnp.sum(weights), sums)

    def mean(self) -> Any:
        """Return the weighted mean over all that was added, in the structure of the sums."""
        return jax.tree.map(lambda sums: sums / self.total.astype(sums.dtype), self.sums)


def average(
    position: Position, log_weights: Array, statistic: Statistic, block_size: int
) -> Any:
    """Average over walkers that stand where they are, block by block.

    ``statistic(position, weights)`` gives sums over a block; the mean has their structure.

    Examples
    --------
    >>> float(average(jnp.arange(5.0), jnp.zeros(5), lambda x, w: jnp.sum(w * x), 2))
    2.0
    """

    def add(found: Average, block: tuple) -> tuple[Average, tuple[()]]:
        position, log_weights = block
        return found.add(position, log_weights, statistic), ()

    start = Average.nothing(position, log_weights, statistic)
    return scan_blocks(add, start, (position, log_weights), block_size)[0].mean()
