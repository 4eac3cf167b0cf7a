"""Errors of log Z in three precisions, on a target whose log Z is known."""

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax import annealing, targets, walkers
from jarzynski_jax.annealing import geometric_path
from jarzynski_jax.density import check_exact
from jarzynski_jax.formatting import format_with_error
from jarzynski_jax.types import Array, PRNGKey
from jarzynski_jax.walkers import langevin

HEADER = ("energies", "positions", "weights", "mean error of log Z", "spread", "seeds")
_DIMENSION = 10


def precision_rows(num_walkers: int, num_steps: int, num_seeds: int) -> list[tuple]:
    """Anneal a Gaussian of variance 16 to two modes; the same seeds in each precision."""
    rows = [
        _measure(name, num_walkers, num_steps, num_seeds) for name in ("float32", "bfloat16")
    ]
    with jax.enable_x64(True):
        rows.insert(0, _measure("float64", num_walkers, num_steps, num_seeds))
    return rows


def _measure(precision: str, num_walkers: int, num_steps: int, num_seeds: int) -> tuple:
    dtype = jnp.dtype(precision)
    positions = jnp.promote_types(dtype, jnp.float32)
    target = targets.two_modes(_DIMENSION)
    base = targets.gaussian([16.0] * _DIMENSION)
    path = geometric_path(
        lambda x: base.logdensity_fn(x.astype(dtype)).astype(dtype),
        lambda x: target.logdensity_fn(x.astype(dtype)).astype(dtype),
    )
    times = jnp.linspace(0, 1, num_steps + 1, dtype=positions)[1:]

    def log_z(rng_key: PRNGKey) -> Array:
        key_start, key_run = jax.random.split(rng_key)
        x = 4 * jax.random.normal(key_start, (num_walkers, _DIMENSION), positions)
        dynamics = langevin(0.2)
        start = walkers.init(x, path(jnp.zeros((), positions)), dynamics.kernel_init)
        end, _ = annealing.anneal(key_run, start, path, times, dynamics)
        return walkers.log_partition_function(end)

    keys = jax.random.split(jax.random.key(0), num_seeds)
    exact = float(check_exact(target)[1]) - float(check_exact(base)[1])
    errors = np.asarray(jax.jit(lambda keys: jax.lax.map(log_z, keys))(keys)) - exact
    mean, error = errors.mean(), errors.std(ddof=1) / np.sqrt(num_seeds)
    weights = str(jax.eval_shape(log_z, keys[0]).dtype)
    return (
        precision,
        str(positions),
        weights,
        format_with_error(mean, error),
        f"{errors.std(ddof=1):.4f}",
        str(num_seeds),
    )
