"""Generalized HMC along a path: exact weights at any step size, each target invariant."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_path import at, sample, stiffening, target_at, weighted_moments
from zscore import assert_biased, assert_unbiased, replicate

from jarzynski_jax import walkers
from jarzynski_jax.annealing import anneal, geometric_path
from jarzynski_jax.kernels import generalized_hmc, kinetic
from jarzynski_jax.kernels.evaluation import LINEAR, WHOLE, LinearCombination
from jarzynski_jax.kernels.preconditioning import preconditioner
from jarzynski_jax.walkers import Dynamics

NUM_STEPS, NUM_WALKERS, DIMENSION = 8, 1000, 3
PATH = stiffening(NUM_STEPS)
#: A step of 1.4 beside a standard deviation of 1/2 at the end: three in ten are rejected.
ARGS = (1.4, 0.5, preconditioner(jnp.array([0.3, 0.4, 0.5])))


def along(kernel, key):
    """(Z/Z_0) (1, E[x], E[x²]) after the path."""
    key_start, key_steps = jax.random.split(key)
    start = target_at(PATH, 0)
    x = sample(key_start, start, (NUM_WALKERS, DIMENSION))
    ensemble = walkers.init(x, at(start), generalized_hmc.init)

    def step(ensemble, inputs):
        key, target = inputs
        return walkers.move(key, ensemble, at(target), kernel, *ARGS)[0], None

    targets = jax.tree.map(lambda leaf: leaf[1:], PATH)
    keys = jax.random.split(key_steps, NUM_STEPS)
    ensemble, _ = jax.lax.scan(step, ensemble, (keys, targets))
    return weighted_moments(ensemble)


def exact():
    stiffness, centre = (float(leaf[-1]) for leaf in PATH)
    ratio = (1 / stiffness) ** (DIMENSION / 2)
    return ratio * np.array([1.0, centre, centre**2 + 1 / stiffness])


def kernel_that_forgets_the_change(key, state, logdensity_fn, *args):
    """The bug of a kernel that weighs after it has moved."""
    moved, info = generalized_hmc.build_kernel(2)(key, state, logdensity_fn, *args)
    increment = moved.logdensity - state.logdensity
    return moved, info._replace(log_weight_increment=increment)


@pytest.mark.parametrize("num_steps", [1, 3])
def test_weights_are_exact_at_large_steps(num_steps):
    """|z| < 4.5 on three moments over 64 ensembles of 1000 walkers."""
    found = replicate("generalized", partial(along, generalized_hmc.build_kernel(num_steps)))
    assert_unbiased(found, exact())


def test_canary_weights_taken_after_the_move_are_wrong():
    found = replicate("generalized", partial(along, kernel_that_forgets_the_change))
    assert_biased(found, exact())


def test_at_a_target_at_rest_it_is_the_adjusted_kinetic_kernel_and_weighs_nothing():
    target = at(target_at(PATH, 3))
    x = jax.random.normal(jax.random.key(0), (50, DIMENSION))
    ensemble = walkers.init(x, target, generalized_hmc.init)
    for seed in range(3):
        ensemble, info = walkers.move(
            jax.random.key(seed), ensemble, target, generalized_hmc.build_kernel(2), *ARGS
        )
        np.testing.assert_allclose(info.log_weight_increment, 0, atol=1e-5)
        assert 0 < float(info.acceptance_rate.mean()) < 1
    assert np.all(np.asarray(ensemble.state.log_endpoint) == 0)


def test_walkers_do_not_leave_a_support_and_none_is_lost():
    """Uniform on [0, 1], where unadjusted walkers die at every step."""

    def inside(x):
        return jnp.where((x > 0) & (x < 1), 0.0, -jnp.inf)

    x = jax.random.uniform(jax.random.key(0), (500,), minval=0.01, maxval=0.99)
    for kernel, is_safe in (
        (generalized_hmc.build_kernel(3), True),
        (kinetic.build_kernel(), False),
    ):
        ensemble = walkers.init(x, inside, generalized_hmc.init)
        ensemble, _ = walkers.move(jax.random.key(1), ensemble, inside, kernel, 0.3, 1.0)
        assert bool(jnp.all(jnp.isfinite(ensemble.log_weights))) == is_safe
        assert (float(ensemble.leakage) == 0) == is_safe


def test_positions_may_be_pytrees():
    def target(x):
        return -jnp.sum(x["a"] ** 2) - x["b"] ** 2

    position = {"a": jnp.ones(2), "b": jnp.array(1.0)}
    algorithm = generalized_hmc.as_top_level_api(target, 2, 0.3, 1.0)
    state, info = algorithm.step(jax.random.key(0), algorithm.init(position))
    assert jax.tree.structure(state.position) == jax.tree.structure(position)
    assert bool(info.is_finite)


def uniform(x):
    """Zero outside of (0, 1), where its gradient is NaN."""
    return jnp.where((x > 0) & (x < 1), jnp.log(x) - jnp.log(x), -jnp.inf)


@pytest.mark.parametrize("base", [lambda x: -jnp.sum(jnp.square(x)) / 2, uniform])
def test_what_is_kept_of_the_terms_changes_no_number(base):
    """Along a path of linear combinations, from t = 0, where a term is off, to t = 1."""
    path = geometric_path(base, lambda x: -jnp.sum(jnp.square((x - 0.5) / 0.3)) / 2)
    x = jax.random.uniform(jax.random.key(0), (200,))

    def end(evaluation):
        move = generalized_hmc.as_move(2, 0.3, 1.0, evaluation=evaluation)
        ensemble = walkers.init(x, path(0.0), move.init)
        times = jnp.array([0.0, 0.3, 0.7, 1.0])
        ensemble, _ = anneal(jax.random.key(1), ensemble, path, times, Dynamics(move))
        return ensemble.position, ensemble.log_weights

    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), *map(end, (WHOLE, LINEAR))
    )


def test_canary_terms_that_are_not_the_same_at_all_times():
    """What was kept of the term before is not what the term is now."""

    def path(t):
        return LinearCombination((1.0,), (lambda x: -jnp.square(x - t) / 2,))

    move, x = generalized_hmc.as_move(1, evaluation=LINEAR), jnp.array(0.2)
    _, info = move.kernel(jax.random.key(1), move.init(x, path(0.0)), path(1.0), 0.3, 1.0)
    assert float(info.log_weight_increment) == 0
    assert abs(float(path(1.0)(x) - path(0.0)(x))) > 0.1


def test_bad_input():
    move = generalized_hmc.as_move(1, 0.3, 1.0, evaluation=LINEAR)
    with pytest.raises(ValueError, match="that are a LinearCombination"):
        move.init(jnp.ones(2), lambda x: -jnp.sum(x**2))

    with pytest.raises(ValueError, match="num_steps must be at least 1; got 0"):
        generalized_hmc.build_kernel(0)
    state = generalized_hmc.init(jnp.ones(2), at(target_at(PATH, 0)))
    with pytest.raises(ValueError, match="step_size"):
        generalized_hmc.build_kernel(1)(
            jax.random.key(0), state, at(target_at(PATH, 0)), -1.0, 1.0
        )
