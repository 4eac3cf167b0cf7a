"""Learned transport: residuals against closed forms, and weights that are exact at any drift.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore. The
path is that of gaussian_path, from N(0, 1) to N(1, 1/4), or a product of such.
"""

from functools import partial

import chex
import gaussian_path
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.tree_util import Partial
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import annealing, generators, interpolants, targets, training, walkers
from jarzynski_jax.density import Density
from jarzynski_jax.generators import Transport, divergence
from jarzynski_jax.kernels import escorted
from jarzynski_jax.kernels.move import Move
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.walkers import Dynamics

DIMENSION = 2
NUM_STEPS = 32
TIMES = jnp.linspace(0, 1, NUM_STEPS + 1)[1:]
BASE = targets.gaussian([1.0] * DIMENSION)
RESAMPLER = adaptive(systematic, 0.5)
EXPECTED = gaussian_path.exact_moments(gaussian_path.stiffening(NUM_STEPS), DIMENSION)


def path(t):
    return gaussian_path.at(gaussian_path.Target(1 + 3 * t, t))


def exact_velocity(params, t, x):
    """Centre and width of the Gaussian are carried along: ċ - k̇/(2k) (x - c)."""
    del params
    return 1 - 3 / (2 * (1 + 3 * t)) * (x - t)


def exact_rate(params, t):
    """F = (d/2) log k, up to a constant."""
    del params
    return DIMENSION / 2 * 3 / (1 + 3 * t)


EXACT = Transport(exact_velocity, exact_rate)


@pytest.fixture(scope="module")
def drift():
    """The pure functions of a small drift, its first parameters, and random ones."""
    module = generators.Drift(
        DIMENSION, (16, 16), scale=2.0, num_frequencies=1, rngs=nnx.Rngs(0)
    )
    transport, params = generators.functional(module)
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(test_key("random parameters"), len(leaves))
    noise = [
        leaf + 0.2 * jax.random.normal(key, leaf.shape)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    return transport, params, jax.tree.unflatten(structure, noise)


# ---------------------------------------------------------------- the residual


def residual_at(transport, params, t, x):
    score = jax.grad(path(t))(x)
    rate = jax.grad(lambda t: path(t)(x))(t)
    return generators.residual(transport, params, t, x, score, rate)


def test_the_residual_of_the_exact_transport_is_zero_everywhere():
    key_t, key_x = jax.random.split(test_key("points"))
    t = jax.random.uniform(key_t, (50,))
    x = 5 * jax.random.normal(key_x, (50, DIMENSION))
    found = jax.vmap(partial(residual_at, EXACT, None))(t, x)
    np.testing.assert_allclose(found, 0, atol=2e-4)
    # Canary: without the divergence it is not.
    without = Transport(lambda *args: jax.lax.stop_gradient(exact_velocity(*args)), exact_rate)
    assert np.all(np.abs(jax.vmap(partial(residual_at, without, None))(t, x)) > 0.5)


def test_the_divergence_is_the_trace_of_the_jacobian(drift):
    transport, _, params = drift
    x = jnp.array([0.7, -1.2])

    def field(x):
        return transport.velocity_fn(params, 0.3, x)

    value, found = divergence(field, x)
    np.testing.assert_allclose(value, field(x), rtol=1e-6)
    np.testing.assert_allclose(found, jnp.trace(jax.jacrev(field)(x)), rtol=1e-4)
    square = divergence(lambda x: x**2, jnp.ones((2, 3)))
    assert square[0].shape == (2, 3)
    assert float(square[1]) == 12


def test_a_drift_begins_at_rest_and_keeps_its_scale_fixed(drift):
    transport, params, _ = drift
    assert not np.any(transport.velocity_fn(params, 0.5, jnp.ones(DIMENSION)))
    assert float(transport.free_energy_rate_fn(params, 0.5)) == 0
    assert set(params) == {"velocity", "rate"}


# ---------------------------------------------------------------- exact transport, any step


@pytest.mark.parametrize("num_steps", [1, 7])
def test_a_well_that_is_carried_along_leaves_no_work(num_steps):
    """U = (x - vt)²/2 and b = v: A telescopes to (hε/4)(|y_0|² - |y_K|²), y = x - vt."""
    speed, h = 3.0, 1 / num_steps
    times = jnp.arange(num_steps + 1) / num_steps
    x = jax.random.normal(test_key("well"), (64, 1))

    def moving(t):
        return lambda x: -jnp.sum((x - speed * t) ** 2) / 2

    def velocity(t, x):
        return jnp.full_like(x, speed)

    @jax.jit
    def walk(diffusion):
        return interpolants.generate_weighted(
            test_key("walk"), x, moving, velocity, times, diffusion, adaptive(systematic, 0.0)
        )

    @jax.jit
    def walk_by_function(diffusion):
        return walk.__wrapped__(lambda t: diffusion + 0 * t)

    for diffusion in (0.01, 0.5, 3.0):
        end = walk(jnp.array(diffusion))
        squares = jnp.sum(x**2, axis=1), jnp.sum((end.position - speed) ** 2, axis=1)
        expected = h * diffusion / 4 * (squares[0] - squares[1])
        np.testing.assert_allclose(end.log_weights, expected, rtol=1e-3, atol=2e-5)
    if num_steps == 1:  # ε as a function of time
        chex.assert_trees_all_close(
            walk_by_function(3.0).log_weights, end.log_weights, rtol=1e-4
        )


EXACT_WEIGHTS, EULER_WEIGHTS, NO_DIVERGENCE, OTHER_STEP = range(4)


def moments_by(key, transport, params, share, rule, diffusion):
    """Moves of the escorted kernel, and weights by four rules.

    The velocity is the network's and, beside it, a share of the exact one. EULER_WEIGHTS are
    those of continuous time, dA = (∇·b + b·∇ℓ + ∂_tℓ) dt, at the old point; NO_DIVERGENCE
    misses ∇·b in them; OTHER_STEP has the drift of a quarter of the path before in the forward
    density of the exact ones.
    """

    def drift(t, x):
        return transport.velocity_fn(params, t, x) + share * exact_velocity(None, t, x)

    h, epsilon = 1 / NUM_STEPS, diffusion
    escort = escorted.build_kernel()

    def kernel(key, state, logdensity_fn, time):
        before = time - h
        after, info = escort(
            key,
            state,
            logdensity_fn,
            Partial(drift, time),
            h,
            epsilon,
        )
        x = state.position

        def field(x):
            return drift(before, x)

        rate = jax.grad(lambda t: path(t)(x))(before)
        velocity, of_velocity = divergence(field, x)
        force = jnp.vdot(velocity, state.logdensity_grad)
        euler = h * (jnp.where(rule == NO_DIVERGENCE, 0, of_velocity) + force + rate)

        def log_forward(drift):
            noise = after.position - x - h * (drift + epsilon * state.logdensity_grad)
            return -jnp.sum(noise**2) / (4 * h * epsilon)

        earlier = drift(before - 0.25, x)
        wrong = info.log_weight_increment + log_forward(velocity) - log_forward(earlier)
        increments = jnp.stack([info.log_weight_increment, euler, euler, wrong])
        return after, info._replace(log_weight_increment=increments[rule])

    key_start, key_path = jax.random.split(key)
    init = partial(escorted.init, velocity_fn=Partial(drift, 0.0))
    dynamics = Dynamics(Move(init, kernel), 1, adaptive(systematic, 0.0))
    x = jax.random.normal(key_start, (500, DIMENSION))
    start = walkers.init(x, path(0.0), init)
    end, _ = annealing.anneal(key_path, start, path, TIMES, dynamics, (TIMES,))
    return gaussian_path.weighted_moments(end)


@pytest.fixture(scope="module")
def moments_of(drift):
    """By parameters, rule and diffusion; one program for all."""
    transport, _, _ = drift

    def statistic(key, params, *args):
        return moments_by(key, transport, params, *args)

    def found(params, share=0.0, rule=EXACT_WEIGHTS, diffusion=1.0):
        args = jnp.array(share), jnp.array(rule), jnp.array(diffusion)
        return replicate("rules", statistic, params, *args)

    return found


@pytest.mark.parametrize("diffusion", [0.2, 1.0, 2.0])
def test_a_random_drift_is_exact_with_any_diffusion(moments_of, drift, diffusion):
    assert_unbiased(moments_of(drift[2], 0.8, EXACT_WEIGHTS, diffusion), EXPECTED)


def test_weights_of_continuous_time_are_biased_at_32_steps(moments_of, drift):
    """Even those of the exact drift, and they do not spread: a sum stands for an integral.

    They are what the method was published with. Too low by about (h/2)(Ḟ_0 - Ḟ_1).
    """
    at_rest = drift[1]
    assert_unbiased(moments_of(at_rest, 1.0, EXACT_WEIGHTS), EXPECTED)
    found = moments_of(at_rest, 1.0, EULER_WEIGHTS)
    assert_biased(found, EXPECTED)
    gap = (exact_rate(None, 0.0) - exact_rate(None, 1.0)) / (2 * NUM_STEPS)
    np.testing.assert_allclose(np.log(found[:, 0]), np.log(EXPECTED[0]) - gap, atol=2e-3)


@pytest.mark.parametrize("rule", [NO_DIVERGENCE, OTHER_STEP])
def test_canary_weights_without_divergence_or_by_the_drift_of_another_step(
    moments_of, drift, rule
):
    assert_biased(moments_of(drift[2], 0.8, rule), EXPECTED)


# ---------------------------------------------------------------- learning


DIFFUSION = 0.5


@pytest.fixture(scope="module")
def objective(drift):
    transport, _, _ = drift
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, 400))
    return training.learned_transport(
        transport, path, BASE, optimizer, num_steps=8, num_walkers=32, diffusion=DIFFUSION
    )


@pytest.fixture(scope="module")
def first_state(objective, drift):
    return objective.init(test_key("init"), drift[1])


@pytest.fixture(scope="module")
def trained(objective, first_state):
    return training.fit(test_key("fit"), objective, first_state, num_steps=400)


def test_it_learns_the_transport(trained, drift):
    transport, _, _ = drift
    loss = trained.metrics.loss
    assert np.mean(loss[-50:]) < 0.02 * np.mean(loss[:50])
    # Where walkers are; the exact velocity is not the only one, but the rate is.
    times = jnp.array([0.1, 0.5, 0.9])
    rates = jax.vmap(partial(transport.free_energy_rate_fn, trained.state.params))(times)
    np.testing.assert_allclose(rates, jax.vmap(partial(exact_rate, None))(times), rtol=0.1)
    # At rest 0.25, by the steps' length.
    assert np.mean(trained.metrics.effective_sample_size[-50:]) > 0.8
    assert np.isnan(trained.metrics.log_partition_function[:7]).all()
    log_z = np.mean(trained.metrics.log_partition_function[-100:])
    assert log_z == pytest.approx(np.log(2 * np.pi / 4), abs=0.03)


def test_afterwards_weights_are_exact_and_nearly_equal_with_any_diffusion(
    trained, drift, moments_of
):
    for diffusion in (0.2, 2.0):
        found = moments_of(trained.state.params, diffusion=diffusion)
        assert_unbiased(found, EXPECTED)
    at_rest = moments_of(drift[1], diffusion=0.2)
    carried = moments_of(trained.state.params, diffusion=0.2)
    # The drift does what the diffusion has no time for.
    assert carried[:, 0].std() < 0.2 * at_rest[:, 0].std()


@pytest.fixture(scope="module")
def step(objective):
    return jax.jit(objective.step)


def test_loss_and_gradient_are_of_the_residuals_of_walkers_after_their_step(
    step, first_state, drift
):
    transport, _, params = drift
    state = first_state._replace(params=params, step=jnp.int32(2))
    after, metrics = step(test_key("step"), state, None)
    # Three ensembles are there; they are in the next state, one place further.
    times = ((np.arange(3) + np.asarray(state.offsets[:3])) / 7).astype(np.float32)
    x = after.ensembles.position[1:4]
    times = jnp.broadcast_to(times[:, None], x.shape[:2])

    @jax.jit
    @jax.value_and_grad
    def mean_square(params):
        of_point = partial(residual_at, transport, params)
        return jnp.mean(jax.vmap(jax.vmap(of_point))(times, x) ** 2)

    loss, gradient = mean_square(params)
    np.testing.assert_allclose(metrics.loss, loss, rtol=1e-4)
    # No part of it goes through the way that the walkers came.
    np.testing.assert_allclose(metrics.gradient_norm, optax.tree.norm(gradient), rtol=1e-3)
    np.testing.assert_array_equal(after.offsets[1:], state.offsets[:7])


def test_walkers_that_are_dead_poison_nothing(step, first_state):
    dead = first_state.ensembles
    dead = dead._replace(
        log_weights=dead.log_weights.at[:, 3].set(-jnp.inf),
        state=jax.tree.map(lambda leaf: leaf.at[:, 3].set(jnp.nan), dead.state),
    )
    state = first_state._replace(ensembles=dead, step=jnp.int32(8))
    after, metrics = step(test_key("dead"), state, None)
    assert np.isfinite(metrics.loss)
    assert not metrics.is_skipped
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(after.params))


def test_a_resumed_run_is_the_same_bit_for_bit(objective, first_state, trained):
    half = training.fit(test_key("fit"), objective, first_state, num_steps=200)
    rest = training.fit(test_key("fit"), objective, half.state, num_steps=400)
    chex.assert_trees_all_equal(rest.state, trained.state)


NO_SAMPLES = Density(BASE.logdensity_fn)
OPTIMIZER = optax.sgd(0.1)
SIZES = {"num_steps": 4, "num_walkers": 8, "diffusion": 1.0}
REFUSED = {
    "module": ((3, path, BASE, OPTIMIZER), {}, r"generators\.Transport.*got int"),
    "base": ((EXACT, path, path, OPTIMIZER), {}, "base must be a Density; got function"),
    "samples": ((EXACT, path, NO_SAMPLES, OPTIMIZER), {}, "sample is None"),
    "steps": ((EXACT, path, BASE, OPTIMIZER), {"num_steps": 1}, "at least 2; got 1"),
    "walkers": ((EXACT, path, BASE, OPTIMIZER), {"num_walkers": 0}, "at least 1; got 0"),
    "diffusion": ((EXACT, path, BASE, OPTIMIZER), {"diffusion": 0.0}, "must be positive"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_arguments_are_refused(name):
    args, other, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        training.learned_transport(*args, **{**SIZES, **other})


def test_bad_drifts_and_batches_are_refused(objective, first_state, drift):
    with pytest.raises(ValueError, match="takes no data"):
        objective.step(jax.random.key(0), first_state, jnp.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"at least one feature.*num_features=0"):
        generators.Drift(0, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"free_energy_rate.*got Linear"):
        generators.functional(nnx.Linear(2, 2, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match=r"must have shape \(2,\); got \(3,\)"):
        drift[0].velocity_fn(drift[1], 0.5, jnp.ones(3))
