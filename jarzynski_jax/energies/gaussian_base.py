r"""The Gaussian base that an energy sits on.

.. math:: U_\theta(x) = \tfrac12 (x - m)^\top \Sigma^{-1} (x - m) + f_\theta(x)

With :math:`f_{\theta_0} = 0` the first model is a Gaussian: its samples and
:math:`\log Z_0 = \tfrac12 \log\det(2\pi\Sigma)` are exact. With :math:`m` and :math:`\Sigma`
fitted to the data, only what is not Gaussian about them is left to learn.
"""

import math
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.checks import check_energy
from jarzynski_jax.density import Density
from jarzynski_jax.types import Array, EnergyFn, Params, PRNGKey

__all__ = [
    "Covariance",
    "GaussianBase",
    "density",
    "energy",
    "exact_start",
    "fit_gaussian_base",
    "log_partition_function",
    "make_gaussian_base",
    "mean_variance",
    "sample",
]

Covariance: TypeAlias = Literal["full", "diagonal", "isotropic"]


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


def make_gaussian_base(mean: Array | np.ndarray, covariance: Any = 1.0) -> GaussianBase:
    r"""Make the Gaussian of a mean and a covariance; a standard one of zeros.

    In the dtype of the mean, float32 at least; computed in float64. ValueError if the
    covariance has another shape than below, or is not symmetric and positive definite.

    Parameters
    ----------
    covariance
        Σ, shape ``(d, d)``; its diagonal ``(d,)``; or one variance for all.

    Examples
    --------
    >>> make_gaussian_base(np.zeros(2), [4.0, 9.0]).scale.tolist()
    [2.0, 3.0]
    """
    values, matrix = np.asarray(mean), np.asarray(covariance, np.float64)
    dimension = values.size
    if matrix.shape not in ((), (dimension,), (dimension, dimension)):
        raise ValueError(
            f"the covariance of {dimension} numbers must be a number or have the shape "
            f"({dimension},) or ({dimension}, {dimension}); got shape {matrix.shape}"
        )
    full = matrix if matrix.ndim == 2 else np.diag(matrix * np.ones(dimension))
    if not np.allclose(full, full.T) or not np.all(np.linalg.eigvalsh(full) > 0):
        raise ValueError(f"a covariance must be symmetric and positive definite; got {matrix}")
    scale = np.linalg.cholesky(matrix) if matrix.ndim == 2 else np.sqrt(matrix)
    inverse_scale = np.linalg.inv(scale) if matrix.ndim == 2 else 1 / scale
    dtype = jax.dtypes.canonicalize_dtype(jnp.promote_types(values.dtype, jnp.float32))
    return GaussianBase(
        jnp.asarray(values, dtype), jnp.asarray(scale, dtype), jnp.asarray(inverse_scale, dtype)
    )


def fit_gaussian_base(
    data: Array | np.ndarray, covariance: Covariance = "full", noise_scale: float = 0.0
) -> GaussianBase:
    r"""Fit a Gaussian to data, ``(n, ...)``, plus the variance of noise to be added later.

    The covariance is ``"full"``, ``"diagonal"`` (one variance a coordinate) or ``"isotropic"``
    (one in all), and σ² joins the variances. In the dtype of the data; computed in float64.
    ValueError if there are fewer than two samples, a value is not finite, the covariance is
    singular, or its name unknown.

    Examples
    --------
    >>> base = fit_gaussian_base(np.array([[-1.0, 0.0], [1.0, 2.0]]), "diagonal")
    >>> base.mean.tolist(), base.scale.tolist()
    ([0.0, 1.0], [1.0, 1.0])
    """
    if covariance not in get_args(Covariance):
        raise ValueError(
            f"covariance must be one of {get_args(Covariance)}; got {covariance!r}"
        )
    values = np.asarray(data)
    if values.ndim < 2 or values.shape[0] < 2:
        raise ValueError(
            f"data must have shape (n, ...) with n ≥ 2 samples; got shape {values.shape}"
        )
    dtype = jax.dtypes.canonicalize_dtype(jnp.promote_types(values.dtype, jnp.float32))
    flat = values.reshape(values.shape[0], -1).astype(np.float64)
    if not np.all(np.isfinite(flat)):
        raise ValueError(f"data must be finite; {np.sum(~np.isfinite(flat))} values are not")
    mean = flat.mean(axis=0)
    centred = flat - mean
    if covariance == "full":
        scale, inverse_scale = _cholesky(centred, noise_scale)
    else:
        axis = 0 if covariance == "diagonal" else None
        variance = np.mean(centred**2, axis=axis) + noise_scale**2
        if np.any(variance <= 0):
            raise ValueError(
                "a coordinate of the data never varies, so its variance is 0; give a "
                "noise_scale or use an 'isotropic' covariance"
            )
        scale = np.sqrt(variance)
        inverse_scale = 1 / scale
    return GaussianBase(
        jnp.asarray(mean.reshape(values.shape[1:]), dtype),
        jnp.asarray(scale, dtype),
        jnp.asarray(inverse_scale, dtype),
    )


def _cholesky(centred: np.ndarray, noise_scale: float) -> tuple[np.ndarray, np.ndarray]:
    num_samples, dimension = centred.shape
    matrix = centred.T @ centred / num_samples + noise_scale**2 * np.eye(dimension)
    if np.linalg.cond(matrix) > 1e10:
        raise ValueError(
            f"the covariance of {num_samples} samples of {dimension} numbers is singular; "
            "give a noise_scale or use a 'diagonal' or 'isotropic' covariance"
        )
    scale = np.linalg.cholesky(matrix)
    return scale, np.linalg.inv(scale)


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
