r"""Gaussians, mixtures of them, and Neal's funnel."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.density import Density
from jarzynski_jax.targets.vectors import check_vector
from jarzynski_jax.types import Array, PRNGKey

__all__ = ["forty_modes", "funnel", "gaussian", "gaussian_mixture", "two_modes"]


def gaussian(variances: Sequence[float] | np.ndarray) -> Density:
    r"""A Gaussian of independent coordinates, :math:`\ell = -\sum_i x_i^2 / 2\sigma_i^2`.

    With :math:`\log Z = \frac12\sum\log 2\pi\sigma_i^2`. ValueError if a variance is not
    positive.

    Examples
    --------
    >>> round(gaussian([1.0, 4.0]).log_partition_function, 4)  # log 2π + log 2
    2.531
    """
    values = np.asarray(variances, np.float64)
    if values.ndim != 1 or values.size == 0 or not np.all((values > 0) & np.isfinite(values)):
        raise ValueError(f"variances must be d ≥ 1 positive numbers; got {variances}")
    scale = jnp.asarray(np.sqrt(values), jnp.float32)

    def logdensity_fn(x: Array) -> Array:
        check_vector(x, values.size)
        return -jnp.sum(jnp.square(x / scale)) / 2

    def sample(rng_key: PRNGKey, num_samples: int) -> Array:
        return scale * jax.random.normal(rng_key, (num_samples, values.size))

    log_z = float(np.sum(np.log(2 * math.pi * values)) / 2)
    return Density(logdensity_fn, log_z, sample, values.size)


def gaussian_mixture(
    means: np.ndarray, scale: float, masses: np.ndarray | None = None
) -> Density:
    """A normalised mixture of isotropic Gaussians of one width: log Z = 0.

    Means of shape ``(K, d)``; ``scale``, the standard deviation of each; masses of shape
    ``(K,)``, positive, of sum one, or equal if None; else a ValueError.

    Examples
    --------
    >>> gaussian_mixture(np.array([[0.0], [5.0]]), 1.0, np.array([0.3, 0.7])).dimension
    1
    """
    means = np.asarray(means, np.float64)
    if means.ndim != 2 or means.size == 0:
        raise ValueError(f"means must have shape (K, d); got shape {means.shape}")
    if not 0 < scale < math.inf:
        raise ValueError(f"scale must be positive and finite; got {scale}")
    num_modes, dimension = means.shape
    shares = np.full(num_modes, 1 / num_modes) if masses is None else np.asarray(masses)
    is_law = np.all(shares > 0) and abs(shares.sum() - 1) <= 1e-6
    if shares.shape != (num_modes,) or not is_law:
        raise ValueError(
            f"masses must be {num_modes} positive numbers of sum one; got {masses}"
        )
    centres, log_shares = (
        jnp.asarray(means, jnp.float32),
        jnp.asarray(np.log(shares), jnp.float32),
    )
    log_norm = dimension / 2 * math.log(2 * math.pi * scale**2)

    def logdensity_fn(x: Array) -> Array:
        check_vector(x, dimension)
        squares = jnp.sum(jnp.square((x - centres) / scale), axis=1)
        return jax.scipy.special.logsumexp(log_shares - squares / 2) - log_norm

    def sample(rng_key: PRNGKey, num_samples: int) -> Array:
        key_mode, key_noise = jax.random.split(rng_key)
        mode = jax.random.categorical(key_mode, log_shares, shape=(num_samples,))
        return centres[mode] + scale * jax.random.normal(key_noise, (num_samples, dimension))

    return Density(logdensity_fn, 0.0, sample, dimension)


def two_modes(dimension: int, distance: float = 8.0, mass: float = 0.25) -> Density:
    """Two unit Gaussians on the first axis, one with a quarter of the mass: log Z = 0.

    The distance is in standard deviations, the origin midway; the mode on the negative side has
    the mass, between 0 and 1, else a ValueError.

    Examples
    --------
    >>> two_modes(5).dimension
    5
    """
    if dimension < 1:
        raise ValueError(f"dimension must be at least 1; got {dimension}")
    if not 0 < mass < 1:
        raise ValueError(f"mass must be between 0 and 1; got {mass}")
    means = np.zeros((2, dimension))
    means[:, 0] = -distance / 2, distance / 2
    return gaussian_mixture(means, 1.0, np.array([mass, 1 - mass]))


def forty_modes() -> Density:
    """Forty Gaussians in the plane, centres uniform in a square of side 80: log Z = 0.

    In the manner of Midgley, Stimper, Simm, Schölkopf and Hernández-Lobato, *Flow annealed
    importance sampling bootstrap*, ICLR 2023: the width is softplus(1) = 1.31; the centres
    are drawn here, once and for all.

    Examples
    --------
    >>> forty_modes().dimension
    2
    """
    means = np.random.default_rng(0).uniform(-40, 40, (40, 2))
    return gaussian_mixture(means, math.log1p(math.e))


def funnel(dimension: int = 10, scale: float = 3.0) -> Density:
    r"""Neal's funnel, :math:`x_0 \sim N(0, s^2)`, :math:`x_i \sim N(0, e^{x_0})`: log Z = 0.

    ValueError unless d ≥ 2 and s > 0.

    Examples
    --------
    >>> funnel().dimension
    10
    """
    if dimension < 2:
        raise ValueError(f"a funnel must have at least 2 dimensions; got {dimension}")
    if not 0 < scale < math.inf:
        raise ValueError(f"scale must be positive and finite; got {scale}")
    log_norm = dimension / 2 * math.log(2 * math.pi) + math.log(scale)

    def logdensity_fn(x: Array) -> Array:
        check_vector(x, dimension)
        neck, rest = x[0], x[1:]
        of_rest = jnp.sum(jnp.square(rest)) * jnp.exp(-neck) + (dimension - 1) * neck
        return -jnp.square(neck / scale) / 2 - of_rest / 2 - log_norm

    def sample(rng_key: PRNGKey, num_samples: int) -> Array:
        noise = jax.random.normal(rng_key, (num_samples, dimension))
        neck = scale * noise[:, :1]
        return jnp.concatenate([neck, jnp.exp(neck / 2) * noise[:, 1:]], axis=1)

    return Density(logdensity_fn, 0.0, sample, dimension)
