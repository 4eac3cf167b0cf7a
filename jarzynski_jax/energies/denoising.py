"""What an energy says of the data under their noise."""

from functools import partial

import jax
import numpy as np

from jarzynski_jax.checks import check_energy
from jarzynski_jax.types import Array, EnergyFn, Params

__all__ = ["posterior_mean"]


def posterior_mean(
    energy_fn: EnergyFn, params: Params, noisy: np.ndarray, noise_scale: float
) -> np.ndarray:
    r"""Mean of what was there before the noise, :math:`x - \sigma^2 \nabla U_\theta(x)`.

    Of a model of noisy samples; samples and means have the shape ``(n, ...)``. Reference:
    Tweedie's formula; Efron, *J. Am. Stat. Assoc.* 106 (2011) 1602. ValueError if the energy is
    a module of Flax, or no function.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> energy_fn = lambda params, x: jnp.sum(x**2) / (2 * params)  # variance 1 + 1 of noise
    >>> posterior_mean(energy_fn, 2.0, np.ones((1, 3), np.float32), 1.0).tolist()
    [[0.5, 0.5, 0.5]]
    """
    check_energy(energy_fn)
    return noisy - noise_scale**2 * np.asarray(_slopes(energy_fn, params, noisy))


@partial(jax.jit, static_argnums=0)
def _slopes(energy_fn: EnergyFn, params: Params, x: Array) -> Array:
    """Gradients of the energy at many samples; compiled once for an energy and a shape."""
    return jax.vmap(jax.grad(energy_fn, argnums=1), (None, 0))(params, x)
