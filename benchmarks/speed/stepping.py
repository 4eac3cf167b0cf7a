"""A ULA step with weights, and annealing, beside a step without weights."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks.speed.timing import Case
from jarzynski_jax import annealing, targets, walkers
from jarzynski_jax.annealing import geometric_path
from jarzynski_jax.types import Array, PRNGKey
from jarzynski_jax.walkers import Walkers, advance, langevin


def step_cases(num_walkers: int, dimension: int, num_steps: int) -> dict[str, Case]:
    """A step on two modes with its weights; and as one would write it without them."""
    target, key, h = targets.two_modes(dimension), jax.random.key(0), 0.1
    dynamics = langevin(h)
    x = 4 * jax.random.normal(key, (num_walkers, dimension))
    ensemble = walkers.init(x, target.logdensity_fn, dynamics.kernel_init)
    gradient = jax.vmap(jax.grad(target.logdensity_fn))

    def plain(x: Array, key: PRNGKey) -> Array:
        return x + h * gradient(x) + jnp.sqrt(2 * h) * jax.random.normal(key, x.shape)

    def weighted(ensemble: Walkers, key: PRNGKey) -> Walkers:
        return advance(key, ensemble, target.logdensity_fn, dynamics)[0]

    def repeat(step: Callable) -> Callable:
        keys = jax.random.split(key, num_steps)
        return lambda start: jax.lax.scan(lambda s, k: (step(s, k), None), start, keys)[0]

    return {
        "weighted": Case(repeat(weighted), (ensemble,), num_steps),
        "without weights, in one array": Case(repeat(plain), (x,), num_steps),
    }


def annealing_cases(num_walkers: int, dimension: int, num_steps: int) -> dict[str, Case]:
    """Annealing from a Gaussian to two modes, resampled below half of the walkers."""
    target = targets.two_modes(dimension)
    base = targets.gaussian([16.0] * dimension)
    path = geometric_path(base.logdensity_fn, target.logdensity_fn)
    key, times = jax.random.key(0), jnp.linspace(0, 1, num_steps + 1)[1:]
    x = 4 * jax.random.normal(key, (num_walkers, dimension))

    def run(x: Array, rng_key: PRNGKey) -> Array:
        dynamics = langevin(0.1)
        start = walkers.init(x, path(0.0), dynamics.kernel_init)
        end, _ = annealing.anneal(rng_key, start, path, times, dynamics)
        return walkers.log_partition_function(end)

    return {"annealing": Case(run, (x, key), num_steps)}
