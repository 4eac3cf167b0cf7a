"""The held-out ensemble is unbiased for Z though the model reacts to the training walkers.

Bumps on a Gaussian base in one dimension, trained by few walkers at a large learning rate, so
that the path of parameters depends on where those walkers stand. Each run has a final θ of its
own, whose log Z is found by quadrature.
"""

import math
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gaussian_path import Target, sample
from jax.scipy.special import logsumexp
from zscore import assert_biased, assert_unbiased, replicate, z_scores

from jarzynski_jax import training
from jarzynski_jax.walkers import langevin

CENTRES = jnp.linspace(-3, 3, 13)
WIDTH = 0.4
# At the grid's ends the energy is 50 nats above the base's minimum.
SPACING = 0.005
GRID = SPACING * np.arange(-2000, 2001, dtype=np.float32)
LOG_Z_0 = math.log(2 * math.pi) / 2
NUM_RUNS = 256
NUM_STEPS = 60

ALGORITHMS = {
    "jarzynski": training.jarzynski,
    "pool": partial(training.jarzynski_pool, block_size=10),
    "pcd": training.persistent_contrastive_divergence,
}


def energy_fn(params, x):
    bumps = jnp.exp(-jnp.square((x - CENTRES) / WIDTH) / 2)
    return jnp.square(x) / 2 + jnp.dot(params, bumps)


def exact_log_z(params):
    """Trapezoids, which are exact to rounding for so smooth a density that decays so fast."""
    energies = jax.vmap(energy_fn, (None, 0))(params, GRID)
    return logsumexp(-energies) + math.log(SPACING)


def run(key, build, num_walkers=20, num_held_out=100):
    """Error of log Z as the held-out and the training ensemble tell it, after training."""
    key_training, key_held_out, key_data, key_init, key_steps = jax.random.split(key, 5)
    base = Target(jnp.ones(()), jnp.zeros(()))
    data = 1.2 + 0.5 * jax.random.normal(key_data, (30,))
    objective = build(energy_fn, optax.sgd(0.5), langevin(0.05))
    state = objective.init(
        key_init,
        jnp.zeros(CENTRES.shape),
        sample(key_training, base, (num_walkers,)),
        data,
        LOG_Z_0,
        sample(key_held_out, base, (num_held_out,)),
    )

    def step(state, key):
        log_z = exact_log_z(state.params)
        state, metrics = objective.step(key, state, data)
        return state, (
            metrics.log_partition_function - log_z,
            metrics.training_log_partition_function - log_z,
            jnp.mean(jnp.exp(state.held_out.log_weights)) * jnp.exp(LOG_Z_0 - log_z),
        )

    return jax.lax.scan(step, state, jax.random.split(key_steps, NUM_STEPS))[1]


@cache
def errors_of(name):
    """Log Z less the exact one, shape (runs, steps), of both ensembles."""
    return replicate(name, lambda key: run(key, ALGORITHMS[name]), num_replicates=NUM_RUNS)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_held_out_partition_function_is_unbiased(name):
    """E[Z/Z_exact(θ)] = 1 along the run and at its end: |z| < 4.5 over 256 runs.

    Given the path of θ, which its walkers never touch, they are properly weighted.
    """
    held_out, _, after_resampling = errors_of(name)
    steps = [0, NUM_STEPS // 2, NUM_STEPS - 1]
    assert_unbiased(np.exp(held_out[:, steps]), 1)
    assert_unbiased(after_resampling[:, steps], 1)


@pytest.mark.parametrize("name", ["jarzynski", "pool"])
def test_canary_the_training_walkers_are_biased(name):
    """The energy was pushed up where they stand: they tell too small a Z. |z| > 6."""
    held_out, of_training, _ = (errors[:, -1] for errors in errors_of(name))
    assert_biased(np.exp(of_training), 1)
    assert z_scores(np.exp(of_training), 1) < -6
    assert z_scores(of_training, 0) < -6
    # By far more than Jensen's inequality takes from the held-out walkers' log Z.
    assert -np.mean(of_training) > 5 * np.abs(np.mean(held_out))


@pytest.mark.parametrize("name", ["jarzynski", "pool"])
def test_before_the_model_has_reacted_the_training_walkers_are_right(name):
    assert_unbiased(np.exp(errors_of(name)[1][:, 0]), 1)


def test_log_z_of_the_base():
    assert float(exact_log_z(jnp.zeros(CENTRES.shape))) == pytest.approx(LOG_Z_0, abs=1e-5)
