r"""Estimators of the gradients of both divergences, against closed forms of Gaussians.

Of q = N(0, s²) and p = N(0, 1) each estimator's mean and variance are known; see the list
below. ``SEED`` moves all random numbers; z-scores are of 64 replicates (zscore.py).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.scipy.stats import norm
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import targets, training
from jarzynski_jax.density import Density
from jarzynski_jax.generators import Flow, Layer, LayeredFlow

# ---------------------------------------------------------------- q = N(0, s²), p = N(0, 1)

S = 1.4
EXCESS = S - 1 / S  # of dKL/ds
SGD = optax.sgd(1.0)  # the step is minus the gradient
NUM = 512


def scale(s, z):
    return s * z, jnp.log(jnp.abs(s))


def unscale(s, x):
    return x / s, -jnp.log(jnp.abs(s))


BASE = Density(norm.logpdf, 0.0, lambda key, n: jax.random.normal(key, (n,)))
FLOW = Flow(BASE, scale, unscale)
LAYERED = LayeredFlow(BASE, (Layer(scale, unscale, np.ones((), bool)),))
TARGET = Density(norm.logpdf)


def gradient_of(objective, key, s, batch=None):
    state, metrics = objective.step(key, objective.init(key, s), batch)
    return s - state.params, metrics.loss


def total(n=1):
    return training.reverse_kl(FLOW.sample_and_logdensity, TARGET, SGD, n)


def path(n=1, flow=FLOW):
    return training.path_gradient(flow.sample_with_score, TARGET, SGD, n)


def score(n=2):
    def sample(key, params, n):
        return FLOW.density(params).sample(key, n)

    return training.reinforce(sample, FLOW.logdensity, TARGET, SGD, n)


#: Name: objective, and the variance of its gradient; the mean is s - 1/s of all three.
ESTIMATORS = {
    "total": (total(), 2 * S**2),
    "path": (path(), 2 * EXCESS**2),
    # Of n = 2 it is the sample covariance of f and the score, both linear in z²; with the
    # fourth moment 60 of z² - 1, (60 + 4)/2 times ((s² - 1)/2s)² = (EXCESS/2)².
    "score": (score(), 32 * (EXCESS / 2) ** 2),
}


def moments(key):
    """Mean and variance of each estimator's gradient, and the mean of its loss."""
    keys = jax.random.split(key, NUM)
    found = []
    for objective, _ in ESTIMATORS.values():
        gradients, losses = jax.vmap(lambda key: gradient_of(objective, key, S))(keys)
        found.append([jnp.mean(gradients), jnp.var(gradients, ddof=1), jnp.mean(losses)])
    return jnp.stack([jnp.stack(row) for row in found])


@pytest.fixture(scope="module")
def reverse_moments():
    return replicate("moments", moments, num_replicates=256)


def test_gradients_are_unbiased_with_the_variances_of_theory(reverse_moments):
    divergence = (S**2 - 1 - math.log(S**2)) / 2
    for row, (_, variance) in enumerate(ESTIMATORS.values()):
        assert_unbiased(reverse_moments[:, row, 0], EXCESS)
        mean = np.mean(reverse_moments[:, row, 1])
        error = np.std(reverse_moments[:, row, 1]) / 16
        assert abs(mean - variance) < 4.5 * error < 0.2 * variance
        assert_unbiased(reverse_moments[:, row, 2], divergence)


def test_canary_the_path_gradient_has_not_the_variance_of_the_total_one(reverse_moments):
    mean = np.mean(reverse_moments[:, 1, 1])
    assert abs(mean - 2 * S**2) > 10 * np.std(reverse_moments[:, 1, 1]) / 16


def test_total_is_path_and_score_of_each_sample():
    """To rounding: s z² - 1/s = (s - 1/s) z² + (z² - 1)/s."""

    @jax.jit
    @jax.vmap
    def both(key):
        z = BASE.sample(jax.random.split(key, 1)[0], 1)[0], BASE.sample(key, 1)[0]
        return z, (gradient_of(total(), key, S)[0], gradient_of(path(), key, S)[0])

    z, (of_total, of_path) = both(jax.random.split(test_key("sum"), 64))
    np.testing.assert_allclose(of_total, S * z[0] ** 2 - 1 / S, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(of_path, EXCESS * z[1] ** 2, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("flow", [FLOW, LAYERED], ids=["inverse", "recursion"])
def test_the_path_gradient_vanishes_for_each_sample_where_the_model_is_the_target(flow):
    keys = jax.random.split(test_key("zero"), 64)
    of_path = jax.jit(jax.vmap(lambda key: gradient_of(path(1, flow), key, 1.0)[0]))(keys)
    of_total = jax.jit(jax.vmap(lambda key: gradient_of(total(), key, 1.0)[0]))(keys)
    np.testing.assert_allclose(of_path, 0, atol=1e-6)
    assert np.std(of_total) > 1


# ---------------------------------------------------------------- from samples of the target


LIKELIHOOD = training.maximum_likelihood(FLOW.logdensity, SGD)
FORWARD_PATH = training.forward_path_gradient(FLOW, TARGET, SGD)


def forward_moments(key):
    """Gradients of KL(p|q) by s, 1/s - 1/s³: of a datum x, 1/s - x²/s³, and x²(1/s - 1/s³)."""
    x = jax.random.normal(key, (NUM,))
    found = []
    for objective in (LIKELIHOOD, FORWARD_PATH):
        gradients, losses = jax.vmap(lambda x: gradient_of(objective, key, S, x[None]))(x)
        found.append([jnp.mean(gradients), jnp.var(gradients, ddof=1), jnp.mean(losses)])
    return jnp.stack([jnp.stack(row) for row in found])


def test_forward_gradients_are_unbiased_with_the_variances_of_theory():
    found = replicate("forward", forward_moments, num_replicates=256)
    slope = 1 / S - 1 / S**3
    cross_entropy = math.log(S * math.sqrt(2 * math.pi)) + 1 / (2 * S**2)
    for row, variance in enumerate([2 / S**6, 2 * slope**2]):
        assert_unbiased(found[:, row, 0], slope)
        error = np.std(found[:, row, 1]) / 16
        assert abs(np.mean(found[:, row, 1]) - variance) < 4.5 * error < 0.2 * variance
        assert_unbiased(found[:, row, 2], cross_entropy)


def test_the_forward_path_gradient_vanishes_for_each_datum_at_the_target():
    x = jax.random.normal(test_key("data"), (64,))
    of_path = jax.jit(jax.vmap(lambda x: gradient_of(FORWARD_PATH, None, 1.0, x[None])[0]))(x)
    np.testing.assert_allclose(of_path, 0, atol=1e-6)


def weighted_gradient(key, is_weighted):
    """Of N(0, 1) by samples of N(0.3, 1.5²), with their weights or without."""

    def draw(key, params):
        x = 0.3 + 1.5 * jax.random.normal(key, (4000,))
        log_weights = norm.logpdf(x) - norm.logpdf(x, 0.3, 1.5)
        return x, jnp.where(is_weighted, log_weights, 0)

    objective = training.forward_kl(FLOW.logdensity, draw, SGD)
    return gradient_of(objective, key, S)[0]


def test_weighted_samples_have_the_gradient_of_the_target():
    exact = 1 / S - 1 / S**3
    assert_unbiased(replicate("weighted", weighted_gradient, True), exact)
    assert_biased(replicate("weighted", weighted_gradient, False), exact)


# ---------------------------------------------------------------- layers


def couple(params, z):
    """An affine coupling of the first two coordinates, told by the other two."""
    shift, log_scale = jnp.tanh(params[0] @ z[2:]), 0.5 * jnp.tanh(params[1] @ z[2:])
    active = z[:2] * jnp.exp(log_scale) + shift
    return jnp.concatenate([active, z[2:]]), jnp.sum(log_scale)


def uncouple(params, x):
    shift, log_scale = jnp.tanh(params[0] @ x[2:]), 0.5 * jnp.tanh(params[1] @ x[2:])
    active = (x[:2] - shift) * jnp.exp(-log_scale)
    return jnp.concatenate([active, x[2:]]), -jnp.sum(log_scale)


def on_the_other_half(map_fn):
    def mapped(params, x):
        y, log_det = map_fn(params[::-1], x[::-1])
        return y[::-1], log_det

    return mapped


def bend(params, z):
    """Each coordinate by itself, x + x³/10."""
    del params
    return z + z**3 / 10, jnp.sum(jnp.log1p(0.3 * z**2))


HALF = np.array([True, True, False, False])
COUPLINGS = LayeredFlow(
    targets.gaussian([1.0] * 4),
    (
        Layer(couple, uncouple, HALF),
        Layer(on_the_other_half(couple), on_the_other_half(uncouple), HALF[::-1]),
        Layer(couple, uncouple, HALF),
    ),
)
PARAMS = jax.random.normal(jax.random.key(7), (2, 2, 2))


def drawn(flow, key):
    return jax.jit(lambda key: flow.sample_with_score(key, PARAMS, 50))(key)


def test_the_recursion_gives_the_score_of_the_inverse():
    key = test_key("recursion")
    by_layers = drawn(COUPLINGS, key)
    by_inverse = drawn(COUPLINGS.flow, key)
    for found, expected in zip(by_layers, by_inverse, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_the_recursion_needs_no_inverse():
    layers = (*COUPLINGS.layers, Layer(bend, None, np.ones(4, bool)))
    flow = COUPLINGS._replace(layers=layers)
    _, _, score_at_end = drawn(flow, test_key("bend"))
    x, _, before = drawn(COUPLINGS, test_key("bend"))
    slope = 1 + 0.3 * x**2
    np.testing.assert_allclose(score_at_end, (before - 0.6 * x / slope) / slope, atol=1e-5)


def test_both_ways_to_the_path_gradient_are_one():
    target = targets.gaussian([0.5, 1.0, 2.0, 3.0])
    key = test_key("ways")
    by_layers = training.path_gradient(COUPLINGS.sample_with_score, target, SGD, 30)
    by_inverse = training.path_gradient(COUPLINGS.flow.sample_with_score, target, SGD, 30)
    first, second = (
        jax.jit(lambda key, objective=objective: gradient_of(objective, key, PARAMS)[0])(key)
        for objective in (by_layers, by_inverse)
    )
    np.testing.assert_allclose(first, second, atol=1e-5)
    assert float(jnp.max(jnp.abs(first))) > 0.01


# ---------------------------------------------------------------- Boltzmann generators


def test_the_coordinate_loss_is_that_of_a_smoothed_gaussian():
    """E log N(r; 0, σ² + h²) over r of N(0, σ²), for many samples."""
    values = 0.7 * jax.random.normal(test_key("coordinate"), (4000,))
    square = 0.7**2 + 0.2**2
    expected = -math.log(2 * math.pi * square) / 2 - 0.7**2 / (2 * square)
    found = float(training.coordinate_loss(values, -9.0, 9.0, 0.2))
    assert found == pytest.approx(expected, abs=0.03)
    clipped = float(training.coordinate_loss(values, -0.1, 0.1, 0.2))
    assert clipped > found + 0.3  # crowded into the range


COORDINATE = training.Coordinate(lambda x: x, -3.0, 3.0, 0.3)


def test_the_loss_of_a_boltzmann_generator_is_the_sum_of_its_terms():
    objective = training.boltzmann_generator(
        FLOW,
        TARGET,
        SGD,
        50,
        likelihood_weight=0.5,
        divergence_weight=2.0,
        coordinate_weight=3.0,
        coordinate=COORDINATE,
    )
    key, x = test_key("boltzmann"), jax.random.normal(test_key("x"), (20,))
    _, metrics = jax.jit(objective.step)(key, objective.init(key, S), x)
    of_data = -jnp.mean(norm.logpdf(x, 0, S))
    np.testing.assert_allclose(metrics.likelihood_loss, of_data, rtol=1e-5)
    alone = jax.jit(lambda key: total(50).step(key, total(50).init(key, S), None)[1])(key)
    np.testing.assert_allclose(metrics.divergence_loss, alone.loss, rtol=1e-4)
    whole = 0.5 * of_data + 2 * alone.loss + 3 * metrics.coordinate_loss
    np.testing.assert_allclose(metrics.loss, whole, rtol=1e-4)


# ---------------------------------------------------------------- what is refused


def boltzmann(**options):
    return lambda: training.boltzmann_generator(FLOW, TARGET, SGD, 8, **options)


REFUSED = {
    "one sample": (lambda: score(1), "num_samples must be at least 2, .*; got 1"),
    "no score": (
        lambda: training.path_gradient(FLOW, TARGET, SGD, 8),
        "sample_with_score must be a function .*; got Flow",
    ),
    "no target": (
        lambda: training.path_gradient(FLOW.sample_with_score, norm.logpdf, SGD, 8),
        "target must be a Density; got function",
    ),
    "no flow": (
        lambda: training.forward_path_gradient(TARGET, TARGET, SGD),
        "a flow must have a base, as generators.Flow; got Density",
    ),
    "no data": (
        lambda: FORWARD_PATH.step(None, FORWARD_PATH.init(None, S), None),
        "needs a batch of data; got None",
    ),
    "data": (
        lambda: path().step(None, path().init(None, S), jnp.zeros(3)),
        "takes no data; got a batch",
    ),
    "no draw": (
        lambda: training.forward_kl(FLOW.logdensity, None, SGD),
        "draw must be a function .*; got NoneType",
    ),
    "log-weights": (
        lambda: gradient_of(
            training.forward_kl(
                FLOW.logdensity, lambda key, params: (jnp.ones(3), jnp.ones(2)), SGD
            ),
            None,
            S,
        ),
        r"log-weights of shape \(2,\) and log-densities of shape \(3,\)",
    ),
    "weights": (boltzmann(divergence_weight=-1.0), "not negative and not all 0; got"),
    "no coordinate": (boltzmann(coordinate_weight=1.0), "there is no coordinate"),
    "range": (
        boltzmann(coordinate=COORDINATE._replace(low=5.0)),
        "low < high and a positive bandwidth; got 5.0, 3.0",
    ),
    "mask": (
        lambda: LayeredFlow(BASE, (Layer(scale, unscale, np.ones(2, bool)),)).sample_with_score(
            jax.random.key(0), S, 3
        ),
        r"is_active of layer 0 must have the shape of a position, \(\); got \(2,\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_arguments_are_refused(case):
    call, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        call()
