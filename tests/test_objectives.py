"""Objectives that are no energy-based model, in the one loop: learning, resuming, refusing.

A flow learns a bent density, whose entropy and log Z are known, from samples of it (maximum
likelihood) or from its log-density alone (reverse KL).
"""

import math
from typing import NamedTuple

import chex
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flowjax.distributions import Normal
from flowjax.flows import coupling_flow
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import training
from jarzynski_jax.density import Density
from jarzynski_jax.training import TrainingDiverged, checkpoint, fit
from jarzynski_jax.walkers import make_mesh

NUM_STEPS = 600
NUM_SAMPLES = 256


def sample_bent(rng_key, num_samples):
    """x is standard normal, and y lies about x²/2 with standard deviation 1/2."""
    z = jax.random.normal(rng_key, (num_samples, 2))
    return jnp.stack([z[:, 0], jnp.square(z[:, 0]) / 2 + z[:, 1] / 2], axis=1)


# The map from normal numbers has Jacobian 1/2.
ENTROPY = math.log(2 * math.pi * math.e) - math.log(2)
BENT = Density(
    lambda x: 3 - x[0] ** 2 / 2 - 2 * (x[1] - x[0] ** 2 / 2) ** 2,
    3 + math.log(math.pi),
    sample_bent,
)


class Learner(NamedTuple):
    """An objective with its first state, and what ``fit`` has to be given besides."""

    objective: training.Objective
    state: object
    args: tuple
    options: dict


def fit_learner(learner, num_steps, state=None, **options):
    state = learner.state if state is None else state
    options = {"num_steps": num_steps, "chunk_size": 20, **learner.options, **options}
    return fit(test_key("fit"), learner.objective, state, *learner.args, **options)


@pytest.fixture(scope="module")
def flow():
    """The first parameters of a flow, and the function that makes the flow of parameters."""
    base = Normal(jnp.zeros(2))
    first = coupling_flow(
        jax.random.key(0), base_dist=base, flow_layers=4, nn_width=16, nn_depth=1
    )
    params, static = eqx.partition(first, eqx.is_inexact_array)
    return params, lambda params: eqx.combine(params, static)


@pytest.fixture(scope="module")
def learners(flow):
    params, flow_of = flow
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, NUM_STEPS))
    likelihood = training.maximum_likelihood(
        lambda params, x: flow_of(params).log_prob(x), optimizer
    )
    divergence = training.reverse_kl(
        lambda rng_key, params: flow_of(params).sample_and_log_prob(rng_key),
        BENT,
        optimizer,
        NUM_SAMPLES,
    )
    key = test_key("init")
    data = sample_bent(test_key("data"), 20_000)
    return {
        "maximum likelihood": Learner(
            likelihood, likelihood.init(key, params), (data,), {"batch_size": NUM_SAMPLES}
        ),
        "reverse KL": Learner(divergence, divergence.init(key, params), (), {}),
    }


each_learner = pytest.mark.parametrize("name", ["maximum likelihood", "reverse KL"])


@pytest.fixture(scope="module")
def trained(learners):
    return {name: fit_learner(learner, NUM_STEPS) for name, learner in learners.items()}


def test_maximum_likelihood_comes_near_the_entropy(trained, flow):
    _, flow_of = flow
    result = trained["maximum likelihood"]
    # The mean of 25 600 losses has a standard error of 0.006, the data one of 0.007.
    assert np.mean(result.metrics.loss[-100:]) == pytest.approx(ENTROPY, abs=0.04)
    x = sample_bent(test_key("fresh"), 20_000)
    log_p = jax.vmap(BENT.logdensity_fn)(x) - BENT.log_partition_function
    log_q = jax.vmap(flow_of(result.state.params).log_prob)(x)
    divergence = float(jnp.mean(log_p - log_q))
    assert -0.002 < divergence < 0.02
    assert result.metrics.loss[0] > ENTROPY + 0.5


def test_reverse_kl_comes_near_minus_log_z(trained):
    metrics = trained["reverse KL"].metrics
    expected = -BENT.log_partition_function
    assert np.mean(metrics.loss[-100:]) == pytest.approx(expected, abs=0.02)
    assert np.mean(metrics.effective_sample_size[-100:]) > 0.97
    assert metrics.loss[0] > expected + 0.5
    # KL is what the loss lies above -log Z; samples of the batch itself agree.
    logs = metrics.log_partition_function[-100:]
    assert np.mean(logs) == pytest.approx(BENT.log_partition_function, abs=0.005)
    assert np.all(metrics.log_partition_function >= -metrics.loss - 1e-5)  # Jensen


@pytest.fixture(scope="module")
def mean_weights(trained, flow):
    """Mean importance weights over Z, right and weighed by the model before training."""
    first, flow_of = flow

    def statistic(rng_key, params, first):
        x, log_q = flow_of(params).sample_and_log_prob(rng_key, (400,))
        log_p = jax.vmap(BENT.logdensity_fn)(x) - BENT.log_partition_function
        faulty = flow_of(first).log_prob(x)
        return jnp.mean(jnp.exp(log_p - log_q)), jnp.mean(jnp.exp(log_p - faulty))

    return replicate("weights", statistic, trained["reverse KL"].state.params, first)


def test_importance_weights_of_the_trained_flow_tell_log_z(mean_weights):
    assert_unbiased(mean_weights[0], 1.0)


def test_canary_weights_by_the_density_before_training_do_not(mean_weights):
    assert_biased(mean_weights[1], 1.0)


@each_learner
def test_a_resumed_run_is_the_same_bit_for_bit(learners, name, tmp_path):
    learner = learners[name]
    whole = fit_learner(learner, 60)
    first = fit_learner(learner, 25, folder=tmp_path)
    restored = checkpoint.restore(tmp_path / "checkpoints", learner.state, {})
    chex.assert_trees_all_equal(restored, first.state)
    second = fit_learner(learner, 60, state=restored, folder=tmp_path)
    chex.assert_trees_all_equal(second.state, whole.state)
    table = training.read_metrics(tmp_path / "metrics.csv")
    assert tuple(table) == ("step", *whole.metrics._fields)
    np.testing.assert_array_equal(table["step"], np.arange(60))
    np.testing.assert_allclose(table["loss"], whole.metrics.loss, rtol=1e-6)


@each_learner
def test_a_second_run_compiles_nothing(learners, name, recompilations):
    first = fit_learner(learners[name], 40)
    with recompilations() as count:
        second = fit_learner(learners[name], 40)
    assert count() == 0
    chex.assert_trees_all_equal(first, second)


def test_nothing_left_to_do_has_metrics_of_no_update(learners):
    learner = learners["reverse KL"]
    done = fit_learner(learner, 20)
    again = fit_learner(learner, 20, state=done.state)
    assert {
        name: value.shape for name, value in again.metrics._asdict().items()
    } == dict.fromkeys(training.ReverseKLMetrics._fields, (0,))
    assert not again.is_interrupted


# ---------------------------------------------------------------- a Gaussian, quick to compile


def log_normal(params, x):
    return -jnp.sum((x - params) ** 2) / 2


def draw_normal(rng_key, params):
    x = params + jax.random.normal(rng_key, jnp.shape(params))
    return x, log_normal(params, x)


DATA = jax.random.normal(jax.random.key(0), (300, 2)) + 1
LIKELIHOOD = training.maximum_likelihood(log_normal, optax.sgd(0.1))
DIVERGENCE = training.reverse_kl(
    draw_normal, Density(lambda x: -jnp.sum(x**2)), optax.sgd(0.1), num_samples=8
)
START = LIKELIHOOD.init(jax.random.key(0), jnp.zeros(2))
KEY = jax.random.key(1)


def test_devices_make_no_difference():
    alone = fit(KEY, LIKELIHOOD, START, DATA, num_steps=10, batch_size=8)
    spread = fit(KEY, LIKELIHOOD, START, DATA, num_steps=10, batch_size=8, mesh=make_mesh(1))
    chex.assert_trees_all_close(alone.state, spread.state, rtol=1e-6)


def test_the_gradient_is_that_of_the_loss():
    batch = DATA[:5]
    state, metrics = LIKELIHOOD.step(KEY, START, batch)
    np.testing.assert_allclose(state.params, 0.1 * jnp.mean(batch, axis=0), rtol=1e-5)
    np.testing.assert_allclose(metrics.loss, jnp.mean(jnp.sum(batch**2, axis=1)) / 2, rtol=1e-5)


def test_an_update_that_is_not_finite_is_skipped():
    state, metrics = LIKELIHOOD.step(KEY, START, DATA.at[3, 0].set(jnp.nan))
    assert metrics.is_skipped
    np.testing.assert_array_equal(state.params, START.params)
    assert int(state.step) == 1


@pytest.mark.parametrize("chunk_size", [10, 50])
def test_a_loss_that_stays_not_finite_stops(chunk_size):
    def density_that_ends(params, x):
        return jnp.log(x[0] - 100) + jnp.sum(params)

    objective = training.maximum_likelihood(density_that_ends, optax.sgd(0.1))
    with pytest.raises(TrainingDiverged, match="not been finite for") as caught:
        fit(KEY, objective, START, DATA, num_steps=200, batch_size=8, chunk_size=chunk_size)
    assert caught.value.trouble.step == max(chunk_size, 20)


def test_a_loss_that_is_not_finite_now_and_then_does_not_stop():
    def step(rng_key, state, batch):
        state, metrics = LIKELIHOOD.step(rng_key, state, batch)
        loss = jnp.where(state.step % 30 == 0, metrics.loss, jnp.nan)
        return state, metrics._replace(loss=loss)

    objective = LIKELIHOOD._replace(step=step)
    result = fit(KEY, objective, START, DATA, num_steps=90, batch_size=8, chunk_size=45)
    assert int(result.state.step) == 90


def test_progress_tells_the_loss(capsys):
    options = {"num_steps": 10, "batch_size": 8, "chunk_size": 100, "progress": True}
    metrics = fit(KEY, LIKELIHOOD, START, DATA, **options).metrics
    assert f"loss {metrics.loss.mean():.4g}" in capsys.readouterr().out


# ---------------------------------------------------------------- what is refused


def no_metrics(rng_key, state, batch):
    return LIKELIHOOD.step(rng_key, state, batch)[0], {"loss": jnp.zeros(())}


def metrics_of_arrays(rng_key, state, batch):
    state, metrics = LIKELIHOOD.step(rng_key, state, batch)
    return state, metrics._replace(loss=jnp.zeros(3))


class Steps(NamedTuple):
    step: jax.Array


def metrics_named_step(rng_key, state, batch):
    return LIKELIHOOD.step(rng_key, state, batch)[0], Steps(jnp.zeros(()))


WITH_DATA = {"data": DATA, "num_steps": 5, "batch_size": 8}
REFRESH = training.Refresh(2, lambda rng_key, params, num_walkers: None)
REFUSED = {
    "no data": (LIKELIHOOD, {"num_steps": 5}, "learns from data; got data=None"),
    "data": (DIVERGENCE, WITH_DATA, "learns without data"),
    "no batch size": (LIKELIHOOD, {"data": DATA, "num_steps": 5}, "batch_size, how many data"),
    "batch size": (
        DIVERGENCE,
        {"num_steps": 5, "batch_size": 8},
        "there are none; got batch_s",
    ),
    "noise": (DIVERGENCE, {"num_steps": 5, "noise_scale": 0.1}, "noise_scale=0.1"),
    "a builder": (training.jarzynski, WITH_DATA, r"jarzynski\(\.\.\.\) returns; got jarzynski"),
    "a pair": ((LIKELIHOOD.init, LIKELIHOOD.step), WITH_DATA, "returns; got tuple"),
    "no walkers": (
        LIKELIHOOD,
        {**WITH_DATA, "refresh": REFRESH},
        "only walkers of an energy-b",
    ),
    "dictionary": (LIKELIHOOD._replace(step=no_metrics), WITH_DATA, "named tuple.*got dict"),
    "arrays": (LIKELIHOOD._replace(step=metrics_of_arrays), WITH_DATA, r"scalars; loss is .*3"),
    "step": (LIKELIHOOD._replace(step=metrics_named_step), WITH_DATA, "no metric .* step"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_before_anything_is_written(case, tmp_path):
    objective, options, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        fit(KEY, objective, START, folder=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("state", [jnp.zeros(2), Steps(jnp.zeros((), jnp.int32))])
def test_a_state_of_something_else_is_refused(state):
    with pytest.raises(ValueError, match=r"must have the field .*comes from objective\.init"):
        fit(KEY, LIKELIHOOD, state, **WITH_DATA)


def test_a_folder_with_other_metrics_is_refused(tmp_path):
    fit(KEY, LIKELIHOOD, START, folder=tmp_path, **WITH_DATA)
    restored = checkpoint.restore(tmp_path / "checkpoints", START, {})
    before = (tmp_path / "metrics.csv").read_text()
    with pytest.raises(ValueError, match="has the columns step,loss,gradient_norm,is_skipped"):
        fit(KEY, DIVERGENCE, restored, num_steps=9, folder=tmp_path)
    assert (tmp_path / "metrics.csv").read_text() == before


@pytest.mark.parametrize("objective", [LIKELIHOOD, DIVERGENCE])
def test_parameters_without_gradient_are_refused(objective):
    with pytest.raises(ValueError, match=r"floating-point numbers; \['n'\] has the dtype int"):
        objective.init(KEY, {"n": jnp.arange(3), "x": jnp.zeros(2)})


TARGET = Density(lambda x: -jnp.sum(x**2))
NOT_BUILT = {
    "density of a module": (
        lambda: training.maximum_likelihood(None, optax.sgd(0.1)),
        r"function \(params, x\) -> scalar; got NoneType",
    ),
    "sampler": (
        lambda: training.reverse_kl(3, TARGET, optax.sgd(0.1), 8),
        r"function \(rng_key, params\) -> \(x, log q\(x\)\); got int",
    ),
    "target": (
        lambda: training.reverse_kl(draw_normal, TARGET.logdensity_fn, optax.sgd(0.1), 8),
        r"must be a Density; got function: write Density\(logdensity_fn\)",
    ),
    "samples": (
        lambda: training.reverse_kl(draw_normal, TARGET, optax.sgd(0.1), 0),
        "num_samples must be at least 1; got 0",
    ),
    "no batch": (lambda: LIKELIHOOD.step(KEY, START, None), "needs a batch of data; got None"),
    "batch": (lambda: DIVERGENCE.step(KEY, START, DATA), "takes no data; got a batch"),
    "no scalar of the model": (
        lambda: training.reverse_kl(
            lambda rng_key, params: (params, params), TARGET, optax.sgd(0.1), 8
        ).step(KEY, START, None),
        r"one sample must be scalars; the model's has shape \(2,\), the target's \(\)",
    ),
    "no scalar of the target": (
        lambda: training.reverse_kl(
            draw_normal, Density(lambda x: -(x**2)), optax.sgd(0.1), 8
        ).step(KEY, START, None),
        r"one sample must be scalars; the model's has shape \(\), the target's \(2,\)",
    ),
    "no scalar likelihood": (
        lambda: training.maximum_likelihood(lambda params, x: params - x, optax.sgd(0.1)).step(
            KEY, START, DATA
        ),
        r"the log-density of one sample must be a scalar; got shape \(2,\)",
    ),
}


@pytest.mark.parametrize("case", NOT_BUILT)
def test_bad_arguments_are_refused(case):
    call, message = NOT_BUILT[case]
    with pytest.raises(ValueError, match=message):
        call()
