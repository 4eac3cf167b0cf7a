"""Work and heat along a path, and Langevin with forces that are no gradients.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import annealing, free_energy, walkers
from jarzynski_jax.kernels import (
    bijection,
    escorted,
    generalized_hmc,
    kinetic,
    magnetic,
    nose_hoover,
    ula,
)
from jarzynski_jax.kernels.move import Move
from jarzynski_jax.nonequilibrium import driven_langevin, first_law
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.walkers import Dynamics

TIMES = jnp.linspace(0, 1, 9)[1:]


def path(t):
    return lambda x: -(1 + 3 * t) * jnp.sum((x - t) ** 2) / 2


def at_rest(t):
    return lambda x: -jnp.sum(x**2) / 2 + 0.0 * t


def turning(x):
    return -x + OMEGA * jnp.stack([x[1], -x[0]])


OMEGA, MASSES = 1.5, (1.0, 0.7)
SHEAR = lambda x: (1.1 * x + 0.2, 2 * jnp.log(1.1))  # noqa: E731
MOVES = {
    "ula": ula.as_move(0.1),
    "kinetic": kinetic.as_move(0.3, 1.0),
    "adjusted": generalized_hmc.as_move(1, 0.3, 1.0),
    "bijection": bijection.as_move(SHEAR),
    "magnetic": magnetic.as_move(0.3, 1.0, lambda x: 1 + x[0] ** 2),
    "nose_hoover": nose_hoover.as_move(0.3, MASSES),
    "driven": driven_langevin.as_move(turning, 0.1),
}


@pytest.fixture(scope="module")
def start():
    return jax.random.normal(test_key("start"), (500, 2))


# It knows of a kernel no more than whether it is invariant; the others are below.
OF_EACH_KIND = ("ula", "kinetic", "adjusted", "bijection")


@pytest.mark.parametrize("name", OF_EACH_KIND)
def test_energy_is_work_and_heat(name, start):
    with jax.enable_x64(True):
        x = jnp.asarray(start, jnp.float64)
        dynamics = Dynamics(MOVES[name])
        key = test_key("account")
        ledger = first_law.account(key, x, path, TIMES, dynamics)
        # The same walkers by anneal, without the account.
        alone = dynamics._replace(resampler=adaptive(systematic, 0.0))
        ensemble = walkers.init(x, path(0.0), alone.kernel_init)
        end, _ = annealing.anneal(key, ensemble, path, TIMES, alone)
        work = ledger.path_work + ledger.shadow_work
        np.testing.assert_allclose(work, -end.log_weights, atol=1e-12)
        change = jax.vmap(path(0.0))(x) - jax.vmap(path(1.0))(end.position)
        np.testing.assert_allclose(ledger.energy_change, change, atol=1e-12)
        np.testing.assert_allclose(work + ledger.heat, change, atol=1e-12)


def told_by(info, state):
    """The heat of a step by its kernel, where it tells; and what is of the bath since then."""
    heat = info.heat if hasattr(info, "heat") else jnp.nan * info.log_weight_increment
    if not isinstance(state, nose_hoover.NoseHooverState):
        return heat, jnp.zeros_like(heat)
    squares = jnp.sum(state.velocity**2, axis=1) + state.friction**2 @ jnp.array(MASSES)
    return heat, squares / 2


@cache
def steps_of(name):
    """One program for each move: energies, log-weights, ledger and heat after every step."""
    move = first_law._with_ledger(MOVES[name])

    def at(t):
        return first_law._AtTime(path, t)

    def step(ensemble, inputs):
        t, key = inputs
        ensemble, info = walkers.move(key, ensemble, at(t), move.kernel, *move.args)
        energy = -jax.vmap(at(t))(ensemble.position)
        told = told_by(info, ensemble.state.inner)
        return ensemble, (energy, ensemble.log_weights, ensemble.state.ledger, told)

    @jax.jit
    def run(x, times):
        ensemble = walkers.init(x, at(jnp.zeros(())), move.init)
        keys = jax.random.split(test_key("every step"), times.shape[0])
        return jax.lax.scan(step, ensemble, (times, keys))[1]

    return run


@pytest.mark.parametrize("name", MOVES)
def test_the_account_is_right_after_every_step(name, start, x64):
    """The ledger beside what it is of: positions, log-weights, and the kernel's own heat."""
    x, times = jnp.asarray(start, jnp.float64), jnp.asarray(TIMES, jnp.float64)
    found = jax.tree.map(np.asarray, steps_of(name)(x, times))
    energy, log_weights, ledger, (heat, of_bath) = found
    change = energy + np.asarray(jax.vmap(path(0.0))(x))
    np.testing.assert_allclose(ledger.energy_change, change, atol=1e-12)
    work = ledger.path_work + ledger.shadow_work
    np.testing.assert_allclose(work, -log_weights, atol=1e-12)
    np.testing.assert_allclose(change, work + ledger.heat, atol=1e-12)
    if name == "driven":
        np.testing.assert_allclose(ledger.heat, np.cumsum(heat, axis=0), atol=1e-12)
    if name == "nose_hoover":
        # Velocities and frictions are of the bath; those of the first step were drawn in it.
        heat = heat[1:] - np.diff(of_bath, axis=0)
        np.testing.assert_allclose(np.diff(ledger.heat, axis=0), heat, atol=1e-12)


@pytest.mark.parametrize("name", MOVES)
def test_no_work_of_the_path_at_rest_by_any_move(name, start, x64):
    x, times = jnp.asarray(start, jnp.float64), jnp.asarray(0 * TIMES, jnp.float64)
    _, log_weights, ledger, _ = steps_of(name)(x, times)
    assert float(jnp.abs(ledger.path_work).max()) == 0
    np.testing.assert_allclose(ledger.shadow_work, -log_weights, atol=1e-12)
    if name == "adjusted":
        assert float(jnp.abs(ledger.shadow_work).max()) < 1e-13  # rounding


def test_heat_of_langevin_is_the_ratio_of_its_densities(x64, start):
    """One step, with both densities written down."""
    h, x = 0.1, jnp.asarray(start, jnp.float64)
    key, times = test_key("one step"), jnp.array([1.0])
    dynamics = Dynamics(ula.as_move(h), resampler=adaptive(systematic, 0.0))
    ledger = first_law.account(key, x, path, times, dynamics)
    ensemble = walkers.init(x, path(0.0), ula.init)
    y = annealing.anneal(key, ensemble, path, times, dynamics)[0].position
    slopes = jax.vmap(jax.grad(path(0.0)))(x), jax.vmap(jax.grad(path(1.0)))(y)
    log_f = -jnp.sum((y - x - h * slopes[0]) ** 2, axis=1) / (4 * h)
    log_b = -jnp.sum((x - y - h * slopes[1]) ** 2, axis=1) / (4 * h)
    np.testing.assert_allclose(ledger.heat, log_b - log_f, atol=1e-12)
    switched = jax.vmap(path(0.0))(y) - jax.vmap(path(1.0))(y)
    np.testing.assert_allclose(ledger.path_work, switched, atol=1e-12)


def test_heat_of_a_bijection_is_its_log_determinant(start):
    ledger = first_law.account(
        test_key("map"), start, path, TIMES, Dynamics(MOVES["bijection"])
    )
    np.testing.assert_allclose(ledger.heat, 8 * 2 * np.log(1.1), rtol=1e-4)


def test_work_of_the_path_is_exactly_zero_at_rest_and_shadow_work_of_exact_kernels(start):
    for name in OF_EACH_KIND:
        dynamics = Dynamics(MOVES[name], num_moves=2)
        ledger = first_law.account(test_key("rest"), start, at_rest, 0 * TIMES, dynamics)
        assert float(jnp.abs(ledger.path_work).max()) == 0
        if name == "adjusted":
            assert float(jnp.abs(ledger.shadow_work).max()) < 1e-5
        if name == "ula":
            assert float(jnp.std(ledger.shadow_work)) > 0.01
    ledger = first_law.account(
        test_key("driven"), start, path, TIMES, Dynamics(MOVES["adjusted"])
    )
    assert float(jnp.abs(ledger.shadow_work).max()) < 1e-4
    assert float(jnp.std(ledger.path_work)) > 0.5


# ---------------------------------------------------------------- forces of any kind

STEP, NUM_STEPS = 0.05, 4

#: The steady law of the steps as they are, not of the limit of small ones.
VARIANCE = 2 * STEP / (1 - (1 - STEP) ** 2 - (STEP * OMEGA) ** 2)


def steady(x):
    return -jnp.sum(x**2) / (2 * VARIANCE) - jnp.log(2 * jnp.pi * VARIANCE)


def exact_production():
    """Of a step: E log K(x, x')/K(x', x), a quadratic form of two Gaussians."""
    matrix = np.array([[1 - STEP, STEP * OMEGA], [-STEP * OMEGA, 1 - STEP]])
    both = VARIANCE * np.block([[np.eye(2), matrix.T], [matrix, np.eye(2)]])
    other = VARIANCE * np.block([[np.eye(2), matrix], [matrix.T, np.eye(2)]])
    return (np.trace(np.linalg.solve(other, both)) - 4) / 2


def production_of(key, move):
    x = jnp.sqrt(VARIANCE) * jax.random.normal(key, (1000, 2))
    ensemble = walkers.init(x, steady, move.init)

    def step(ensemble, key):
        return walkers.move(key, ensemble, steady, move.kernel, *move.args)[0], None

    ensemble, _ = jax.lax.scan(step, ensemble, jax.random.split(key, NUM_STEPS))
    return -ensemble.log_weights


def test_a_turning_force_produces_entropy_and_the_theorem_holds():
    move = driven_langevin.as_move(turning, STEP)

    def run(key, is_wrong):
        sigma = production_of(key, move)
        sigma = jnp.where(is_wrong, 0.9, 1.0) * sigma
        return jnp.stack([jnp.mean(sigma), jnp.mean(jnp.exp(-sigma))])

    expected = np.array([NUM_STEPS * exact_production(), 1.0])
    assert abs(exact_production() / (2 * OMEGA**2 * STEP) - 1) < 0.1
    assert_unbiased(replicate("turning", run, jnp.array(False)), expected)
    assert_biased(replicate("turning", run, jnp.array(True)), expected)


def test_against_minus_the_drift_none_is_produced():
    """The backward process of the escorted kernel is driven too: what is left is rounding."""
    turn = lambda x: OMEGA * jnp.stack([x[1], -x[0]])  # noqa: E731
    tiny = escorted.as_move(turn, 0.001, 1.0)
    x = jax.random.normal(test_key("escorted"), (1000, 2))
    target = at_rest(0.0)
    ensemble = walkers.init(x, target, tiny.init)
    ensemble, _ = walkers.move(test_key("move"), ensemble, target, tiny.kernel, *tiny.args)
    driven = driven_langevin.as_move(lambda x: -x + turn(x), 0.001)
    other = walkers.init(x, target, driven.init)
    other, _ = walkers.move(test_key("move"), other, target, driven.kernel, *driven.args)
    assert jnp.std(ensemble.log_weights) < 0.01 * jnp.std(other.log_weights)


def test_both_theorems_along_a_driven_path():
    """A trap that stiffens while the force turns: forward and reverse runs, ΔF = log 4."""

    def force_free(t):
        return lambda x: -(1 + 3 * t) * jnp.sum(x**2) / 2

    x = jax.random.normal(test_key("both"), (2, 4000, 2))
    move = driven_langevin.as_move(lambda x: -2 * x + jnp.stack([x[1], -x[0]]), 0.02)
    times = jnp.linspace(0, 1, 11)[1:]
    work = annealing.work(test_key("w"), x[0], x[1] / 2, force_free, times, Dynamics(move))
    found = free_energy.estimate(*work)
    assert found.doubts == ()
    assert abs(found.bar.value - jnp.log(4)) < 4.5 * found.bar.standard_error
    assert abs(found.slope.value - 1) < 4.5 * found.slope.standard_error


def test_a_force_that_is_the_gradient_is_ula():
    target = path(0.5)
    state = ula.init(jnp.array([0.3, -0.2]), target)
    other = driven_langevin.init(jnp.array([0.3, -0.2]), target, jax.grad(target))
    key = test_key("ula")
    state, info = ula.build_kernel()(key, state, target, 0.1)
    kernel = driven_langevin.build_kernel()
    other, found = kernel(key, other, target, jax.grad(target), 0.1)
    np.testing.assert_allclose(found.log_weight_increment, info.log_weight_increment, rtol=1e-4)
    np.testing.assert_allclose(other.position, state.position, rtol=1e-6)


def test_what_makes_no_sense_is_refused(start):
    with pytest.raises(ValueError, match="shape of the position"):
        driven_langevin.init(jnp.ones(2), at_rest(0.0), lambda x: x[0])
    move = driven_langevin.as_move(turning, -0.1)
    state = move.init(jnp.ones(2), steady)
    with pytest.raises(ValueError, match="step_size"):
        move.kernel(jax.random.key(0), state, steady, *move.args)
    with pytest.raises(ValueError, match="dynamics must be a Dynamics"):
        first_law.account(jax.random.key(0), start, path, TIMES, ula)
    assert isinstance(driven_langevin.as_move(turning, 0.1), Move)
