"""Walkers in imaginary time: weights against closed forms, and what must fail."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zscore import assert_biased, assert_unbiased, replicate

from jarzynski_jax import quantum, walkers
from jarzynski_jax.kernels import feynman_kac, guides, ula
from jarzynski_jax.kernels.move import Move
from jarzynski_jax.kernels.preconditioning import preconditioner
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.walkers import Dynamics

STEP = 0.2
# None; the wrong sign of v.dB; v at x' instead of at x.
RIGHT, WRONG_SIGN, WRONG_END = range(3)


def _drift(strength, x):
    return -strength * x


def _guide(strength):
    return guides.drift_guide(jax.tree_util.Partial(_drift, jnp.asarray(strength)))


class _Info(NamedTuple):
    log_weight_increment: Any


def _faulty(rng_key, state, logdensity_fn, guide, step_size, inverse_masses, fault):
    """The kernel, with one of the faults put in."""
    new, info = feynman_kac.build_kernel()(
        rng_key, state, logdensity_fn, guide, step_size, inverse_masses
    )
    d_brownian = new.position - state.position - step_size * state.drift
    square = jnp.sum(state.drift**2)
    new_square = jnp.sum(new.drift**2)
    right = -jnp.sum(state.drift * d_brownian) - step_size / 2 * square
    turned = jnp.sum(state.drift * d_brownian) - step_size / 2 * square
    at_end = -jnp.sum(new.drift * d_brownian) - step_size / 2 * new_square
    change = jnp.stack([jnp.zeros(()), turned - right, at_end - right])[fault]
    return new, _Info(info.log_weight_increment + change)


def _energy(state):
    return state.energy


@pytest.fixture(scope="module")
def growth():
    """``growth(strength, fault)``: energy of an oscillator in two dimensions, and its error."""
    hamiltonian = quantum.harmonic(2)
    x = jax.random.normal(jax.random.key(0), (8, 500, 2))
    resampler = adaptive(systematic, 0.5)

    def run(strength, fault):
        right = feynman_kac.as_move(_guide(strength), jnp.asarray(STEP))
        move = Move(right.init, _faulty, (*right.args, jnp.asarray(fault)))
        found = quantum.run_populations(
            jax.random.key(7),
            x,
            hamiltonian.rate,
            Dynamics(move, resampler=resampler),
            _energy,
            num_windows=24,
            blocks_per_window=5,
            steps_per_block=10,
        )
        return quantum.growth_energy(found, 10 * STEP, num_warmup=10, num_past=3)

    return run


@pytest.mark.parametrize("strength", [0.6, 1.0, 1.4])
def test_growth_energy_is_that_of_the_propagator_for_any_drift(growth, strength):
    """arcosh(1 + h²/2)/h, by 8 populations, within 4 of their own errors."""
    value, error = growth(strength, RIGHT)
    assert error < 2e-3
    assert abs(value - quantum.trotter_energy(STEP, 2)) < 4 * error


@pytest.mark.parametrize("fault", [WRONG_SIGN, WRONG_END])
def test_canary_a_wrong_weight_of_the_drift_has_another_energy(growth, fault):
    value, error = growth(0.6, fault)
    assert not abs(value - quantum.trotter_energy(STEP, 2)) < 4 * error


def test_trotter_energy_is_the_propagators_eigenvalue():
    """On a grid: its largest eigenvalue is exp(-h E)."""
    x, spacing = np.linspace(-9, 9, 500, retstep=True)
    gaps = x[:, None] - x
    kinetic = np.exp(-(gaps**2) / (2 * STEP)) / np.sqrt(2 * np.pi * STEP) * spacing
    half = np.exp(-STEP * x**2 / 4)
    largest = np.linalg.eigvalsh(half[:, None] * kinetic * half)[-1]
    with jax.enable_x64(True):
        energy = float(quantum.trotter_energy(jnp.asarray(STEP)))
    assert -np.log(largest) / STEP == pytest.approx(energy, abs=1e-10)
    assert energy == pytest.approx(0.499170394496, abs=1e-11)


def _mean_weight_of_two_steps(key, strength, fault):
    """Of 4000 walkers from x = 0.7, with the potential x²/2 + x."""
    guide, h = _guide(strength), jnp.asarray(0.3)

    def rate(x):
        return -jnp.sum(x**2 / 2 + x)

    def weight(key):
        state = feynman_kac.init(jnp.array([0.7]), rate, guide)
        first, second = jax.random.split(key)
        state, one = _faulty(first, state, rate, guide, h, None, fault)
        state, two = _faulty(second, state, rate, guide, h, None, fault)
        return jnp.exp(one.log_weight_increment + two.log_weight_increment)

    return jnp.mean(jax.vmap(weight)(jax.random.split(key, 4000)))


def _exact_weight_of_two_steps():
    h, x, (grid, spacing) = 0.3, 0.7, np.linspace(-12, 12, 4001, retstep=True)
    potential = grid**2 / 2 + grid
    kernel = np.exp(-((grid[:, None] - grid) ** 2) / (2 * h)) / np.sqrt(2 * np.pi * h)
    start = np.exp(-((grid - x) ** 2) / (2 * h)) / np.sqrt(2 * np.pi * h)
    end = kernel @ np.exp(-h * potential / 2) * spacing
    middle = start * np.exp(-h * potential) * end
    return np.exp(-h * (x**2 / 2 + x) / 2) * np.sum(middle) * spacing


@pytest.mark.parametrize("strength", [0.0, 0.8, -0.5])
def test_mean_weight_of_two_steps(strength):
    """On an asymmetric potential, against quadrature: 64 z-scored replicates."""
    found = replicate(
        "two_steps", _mean_weight_of_two_steps, jnp.asarray(strength), jnp.asarray(RIGHT)
    )
    assert_unbiased(found, _exact_weight_of_two_steps())


@pytest.mark.parametrize("fault", [WRONG_SIGN, WRONG_END])
def test_canary_mean_weight_of_two_steps(fault):
    found = replicate(
        "two_steps", _mean_weight_of_two_steps, jnp.asarray(0.8), jnp.asarray(fault)
    )
    assert_biased(found, _exact_weight_of_two_steps())


def _narrow(x):
    return -0.8 * jnp.sum(x**2) - 0.1 * jnp.sum(x**4)


@pytest.mark.parametrize("masses", [None, jnp.array([1.0, 0.25])])
def test_with_a_wave_the_weight_is_that_of_langevin_and_the_local_energy(x64, masses):
    """The same step as ula's of ψ² at h/2, the same noise, and -h (E_L + E_L')/2 beside."""
    h, guide = 0.1, guides.wave_guide(_narrow)
    precondition = None if masses is None else preconditioner(masses)
    potential = quantum.harmonic(2).potential_fn
    x, key = jnp.array([0.3, -0.7]), jax.random.key(3)

    def rate(x):
        return -potential(x)

    def square(x):
        return 2 * _narrow(x)

    state = feynman_kac.init(x, rate, guide, precondition)
    new, info = feynman_kac.build_kernel()(key, state, rate, guide, h, precondition)
    langevin, other = ula.build_kernel()(key, ula.init(x, square), square, h / 2, precondition)
    assert jnp.allclose(new.position, langevin.position)
    rest = info.log_weight_increment - other.log_weight_increment
    assert rest == pytest.approx(-h * (state.energy + new.energy) / 2)
    assert new.log_endpoint == pytest.approx(langevin.log_endpoint)
    local = guides.local_energy(_narrow, potential, precondition)
    assert new.energy == pytest.approx(local(new.position))


def test_local_energy_is_that_of_the_whole_hessian(x64):
    def log_wave(x):
        _, log_determinant = jnp.linalg.slogdet(jnp.eye(3) + jnp.outer(x[0], x[1]) / 4)
        gathered = x[jnp.array([1, 0]), jnp.array([2, 0])]
        return log_determinant - jnp.linalg.norm(x) - jnp.sum(jnp.cosh(gathered)) + x[0, 1] ** 3

    x = jax.random.normal(jax.random.key(0), (2, 3))
    gradient = jax.grad(log_wave)(x)
    curvature = jnp.trace(jax.hessian(log_wave)(x).reshape(6, 6))
    expected = 1.5 - (curvature + jnp.sum(gradient**2)) / 2
    assert guides.local_energy(log_wave, lambda x: 1.5)(x) == pytest.approx(expected)


def test_precision_is_kept(dtype):
    guide = guides.wave_guide(lambda x: -jnp.sum(x**2) / 2)

    def rate(x):
        return -jnp.sum(x**2) / 2

    state = feynman_kac.init(jnp.ones(2, dtype), rate, guide)
    new, info = feynman_kac.build_kernel()(jax.random.key(0), state, rate, guide, 0.1)
    leaves = jax.tree.leaves((new, info.log_weight_increment))
    assert all(leaf.dtype == dtype for leaf in leaves)
    # Its own ground state: the energy is 1 wherever a walker stands.
    assert new.energy == pytest.approx(1.0, abs=10 * float(jnp.finfo(dtype).eps))


def test_a_walker_at_a_node_has_no_weight_and_others_are_as_they_were():
    """log|x| has a node at 0."""
    guide = guides.wave_guide(lambda x: jnp.sum(jnp.log(jnp.abs(x)) - x**2 / 2))

    def rate(x):
        return -jnp.sum(x**2) / 2

    move = feynman_kac.as_move(guide, 0.01)
    clean = walkers.init(jnp.array([[1.0], [2.0], [-1.0]]), rate, move.init)
    planted = walkers.init(jnp.array([[1.0], [0.0], [-1.0]]), rate, move.init)
    assert jnp.isneginf(planted.log_weights[1])
    key = jax.random.key(0)
    for ensemble in (clean, planted):
        moved, _ = walkers.move(key, ensemble, rate, move.kernel, *move.args)
        kept = moved.log_weights[jnp.array([0, 2])], moved.position[jnp.array([0, 2])]
        if ensemble is clean:
            expected = kept
    assert jnp.isneginf(moved.log_weights[1])
    assert jnp.array_equal(kept[0], expected[0])
    assert jnp.array_equal(kept[1], expected[1])


def test_what_makes_no_sense_is_refused():
    x = jnp.ones(2)

    def rate(x):
        return -jnp.sum(x**2)

    with pytest.raises(ValueError, match="a drift must have the structure and shapes"):
        feynman_kac.init(x, rate, guides.drift_guide(lambda x: x[:1]))
    with pytest.raises(ValueError, match="minus the potential, must return a scalar"):
        feynman_kac.init(x, lambda x: -(x**2))
    with pytest.raises(ValueError, match="log_wave_fn must return a scalar"):
        feynman_kac.init(x, rate, guides.wave_guide(lambda x: -(x**2)))
    with pytest.raises(ValueError, match="positions must be of floating point"):
        feynman_kac.init(jnp.ones(2, int), rate)
    with pytest.raises(ValueError, match="the time step h"):
        feynman_kac.build_kernel()(
            jax.random.key(0), feynman_kac.init(x, rate), rate, guides.FREE, -0.1
        )
