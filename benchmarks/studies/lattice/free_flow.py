"""What is exact in any case: the free field by its flow, variances of steps from κ = 0."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.studies.lattice.exact import (
    QUARTIC,
    log_z_free,
    log_z_two_wide,
    step_variance,
)
from benchmarks.studies.lattice.settings import Settings
from jarzynski_jax.targets import lattice

_SHAPE, _KAPPA = (64, 8), 0.24
#: The published chain's finest step, in the region in which it has it.
_STEP = 0.01


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
    return {"difference": np.max(np.abs(found / exact - 1)), "log_z": np.array(exact)} | {
        "free_variance": _variance(_SHAPE, 0.0, [log_z_free(k, _SHAPE) for k in _COUPLINGS]),
        "narrow_variance": _variance(
            (64, 2), QUARTIC, [log_z_two_wide(k, 64) for k in _COUPLINGS]
        ),
    }


_COUPLINGS = (0.0, _STEP, 2 * _STEP)


def _variance(shape: tuple[int, int], quartic: float, log_z: list[float]) -> np.ndarray:
    """Relative variance of a first step's weights, by exact samples, its error, and exactly."""
    first, second = (lattice.phi4(shape, kappa, quartic) for kappa in (0.0, _STEP))

    def squares(key: jax.Array) -> jax.Array:
        assert first.sample is not None
        x = first.sample(key, 2000)
        log_ratio = jax.vmap(second.logdensity_fn)(x) - jax.vmap(first.logdensity_fn)(x)
        return jnp.mean(jnp.exp(2 * (log_ratio - (log_z[1] - log_z[0]))))

    keys = jax.random.split(jax.random.key(1), 64)
    found = np.asarray(jax.jit(lambda keys: jax.lax.map(squares, keys))(keys), np.float64) - 1
    return np.array([found.mean(), found.std(ddof=1) / 8, step_variance(log_z)])
