"""FAB: the second moment of weights against its closed form, and a buffer that holds no poison.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore. The
model is N(0, s²) on a line, the density N(0, 1): E_q w² = s²/sqrt(2 s² - 1).
"""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.scipy.stats import norm
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import annealing, training, walkers
from jarzynski_jax.density import Density
from jarzynski_jax.kernels import generalized_hmc
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.training import replay
from jarzynski_jax.training.fab import path_to_second_moment
from jarzynski_jax.walkers import Dynamics

VARIANCE = 0.8
SCALE = math.sqrt(VARIANCE)
SECOND_MOMENT = VARIANCE / math.sqrt(2 * VARIANCE - 1)  # 1.032796
TIMES = jnp.linspace(0, 1, 9)[1:]
DYNAMICS = Dynamics(generalized_hmc.as_move(2, 0.5, 1.0), 1, adaptive(systematic, 0.0))
# A constant in the density of p is of no account.
SHIFT = 2.0
TARGET = Density(lambda x: norm.logpdf(x) + SHIFT)


def log_q(scale, x):
    return norm.logpdf(x, 0, scale)


def sample_and_log_q(rng_key, scale):
    x = scale * jax.random.normal(rng_key)
    return x, log_q(scale, x)


def test_the_closed_form():
    x = np.linspace(-12, 12, 4001)
    p, q = np.exp(-(x**2) / 2), np.exp(-(x**2) / (2 * VARIANCE)) / SCALE
    found = np.trapezoid(p**2 / q, x) / math.sqrt(2 * math.pi)
    assert found == pytest.approx(SECOND_MOMENT, rel=1e-9)
    assert pytest.approx(1.032796, abs=1e-6) == SECOND_MOMENT


# ---------------------------------------------------------------- the gradient


def at_second_moment(key, sign, is_unweighted):
    """Mean weight of the walkers, and the gradient of the loss in s where they arrive."""
    x = SCALE * jax.random.normal(key, (2000,))
    path = path_to_second_moment(lambda x: log_q(SCALE, x), norm.logpdf)
    start = walkers.init(x, path(0.0), DYNAMICS.kernel_init)
    end, _ = annealing.anneal(jax.random.fold_in(key, 1), start, path, TIMES, DYNAMICS)
    weights = jnp.where(is_unweighted, 1.0, jnp.exp(end.log_weights))
    slopes = jax.vmap(jax.grad(log_q), (None, 0))(SCALE, end.position)
    return jnp.stack([jnp.mean(weights), -sign * jnp.mean(weights * slopes)])


def slope_of_logarithm(scale):
    """d/ds of log s²/sqrt(2 s² - 1)."""
    return 2 / scale - 2 * scale / (2 * scale**2 - 1)


EXPECTED = SECOND_MOMENT * np.array([1.0, slope_of_logarithm(SCALE)])


def test_walkers_tell_the_second_moment_and_its_gradient():
    found = replicate("fab", at_second_moment, jnp.array(1.0), jnp.array(False))
    assert_unbiased(found, EXPECTED)


@pytest.mark.parametrize(("sign", "is_unweighted"), [(-1.0, False), (1.0, True)])
def test_canary_the_loss_turned_round_or_walkers_without_weights(sign, is_unweighted):
    found = replicate("fab", at_second_moment, jnp.array(sign), jnp.array(is_unweighted))
    assert_biased(found, EXPECTED)


RATE = 0.01


@pytest.fixture(scope="module")
def fab():
    return training.fab(
        sample_and_log_q,
        log_q,
        TARGET,
        optax.sgd(RATE),
        dynamics=DYNAMICS,
        times=TIMES,
        num_samples=250,
        batch_size=500,
        buffer_size=500,
        anneal_every=2,
    )


@pytest.fixture(scope="module")
def step(fab):
    return jax.jit(fab.step)


def test_an_update_goes_down_the_gradient(fab, step):
    """Drawn from the buffer the gradient is that of the logarithm of the second moment.

    So is that of the next update, on the same walkers, whose weights are of another q.
    """
    found = []
    for key in jax.random.split(test_key("update"), 160):
        first, second = jax.random.split(key)
        after, _ = step(first, fab.init(key, jnp.array(SCALE)), None)
        again, _ = step(second, after, None)
        slopes = np.array([SCALE - after.params, after.params - again.params]) / RATE
        found.append(slopes - slope_of_logarithm(np.array([SCALE, float(after.params)])))
    assert_unbiased(found, 0.0)


def test_metrics_are_of_the_model_and_not_there_where_no_walkers_go(fab, step):
    state, first = step(test_key("metrics"), fab.init(test_key("init"), jnp.array(SCALE)), None)
    assert float(first.log_partition_function) == pytest.approx(SHIFT, abs=0.06)
    assert float(first.effective_sample_size) == pytest.approx(1 / SECOND_MOMENT, abs=0.04)
    assert np.isfinite(first.annealed_effective_sample_size)
    state, second = step(test_key("metrics"), state, None)
    assert np.isnan(second.effective_sample_size)
    assert np.isfinite(second.loss)
    assert int(state.step) == 2
    assert int(np.isfinite(state.replay.log_weights).sum()) == 250


def test_it_learns_and_a_resumed_run_is_the_same_bit_for_bit(fab):
    start = fab.init(test_key("init"), jnp.array(1.3))
    whole = training.fit(test_key("fit"), fab, start, num_steps=200)
    assert float(whole.state.params) == pytest.approx(1, abs=0.05)
    half = training.fit(test_key("fit"), fab, start, num_steps=100)
    rest = training.fit(test_key("fit"), fab, half.state, num_steps=200)
    chex.assert_trees_all_equal(rest.state, whole.state)


# ---------------------------------------------------------------- the buffer


def poisoned():
    """Four whole entries, one of them of an enormous weight, and five that must die."""
    bad, whole = jnp.array([jnp.inf, jnp.nan, -jnp.inf]), jnp.zeros(4)
    log_weights = jnp.concatenate([jnp.array([0.0, 1.0, 2.0, 1e4]), bad, jnp.zeros(3)])
    log_q = jnp.concatenate([whole, jnp.zeros(3), jnp.array([jnp.nan, jnp.inf, 0.0])])
    x = jnp.arange(10.0).at[9].set(jnp.nan)
    return replay.put(replay.empty(jnp.zeros(()), 20), x, log_weights, log_q)


def test_entries_that_are_not_finite_die():
    buffer = poisoned()
    assert np.flatnonzero(np.isfinite(buffer.log_weights)).tolist() == [0, 1, 2, 3]
    assert np.all(np.isfinite(buffer.positions))
    assert np.all(np.isfinite(buffer.log_q))
    drawn = replay.draw(test_key("draw"), buffer, 500)
    assert set(drawn.tolist()) == {3}


def test_an_enormous_weight_hides_the_others_only_as_long_as_it_is_there():
    buffer = poisoned()
    buffer = replay.reweigh(buffer, jnp.array([3]), jnp.array([1e4]))
    np.testing.assert_allclose(buffer.log_weights[:4], [0, 1, 2, 0])
    drawn = np.asarray(replay.draw(test_key("draw"), buffer, 4000))
    weights = np.exp([0, 1, 2, 0])
    shares = np.bincount(drawn, minlength=4)[:4] / 4000
    expected = weights / weights.sum()
    assert np.all(np.abs(shares - expected) < 4.5 * np.sqrt(expected / 4000))


@pytest.mark.parametrize("log_q", [np.nan, np.inf, -np.inf])
def test_an_entry_whose_q_is_not_finite_any_more_dies(log_q):
    buffer = replay.reweigh(poisoned(), jnp.array([1]), jnp.array([log_q]))
    assert np.isneginf(buffer.log_weights[1])
    assert np.isfinite(buffer.log_weights[2])


def test_the_oldest_are_overwritten():
    buffer = replay.empty(jnp.zeros(2), 4)
    for index in range(3):
        x = jnp.full((2, 2), float(index))
        buffer = replay.put(buffer, x, jnp.zeros(2), jnp.zeros(2))
    assert buffer.positions[:, 0].tolist() == [2, 2, 1, 1]
    with pytest.raises(ValueError, match=r"multiple of the 3 positions.*got 4"):
        replay.put(buffer, jnp.zeros((3, 2)), jnp.zeros(3), jnp.zeros(3))


def test_a_buffer_of_the_dead_moves_no_parameter(fab, step):
    state = fab.init(test_key("init"), jnp.array(SCALE))._replace(step=jnp.int32(1))
    after, metrics = step(test_key("dead"), state, None)
    assert metrics.is_skipped
    assert float(after.params) == float(state.params)


# ---------------------------------------------------------------- what is refused

GOOD = {
    "dynamics": DYNAMICS,
    "times": TIMES,
    "num_samples": 8,
    "batch_size": 8,
    "buffer_size": 16,
}
REFUSED = {
    "samples": ({"num_samples": 0}, r"must be at least 1; got 0, 8 and 1"),
    "buffer": ({"buffer_size": 12}, r"multiple of num_samples, 8; got 12"),
    "no buffer": ({"buffer_size": 0}, r"multiple of num_samples, 8; got 0"),
    "times": ({"times": TIMES[::-1]}, "times must ascend"),
    "dynamics": ({"dynamics": 3}, "must be a Dynamics"),
    "target": ({"target": log_q}, "must be a Density; got function"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_arguments_are_refused(name):
    other, message = REFUSED[name]
    options = {"target": TARGET, **GOOD, **other}
    with pytest.raises(ValueError, match=message):
        training.fab(sample_and_log_q, log_q, optimizer=optax.sgd(0.1), **options)


def test_a_batch_is_refused(fab):
    with pytest.raises(ValueError, match="takes no data"):
        fab.step(jax.random.key(0), fab.init(jax.random.key(0), jnp.array(1.0)), jnp.zeros(3))
