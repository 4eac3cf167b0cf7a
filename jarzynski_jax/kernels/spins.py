"""What kernels of spins share: what a spin is, as a number to differentiate by, and bonds."""

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.types import Array, Position

__all__ = ["as_floating", "bond_sum", "check_spins"]


def check_spins(position: Position) -> None:
    """Raise a ValueError unless these are spins: an array of 1 and -1, as far as known.

    Examples
    --------
    >>> check_spins(jnp.zeros((2, 2), jnp.int32))
    Traceback (most recent call last):
        ...
    ValueError: spins must be 1 or -1; got values from 0 to 0
    """
    leaves = jax.tree.leaves(position)
    if len(leaves) != 1 or leaves[0] is not position or jnp.ndim(position) == 0:
        raise ValueError(
            f"spins must be one array with an axis at least; got "
            f"{jax.tree.structure(position)} of shapes {[jnp.shape(leaf) for leaf in leaves]}"
        )
    dtype = jnp.result_type(position)
    if not (jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.floating)):
        raise ValueError(f"spins must be integers or of floating point; got {dtype}")
    if not isinstance(position, jax.core.Tracer):
        values = np.asarray(position, np.float64)
        if not np.all(np.abs(values) == 1):
            raise ValueError(
                f"spins must be 1 or -1; got values from {np.min(values):g} to "
                f"{np.max(values):g}"
            )


def as_floating(position: Position) -> Array:
    """Spins as numbers to differentiate by, of single precision at least."""
    dtype = jnp.result_type(position)
    is_floating = jnp.issubdtype(dtype, jnp.floating)
    wide = jnp.promote_types(dtype, jnp.float32) if is_floating else jnp.result_type(float)
    return jnp.asarray(position, wide)


def bond_sum(x: Array) -> Array:
    r"""Sum over all bonds of the product at their ends, :math:`\sum_{x,\mu}\phi_x\phi_{x+\mu}`.

    Of one configuration, any number of axes.

    Examples
    --------
    >>> float(bond_sum(jnp.ones((4, 4))))
    32.0
    """
    return jnp.sum(x * sum(jnp.roll(x, -1, axis) for axis in range(jnp.ndim(x))))
