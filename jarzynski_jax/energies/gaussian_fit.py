"""A Gaussian base of a given covariance, or fitted to data."""

from typing import Any, Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.energies.gaussian_base import GaussianBase
from jarzynski_jax.types import Array

__all__ = ["Covariance", "fit_gaussian_base", "make_gaussian_base"]

Covariance: TypeAlias = Literal["full", "diagonal", "isotropic"]


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
