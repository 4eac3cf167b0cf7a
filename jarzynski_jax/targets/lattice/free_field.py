r"""The free field on a torus, by Fourier transforms: its log Z, samples, and an exact flow.

.. math:: S = \sum_x\Big[-2\kappa\sum_\mu\phi_x\phi_{x+\mu} + \phi_x^2\Big]
    = \sum_p \Big(1 - 2\kappa\sum_\mu\cos p_\mu\Big)|\tilde\phi_p|^2

is a Gaussian, positive for :math:`\kappa < 1/2d`, with

.. math:: \log Z = \tfrac V2\log\pi
    - \tfrac12\sum_p\log\Big(1 - 2\kappa\sum_\mu\cos p_\mu\Big).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.density import Sample
from jarzynski_jax.kernels.bijection import Bijection
from jarzynski_jax.targets.lattice.geometry import (
    check_finite,
    check_position,
    check_shape,
    momentum_cosines,
)
from jarzynski_jax.types import Array, PRNGKey

__all__ = ["free_field_flow", "free_log_z", "free_sample"]


def free_field_flow(shape: tuple[int, ...], kappa: float) -> Bijection:
    r"""Map white noise to the free field; the volume it gains is the same everywhere.

    ``noise -> (field, log|det|)``, as :mod:`jarzynski_jax.kernels.bijection` takes it:
    :math:`\tilde\phi_p = \tilde z_p / \sqrt{2(1 - 2\kappa\sum_\mu\cos p_\mu)}`. With noise of
    unit variance every sample has the weight Z. ValueError unless :math:`|\kappa|` is below the
    limit, where the action is no longer positive.

    Examples
    --------
    >>> field, log_det = free_field_flow((4, 4), 0.1)(jnp.ones((4, 4)))
    >>> round(float(field[0, 0]), 4), field.shape  # 1/sqrt(2 (1 - 4 κ))
    (0.9129, (4, 4))
    """
    shape = check_shape(shape)
    precisions = _precisions(shape, kappa)
    scales, log_det = 1 / np.sqrt(2 * precisions), -float(np.sum(np.log(2 * precisions))) / 2

    def flow(noise: Array) -> tuple[Array, Array]:
        noise = check_position(noise, shape, jnp.floating)
        axes = tuple(range(len(shape)))
        modes = jnp.fft.fftn(noise, axes=axes) * jnp.asarray(scales, noise.dtype)
        field = jnp.fft.ifftn(modes, axes=axes).real.astype(noise.dtype)
        return field, jnp.asarray(log_det, noise.dtype)

    return flow


def free_log_z(shape: tuple[int, ...], kappa: float) -> float:
    """Log Z of the free field, in nats."""
    precisions = _precisions(shape, kappa)
    return float(precisions.size * np.log(np.pi) - np.sum(np.log(precisions))) / 2


def free_sample(shape: tuple[int, ...], kappa: float) -> Sample:
    """Exact samples of the free field."""
    return partial(_sample, free_field_flow(shape, kappa), shape)


def _sample(
    flow: Bijection, shape: tuple[int, ...], rng_key: PRNGKey, num_samples: int
) -> Array:
    return jax.vmap(flow)(jax.random.normal(rng_key, (num_samples, *shape)))[0]


def _precisions(shape: tuple[int, ...], kappa: float) -> np.ndarray:
    r""":math:`1 - 2\kappa\sum_\mu\cos p_\mu`, half of one over the variance of each mode."""
    kappa = check_finite("kappa", kappa)
    precisions = 1 - 2 * kappa * momentum_cosines(shape)
    if np.min(precisions) <= 0:
        raise ValueError(
            f"a free field in {len(shape)} dimensions needs kappa below 1/{2 * len(shape)} "
            f"(and above minus that); got {kappa}"
        )
    return precisions
