"""Fresh walkers during training: exact for the model they are annealed to, and resumable."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from zscore import test_key

from jarzynski_jax import training
from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax.energies import GaussianBase, gaussian_base
from jarzynski_jax.training import checkpoint, refresh_from_base, refresh_state
from jarzynski_jax.walkers import langevin

D, NUM_WALKERS, NUM_SEEDS = 3, 200, 64
BASE = GaussianBase(jnp.full(D, 0.5), jnp.array(1.5), jnp.array(1 / 1.5))
DYNAMICS = langevin(0.1)
#: A stiffer Gaussian elsewhere, whose log Z is known.
STIFFNESS = jnp.array(3.0)
LOG_Z = D / 2 * jnp.log(2 * jnp.pi / STIFFNESS)


def energy_fn(params, x):
    return params["stiffness"] * jnp.sum((x - params["mean"]) ** 2) / 2


def base_params():
    return {"stiffness": jnp.array(1 / 1.5**2), "mean": jnp.full(D, 0.5)}


def start(num_held_out=0):
    objective = training.jarzynski(energy_fn, optax.adam(0.02, eps=1e-2), DYNAMICS)
    x = gaussian_base.sample(test_key("start"), BASE, NUM_WALKERS)
    log_z = gaussian_base.log_partition_function(BASE)
    data = 0.5 * jax.random.normal(test_key("data"), (400, D)) - 1
    held_out = x[:num_held_out] if num_held_out else None
    state = objective.init(test_key("init"), base_params(), x, data, log_z, held_out)
    return objective, state, data


def relative_partition_functions(start_fn):
    """Estimates of Z over its exact value, of many seeds."""
    params = {"stiffness": STIFFNESS, "mean": jnp.zeros(D)}
    keys = jax.random.split(test_key("seeds"), NUM_SEEDS)

    def estimate(key):
        fresh = start_fn(key, params, NUM_WALKERS)
        return jnp.exp(walkers_lib.log_partition_function(fresh) - LOG_Z)

    return np.asarray(jax.jit(jax.vmap(estimate))(keys), np.float64)


def z_score(values):
    return (values.mean() - 1) / (values.std(ddof=1) / np.sqrt(len(values)))


def test_fresh_walkers_are_properly_weighted():
    """Z is unbiased: |z| < 4.5 over 64 seeds of 200 walkers."""
    refresh = refresh_from_base(energy_fn, BASE, DYNAMICS, num_steps=20, every=10)
    assert abs(z_score(relative_partition_functions(refresh.start))) < 4.5


def test_canary_fresh_walkers_whose_weights_are_dropped():
    refresh = refresh_from_base(energy_fn, BASE, DYNAMICS, num_steps=20, every=10)

    def unweighted(key, params, num_walkers):
        fresh = refresh.start(key, params, num_walkers)
        noise = 1e-3 * jax.random.normal(key, fresh.log_weights.shape)
        return fresh._replace(log_weights=noise)

    assert abs(z_score(relative_partition_functions(unweighted))) > 20


def test_all_walkers_are_replaced_and_nothing_else():
    _, state, _ = start(num_held_out=50)
    refresh = refresh_from_base(energy_fn, BASE, DYNAMICS, num_steps=5, every=10)
    after = refresh_state(test_key("refresh"), state, refresh.start)
    chex.assert_trees_all_equal(after.params, state.params)
    chex.assert_trees_all_equal(after.opt_state, state.opt_state)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
    for name in ("walkers", "held_out"):
        before, fresh = getattr(state, name).position, getattr(after, name).position
        assert not np.any(np.isin(np.asarray(fresh), np.asarray(before)))
    assert not np.any(
        np.isin(np.asarray(after.held_out.position), np.asarray(after.walkers.position))
    )


def fit(state, objective, data, num_steps, **options):
    refresh = refresh_from_base(energy_fn, BASE, DYNAMICS, num_steps=5, every=20)
    return training.fit(
        test_key("fit"),
        objective,
        state,
        data,
        num_steps=num_steps,
        batch_size=64,
        chunk_size=15,
        refresh=refresh,
        **options,
    )


@pytest.mark.parametrize("stop", [20, 33, 40])
def test_a_run_in_parts_is_bit_for_bit_the_whole(stop, tmp_path):
    """Also where it stops just when fresh walkers are due."""
    objective, state, data = start(num_held_out=50)
    whole = fit(state, objective, data, 60)
    fit(state, objective, data, stop, folder=tmp_path)
    restored = checkpoint.restore(tmp_path / "checkpoints", state, {})
    second = fit(restored, objective, data, 60, folder=tmp_path)
    chex.assert_trees_all_equal(whole.state, second.state)
    assert len(training.read_metrics(tmp_path / "metrics.csv")["step"]) == 60


def test_walkers_are_fresh_when_they_are_due():
    """There are many roots again."""
    objective, state, data = start()
    one_root = state.walkers._replace(roots=jnp.zeros_like(state.walkers.roots))
    state = state._replace(walkers=one_root)
    assert len(np.unique(fit(state, objective, data, 20).state.walkers.roots)) == 1
    assert len(np.unique(fit(state, objective, data, 21).state.walkers.roots)) > 50


@pytest.mark.parametrize("bad", [{"num_steps": 0, "every": 3}, {"num_steps": 3, "every": 0}])
def test_bad_numbers_are_refused(bad):
    with pytest.raises(ValueError, match="must be at least 1; got 0"):
        refresh_from_base(energy_fn, BASE, DYNAMICS, **bad)
