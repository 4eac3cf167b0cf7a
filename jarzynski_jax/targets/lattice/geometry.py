r"""What the lattices have in common: periodic boundaries, and sums over nearest neighbours.

Every site has one bond in the positive direction of each axis, so that each bond is counted
once. Along an axis of length 2 the two neighbours of a site are one and the same, joined to it
by two bonds: that is the torus as its exact solutions have it.
"""

import jax.numpy as jnp
import numpy as np

from jarzynski_jax.kernels.spins import bond_sum
from jarzynski_jax.types import Array

__all__ = ["bond_sum", "check_finite", "check_position", "check_shape", "momentum_cosines"]


def check_shape(shape: tuple[int, ...], num_axes: int | None = None) -> tuple[int, ...]:
    """Check the lengths of a lattice: whole numbers of at least 2; else a ValueError.

    Examples
    --------
    >>> check_shape((4, 1))
    Traceback (most recent call last):
        ...
    ValueError: a lattice must be a tuple of lengths of at least 2; got (4, 1)
    """
    is_tuple = isinstance(shape, tuple) and len(shape) > 0
    if not is_tuple or any(not isinstance(n, int | np.integer) or n < 2 for n in shape):
        raise ValueError(f"a lattice must be a tuple of lengths of at least 2; got {shape}")
    if num_axes is not None and len(shape) != num_axes:
        raise ValueError(f"the lattice must have {num_axes} axes; got {shape}")
    return tuple(int(n) for n in shape)


def check_finite(name: str, value: float, least: float | None = None) -> float:
    """Check a number of the action: finite, and not below its least value."""
    number = float(value)
    if not np.isfinite(number) or (least is not None and number < least):
        bound = "" if least is None else f" and at least {least:g}"
        raise ValueError(f"{name} must be finite{bound}; got {value}")
    return number


def check_position(x: Array, shape: tuple[int, ...], *kinds: type) -> Array:
    """Check the shape and the kind of numbers of one configuration; else a ValueError."""
    x = jnp.asarray(x)
    if x.shape != shape:
        raise ValueError(f"a configuration must have shape {shape}; got shape {x.shape}")
    if not any(jnp.issubdtype(x.dtype, kind) for kind in kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"a configuration must be of {names} numbers; got {x.dtype}")
    return x


def momentum_cosines(shape: tuple[int, ...]) -> np.ndarray:
    r""":math:`\sum_\mu\cos p_\mu` at the momenta of a torus, as its Fourier modes lie."""
    cosines = [np.cos(2 * np.pi * np.arange(length) / length) for length in shape]
    return np.asarray(sum(np.ix_(*cosines)))
