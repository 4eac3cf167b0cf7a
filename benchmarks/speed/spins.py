"""A heat-bath sweep of Ising spins with weights, beside the one that textbooks have."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.speed.timing import Case
from jarzynski_jax import walkers
from jarzynski_jax.kernels import heat_bath
from jarzynski_jax.targets import lattice
from jarzynski_jax.types import Array, PRNGKey
from jarzynski_jax.walkers import Dynamics, Walkers, advance

#: β, just below the critical point: neither the start nor the ordered state.
INVERSE_TEMPERATURE = 0.4


def sweep_cases(num_walkers: int, length: int, num_sweeps: int) -> dict[str, Case]:
    """Sweeps of an L x L torus, from random spins; and as one would write them."""
    shape, key = (length, length), jax.random.key(0)
    target = lattice.ising(shape, INVERSE_TEMPERATURE)
    spins = jnp.where(jax.random.bernoulli(key, shape=(num_walkers, *shape)), 1, -1)
    dynamics = Dynamics(heat_bath.as_move())
    ensemble = walkers.init(spins, target.logdensity_fn, dynamics.kernel_init)

    def weighted(ensemble: Walkers, key: PRNGKey) -> Walkers:
        return advance(key, ensemble, target.logdensity_fn, dynamics)[0]

    def repeat(step: Callable) -> Callable:
        keys = jax.random.split(key, num_sweeps)
        return lambda start: jax.lax.scan(lambda s, k: (step(s, k), None), start, keys)[0]

    plain = spins.astype(jnp.float32)
    return {
        "weighted": Case(repeat(weighted), (ensemble,), num_sweeps),
        "textbook, in one array": Case(repeat(textbook_sweep), (plain,), num_sweeps),
    }


def textbook_sweep(spins: Array, rng_key: PRNGKey) -> Array:
    """All sites of one colour of the checkerboard, then all of the other; shape (N, L, L)."""
    colours = np.indices(spins.shape[1:]).sum(axis=0) % 2
    uniform = jax.random.uniform(rng_key, spins.shape)

    def draw(spins: Array, is_drawn: Array) -> tuple[Array, None]:
        field = sum(jnp.roll(spins, way, axis) for way in (1, -1) for axis in (1, 2))
        is_up = uniform < jax.nn.sigmoid(2 * INVERSE_TEMPERATURE * field)
        return jnp.where(is_drawn, jnp.where(is_up, 1.0, -1.0), spins), None

    # A loop: written out, XLA draws the random numbers anew for every neighbour that needs
    # them, and takes four times as long.
    return jax.lax.scan(draw, spins, jnp.stack([colours == 0, colours == 1]))[0]
