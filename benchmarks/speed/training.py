"""One training iteration: Jarzynski, a pool and PCD, beside the random numbers they draw."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.speed.timing import Case
from benchmarks.studies.gaussian_mixture import model
from jarzynski_jax import training
from jarzynski_jax.energies import (
    MLP,
    ConvNet,
    OnGaussianBase,
    fit_gaussian_base,
    functional,
    gaussian_base,
    mixture,
    thesis_mnist_layers,
)
from jarzynski_jax.kernels.arithmetic import draw_noise
from jarzynski_jax.training import Objective, TrainingState
from jarzynski_jax.types import Array, PRNGKey
from jarzynski_jax.walkers import langevin
from jarzynski_jax.walkers.blocks import choose_block_size, scan_blocks

_DIMENSION = 50


def _steps(objective: Objective, num_steps: int) -> Callable[..., TrainingState]:
    def run(state: TrainingState, rng_key: PRNGKey, data: Array) -> TrainingState:
        keys = jax.random.split(rng_key, num_steps)
        return jax.lax.scan(lambda s, k: (objective.step(k, s, data)[0], None), state, keys)[0]

    return run


def noise_alone(num_walkers: int, dimension: int, num_steps: int) -> Callable[..., Array]:
    """Draw what ULA draws, as the walkers draw it, and add it up."""
    position = jnp.zeros(dimension)

    def run(rng_key: PRNGKey) -> Array:
        def add(total: Array, key: PRNGKey) -> tuple[Array, None]:
            keys = jax.random.split(key, num_walkers)
            size = choose_block_size(jnp.zeros((num_walkers, 2 * dimension)))

            def of_block(total: Array, keys: PRNGKey) -> tuple[Array, tuple[()]]:
                noise = jax.vmap(lambda key: draw_noise(key, position))(keys)
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

    def case(build: Callable[..., Objective], size: int) -> Case:
        objective = build(mixture.energy, optimizer, langevin(0.1))
        x = mixture.sample(key, params, size)
        log_z = mixture.log_partition_function(params)
        state = objective.init(key, params, x, data, log_z)
        return Case(
            _steps(objective, num_steps), (state, key, data), num_steps, is_carried=True
        )

    pool = partial(training.jarzynski_pool, block_size=num_walkers)
    noise = noise_alone(num_walkers, _DIMENSION, num_steps)
    return {
        "Jarzynski": case(training.jarzynski, num_walkers),
        "PCD": case(training.persistent_contrastive_divergence, num_walkers),
        "random numbers alone": Case(noise, (key,), num_steps),
        **{f"pool of {size}": case(pool, size) for size in pool_sizes},
    }


def start_network(
    build: Callable[..., Objective],
    network: Callable[[nnx.Rngs], nnx.Module],
    num_walkers: int,
    num_data: int,
    block_size: int | None = None,
) -> tuple[Objective, tuple[TrainingState, PRNGKey, Array]]:
    """Make an objective for a network of 28x28 images on a Gaussian base, and its start."""
    key = jax.random.key(0)
    data = 0.3 * jax.random.normal(key, (num_data, 28, 28))
    base = fit_gaussian_base(data, "diagonal")
    energy_fn, params = functional(OnGaussianBase(base, network(nnx.Rngs(0))))
    objective = build(
        energy_fn, optax.adam(1e-3, eps=1e-2), langevin(1e-3, block_size=block_size)
    )
    x, log_z = gaussian_base.exact_start(key, base, energy_fn, params, num_walkers)
    return objective, (objective.init(key, params, x, data, log_z), key, data)


def mlp(rngs: nnx.Rngs) -> nnx.Module:
    """784-256-256-1."""
    return MLP(784, (256, 256), rngs=rngs)


def convnet(rngs: nnx.Rngs) -> nnx.Module:
    """The six layers of the thesis for MNIST."""
    return ConvNet((28, 28), thesis_mnist_layers(), (64,), rngs=rngs)


def network_cases(
    network: Callable[[nnx.Rngs], nnx.Module], num_walkers: int, num_steps: int
) -> dict[str, Case]:
    """A network of 28x28 images, as many data as walkers."""

    def case(build: Callable[..., Objective]) -> Case:
        objective, args = start_network(build, network, num_walkers, num_walkers)
        return Case(_steps(objective, num_steps), args, num_steps, is_carried=True)

    return {
        "Jarzynski": case(training.jarzynski),
        "PCD": case(training.persistent_contrastive_divergence),
    }
