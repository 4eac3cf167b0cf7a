r"""The Ising model on a torus or a ring, its log Z by Kaufman's or Ising's solution."""

import jax
import jax.numpy as jnp

from jarzynski_jax.density import Density
from jarzynski_jax.targets.lattice.geometry import (
    bond_sum,
    check_finite,
    check_position,
    check_shape,
)
from jarzynski_jax.targets.lattice.kaufman import ising_thermodynamics
from jarzynski_jax.types import Array, PRNGKey

__all__ = ["ising"]


def ising(shape: tuple[int, ...], inverse_temperature: float) -> Density:
    r"""Ising spins on a periodic lattice, :math:`\ell(s) = \beta\sum_{ij} s_i s_j`.

    Square, of two axes, or a ring of one.

    A position is of the lattice's shape, spins 1 and -1, integers or of floating point; of
    other values the density is zero. Each bond is counted once, along an axis of length 2 each
    pair twice. Log Z is Kaufman's, a sum over the :math:`2^N` states; there are samples, int32,
    at :math:`\beta = 0` alone. Spins have no gradients to move by: see
    :mod:`jarzynski_jax.kernels.heat_bath`. ValueError unless all lengths are at least 2 and
    β is finite and not negative; the log-density raises one for other shapes, booleans and
    complex numbers.

    Examples
    --------
    >>> model = ising((16, 16), inverse_temperature=0.44)
    >>> round(model.log_partition_function, 4)
    238.3872
    >>> round(float(model.logdensity_fn(jnp.ones((16, 16), jnp.int32))), 2)  # 512 bonds
    225.28
    """
    shape = check_shape(shape, 1 if len(shape) == 1 else 2)
    beta = check_finite("inverse_temperature", inverse_temperature, 0)

    def logdensity_fn(x: Array) -> Array:
        x = check_position(x, shape, jnp.integer, jnp.floating)
        spins = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        is_spin = jnp.all(jnp.abs(spins) == 1)
        return jnp.where(is_spin, beta * bond_sum(spins), -jnp.inf)

    def sample(rng_key: PRNGKey, num_samples: int) -> Array:
        is_up = jax.random.bernoulli(rng_key, shape=(num_samples, *shape))
        return jnp.where(is_up, 1, -1).astype(jnp.int32)

    log_z = ising_thermodynamics(shape, beta).log_partition_function
    return Density(logdensity_fn, log_z, sample if beta == 0 else None)
