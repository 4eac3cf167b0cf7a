"""What the systems of the study share: learning a wave, and the three numbers as arrays."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.studies.quantum.settings import Settings
from jarzynski_jax import annealing, quantum, training
from jarzynski_jax.energies import functional
from jarzynski_jax.types import Array, LogDensityFn
from jarzynski_jax.walkers import langevin

Found = dict[str, np.ndarray]


def sampling_of(settings: Settings, memory: float = 1.0) -> quantum.Sampling:
    return quantum.Sampling(
        num_blocks=settings.blocks, num_warmup=settings.warmup, memory=memory
    )


def start(key: Array, hamiltonian: quantum.Hamiltonian, settings: Settings) -> Array:
    """Normal positions of all populations, to be relaxed."""
    shape = settings.populations, settings.walkers, *hamiltonian.shape
    return 0.7 * jax.random.normal(key, shape)


def learn(
    seed: int,
    hamiltonian: quantum.Hamiltonian,
    module: nnx.Module,
    step_size: float,
    num_updates: int,
) -> tuple[LogDensityFn, Any]:
    """A wave that has learned by its variational energy, and the metrics of learning."""
    key_x, key_relax, key_fit = jax.random.split(jax.random.key(seed), 3)
    wave, params = functional(module)
    move = langevin(step_size / 2, num_moves=2)
    x = 0.7 * jax.random.normal(key_x, (1024, *hamiltonian.shape))
    x, _ = annealing.relax(key_relax, x, lambda x: 2 * wave(params, x), move, 300)
    optimizer = optax.adam(optax.exponential_decay(3e-3, num_updates // 4, 0.5), eps=1e-6)
    objective = quantum.variational_energy(hamiltonian, wave, optimizer, move)
    state = objective.init(key_fit, params, x)
    result = training.fit(key_fit, objective, state, num_steps=num_updates)
    return jax.tree_util.Partial(wave, result.state.params), result.metrics


def three_numbers(
    seed: int,
    hamiltonian: quantum.Hamiltonian,
    settings: Settings,
    step_sizes: tuple[float, ...],
    *,
    memory: float = 1.0,
    **guide: Callable,
) -> Found:
    """The report as arrays: (value, error) of each number, and at each step."""
    key_x, key = jax.random.split(jax.random.key(seed))
    x = start(key_x, hamiltonian, settings)
    found = quantum.ground_state_report(
        key,
        hamiltonian,
        x,
        step_sizes=step_sizes,
        sampling=sampling_of(settings, memory),
        **guide,
    )
    print(found, flush=True)
    numbers = {
        name: _pair(of)
        for name, of in (
            ("cost", found.cost),
            ("variational", found.variational),
            ("diffusion", found.diffusion),
        )
    }
    at_steps = {
        f"{name}_at_steps": np.stack([_pair(getattr(at, name)) for at in found.at_steps])
        for name in ("cost", "growth", "mixed")
    }
    return {
        **numbers,
        **at_steps,
        "step_sizes": np.array(step_sizes),
        "doubts": np.array(found.doubts, dtype=np.str_),
    }


def _pair(of: Any) -> np.ndarray:
    if of is None:
        return np.full(2, np.nan)
    return np.array([float(of.value), float(of.standard_error)])


def density_samples(
    seed: int, hamiltonian: quantum.Hamiltonian, log_wave_fn: LogDensityFn, step_size: float
) -> np.ndarray:
    """4000 samples of ψ², by Metropolis-adjusted Langevin."""
    x = 0.7 * jax.random.normal(jax.random.key(seed), (4000, *hamiltonian.shape))
    square = jax.tree_util.Partial(_square, log_wave_fn)
    x, _ = annealing.relax(jax.random.key(seed + 1), x, square, langevin(step_size / 2), 400)
    return np.asarray(x, np.float32)


def _square(log_wave_fn: LogDensityFn, x: Array) -> Array:
    return 2 * jnp.asarray(log_wave_fn(x))
