r"""The two-mode Gaussian mixture of the thesis (§4.2 and §4.3.1), with its exact log Z.

.. math:: U_\theta(x) = -\log\left(e^{-|x - a|^2/2} + e^{-|x - b|^2/2 - z}\right)

Parameters are a dictionary of ``a`` and ``b``, shape ``(d,)``, and the scalar ``z``. The mode
at a has the mass :math:`1/(1 + e^{-z})`. All functions also take the mixture on a Gaussian
base, whose partition function is in closed form too.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from jarzynski_jax.energies.gaussian_base import GaussianBase
from jarzynski_jax.types import Array, Params, PRNGKey

__all__ = ["TwoModeMixture", "energy", "log_partition_function", "mode_masses", "sample"]


def energy(params: Params, x: Array) -> Array:
    r"""Energy of one sample, :math:`-\log(e^{-|x-a|^2/2} + e^{-|x-b|^2/2 - z})`.

    Examples
    --------
    >>> params = {"a": jnp.zeros(1), "b": jnp.full(1, 100.0), "z": jnp.array(0.0)}
    >>> float(energy(params, jnp.ones(1)))
    0.5
    """
    # Log-sum-exp: written with exp, both terms underflow in float32 a dozen units away.
    return -jnp.logaddexp(
        -jnp.sum(jnp.square(x - params["a"])) / 2,
        -jnp.sum(jnp.square(x - params["b"])) / 2 - params["z"],
    )


def _modes(params: Params, base: GaussianBase | None) -> tuple[Array, Array, Array]:
    """Log-integrals (2,), means (2, d) and a covariance factor (d, d) of the modes."""
    centres = jnp.stack([params["a"], params["b"]])
    dimension = centres.shape[1]
    identity = jnp.eye(dimension, dtype=centres.dtype)
    log_masses = jnp.stack([jnp.zeros_like(params["z"]), -params["z"]])
    log_volume = dimension / 2 * math.log(2 * math.pi)
    if base is None:
        return log_masses + log_volume, centres, identity
    # A product of Gaussians: precision Q = Σ⁻¹ + 1, mean Q⁻¹(Σ⁻¹ m + c), and a factor
    # exp(-½ (m - c)ᵀ (Σ + 1)⁻¹ (m - c)).
    scale, inverse_scale = (
        factor if factor.ndim == 2 else factor * identity
        for factor in (base.scale, base.inverse_scale)
    )
    precision = inverse_scale.T @ inverse_scale
    covariance = jnp.linalg.inv(precision + identity)
    gap = base.mean - centres
    distance = jnp.einsum(
        "ki,ki->k", gap, jnp.linalg.solve(scale @ scale.T + identity, gap.T).T
    )
    means = (precision @ base.mean + centres) @ covariance
    half_logdet = jnp.linalg.slogdet(covariance)[1] / 2
    log_integrals = log_masses + log_volume + half_logdet - distance / 2
    return log_integrals, means, jnp.linalg.cholesky(covariance)


def log_partition_function(params: Params, base: GaussianBase | None = None) -> Array:
    r"""Exact log Z: :math:`\tfrac d2\log 2\pi + \log(1 + e^{-z})` without a base, in nats.

    Examples
    --------
    >>> params = {"a": jnp.zeros(2), "b": jnp.ones(2), "z": jnp.array(0.0)}
    >>> round(float(log_partition_function(params)), 4)  # log 2π + log 2
    2.531
    """
    return jax.scipy.special.logsumexp(_modes(params, base)[0])


def mode_masses(params: Params, base: GaussianBase | None = None) -> Array:
    """Exact masses of the modes at a and at b, shape ``(2,)``, of sum one.

    Examples
    --------
    >>> params = {"a": jnp.zeros(2), "b": jnp.ones(2), "z": -jnp.log(3.0)}
    >>> [round(float(mass), 2) for mass in mode_masses(params)]
    [0.25, 0.75]
    """
    return jax.nn.softmax(_modes(params, base)[0])


def sample(
    rng_key: PRNGKey, params: Params, num_samples: int, base: GaussianBase | None = None
) -> Array:
    """Draw exact, independent samples, shape ``(num_samples, d)``.

    Examples
    --------
    >>> params = {"a": jnp.zeros(2), "b": jnp.ones(2), "z": jnp.array(0.0)}
    >>> sample(jax.random.key(0), params, 5).shape
    (5, 2)
    """
    key_mode, key_noise = jax.random.split(rng_key)
    log_integrals, means, factor = _modes(params, base)
    mode = jax.random.categorical(key_mode, log_integrals, shape=(num_samples,))
    noise = jax.random.normal(key_noise, (num_samples, means.shape[1]), means.dtype)
    return means[mode] + noise @ factor.T


class TwoModeMixture(nnx.Module):
    """The mixture as a Flax module; see :mod:`jarzynski_jax.energies.mixture`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from jarzynski_jax.energies import TwoModeMixture, functional
    >>> energy_fn, params = functional(TwoModeMixture(jnp.zeros(2), jnp.ones(2), 0.0))
    >>> sorted(params)
    ['a', 'b', 'z']
    """

    def __init__(self, a: Array, b: Array, z: Array | float) -> None:
        a, b = jnp.asarray(a), jnp.asarray(b)
        if a.ndim != 1 or a.shape != b.shape:
            raise ValueError(
                f"the centres must have one shape (d,); got {a.shape} and {b.shape}"
            )
        self.a = nnx.Param(a)
        self.b = nnx.Param(b)
        self.z = nnx.Param(jnp.asarray(z, a.dtype))

    def __call__(self, x: Array) -> Array:
        """Energy of one sample, a scalar."""
        return energy({"a": self.a[...], "b": self.b[...], "z": self.z[...]}, x)
