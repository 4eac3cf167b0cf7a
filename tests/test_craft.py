"""Stochastic flows: trained by CRAFT and by their work, and exact whatever their layers are.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore. The
path is that of gaussian_path, from N(0, 1) to N(1, 1/4), in four coarse steps.
"""

from typing import NamedTuple

import chex
import equinox as eqx
import gaussian_path
import jax
import jax.numpy as jnp
import numpy as np
import optax
import paramax
import pytest
from flowjax.bijections import Affine
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import annealing, targets, training, walkers
from jarzynski_jax.density import Density
from jarzynski_jax.generators import StochasticFlow
from jarzynski_jax.kernels import generalized_hmc, sequence, ula
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.training import pipeline

NUM_STEPS = 4
TIMES = jnp.linspace(0, 1, NUM_STEPS + 1)[1:]
BEFORE = TIMES - 1 / NUM_STEPS
BASE = targets.gaussian([1.0])
EXPECTED = gaussian_path.exact_moments(gaussian_path.stiffening(NUM_STEPS))
STEP_SIZES = 0.2 / (1 + 3 * TIMES)


def path(t):
    return gaussian_path.at(gaussian_path.Target(1 + 3 * t, t))


class Layers(NamedTuple):
    log_scale: jax.Array
    shift: jax.Array


def affine(layer, x):
    return jnp.exp(layer.log_scale) * x + layer.shift, layer.log_scale


def exact_layers():
    log_scale = jnp.log((1 + 3 * BEFORE) / (1 + 3 * TIMES)) / 2
    return Layers(log_scale, TIMES - jnp.exp(log_scale) * BEFORE)


LANGEVIN = StochasticFlow(affine, path, TIMES, ula.as_move(), (STEP_SIZES,))
HMC = LANGEVIN._replace(move=generalized_hmc.as_move(1, 0.3, 1.0), move_args=())
NOTHING = Layers(jnp.zeros(NUM_STEPS), jnp.zeros(NUM_STEPS))
RANDOM = Layers(jnp.array([-0.5, 0.3, -0.4, 0.1]), jnp.array([0.4, -0.3, 0.5, 0.2]))


# ---------------------------------------------------------------- weights


def moments_of(flow):
    def statistic(key, layers, forgotten):
        def with_fault(params, x):
            layer, is_forgotten = params
            y, log_det = affine(layer, x)
            return y, jnp.where(is_forgotten, 0, log_det)

        faulty = flow._replace(layer_fn=with_fault)
        key_start, key_path = jax.random.split(key)
        x = jax.random.normal(key_start, (1000, 1))
        start = walkers.init(x, path(0.0), faulty.dynamics.kernel_init)
        params = layers, jnp.arange(NUM_STEPS) == forgotten
        end, _ = annealing.anneal(key_path, start, *faulty.arguments(params))
        return gaussian_path.weighted_moments(end)

    return lambda layers, forgotten=-1: replicate(
        "flow", statistic, layers, jnp.array(forgotten)
    )


@pytest.fixture(scope="module")
def moments():
    return {"Langevin": moments_of(LANGEVIN), "HMC": moments_of(HMC)}


each_move = pytest.mark.parametrize("name", ["Langevin", "HMC"])


@each_move
def test_random_layers_are_exact(moments, name):
    assert_unbiased(moments[name](RANDOM), EXPECTED)


@each_move
def test_canary_a_layer_without_its_log_determinant(moments, name):
    assert_biased(moments[name](RANDOM, forgotten=2), EXPECTED)


def test_layers_of_nothing_are_annealing():
    """Their log-weights are those of the moves alone, walker by walker."""
    x = jax.random.normal(test_key("start"), (50, 1))
    flow = LANGEVIN._replace(resampler=adaptive(systematic, 0.0))
    # Without the moves the weights are exactly p over the base, at where walkers stand.
    still = flow._replace(move_args=(jnp.full(NUM_STEPS, 1e-12),))
    start = walkers.init(x, path(0.0), still.dynamics.kernel_init)
    end, _ = annealing.anneal(test_key("walk"), start, *still.arguments(NOTHING))
    ratio = jax.vmap(path(1.0))(x) - jax.vmap(path(0.0))(x)
    np.testing.assert_allclose(end.log_weights, ratio, rtol=1e-3, atol=1e-3)


# ---------------------------------------------------------------- CRAFT


@pytest.fixture(scope="module")
def craft():
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, 200))
    return training.craft(LANGEVIN, BASE, optimizer, num_walkers=256)


@pytest.fixture(scope="module")
def first_state(craft):
    return craft.init(test_key("init"), NOTHING)


@pytest.fixture(scope="module")
def trained(craft, first_state):
    return training.fit(test_key("fit"), craft, first_state, num_steps=200)


def test_craft_learns_the_maps_between_the_gaussians(trained):
    exact = exact_layers()
    np.testing.assert_allclose(trained.state.params.log_scale, exact.log_scale, atol=0.05)
    np.testing.assert_allclose(trained.state.params.shift, exact.shift, atol=0.05)
    metrics = trained.metrics
    # KL is 0 at the end, and the loss -log Z_K/Z_0.
    assert np.mean(metrics.loss[-50:]) == pytest.approx(np.log(2), abs=0.03)
    assert metrics.loss[NUM_STEPS] > np.log(2) + 0.15
    assert np.mean(metrics.effective_sample_size[-50:]) > 0.95
    log_z = np.log(2 * np.pi / 4) / 2
    assert np.mean(metrics.log_partition_function[-50:]) == pytest.approx(log_z, abs=0.01)
    assert np.isnan(metrics.log_partition_function[: NUM_STEPS - 1]).all()


def test_trained_layers_are_exact_with_fresh_walkers(trained, moments):
    found = moments["Langevin"](trained.state.params)
    assert_unbiased(found, EXPECTED)
    without = moments["Langevin"](NOTHING)
    assert found[:, 0].std() < 0.5 * without[:, 0].std()


@pytest.fixture(scope="module")
def step(craft):
    return jax.jit(craft.step)


def test_a_layer_learns_from_its_own_loss_alone(step, first_state):
    """The gradient is that of weighted means, layer by layer, and of no weight or move."""
    ensembles = first_state.ensembles
    log_weights = jax.random.normal(test_key("weights"), ensembles.log_weights.shape)
    log_weights = log_weights.at[1, 7].set(-jnp.inf)
    state = first_state._replace(
        params=RANDOM,
        step=jnp.int32(NUM_STEPS),
        opt_state=first_state.opt_state,
        ensembles=ensembles._replace(log_weights=log_weights),
    )
    _, metrics = step(test_key("step"), state, None)
    x = ensembles.position[..., 0]
    p = jax.nn.softmax(log_weights, axis=1)
    y = jnp.exp(RANDOM.log_scale)[:, None] * x + RANDOM.shift[:, None]
    k = 1 + 3 * TIMES[:, None]
    force = k * (y - TIMES[:, None])
    by_scale = jnp.sum(p * force * jnp.exp(RANDOM.log_scale)[:, None] * x, axis=1) - 1
    by_shift = jnp.sum(p * force, axis=1)
    norm = jnp.sqrt(jnp.sum(by_scale**2) + jnp.sum(by_shift**2))
    np.testing.assert_allclose(metrics.gradient_norm, norm, rtol=1e-4)
    k_before = 1 + 3 * BEFORE[:, None]
    lost = k * (y - TIMES[:, None]) ** 2 / 2 - k_before * (x - BEFORE[:, None]) ** 2 / 2
    expected = jnp.sum(p * lost) - jnp.sum(RANDOM.log_scale)
    np.testing.assert_allclose(metrics.loss, expected, rtol=1e-4)


def test_the_pipeline_lets_in_at_the_start_and_out_at_the_end(step, first_state):
    assert pipeline.push(jnp.array(9), jnp.arange(4)).tolist() == [9, 0, 1, 2]
    state = first_state
    for index in range(NUM_STEPS):
        before = state
        state, metrics = step(jax.random.key(index), state, None)
        assert bool(jnp.isnan(metrics.log_partition_function)) == (index < NUM_STEPS - 1)
    assert np.all(state.ensembles.log_weights[0] == 0)  # fresh ones
    assert np.all(state.ensembles.position[1:] != before.ensembles.position[1:])


def test_a_resumed_run_is_the_same_bit_for_bit(craft, first_state, trained):
    half = training.fit(test_key("fit"), craft, first_state, num_steps=100)
    rest = training.fit(test_key("fit"), craft, half.state, num_steps=200)
    chex.assert_trees_all_equal(rest.state, trained.state)


def test_bijections_of_flowjax_are_layers():
    """A stack of them, split into arrays and the rest by equinox."""
    layers = RANDOM
    stack = eqx.filter_vmap(Affine)(layers.shift[:, None], jnp.exp(layers.log_scale)[:, None])
    params, static = eqx.partition(stack, eqx.is_inexact_array)

    def layer_fn(params, x):
        return paramax.unwrap(eqx.combine(params, static)).transform_and_log_det(x)

    x = jax.random.normal(test_key("flowjax"), (NUM_STEPS, 1))
    chex.assert_trees_all_close(
        jax.vmap(layer_fn)(params, x), jax.vmap(affine)(layers, x), rtol=1e-5
    )


# ---------------------------------------------------------------- by the work


LEARNING_RATE = 0.02


@pytest.fixture(scope="module")
def by_work():
    optimizer = optax.sgd(LEARNING_RATE, momentum=0.8)
    return training.path_divergence(LANGEVIN, BASE, optimizer, num_walkers=128)


@pytest.fixture(scope="module")
def step_by_work(by_work):
    return jax.jit(by_work.step)


def test_mean_work_has_the_gradient_of_finite_differences(by_work, step_by_work):
    """The same random numbers at neighbouring parameters: the gradient is through the noise."""
    state = by_work.init(test_key("init"), RANDOM)
    after, _ = step_by_work(test_key("work"), state, None)
    eps = 1e-2

    def loss_at(change):
        params = Layers(RANDOM.log_scale.at[1].add(change), RANDOM.shift)
        moved = state._replace(params=params)
        return float(step_by_work(test_key("work"), moved, None)[1].loss)

    slope = (loss_at(eps) - loss_at(-eps)) / (2 * eps)
    found = float(RANDOM.log_scale[1] - after.params.log_scale[1]) / LEARNING_RATE
    assert found == pytest.approx(slope, rel=2e-2)


def test_mean_work_comes_near_minus_log_z(by_work, step_by_work, moments):
    state, seen = by_work.init(test_key("init"), NOTHING), []
    for key in jax.random.split(test_key("descent"), 150):
        state, metrics = step_by_work(key, state, None)
        seen.append(metrics)
    metrics = jax.tree.map(lambda *leaves: np.array(leaves), *seen)
    assert metrics.loss[0] > np.log(2) + 0.15
    # Never below, on average: what is left is the divergence of paths.
    assert np.log(2) - 0.01 < np.mean(metrics.loss[-50:]) < np.log(2) + 0.05
    assert np.mean(metrics.effective_sample_size[-50:]) > 0.9
    found = np.mean(metrics.log_partition_function[-50:])
    assert found == pytest.approx(np.log(2 * np.pi / 4) / 2, abs=0.02)
    assert_unbiased(moments["Langevin"](state.params), EXPECTED)


# ---------------------------------------------------------------- what is refused

SGD = optax.sgd(0.1)
NO_SAMPLES = Density(BASE.logdensity_fn)
DESCENDING = LANGEVIN._replace(times=TIMES[::-1])
REFUSED = {
    "no flow": (training.craft, (affine, BASE, SGD, 8), "StochasticFlow; got function"),
    "times": (training.craft, (DESCENDING, BASE, SGD, 8), "times must ascend"),
    "base": (training.craft, (LANGEVIN, NO_SAMPLES, SGD, 8), "sample is None"),
    "walkers": (training.craft, (LANGEVIN, BASE, SGD, 0), "at least 1; got 0"),
    "no flow by work": (training.path_divergence, (3, BASE, SGD, 8), "got int"),
    "HMC by work": (training.path_divergence, (HMC, BASE, SGD, 8), "accepts and rejects"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_arguments_are_refused(name):
    make, args, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        make(*args)


def test_bad_layers_and_batches_are_refused(craft, first_state, by_work):
    wrong = Layers(jnp.zeros(NUM_STEPS), jnp.zeros(3))
    for objective in (craft, by_work):
        with pytest.raises(ValueError, match=r"leading axis K = 4.*\(3,\)"):
            objective.init(jax.random.key(0), wrong)
    with pytest.raises(ValueError, match="takes no data"):
        craft.step(jax.random.key(0), first_state, jnp.zeros(3))
    with pytest.raises(ValueError, match="takes no data"):
        by_work.step(jax.random.key(0), first_state, jnp.zeros(3))


def test_a_sequence_with_a_move_that_rejects_has_no_path_gradient():
    flow, base = make_flow_and_base()
    both = sequence.as_move([ula.as_move(0.1), generalized_hmc.as_move(1, 0.3, 1.0)])
    with pytest.raises(ValueError, match="accepts and rejects"):
        training.path_divergence(flow._replace(move=both), base, optax.sgd(0.1), num_walkers=8)


def test_stops_end_at_the_target():
    flow, base = make_flow_and_base()
    short = flow._replace(times=flow.times * 0.75)
    with pytest.raises(ValueError, match="times must end at 1"):
        training.craft(short, base, optax.sgd(0.1), num_walkers=8)


def make_flow_and_base():
    base = targets.gaussian([1.0])
    path = annealing.geometric_path(base.logdensity_fn, lambda x: -jnp.sum((x - 4) ** 2) / 2)
    shift = lambda params, x: (x + params, 0.0)  # noqa: E731
    return StochasticFlow(shift, path, jnp.array([0.5, 1.0]), ula.as_move(0.1)), base
