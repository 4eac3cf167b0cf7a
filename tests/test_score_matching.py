"""Score matching: derivatives, estimates in closed form, and what it cannot learn."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from zscore import assert_unbiased, replicate, test_key

from jarzynski_jax import training
from jarzynski_jax.energies import mixture
from jarzynski_jax.training.score_matching import _derivatives
from jarzynski_jax.walkers import langevin

D = 3
MIXTURE = {"a": -jnp.ones(D), "b": 0.7 * jnp.ones(D), "z": jnp.array(0.4)}


def gradient_of(params, energy_fn, batch, key, num_probes=None):
    """The gradient that an algorithm follows, by one step of gradient descent at rate 1."""
    objective = training.score_matching(energy_fn, optax.sgd(1.0), langevin(0.1), num_probes)
    state = objective.init(key, params, batch, batch, 0.0)
    updated = objective.step(key, state, batch)[0].params
    return jax.tree.map(jnp.subtract, params, updated)


def gaussian_energy(params, x):
    return params["k"] * jnp.sum(jnp.square(x - params["c"])) / 2


def test_derivatives_are_those_of_the_energy():
    x = jax.random.normal(test_key("derivatives"), (D,))
    fn = partial(mixture.energy, MIXTURE)
    energy, square, laplacian = _derivatives(jax.random.key(0), fn, x, None)
    assert float(energy) == pytest.approx(float(fn(x)), rel=1e-6)
    assert float(square) == pytest.approx(float(jnp.sum(jax.grad(fn)(x) ** 2)), rel=1e-5)
    assert float(laplacian) == pytest.approx(float(jnp.trace(jax.hessian(fn)(x))), rel=1e-5)


def test_positions_may_be_pytrees():
    x = {"u": jnp.array(1.0), "v": jnp.full((2, 2), 0.5)}
    _, square, laplacian = _derivatives(
        jax.random.key(0), lambda x: x["u"] ** 2 + jnp.sum(x["v"] ** 4), x, None
    )
    assert float(square) == pytest.approx(4 + 4 * 0.25)
    assert float(laplacian) == pytest.approx(2 + 4 * 3)


@pytest.mark.parametrize("num_probes", [1, 4])
def test_hutchinson_is_unbiased(num_probes):
    x = jnp.array([0.3, -0.2, 0.9])
    fn = partial(mixture.energy, MIXTURE)
    exact = float(jnp.trace(jax.hessian(fn)(x)))
    estimates = replicate(
        f"hutchinson {num_probes}",
        lambda key: jnp.mean(
            jax.vmap(lambda key: _derivatives(key, fn, x, num_probes)[2])(
                jax.random.split(key, 500)
            )
        ),
    )
    assert_unbiased(estimates, exact)


@pytest.mark.parametrize("num_probes", [None, 2])
def test_gradient_in_closed_form(num_probes):
    """U = k|x - c|²/2: L = k² m/2 - k d with m the mean of |x - c|², and ΔU has no variance."""
    batch = 1 + 0.5 * jax.random.normal(test_key("closed form"), (200, D))
    params = {"k": jnp.array(1.3), "c": jnp.zeros(D)}
    gradient = gradient_of(params, gaussian_energy, batch, jax.random.key(1), num_probes)
    second_moment = jnp.mean(jnp.sum(batch**2, axis=1))
    assert float(gradient["k"]) == pytest.approx(1.3 * float(second_moment) - D, rel=1e-4)
    np.testing.assert_allclose(gradient["c"], -(1.3**2) * batch.mean(axis=0), rtol=1e-4)


def test_of_a_gaussian_it_finds_the_sample_moments():
    batch = 1 + 0.5 * jax.random.normal(test_key("moments"), (200, D))
    objective = training.score_matching(gaussian_energy, optax.sgd(0.1), langevin(0.01))
    params = {"k": jnp.array(1.0), "c": jnp.zeros(D)}
    state = objective.init(jax.random.key(0), params, batch, batch, 0.0)
    step = jax.jit(lambda state: objective.step(jax.random.key(1), state, batch)[0])
    for _ in range(400):
        state = step(state)
    np.testing.assert_allclose(state.params["c"], batch.mean(axis=0), atol=1e-3)
    variance = float(jnp.mean(jnp.var(batch, axis=0)))
    assert float(state.params["k"]) == pytest.approx(1 / variance, rel=1e-3)


def test_masses_of_modes_far_apart_are_not_seen():
    """Thesis, eq. 4.2.11: ż = 0, where the cross entropy has the gradient q - q* = -1/4."""
    modes = {"a": jnp.full(1, -5.0), "b": jnp.full(1, 5.0)}
    data = mixture.sample(test_key("far"), {**modes, "z": -jnp.log(3.0)}, 10_000)

    def energy_fn(z, x):
        return mixture.energy({**modes, "z": z}, x)

    def cross_entropy(z):
        energies = jax.vmap(energy_fn, (None, 0))(z, data)
        return jnp.mean(energies) + mixture.log_partition_function({**modes, "z": z})

    z = jnp.array(0.0)
    gradient = gradient_of(z, energy_fn, data, jax.random.key(0))
    assert abs(float(gradient)) < 1e-2
    assert float(jax.grad(cross_entropy)(z)) == pytest.approx(0.25, abs=0.03)


def test_interface_without_walkers():
    x = jax.random.normal(jax.random.key(0), (64, D))
    objective = training.score_matching(mixture.energy, optax.sgd(0.1), langevin(0.1))
    log_z = mixture.log_partition_function(MIXTURE)
    start = mixture.sample(jax.random.key(1), MIXTURE, 64)
    state = objective.init(jax.random.key(2), MIXTURE, start, x, log_z, start)
    step = jax.jit(objective.step)
    for key in jax.random.split(jax.random.key(3), 3):
        state, metrics = step(key, state, x)
    assert state.walkers is None
    assert step._cache_size() == 1
    assert jnp.isnan(metrics.training_log_partition_function)
    assert jnp.isnan(metrics.effective_sample_size)
    assert not metrics.is_dead
    assert jnp.isfinite(metrics.cross_entropy)
    assert 0 < metrics.log_partition_function_error < 0.2


def test_fit_takes_it():
    x = jax.random.normal(jax.random.key(0), (64, D))
    watch = training.Watch(num_features=D)
    objective = training.score_matching(
        mixture.energy, optax.sgd(0.1), langevin(0.1), watch=watch
    )
    state = objective.init(jax.random.key(2), MIXTURE, x, x, 0.0)
    result = training.fit(
        jax.random.key(0), objective, state, x, num_steps=6, batch_size=8, chunk_size=3
    )
    assert int(result.state.step) == 6


@pytest.mark.parametrize("num_probes", [0, -1])
def test_no_probes_is_an_error(num_probes):
    with pytest.raises(ValueError, match=f"num_probes.*{num_probes}"):
        training.score_matching(mixture.energy, optax.sgd(0.1), langevin(0.1), num_probes)
