"""One training iteration: Jarzynski, a pool and PCD, beside the random numbers they draw."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.gaussian_mixture import model
from benchmarks.speed.timing import Case
from jarzynski_jax import training
from jarzynski_jax.blocks import choose_block_size, scan_blocks
from jarzynski_jax.dynamics import langevin
from jarzynski_jax.energies import MLP, OnGaussianBase, functional, gaussian_base, mixture
from jarzynski_jax.training import TrainingAlgorithm, TrainingState
from jarzynski_jax.types import Array, PRNGKey

_DIMENSION = 50


def _steps(algorithm: TrainingAlgorithm, num_steps: int) -> Callable[..., TrainingState]:
    def run(state: TrainingState, rng_key: PRNGKey, data: Array) -> TrainingState:
        keys = jax.random.split(rng_key, num_steps)
        return jax.lax.scan(lambda s, k: (algorithm.step(k, s, data)[0], None), state, keys)[0]

    return run


def draw_noise(
    rng_key: PRNGKey, num_walkers: int, dimension: int, num_steps: int
) -> Callable[..., Array]:
    """Draw what ULA draws, as the walkers draw it, and add it up."""

    def run(rng_key: PRNGKey) -> Array:
        def add(total: Array, key: PRNGKey) -> tuple[Array, None]:
            keys = jax.random.split(key, num_walkers)
            size = choose_block_size(jnp.zeros((num_walkers, 2 * dimension)))

            def of_block(total: Array, keys: PRNGKey) -> tuple[Array, tuple[()]]:
                noise = jax.vmap(lambda key: jax.random.normal(key, (dimension,)))(keys)
                return total + jnp.sum(noise, axis=0), ()

            return scan_blocks(of_block, total, keys, size)[0], None

        return jax.lax.scan(add, jnp.zeros(dimension), jax.random.split(rng_key, num_steps))[0]

    return run


def mixture_cases(
    num_walkers: int, pool_sizes: tuple[int, ...], num_steps: int
) -> dict[str, Case]:
    """The mixture of 50 dimensions, as many data as walkers touched at a step."""
    key = jax.random.key(0)
    target, params = model.data_params(_DIMENSION), model.first_params(key, _DIMENSION)
    data = mixture.sample(key, target, num_walkers)
    optimizer = model.gradient_descent(model.Rates(1e-3, 1e-3))

    def case(build: Callable[..., TrainingAlgorithm], size: int) -> Case:
        algorithm = build(mixture.energy, optimizer, langevin(0.1))
        x = mixture.sample(key, params, size)
        log_z = mixture.log_partition_function(params)
        state = algorithm.init(key, params, x, data, log_z)
        return Case(
            _steps(algorithm, num_steps), (state, key, data), num_steps, is_carried=True
        )

    pool = partial(training.jarzynski_pool, block_size=num_walkers)
    noise = draw_noise(key, num_walkers, _DIMENSION, num_steps)
    return {
        "Jarzynski": case(training.jarzynski, num_walkers),
        "PCD": case(training.persistent_contrastive_divergence, num_walkers),
        "random numbers alone": Case(noise, (key,), num_steps),
        **{f"pool of {size}": case(pool, size) for size in pool_sizes},
    }


def network_cases(
    module: Any, shape: tuple[int, ...], num_walkers: int, num_steps: int
) -> dict:
    """A network on a Gaussian base, as many data as walkers."""
    key = jax.random.key(0)
    data = 0.3 * jax.random.normal(key, (num_walkers, *shape))
    base = gaussian_base.fit_gaussian_base(data, "diagonal")
    energy_fn, params = functional(OnGaussianBase(base, module))
    optimizer = optax.adam(1e-3, eps=1e-2)

    def case(build: Callable[..., TrainingAlgorithm]) -> Case:
        algorithm = build(energy_fn, optimizer, langevin(1e-3))
        x, log_z = gaussian_base.exact_start(key, base, energy_fn, params, num_walkers)
        state = algorithm.init(key, params, x, data, log_z)
        return Case(
            _steps(algorithm, num_steps), (state, key, data), num_steps, is_carried=True
        )

    return {
        "Jarzynski": case(training.jarzynski),
        "PCD": case(training.persistent_contrastive_divergence),
    }


def mlp_cases(num_walkers: int, num_steps: int) -> dict[str, Case]:
    """784-256-256-1."""
    return network_cases(MLP(784, (256, 256), rngs=nnx.Rngs(0)), (784,), num_walkers, num_steps)
