"""The free field by its exact flow: every weight is Z."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.studies.lattice.exact import log_z_free
from benchmarks.studies.lattice.settings import Settings
from jarzynski_jax.targets import lattice

_SHAPE, _KAPPA = (64, 8), 0.24


def names(settings: Settings) -> list[str]:
    return ["free_flow"]


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    del name, settings
    noise = jax.random.normal(jax.random.key(0), (1000, *_SHAPE))
    flow = lattice.free_field_flow(_SHAPE, _KAPPA)
    target = lattice.phi4(_SHAPE, _KAPPA, 0.0).logdensity_fn

    def log_weight(noise: jax.Array) -> jax.Array:
        field, log_det = flow(noise)
        log_base = -jnp.sum(noise**2) / 2 - noise.size * jnp.log(2 * jnp.pi) / 2
        return target(field) + log_det - log_base

    found = np.asarray(jax.vmap(log_weight)(noise), np.float64)
    exact = log_z_free(_KAPPA, _SHAPE)
    return {"difference": np.max(np.abs(found / exact - 1)), "log_z": np.array(exact)}
