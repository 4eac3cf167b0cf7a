"""The two-mode mixture in d dimensions (thesis, §4.3.1): data, first model, what is exact.

The data have the modes a* = -10 e₁ and b* = +6 e₁ and the mass p* = 0.25 at a*; the first
model has both modes next to the origin.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jarzynski_jax import weights
from jarzynski_jax.energies import mixture
from jarzynski_jax.types import Array, Params, PRNGKey
from jarzynski_jax.walkers import Walkers

TARGET_MASS = 0.25


class Rates(NamedTuple):
    """Learning rates of gradient descent; the thesis' code multiplies them by h."""

    z: Array | float
    means: Array | float

    def times(self, factor: float) -> "Rates":
        return Rates(self.z * factor, self.means * factor)


def data_params(dimension: int) -> Params:
    axis = jnp.zeros(dimension).at[0].set(1.0)
    return {"a": -10 * axis, "b": 6 * axis, "z": jnp.array(-math.log(3))}


def first_params(rng_key: PRNGKey, dimension: int) -> Params:
    """Both modes at the origin but for ∓0.1 along the axis and 0.01 N(0, 1) across it."""
    noise = 0.01 * jax.random.normal(rng_key, (2, dimension))
    a, b = noise.at[:, 0].set(jnp.array([-0.1, 0.1]))
    return {"a": a, "b": b, "z": jnp.array(0.0)}


def gradient_descent(rates: Rates) -> optax.GradientTransformation:
    return optax.partition(
        {"z": optax.sgd(rates.z), "means": optax.sgd(rates.means)},
        {"a": "means", "b": "means", "z": "z"},
    )


def mean_energy(params: Params, data: Array) -> Array:
    return jnp.mean(jax.vmap(mixture.energy, (None, 0))(params, data))


def cross_entropy(params: Params, data: Array) -> Array:
    """Exact but for the data, which are a sample (thesis, eq. 4.3.3)."""
    return mixture.log_partition_function(params) + mean_energy(params, data)


def first_mode(params: Params, x: Array) -> Array:
    """Probability that one x belongs to the mode at a; its mean over ρ_θ is exactly p."""
    distances = [jnp.sum(jnp.square(x - params[name])) / 2 for name in ("a", "b")]
    return jax.nn.sigmoid(distances[1] - distances[0] + params["z"])


def first_mode_mass(params: Params, walkers: Walkers) -> Array:
    """Mass at a, as weighted walkers have it."""
    belongs = jax.vmap(first_mode, (None, 0))(params, walkers.position)
    return weights.weighted_mean(walkers.log_weights, belongs)
