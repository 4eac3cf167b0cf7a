"""Weighted walkers by heat bath from β = 0: log Z beside Kaufman's, and the energy."""

import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from benchmarks.studies.lattice.settings import Settings
from jarzynski_jax.annealing import LogPartitionBounds, log_partition_bounds
from jarzynski_jax.free_energy import log_partition_bracket
from jarzynski_jax.kernels import heat_bath
from jarzynski_jax.targets import lattice
from jarzynski_jax.types import Array, LogDensityFn, PRNGKey, Scalar
from jarzynski_jax.walkers import Dynamics
from jarzynski_jax.weights import log_mean_exp, normalize, relative_error

_DYNAMICS = Dynamics(heat_bath.as_move())


def names(settings: Settings) -> list[str]:
    return [f"ising_{length}" for length in settings.ising_lengths]


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    length = int(name.rpartition("_")[2])
    rows = [_row(length, beta, settings) for beta in settings.ising_betas]
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


def _row(length: int, beta: float, settings: Settings) -> dict[str, float]:
    exact = lattice.ising_thermodynamics((length, length), beta)
    multiple = settings.ising_multiples[settings.ising_lengths.index(length)]
    key = jax.random.fold_in(jax.random.key(length), round(1e6 * beta))
    begin = time.process_time()
    bounds = anneal_spins(
        key,
        length,
        beta,
        multiple * settings.num_ising_replicates,
        settings.num_ising_walkers,
        settings.num_ising_steps,
    )
    value, error = estimate_of(bounds.forward)
    seconds = time.process_time() - begin
    bracket = log_partition_bracket(bounds)
    energies = -jax.vmap(jax.vmap(lattice.bond_sum))(bounds.end_points.astype(jnp.float32))
    weights = np.asarray(normalize(bounds.forward), np.float64)
    means = np.asarray(energies.mean(1), np.float64)
    energy = float(weights @ means)
    spread = np.sqrt(np.sum((weights * (means - energy)) ** 2) * len(means) / (len(means) - 1))
    return {
        "exact": exact.log_partition_function,
        "value": value,
        "error": error,
        "lower": bracket.lower,
        "upper": bracket.upper,
        "num_doubts": len(bracket.doubts),
        "energy": energy,
        "energy_error": float(spread),
        "exact_energy": exact.energy,
        "seconds": seconds,
    }


def anneal_spins(
    key: PRNGKey,
    length: int,
    beta: float,
    num_replicates: int,
    num_walkers: int,
    num_steps: int,
) -> LogPartitionBounds:
    """One program for all temperatures: β is an array."""
    key_start, key_run = jax.random.split(key)
    base = lattice.ising((length, length), 0.0)
    assert base.sample is not None
    spins = base.sample(key_start, num_replicates * num_walkers)
    return log_partition_bounds(
        key_run,
        spins.reshape(num_replicates, num_walkers, length, length),
        Partial(along_temperature, jnp.asarray(beta)),
        length**2 * np.log(2.0),
        _DYNAMICS,
        num_steps,
    )


def along_temperature(beta: Scalar, t: Scalar) -> LogDensityFn:
    return partial(_ising, t * beta)


def _ising(beta: Scalar, spins: Array) -> Array:
    return beta * lattice.bond_sum(spins)


def estimate_of(log_z: Array) -> tuple[float, float]:
    """The log of the mean of Z over replicates, and its error by their spread."""
    return float(log_mean_exp(log_z)), float(relative_error(normalize(log_z)))
