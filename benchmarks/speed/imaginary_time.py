"""A Feynman-Kac step of helium with weights, beside drift, noise and local energy alone."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from benchmarks.speed.timing import Case
from jarzynski_jax import quantum, walkers
from jarzynski_jax.annealing import anneal
from jarzynski_jax.kernels import feynman_kac
from jarzynski_jax.kernels.guides import wave_guide
from jarzynski_jax.types import Array, LogDensityFn, PRNGKey
from jarzynski_jax.walkers import Dynamics, Walkers, advance

STEP_SIZE = 0.01


def helium() -> tuple[quantum.Hamiltonian, LogDensityFn]:
    """Helium, and a wave with both cusps."""
    nuclei = quantum.nuclei_of([[0, 0, 0]], [2])
    return quantum.molecule(nuclei, 2), quantum.exponential_wave(nuclei, 2.0, 0.5)


def step_cases(num_walkers: int, num_steps: int) -> dict[str, Case]:
    """Steps of imaginary time; with resampling too; and as one would write them without."""
    hamiltonian, log_wave_fn = helium()
    dynamics = Dynamics(feynman_kac.as_move(wave_guide(log_wave_fn), STEP_SIZE))
    key = jax.random.key(0)
    x = jax.random.normal(key, (num_walkers, 2, 3))
    ensemble = jax.jit(lambda x: walkers.init(x, hamiltonian.rate, dynamics.kernel_init))(x)
    keys = jax.random.split(key, num_steps)

    def weighted(ensemble: Walkers, key: PRNGKey) -> tuple[Walkers, None]:
        return advance(key, ensemble, hamiltonian.rate, dynamics)[0], None

    def resampled(ensemble: Walkers) -> Walkers:
        times = jnp.ones(num_steps)
        return anneal(key, ensemble, lambda _: hamiltonian.rate, times, dynamics)[0]

    evaluate = partial(evaluate_by_hand, hamiltonian, log_wave_fn)
    plain = partial(_plain_step, evaluate)
    start = x, *jax.jit(evaluate)(x)
    return {
        "weighted": Case(lambda s: jax.lax.scan(weighted, s, keys)[0], (ensemble,), num_steps),
        "weighted and resampled": Case(resampled, (ensemble,), num_steps),
        "without weights, in one array": Case(
            lambda s: jax.lax.scan(plain, s, keys)[0], (start,), num_steps
        ),
    }


def evaluate_by_hand(
    hamiltonian: quantum.Hamiltonian, log_wave_fn: LogDensityFn, x: Array
) -> tuple[Array, Array]:
    """Drift and local energy of all walkers, by a gradient and a Hessian."""

    def of_one(x: Array) -> tuple[Array, Array]:
        drift = jax.grad(log_wave_fn)(x)
        hessian = jax.hessian(log_wave_fn)(x).reshape(x.size, x.size)
        kinetic = -(jnp.trace(hessian) + jnp.sum(drift**2)) / 2
        return drift, hamiltonian.potential_fn(x) + kinetic

    return jax.vmap(of_one)(x)


def _plain_step(
    evaluate: Callable[[Array], tuple[Array, Array]],
    state: tuple[Array, Array, Array],
    rng_key: PRNGKey,
) -> tuple[tuple[Array, Array, Array], None]:
    x, drift, _ = state
    noise = jax.random.normal(rng_key, x.shape)
    x = x + STEP_SIZE * drift + jnp.sqrt(STEP_SIZE) * noise
    return (x, *evaluate(x)), None
