"""The standard error of log Z that one ensemble reports, against the spread over runs."""

from functools import cache

import gaussian_path
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zscore import replicate

from jarzynski_jax import walkers
from jarzynski_jax.kernels import ula
from jarzynski_jax.resampling import adaptive, multinomial, stratified, systematic

NUM_RUNS = 400
PATH = gaussian_path.stiffening(40, (1.0, 4.0), (0.0, 2.0))


def ensemble_of(log_weights):
    log_weights = jnp.asarray(log_weights)
    start = walkers.init(jnp.zeros(log_weights.shape), lambda x: -(x**2) / 2, ula.init)
    return start._replace(log_weights=log_weights)


@cache
def runs(resampler, ess_threshold):
    """Z/Z_exact, the error reported, and the error if genealogy is ignored; (runs, 3)."""
    draw = adaptive(resampler, ess_threshold)
    exact = gaussian_path.exact_moments(PATH)[0]

    def run(key):
        end = gaussian_path.run(
            key,
            PATH,
            0.05,
            num_walkers=300,
            resample=lambda key, ensemble: walkers.resample(key, ensemble, draw)[0],
        )
        ignorant = end._replace(roots=jnp.arange(300))
        return jnp.stack(
            [
                jnp.exp(walkers.log_partition_function(end)) / exact,
                walkers.log_partition_function_error(end),
                walkers.log_partition_function_error(ignorant),
            ]
        )

    name = f"{resampler.__name__} {ess_threshold}"
    return replicate(name, run, num_replicates=NUM_RUNS)


def reported_over_true(errors, ratios):
    """Ratio of variances; its own standard error over 400 runs is about 8 %."""
    return np.mean(np.square(errors * ratios)) / np.var(ratios, ddof=1)


@pytest.mark.parametrize(
    ("resampler", "ess_threshold"),
    [(systematic, 0.0), (systematic, 0.7), (systematic, 1.0), (stratified, 0.7)],
)
def test_error_is_the_spread_over_runs(resampler, ess_threshold):
    """Never, now and then, at every step: a little too large at most."""
    ratios, errors, _ = runs(resampler, ess_threshold).T
    assert 0.75 < reported_over_true(errors, ratios) < 1.6


def test_error_is_too_large_with_multinomial_resampling():
    """As its documentation says: the chance of resampling itself counts as error."""
    ratios, errors, _ = runs(multinomial, 0.7).T
    assert 1.2 < reported_over_true(errors, ratios) < 3


@pytest.mark.parametrize("resampler", [systematic, multinomial])
def test_canary_without_the_roots_the_error_is_too_small(resampler):
    ratios, _, ignorant = runs(resampler, 0.7).T
    assert reported_over_true(ignorant, ratios) < 0.6


def test_without_resampling_it_is_that_of_a_mean():
    log_weights = jax.random.normal(jax.random.key(0), (50,))
    weights = np.exp(np.asarray(log_weights, np.float64))
    expected = weights.std(ddof=1) / np.sqrt(50) / weights.mean()
    error = walkers.log_partition_function_error(ensemble_of(log_weights))
    assert float(error) == pytest.approx(expected, rel=1e-5)


def test_equal_weights_have_no_error():
    error = walkers.log_partition_function_error(ensemble_of(jnp.full(7, -3.0)))
    assert float(error) < 1e-3  # rounding, under the square root


def test_a_single_root_knows_nothing():
    ensemble = ensemble_of(jnp.zeros(8))._replace(roots=jnp.full(8, 3))
    assert float(walkers.log_partition_function_error(ensemble)) == 1


def test_a_block_of_a_pool_is_refused():
    pool = ensemble_of(jnp.zeros(8))
    block = walkers.take(pool, jnp.array([1, 5]))
    assert jnp.isnan(walkers.log_partition_function_error(block))
    assert walkers.put(pool, jnp.array([1, 5]), block).roots.tolist() == list(range(8))


def test_dead_walkers():
    """A dead walker is a sample of weight 0; of a dead ensemble nothing is known."""
    error = walkers.log_partition_function_error(ensemble_of([0.0, -jnp.inf]))
    assert float(error) == pytest.approx(1)
    assert jnp.isnan(walkers.log_partition_function_error(ensemble_of([-jnp.inf, -jnp.inf])))


def test_roots_follow_the_walkers():
    ensemble = ensemble_of(jnp.log(jnp.array([0.0, 1.0, 0.0, 3.0])))
    draw = adaptive(systematic, 1.0)
    resampled, _ = walkers.resample(jax.random.key(0), ensemble, draw)
    assert resampled.roots.tolist() == [1, 3, 3, 3]
    assert resampled.roots.dtype == jnp.int32
