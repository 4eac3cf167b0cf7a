"""Objectives that are no energy-based model: a flow by maximum likelihood, and by reverse KL.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore.
"""

import csv
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flowjax.distributions import Normal
from flowjax.flows import masked_autoregressive_flow
from zscore import assert_biased, assert_unbiased, replicate

from jarzynski_jax import training
from jarzynski_jax.training import Objective, TrainingDiverged, checkpoint, fit
from jarzynski_jax.walkers import langevin
from jarzynski_jax.weights import log_mean_exp

D = 2
COVARIANCE = jnp.array([[1.0, 0.6], [0.6, 0.8]])
#: Entropy of the normal density that is to be learnt.
ENTROPY = float(jnp.linalg.slogdet(2 * jnp.pi * jnp.e * COVARIANCE)[1]) / 2
LOG_Z = float(jnp.linalg.slogdet(2 * jnp.pi * COVARIANCE)[1]) / 2
PARAMS, STATIC = eqx.partition(
    masked_autoregressive_flow(
        jax.random.key(0), base_dist=Normal(jnp.zeros(D)), flow_layers=2, nn_width=8
    ),
    eqx.is_inexact_array,
)


def flow(params):
    return eqx.combine(params, STATIC)


def log_prob(params, x):
    return flow(params).log_prob(x)


def sample_fn(params, rng_key, num_samples):
    return flow(params).sample_and_log_prob(rng_key, (num_samples,))


def logdensity_fn(x):
    return -x @ jnp.linalg.inv(COVARIANCE) @ x / 2


DATA = jax.random.multivariate_normal(jax.random.key(1), jnp.zeros(D), COVARIANCE, (20_000,))
OPTIMIZER = optax.adam(optax.cosine_decay_schedule(1e-2, 400))
BY_LIKELIHOOD = training.maximum_likelihood(log_prob, OPTIMIZER)
WITHOUT_DATA = training.reverse_kl(sample_fn, logdensity_fn, OPTIMIZER, 200)
#: name: (objective, what fit needs of data).
OBJECTIVES = {
    "likelihood": (BY_LIKELIHOOD, {"data": DATA, "batch_size": 200}),
    "reverse": (WITHOUT_DATA, {}),
}
each_objective = pytest.mark.parametrize("name", OBJECTIVES)


def run(name, num_steps=400, state=None, **options):
    objective, data = OBJECTIVES[name]
    if state is None:
        state = objective.init(jax.random.key(2), PARAMS)
    return fit(jax.random.key(3), objective, state, num_steps=num_steps, **data, **options)


@pytest.fixture(scope="module")
def learnt():
    return {name: run(name) for name in OBJECTIVES}


def test_maximum_likelihood_comes_near_the_entropy(learnt):
    """The divergence that is left is far below what it was, and not below zero."""
    losses = np.asarray(learnt["likelihood"].metrics.loss)
    # A mean over 50 batches of 200 has an error of 1/sqrt(10000).
    assert -0.05 < np.mean(losses[-50:]) - ENTROPY < 0.05
    assert np.mean(losses[:10]) - ENTROPY > 0.2


def test_reverse_kl_comes_near_minus_log_z(learnt):
    losses = np.asarray(learnt["reverse"].metrics.loss)
    assert 0 < np.mean(losses[-50:]) + LOG_Z < 0.02
    assert np.mean(losses[:10]) + LOG_Z > 0.1


def estimates(params, bug=0.0):
    """Mean weights of the model's samples, each of 2000: unbiased for Z."""

    def mean_weight(key):
        x, log_q = sample_fn(params, key, 2000)
        return jnp.exp(log_mean_exp(jax.vmap(logdensity_fn)(x) - (1 - bug) * log_q))

    return replicate("mean weight", mean_weight)


def test_weights_of_the_models_samples_are_exact(learnt):
    assert_unbiased(estimates(learnt["reverse"].state.params), np.exp(LOG_Z))
    # Of any model, one that has learnt nothing too.
    assert_unbiased(estimates(PARAMS), np.exp(LOG_Z))


def test_canary_a_density_that_is_not_the_samples():
    assert_biased(estimates(PARAMS, bug=0.05), np.exp(LOG_Z))


def test_metrics_of_reverse_kl_are_those_of_its_samples(learnt):
    metrics = learnt["reverse"].metrics
    assert metrics.log_partition_function[-1] == pytest.approx(LOG_Z, abs=0.05)
    assert np.all(metrics.log_partition_function >= -metrics.loss - 1e-5)  # Jensen
    assert metrics.effective_sample_size[-1] > 0.9 > metrics.effective_sample_size[0]


@each_objective
def test_parts_are_bit_for_bit_the_whole(name, learnt, tmp_path):
    run(name, 130, folder=tmp_path)
    template = OBJECTIVES[name][0].init(jax.random.key(9), PARAMS)
    restored = checkpoint.restore(tmp_path / "checkpoints", template, {})
    end = run(name, state=restored, folder=tmp_path)
    for left, right in zip(
        jax.tree.leaves(end.state), jax.tree.leaves(learnt[name].state), strict=True
    ):
        np.testing.assert_array_equal(left, right)
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["step", *end.metrics._fields]
    assert [float(row["loss"]) for row in rows] == pytest.approx(learnt[name].metrics.loss)
    # The best by the loss, of those that are kept.
    assert checkpoint.best_step(tmp_path / "checkpoints") == 400


@each_objective
def test_a_second_call_compiles_nothing(name, learnt, recompilations):
    with recompilations() as num_compiled:
        run(name, 100)
    assert num_compiled() == 0


class Count(NamedTuple):
    step: jax.Array
    params: jax.Array


class Seen(NamedTuple):
    height: jax.Array


def test_any_pair_of_functions_is_an_objective(tmp_path):
    """With its own metrics, and nothing that reads them."""

    def step(rng_key, state, batch):
        assert batch is None
        return Count(state.step + 1, state.params + 2), Seen(state.params)

    counting = Objective(
        lambda key, params: Count(jnp.array(0), params), step, takes_data=False
    )
    state = counting.init(None, jnp.array(1.0))
    found = fit(jax.random.key(0), counting, state, num_steps=7, folder=tmp_path)
    assert found.state.params == 15
    assert training.read_metrics(tmp_path / "metrics.csv")["height"].tolist() == list(
        range(1, 15, 2)
    )
    done = fit(jax.random.key(0), counting, found.state, num_steps=7, folder=tmp_path)
    assert done.metrics.height.shape == (0,)


def test_a_loss_that_stays_infinite_stops_the_run():
    objective = training.maximum_likelihood(lambda params, x: params * jnp.inf, optax.sgd(0.1))
    state = objective.init(jax.random.key(0), jnp.array(1.0))
    with pytest.raises(TrainingDiverged, match=r"gradient has not been finite for 100 updates"):
        fit(jax.random.key(0), objective, state, DATA, num_steps=200, batch_size=10)


def test_metrics_of_another_objective_are_not_mixed(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,height\n0,1\n")
    state = BY_LIKELIHOOD.init(None, PARAMS)._replace(step=jnp.array(1))
    with pytest.raises(
        ValueError, match=r"step,height.*step,loss,gradient_norm.*another folder"
    ):
        run("likelihood", 3, state=state, folder=tmp_path)


ENERGY_BASED = training.jarzynski(
    lambda params, x: jnp.sum((x - params) ** 2) / 2, optax.sgd(0.1), langevin(0.1)
)


@pytest.mark.parametrize(
    ("objective", "options", "message"),
    [
        (BY_LIKELIHOOD, {}, "learns from data.*got none"),
        (BY_LIKELIHOOD, {"data": DATA}, "batch_size=None"),
        (
            BY_LIKELIHOOD,
            {"data": DATA, "batch_size": 0},
            "batch_size must be at least 1; got 0",
        ),
        (WITHOUT_DATA, {"data": DATA, "batch_size": 10}, "takes no data.*got data"),
        (WITHOUT_DATA, {"noise_scale": 0.1}, r"takes no data.*noise_scale=0\.1"),
        (WITHOUT_DATA, {"watch": training.Watch(2)}, "no use for a watch"),
        (
            WITHOUT_DATA,
            {"refresh": training.Refresh(10, lambda *_: None)},
            "the state of this objective has none",
        ),
        (log_prob, {"data": DATA, "batch_size": 10}, "must be an Objective.*got function"),
        (ENERGY_BASED, {}, "learns from data"),
    ],
)
def test_bad_input_is_refused(objective, options, message):
    state = WITHOUT_DATA.init(None, PARAMS)
    with pytest.raises(ValueError, match=message):
        fit(jax.random.key(0), objective, state, num_steps=10, **options)


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="num_samples must be at least 1; got 0"):
        training.reverse_kl(sample_fn, logdensity_fn, OPTIMIZER, 0)
