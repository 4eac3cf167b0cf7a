"""Walkers in blocks: the same results whatever the block, and memory set by it."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from zscore import test_key

from jarzynski_jax import training, walkers
from jarzynski_jax.kernels import ula
from jarzynski_jax.walkers import advance_and_average, langevin
from jarzynski_jax.walkers.blocks import choose_block_size, scan_blocks
from jarzynski_jax.weights import weighted_mean

NUM_WALKERS, D = 1000, 3
each_block = pytest.mark.parametrize("block_size", [1, 7, 250, 333, 999, 1000, 5000])


def energy_fn(params, x):
    return jnp.sum(jnp.square(x - params)) / 2 + jnp.sum(jnp.cos(3 * x)) * params[0]


def ensemble(spread=0.0):
    """Walkers of very different weights if wanted."""
    x = jax.random.normal(test_key("x"), (NUM_WALKERS, D))
    start = walkers.init(x, lambda x: -jnp.sum(x**2) / 2, ula.init)
    noise = spread * jax.random.normal(test_key("weights"), (NUM_WALKERS,))
    return start._replace(log_weights=start.log_weights + noise)


def target(x):
    return -energy_fn(jnp.full(D, 0.4), x)


@each_block
def test_scan_blocks_adds_up_and_keeps_the_order(block_size):
    x = jnp.arange(1000)
    total, squares = scan_blocks(
        lambda total, x: (total + jnp.sum(x), (jnp.square(x),)), 0, x, block_size
    )
    assert int(total) == 999 * 1000 // 2
    np.testing.assert_array_equal(squares[0], np.arange(1000) ** 2)


@cache
def moved_in_blocks(block_size, num_moves):
    dynamics = langevin(0.05, num_moves, block_size=block_size)
    return jax.jit(
        lambda start: advance_and_average(
            test_key("move"), start, target, dynamics, lambda x, w: w @ x
        )
    )(ensemble())


@each_block
@pytest.mark.parametrize("num_moves", [1, 3])
def test_walkers_move_alike_in_blocks_of_any_size(block_size, num_moves):
    moved, num_dead, mean = moved_in_blocks(block_size, num_moves)
    expected, _, expected_mean = moved_in_blocks(NUM_WALKERS, num_moves)
    np.testing.assert_allclose(moved.position, expected.position, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(moved.log_weights, expected.log_weights, atol=1e-4)
    np.testing.assert_allclose(mean, expected_mean, atol=1e-4)
    assert int(num_dead) == 0


@pytest.mark.parametrize("spread", [0.0, 3.0, 300.0])
@pytest.mark.parametrize("offset", [0.0, -1e4, 1e4])
def test_averages_are_weighted_means(spread, offset):
    """In log space: neither weights of any size nor their sum overflow."""
    start = ensemble(spread)
    start = start._replace(log_weights=start.log_weights + offset)
    moved, _, mean = advance_and_average(
        test_key("move"), start, target, langevin(0.05, block_size=60), lambda x, w: w @ x
    )
    expected = weighted_mean(moved.log_weights, moved.position)
    np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-5)


def test_dead_walkers_do_not_count():
    start = ensemble()
    is_dead = jnp.arange(NUM_WALKERS) < 500
    start = start._replace(log_weights=jnp.where(is_dead, -jnp.inf, 0.0))
    moved, num_dead, mean = advance_and_average(
        test_key("move"), start, target, langevin(0.05, block_size=100), lambda x, w: w @ x
    )
    np.testing.assert_allclose(
        mean, weighted_mean(moved.log_weights, moved.position), rtol=1e-4, atol=1e-5
    )
    assert int(num_dead) == 0


@pytest.mark.parametrize(
    "build",
    [training.jarzynski, training.unweighted, training.contrastive_divergence],
    ids=lambda build: build.__name__,
)
def test_training_is_the_same_in_blocks(build):
    data = jax.random.normal(test_key("data"), (700, D)) + 1

    def run(block_size):
        objective = build(energy_fn, optax.sgd(0.1), langevin(0.05, block_size=block_size))
        x = jax.random.normal(test_key("x"), (NUM_WALKERS, D))
        state = objective.init(test_key("init"), jnp.zeros(D), x, data, 0.0, x[:300])
        step = jax.jit(objective.step)
        for key in jax.random.split(test_key("steps"), 3):
            state, metrics = step(key, state, data)
        return state.params, metrics

    (params, metrics), (expected, expected_metrics) = run(64), run(5000)
    np.testing.assert_allclose(params, expected, rtol=1e-4)
    for name, value in metrics._asdict().items():
        other = getattr(expected_metrics, name)
        np.testing.assert_allclose(value, other, rtol=1e-3, atol=1e-4, err_msg=name)


def test_peak_memory_is_set_by_the_block():
    """Of a wide energy: what a step needs beside its arguments, as XLA has laid it out."""
    matrix = jax.random.normal(jax.random.key(0), (D, 512))

    def wide(params, x):
        return jnp.sum(jnp.tanh(x @ (matrix * params)))

    def num_bytes(num_walkers, block_size):
        dynamics = langevin(0.01, block_size=block_size)
        objective = training.jarzynski(wide, optax.sgd(0.1), dynamics)
        x = jnp.zeros((num_walkers, D))
        state = objective.init(jax.random.key(0), jnp.ones(()), x, x[:100], 0.0)
        compiled = jax.jit(objective.step).lower(jax.random.key(0), state, x[:100]).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    whole, in_blocks = num_bytes(8192, 8192), num_bytes(8192, 512)
    assert in_blocks < whole / 4
    # Beyond the block only the walkers themselves count: nowhere near twice 512 numbers each.
    assert num_bytes(16384, 512) - in_blocks < 8192 * 4 * 100


def test_the_choice_of_a_block():
    assert choose_block_size(jnp.zeros((100, 50))) == 100
    size = choose_block_size(jnp.zeros((100_000, 100)))
    assert 100_000 % size == 0
    assert 10_000 <= size <= 25_000
    assert choose_block_size(jnp.zeros((100_003, 100))) < 100_003
    # Matrix products want rows, however large a walker is.
    assert choose_block_size(jnp.zeros((1024, 10_000))) == 512


@pytest.mark.parametrize("block_size", [0, -3])
def test_blocks_must_hold_a_walker(block_size):
    with pytest.raises(ValueError, match=f"block_size must be at least 1; got {block_size}"):
        langevin(0.1, block_size=block_size)
    with pytest.raises(ValueError, match=f"block_size must be at least 1; got {block_size}"):
        scan_blocks(lambda carry, x: (carry, x), 0, jnp.zeros(3), block_size)
