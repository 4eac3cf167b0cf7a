r"""The Gaussian base that an energy sits on.

.. math:: U_\theta(x) = \tfrac12 (x - m)^\top \Sigma^{-1} (x - m) + f_\theta(x)

With :math:`f_{\theta_0} = 0` the first model is a Gaussian: its samples and
:math:`\log Z_0 = \tfrac12 \log\det(2\pi\Sigma)` are exact. With :math:`m` and :math:`\Sigma`
fitted to the data, only what is not Gaussian about them is left to learn.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.checks import check_energy
from jarzynski_jax.density import Density
from jarzynski_jax.types import Array, EnergyFn, Params, PRNGKey

__all__ = [
    "GaussianBase",
    "density",
    "energy",
    "exact_start",
    "log_partition_function",
    "mean_variance",
    "sample",
]


class GaussianBase(NamedTuple):
    r"""A Gaussian :math:`N(m, \Sigma)` of samples of any shape, of d numbers each.

    mean
        m, in the shape of a sample.
    scale
        L with Σ = L Lᵀ: lower triangular ``(d, d)``, or a diagonal ``(d,)``, or a scalar.
    inverse_scale
        L⁻¹, in the shape of ``scale``.
    """

    mean: Array
    scale: Array
    inverse_scale: Array


def _apply(factor: Array, vector: Array) -> Array:
    return factor @ vector if factor.ndim == 2 else factor * vector


def energy(base: GaussianBase, x: Array) -> Array:
    r"""Energy of the base, :math:`\tfrac12 (x - m)^\top \Sigma^{-1} (x - m)`, of one sample.

    ValueError if it is not in the shape of the mean.

    Examples
    --------
    >>> base = GaussianBase(jnp.zeros(2), jnp.array(2.0), jnp.array(0.5))
    >>> float(energy(base, jnp.array([2.0, 0.0])))
    0.5
    """
    if jnp.shape(x) != base.mean.shape:
        raise ValueError(
            f"a sample must have the shape of the base, {base.mean.shape}; got {jnp.shape(x)}"
        )
    whitened = _apply(base.inverse_scale, (x - base.mean).reshape(-1))
    return jnp.sum(jnp.square(whitened)) / 2


def log_partition_function(base: GaussianBase) -> Array:
    r"""Exact :math:`\log Z_0 = \tfrac d2 \log 2\pi + \tfrac12 \log\det\Sigma`, in nats.

    Examples
    --------
    >>> base = GaussianBase(jnp.zeros(2), jnp.array(1.0), jnp.array(1.0))
    >>> round(float(log_partition_function(base)), 4)
    1.8379
    """
    dimension = base.mean.size
    if base.scale.ndim == 2:
        half_logdet = jnp.sum(jnp.log(jnp.diagonal(base.scale)))
    else:
        half_logdet = jnp.sum(jnp.broadcast_to(jnp.log(base.scale), (dimension,)))
    return dimension / 2 * math.log(2 * math.pi) + half_logdet


def mean_variance(base: GaussianBase) -> Array:
    r"""Variance averaged over coordinates, :math:`{\rm tr}(\Sigma) / d`.

    Examples
    --------
    >>> float(mean_variance(GaussianBase(jnp.zeros(2), jnp.array(2.0), jnp.array(0.5))))
    4.0
    """
    squares = jnp.square(base.scale)
    if squares.ndim == 2:  # L Lᵀ has the rows' squared lengths on its diagonal
        squares = jnp.sum(squares, axis=1)
    return jnp.mean(squares)


def sample(rng_key: PRNGKey, base: GaussianBase, num_samples: int) -> Array:
    """Draw exact, independent samples, shape ``(num_samples, ...)``, in the dtype of the base.

    Examples
    --------
    >>> base = GaussianBase(jnp.zeros((2, 3)), jnp.array(1.0), jnp.array(1.0))
    >>> sample(jax.random.key(0), base, 5).shape
    (5, 2, 3)
    """
    normal = jax.random.normal(rng_key, (num_samples, base.mean.size), base.mean.dtype)
    shifted = jax.vmap(lambda z: _apply(base.scale, z))(normal)
    return base.mean + shifted.reshape(num_samples, *base.mean.shape)


def density(base: GaussianBase) -> Density:
    """Make of the Gaussian a density, with its log Z and exact samples."""
    return Density(
        lambda x: -energy(base, x),
        log_partition_function(base),
        lambda rng_key, num_samples: sample(rng_key, base, num_samples),
        base.mean.size if base.mean.ndim == 1 else None,
    )


def exact_start(
    rng_key: PRNGKey,
    base: GaussianBase,
    energy_fn: EnergyFn,
    params: Params,
    num_walkers: int,
) -> tuple[Array, Array]:
    """Draw the first walkers of a model that starts at its base, and see that it does.

    Returns exact samples, shape ``(N, ...)``, and the exact log Z₀. ValueError if the energy of
    the samples is not the base's, up to rounding: then they would not be samples of the model,
    and every weight after them would be wrong.

    Examples
    --------
    >>> from flax import nnx
    >>> import numpy as np
    >>> from jarzynski_jax.energies import MLP, OnGaussianBase, fit_gaussian_base, functional
    >>> base = fit_gaussian_base(np.random.default_rng(0).normal(size=(100, 2)))
    >>> energy_fn, params = functional(OnGaussianBase(base, MLP(2, rngs=nnx.Rngs(0))))
    >>> positions, log_z = exact_start(jax.random.key(0), base, energy_fn, params, 16)
    >>> positions.shape
    (16, 2)
    """
    check_energy(energy_fn)
    positions = sample(rng_key, base, num_walkers)
    expected = jax.jit(jax.vmap(lambda x: energy(base, x)))(positions)
    actual = jax.jit(jax.vmap(energy_fn, (None, 0)))(params, positions)
    error = jnp.max(jnp.abs(actual - expected) / (1 + jnp.abs(expected)))
    if not error < 1e-4:
        raise ValueError(
            "the model does not start at its Gaussian base: the energies of the base's "
            f"samples differ by up to {error:.3g} of themselves. Start the last layer of the "
            "network at zero."
        )
    return positions, log_partition_function(base)
