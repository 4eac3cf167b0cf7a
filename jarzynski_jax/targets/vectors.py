"""What densities of vectors take."""

import jax.numpy as jnp

from jarzynski_jax.types import Array

__all__ = ["check_vector"]


def check_vector(x: Array, dimension: int) -> None:
    """Raise a ValueError unless this is one position: JAX would clip, broadcast or sum."""
    if jnp.shape(x) != (dimension,):
        raise ValueError(
            f"a position of this density must have shape ({dimension},); got {jnp.shape(x)}: "
            "many of them are mapped over with jax.vmap"
        )
