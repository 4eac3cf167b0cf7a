"""Walkers and data spread over devices, parameters on all of them.

JAX's own partitioner does the rest: a step that is compiled for walkers spread over a mesh
moves each where it is, adds up means and weights over all devices, and resamples among all
walkers. The random numbers are those of one device, so results are the same but for the order
of sums. To keep walkers on their devices when they are resampled take
:func:`jarzynski_jax.resampling.islands`.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jarzynski_jax.types import Position, PRNGKey
from jarzynski_jax.walkers.ensemble import Walkers

__all__ = [
    "count_devices",
    "ensemble_shardings",
    "keep_spread",
    "make_mesh",
    "on_mesh",
    "spread_data",
    "spread_key",
]

Tree = TypeVar("Tree")

_AXIS = "walkers"


def make_mesh(num_devices: int | None = None) -> Mesh:
    """Make a mesh of so many devices in a row, with one axis.

    None takes all there are, those of other processes included. ValueError if there are too
    few.

    Examples
    --------
    >>> make_mesh(1).size
    1
    """
    devices = jax.devices()
    count = len(devices) if num_devices is None else num_devices
    if not 1 <= count <= len(devices):
        raise ValueError(
            f"num_devices must be between 1 and the number of devices, {len(devices)}; "
            f"got {num_devices}"
        )
    return Mesh(np.array(devices[:count]), (_AXIS,))


def ensemble_shardings(walkers: Walkers, mesh: Mesh) -> Walkers:
    """Say for every leaf of an ensemble where it belongs: walkers in equal parts.

    ValueError if the mesh has more than one axis, or does not divide the number of walkers.
    """
    _check(mesh, walkers.log_weights.shape[0])
    whole: Any = NamedSharding(mesh, PartitionSpec())
    parts = NamedSharding(mesh, PartitionSpec(_axis(mesh)))
    state, log_weights, roots = jax.tree.map(
        lambda _: parts, (walkers.state, walkers.log_weights, walkers.roots)
    )
    return Walkers(state, log_weights, whole, roots, whole)


def spread_data(data: Position, mesh: Mesh) -> Position:
    """Spread data over a mesh in equal parts; all on every device where it does not divide.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> spread_data(jnp.ones((4, 2)), make_mesh(1)).shape
    (4, 2)
    """

    def put(leaf: jax.Array) -> jax.Array:
        spec = PartitionSpec(_axis(mesh)) if leaf.shape[0] % mesh.size == 0 else PartitionSpec()
        return jax.device_put(leaf, NamedSharding(mesh, spec))

    return jax.tree.map(put, data)


def spread_key(rng_key: PRNGKey, mesh: Mesh) -> PRNGKey:
    """Put a key on every device of a mesh, those of other processes included.

    It must be the same in all processes.

    Examples
    --------
    >>> key = jax.random.key(0)
    >>> bool(spread_key(key, make_mesh(1)) == key)
    True
    """
    # JAX puts plain arrays on the devices of other processes, but not keys.
    whole = NamedSharding(mesh, PartitionSpec())
    numbers = jax.device_put(jax.random.key_data(rng_key), whole)
    return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(rng_key))


def on_mesh(mesh: Mesh | None) -> AbstractContextManager[Any]:
    """Set a mesh, if there is one, for what keeps walkers spread and cuts them into blocks.

    Examples
    --------
    >>> with on_mesh(make_mesh(1)):
    ...     jax.sharding.get_abstract_mesh().axis_names
    ('walkers',)
    """
    return nullcontext() if mesh is None else jax.set_mesh(mesh)


def keep_spread(leaves: Tree, axis: int = 0) -> Tree:
    """Keep walkers in equal parts over the mesh that is set, along this axis of every leaf.

    Inside ``jax.jit``. Where walkers are cut into replicates or drawn anew, the partitioner
    would rather have all of them on every device, and move them all there from then on. Nothing
    is done without a mesh, where it does not divide the walkers, or if it is of another kind
    than :func:`make_mesh`'s.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> with on_mesh(make_mesh(1)):
    ...     jax.jit(keep_spread)(jnp.arange(4)).tolist()
    [0, 1, 2, 3]
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.axis_types != (AxisType.Auto,):
        return leaves
    spec = PartitionSpec(*[None] * axis, *mesh.axis_names)

    def keep(leaf: jax.Array) -> jax.Array:
        if leaf.shape[axis] % mesh.size:
            return leaf
        return jax.lax.with_sharding_constraint(leaf, spec)

    return jax.tree.map(keep, leaves)


def count_devices(mesh: Mesh | None) -> int:
    """Count the devices that walkers are spread over: one without a mesh.

    ValueError if it is no mesh, or has more than one axis.

    Examples
    --------
    >>> count_devices(None), count_devices(make_mesh(1))
    (1, 1)
    """
    if mesh is None:
        return 1
    _axis(mesh)
    return mesh.size


def _axis(mesh: Mesh) -> str:
    if not isinstance(mesh, Mesh):
        raise ValueError(
            f"mesh must be a jax.sharding.Mesh, such as walkers.make_mesh(); got {mesh!r}"
        )
    if len(mesh.axis_names) != 1:
        raise ValueError(f"the mesh must have one axis; got {mesh.axis_names}")
    return mesh.axis_names[0]


def _check(mesh: Mesh, num_walkers: int) -> None:
    _axis(mesh)
    if num_walkers % mesh.size:
        raise ValueError(
            f"the number of devices must divide that of walkers, {num_walkers}; got {mesh.size}"
        )
