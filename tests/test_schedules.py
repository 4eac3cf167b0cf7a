"""Adaptive annealing: the schedule it finds, what its estimate is, and robustness.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zscore import assert_unbiased, replicate

from jarzynski_jax import annealing, walkers
from jarzynski_jax.annealing import anneal_adaptively, geometric_path, refine, tempering_path
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.walkers import langevin
from jarzynski_jax.weights import conditional_effective_sample_size

D = 4
PATH = geometric_path(
    lambda x: -jnp.sum(jnp.square(x)) / 2, lambda x: -4 * jnp.sum(jnp.square(x - 0.5))
)
LOG_RATIO = -D / 2 * np.log(8.0)
DYNAMICS = langevin(0.02)


def start(key, num_walkers=500):
    x = jax.random.normal(key, (num_walkers, D))
    return walkers.init(x, PATH(0.0), DYNAMICS.kernel_init)


def adapt(key, threshold=0.98, max_steps=200, path=PATH, num_walkers=500):
    key_start, key_path = jax.random.split(key)
    ensemble = start(key_start, num_walkers)
    return anneal_adaptively(key_path, ensemble, path, DYNAMICS, threshold, max_steps)


def test_every_step_keeps_what_was_asked_for():
    _, info = adapt(jax.random.key(0))
    num_steps = int(info.num_steps)
    assert bool(info.is_complete)
    assert 10 < num_steps < 200
    times, kept = info.times[:num_steps], info.conditional_effective_sample_size[:num_steps]
    assert bool(jnp.all(jnp.diff(times) > 0))
    np.testing.assert_allclose(kept[:-1], 0.98, atol=2e-3)
    assert float(kept[-1]) >= 0.98
    assert float(times[-1]) == 1
    # It begins in small steps, where the density changes most.
    assert float(times[0]) < 0.5 * float(times[-1] - times[-2])
    assert bool(jnp.all(info.times[num_steps:] == 1))


def test_adaptive_estimate_is_consistent():
    """From 8000 walkers log Z is right to a few hundredths."""
    end, _ = jax.jit(lambda key: adapt(key, num_walkers=8000))(jax.random.key(1))
    assert float(walkers.log_partition_function(end)) == pytest.approx(LOG_RATIO, abs=0.1)


def test_second_pass_is_unbiased():
    """A schedule found by some walkers, fresh walkers along it."""
    _, info = adapt(jax.random.key(2))
    times = info.times[: int(info.num_steps)]

    def run(key):
        key_start, key_path = jax.random.split(key)
        end, _ = annealing.anneal(key_path, start(key_start, 1000), PATH, times, DYNAMICS)
        return jnp.mean(jnp.exp(end.log_weights - LOG_RATIO))

    assert_unbiased(replicate("second pass", run), 1.0)


def test_too_few_steps_are_reported():
    end, info = adapt(jax.random.key(0), max_steps=3)
    assert not bool(info.is_complete)
    assert int(info.num_steps) == 3
    time = float(info.times[-1])
    assert 0 < time < 1
    # The walkers are weighed by the density where they stopped.
    expected = jax.vmap(PATH(time))(end.position)
    np.testing.assert_allclose(end.state.logdensity, expected, rtol=1e-5)


def test_walkers_where_the_density_is_nan_do_not_spoil_it():
    """Beyond x = 2.5 the last density is NaN: those walkers die, the schedule goes on."""

    def last(x):
        return jnp.where(jnp.any(x > 2.5), jnp.nan, -4 * jnp.sum(jnp.square(x - 0.5)))

    path = geometric_path(lambda x: -jnp.sum(jnp.square(x)) / 2, last)
    never = langevin(0.02, resampler=adaptive(systematic, 0.0))
    end, info = anneal_adaptively(
        jax.random.key(0), start(jax.random.key(1)), path, never, 0.98, 200
    )
    assert bool(info.is_complete)
    # P(a coordinate of four beyond 2.5) = 2.5 %; the others are drawn inwards.
    assert 2 <= int(jnp.sum(jnp.isneginf(end.log_weights))) <= 40
    assert float(walkers.log_partition_function(end)) == pytest.approx(LOG_RATIO, abs=0.5)


def test_conditional_effective_sample_size():
    weights, increments = np.array([1.0, 2.0, 3.0]), np.array([0.5, 1.0, 4.0])
    share = weights / weights.sum()
    expected = (share @ increments) ** 2 / (share @ increments**2)
    found = conditional_effective_sample_size(jnp.log(weights), jnp.log(increments) + 900.0)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_conditional_effective_sample_size_of_the_dead():
    nothing = conditional_effective_sample_size(jnp.zeros(3), jnp.full(3, -jnp.inf))
    assert float(nothing) == 0
    with pytest.raises(ValueError, match=r"\(3,\).*\(2,\)"):
        conditional_effective_sample_size(jnp.zeros(3), jnp.zeros(2))


@pytest.mark.parametrize(
    ("threshold", "max_steps", "message"),
    [(1.0, 10, "threshold.*1.0"), (0.0, 10, "threshold.*0.0"), (0.9, 0, "max_steps.*0")],
)
def test_bad_input_is_refused(threshold, max_steps, message):
    with pytest.raises(ValueError, match=message):
        anneal_adaptively(jax.random.key(0), None, PATH, DYNAMICS, threshold, max_steps)


def test_refined_schedule_keeps_the_shape():
    """Ten times as many steps, as dense where it was dense."""
    _, info = adapt(jax.random.key(0), threshold=0.9)
    num_found = int(info.num_steps)
    times = refine(info, 10 * num_found)
    assert times.shape == (10 * num_found,)
    assert float(times[-1]) == 1
    assert bool(jnp.all(jnp.diff(times) > 0))
    np.testing.assert_allclose(times[9::10], info.times[:num_found], rtol=1e-5)
    np.testing.assert_allclose(refine(info, num_found), info.times[:num_found], rtol=1e-5)


def test_refined_schedule_ends_where_the_path_ends():
    _, info = adapt(jax.random.key(0), max_steps=3)
    assert not bool(info.is_complete)
    assert float(refine(info, 5)[-1]) == 1


def test_refine_wants_a_step():
    _, info = adapt(jax.random.key(0), max_steps=3)
    with pytest.raises(ValueError, match="num_steps must be at least 1; got 0"):
        refine(info, 0)


@pytest.mark.parametrize("curvature", [1.0, 1e4, 1e8, 1e16])
def test_the_first_step_is_as_small_as_the_data_are_many(curvature):
    """A likelihood of 1e8 observations: the step that keeps 0.9 is 7.5e-9."""
    path = tempering_path(lambda x: -(x**2) / 2, lambda x: -curvature * x**2 / 2)
    x = jax.random.normal(jax.random.key(0), (2000,))
    begin = walkers.init(x, path(0.0), DYNAMICS.kernel_init)
    _, info = anneal_adaptively(jax.random.key(1), begin, path, DYNAMICS, 0.9, max_steps=1)
    assert float(info.conditional_effective_sample_size[0]) == pytest.approx(0.9, abs=1e-3)
    scaled = curvature * float(info.times[0])
    # Of a Gaussian, (1 + 2 s)^(1/2) / (1 + s) = 0.9 with s = 0.77.
    assert scaled == pytest.approx(0.77, rel=0.1)


def test_steps_near_the_end_are_the_smallest_there_are_at_least():
    """Where nothing that float32 can tell from the last time keeps enough, it still goes on."""
    path = lambda t: lambda x: -1e12 * jnp.maximum(t - 0.5, 0) * x**2  # noqa: E731
    x = jax.random.normal(jax.random.key(0), (100,))
    begin = walkers.init(x, path(0.0), DYNAMICS.kernel_init)
    _, info = anneal_adaptively(jax.random.key(1), begin, path, DYNAMICS, 0.9, max_steps=5)
    assert np.all(np.diff(info.times[: int(info.num_steps)]) > 0)
