"""For test_uniform.py, as a process of its own: greatest jumps of log-weights.

Processes of the suite compile otherwise than users do.
"""

import json

import jax
import jax.numpy as jnp

from jarzynski_jax import annealing, targets, walkers
from jarzynski_jax.kernels import flip, generalized_hmc, independence, metropolis
from jarzynski_jax.uniform import open_uniform
from jarzynski_jax.walkers import Dynamics


def careless(rng_key, log_ratio):
    """As it is written in every textbook."""
    return jnp.log(open_uniform(rng_key, (), log_ratio.dtype)) < log_ratio, log_ratio


def greatest_jump(move):
    """Of a log-weight, along a path so short that all are alike but for rounding.

    Log-densities of some thousands are rounded to 2e-4: whatever is computed twice differs.
    """
    variances = jnp.linspace(0.5, 2, 16)
    path = annealing.geometric_path(
        lambda x: 3000 - jnp.sum((x - 0.2) ** 2) / 2,
        lambda x: 3300 - jnp.sum((x - 0.2) ** 2 / variances) / 2,
    )
    x = jax.random.normal(jax.random.key(1), (1024, 16))
    start = walkers.init(x, path(0.3), move.init)
    times = 0.3 + 1e-4 * jnp.linspace(0, 1, 401)[1:]
    end, _ = annealing.anneal(jax.random.key(2), start, path, times, Dynamics(move))
    return float(jnp.max(jnp.abs(end.log_weights - jnp.median(end.log_weights))))


if __name__ == "__main__":
    found = {
        "flip": greatest_jump(flip.as_move()),
        "independence": greatest_jump(independence.as_move(targets.gaussian(jnp.ones(16)))),
        "generalized_hmc": greatest_jump(generalized_hmc.as_move(3, 0.5, 1.0)),
    }
    metropolis.accept = careless
    # With another number of steps, so that nothing is found again.
    found["careless"] = greatest_jump(generalized_hmc.as_move(4, 0.5, 1.0))
    print(json.dumps(found))
