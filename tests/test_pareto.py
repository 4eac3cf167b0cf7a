"""The shape of the largest weights: generalised Pareto samples, Gaussians, and what is doubted.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax.free_energy import importance_estimate, max_pareto_shape, pareto_shape
from jarzynski_jax.free_energy.pareto import _fit

NUM = 10_000
NUM_EXCESSES = 300  # three times the root
SHAPES = (-0.5, -0.1, 0.2, 0.5, 0.7, 1.0, 1.5)


def pareto_log_weights(key, shape, num=NUM):
    """Exact, by the inverse of P(w > x) = (1 + k x)^(-1/k)."""
    return jnp.log(jnp.expm1(shape * jax.random.exponential(key, (num,))) / shape)


def without_prior(shape):
    """The prior is ten excesses of shape 1/2."""
    return (shape * (NUM_EXCESSES + 10) - 5) / NUM_EXCESSES


def pareto_statistics(key, shape):
    """Of samples of a known shape, of their square roots, and a fit that leaves u in them."""
    log_weights = pareto_log_weights(key, shape)
    largest = jax.lax.top_k(log_weights, NUM_EXCESSES + 1)[0]
    fault, _ = _fit(largest, jnp.arange(NUM_EXCESSES + 1) < NUM_EXCESSES)
    return jnp.stack([without_prior(pareto_shape(log_weights)), fault])


@pytest.fixture(scope="module")
def of_shape():
    return {shape: replicate("pareto", pareto_statistics, shape) for shape in SHAPES}


@pytest.mark.parametrize("shape", SHAPES)
def test_exact_samples_have_their_shape(of_shape, shape):
    """Above any threshold the excess has the same shape."""
    assert_unbiased(of_shape[shape][:, 0], shape)
    if shape > 0:  # else errors are smaller than the normal one
        spread = of_shape[shape][:, 0].std(ddof=1)
        assert spread == pytest.approx((1 + shape) / math.sqrt(NUM_EXCESSES), rel=1 / 3)


@pytest.mark.parametrize("shape", SHAPES)
def test_canary_the_threshold_is_not_taken_off(of_shape, shape):
    assert_biased(of_shape[shape][:, 1], shape)


# ---------------------------------------------------------------- other programs


def plain_shape(log_weights):
    """The fit as it is written down by Vehtari et al., in float64 and without logarithms."""
    log_weights = np.sort(np.asarray(log_weights, np.float64))
    weights = np.exp(log_weights - log_weights[-1])
    num = math.ceil(min(len(weights) / 5, 3 * math.sqrt(len(weights))))
    x = weights[-num:] - weights[-num - 1]
    m = 30 + int(math.sqrt(num))
    theta = 1 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))
    theta = 1 / x[-1] + theta / (3 * x[int(num / 4 + 0.5) - 1])
    k = np.mean(np.log1p(-theta[:, None] * x), axis=1)
    log_likelihood = num * (np.log(-theta / k) - k - 1)
    share = np.exp(log_likelihood - np.max(log_likelihood))
    shape = np.mean(np.log1p(-np.sum(share * theta) / np.sum(share) * x))
    return (num * shape + 5) / (num + 10)


SETS = [(25, 0.4), (125, -0.5), (125, 1.0), (1000, 0.7), (4000, 0.1), (4000, 2.0)]


def made_up(num, shape):
    uniform = np.random.default_rng(num).uniform(size=num)
    return np.log(np.expm1(-shape * np.log(uniform)) / shape).astype(np.float32)


def among_the_dead(log_weights):
    """4000, so that one program does for all numbers: the dead do not count."""
    dead = np.full(4000 - len(log_weights), -np.inf, np.float32)
    return np.concatenate([dead, log_weights])


def shape_of(log_weights):
    return float(pareto_shape(among_the_dead(log_weights)))


@pytest.mark.parametrize(("num", "shape"), SETS)
def test_the_same_fit_written_down_plainly(num, shape):
    log_weights = made_up(num, shape)
    assert shape_of(log_weights) == pytest.approx(plain_shape(log_weights), abs=1e-4)


def test_the_same_number_as_that_of_arviz():
    arviz = pytest.importorskip("arviz")
    for num, shape in SETS:
        log_weights = made_up(num, shape)
        _, found = arviz.psislw(log_weights.astype(np.float64))
        assert shape_of(log_weights) == pytest.approx(float(found), abs=1e-4)


# ---------------------------------------------------------------- Gaussians


def gaussian_shapes(square):
    """Of N(0, 1) by N(0, s²), whose weights have the shape 1 - s²; 64 sets of 4000."""
    x = jnp.sqrt(square) * jax.random.normal(test_key(f"gaussian {square}"), (64, 4000))
    return np.asarray(jax.vmap(pareto_shape)(x**2 * (1 / square - 1) / 2))


def test_gaussians_without_and_with_a_variance():
    limit = max_pareto_shape(4000)
    assert np.median(gaussian_shapes(0.1)) > limit  # shape 0.9
    assert np.max(gaussian_shapes(0.6)) < limit  # shape 0.4
    # Of bounded weights, with s² above 1: the shape of a bound.
    assert np.max(gaussian_shapes(1.7)) < 0.2


# ---------------------------------------------------------------- what is special


def test_scale_and_a_spread_beyond_float32():
    log_weights = made_up(4000, 0.7)
    found = shape_of(log_weights)
    assert shape_of(log_weights + 500) == pytest.approx(found, abs=1e-2)
    assert shape_of(1000 * log_weights) > 100


@pytest.mark.parametrize(
    "log_weights",
    [
        np.zeros(4000),
        np.arange(20.0),
        np.zeros(1),
        np.zeros(0),
        np.append(np.arange(100.0), np.nan),
        np.append(np.arange(100.0), np.inf),
        np.append(np.zeros(1000), np.ones(4)),
    ],
)
def test_no_shape(log_weights):
    assert np.isnan(shape_of(log_weights))
    assert np.isnan(float(pareto_shape(np.arange(20.0))))


def test_two_values_have_the_shape_of_a_bound():
    assert shape_of(np.append(np.zeros(3900), np.full(100, 3.0))) < 0


def test_bad_input():
    with pytest.raises(ValueError, match="shape"):
        pareto_shape(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="num_samples must be at least 2"):
        max_pareto_shape(1)


# ---------------------------------------------------------------- doubts


def test_a_heavy_tail_is_doubted_where_samples_are_enough_to_tell():
    log_weights = made_up(4000, 0.9)
    (doubt,) = importance_estimate(log_weights).doubts[-1:]
    assert "Pareto shape of" in doubt
    assert "above 0.70 for 4000 samples" in doubt
    few = importance_estimate(among_the_dead(log_weights[:200])).doubts
    assert not any("Pareto" in of for of in few)
    light = made_up(4000, 0.1)
    assert importance_estimate(light).doubts == ()
    # Rounding has no tail, whatever its shape is.
    assert importance_estimate(1e-7 * np.exp(log_weights)).doubts == ()


def test_what_the_model_hardly_ever_draws_is_seen_by_samples_of_the_target():
    """Of 4000 samples none is of the part that has a weight of 3 % and is drawn by 1e-5."""
    part, share = 0.03, 1e-5
    inside, outside = np.log((1 - part) / (1 - share)), np.log(part / share)
    of_model = np.full(4000, inside)
    of_target = np.repeat([inside, outside], [194, 6])
    assert importance_estimate(of_model).doubts == ()
    found = importance_estimate(of_model, of_target)
    (doubt,) = found.doubts
    # The root of 3 % of a weight of 3000, over 4000.
    assert "samples of the target see a standard error of 0.15 nats" in doubt
    # A model that draws them as often as it should is not doubted.
    fair = np.repeat([inside, np.log(part / 0.02)], [3920, 80])
    assert importance_estimate(fair, np.repeat([inside, np.log(1.5)], [194, 6])).doubts == ()
