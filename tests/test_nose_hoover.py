"""Thermostats without noise: the map, its determinant, weights, and what is not ergodic.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore.
"""

import gaussian_path
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import annealing, free_energy, walkers
from jarzynski_jax.kernels import bijection, nose_hoover
from jarzynski_jax.kernels.nose_hoover import Thermostatted
from jarzynski_jax.walkers import Dynamics

PATH = gaussian_path.stiffening(8, (1.0, 2.0), (0.0, 0.6))


def oscillator(x):
    return -jnp.sum(x**2) / 2


def flat_flow(flow, dimension):
    def flat(z):
        x, v, xi = z[:dimension], z[dimension : 2 * dimension], z[2 * dimension :]
        return jnp.concatenate(flow(Thermostatted(x, v, xi))[0])

    return flat


def test_an_oscillator_and_one_thermostat(x64):
    """Position, velocity, η and its velocity after a time of 6, at Q = 1.5; extrapolated."""
    start = Thermostatted(jnp.array([0.7]), jnp.array([-1.2]), jnp.array([0.4 / 1.5]))

    def end(num_steps):
        flow = nose_hoover.flow(oscillator, 6 / num_steps, (1.5,), num_steps)
        image, log_determinant = flow(start)
        return jnp.array(
            [*image.position, *image.velocity, 1.5 * image.friction[0], log_determinant]
        )

    # Errors of a symmetric splitting are even in h.
    coarse, middle, fine = (end(n) for n in (600, 1200, 2400))
    once = (4 * middle - coarse) / 3, (4 * fine - middle) / 3
    found = (16 * once[1] - once[0]) / 15
    expected = [0.834235, -1.710128, -0.794252, 1.002188070]
    np.testing.assert_allclose(found[:3], expected[:3], atol=1e-6)
    np.testing.assert_allclose(found[3], expected[3], atol=1e-9)
    # Started at η = 0.3: it ends at -0.702188.
    np.testing.assert_allclose(0.3 - found[3], -0.702188, atol=1e-6)
    # H' = v²/2 + x²/2 + p_η²/2Q + η is conserved, by the order of the splitting.
    energies = [
        (r[0] ** 2 + r[1] ** 2) / 2 + r[2] ** 2 / 3 - r[3] - (0.49 + 1.44) / 2 - 0.16 / 3
        for r in (coarse, middle, found)
    ]
    assert abs(energies[2]) < 1e-9
    assert abs(energies[0] / energies[1] - 4) < 0.1


@pytest.mark.parametrize("masses", [(1.5,), (1.0, 0.7), (0.8, 1.0, 2.0)])
def test_the_determinant_is_that_of_the_jacobian_and_a_step_back_inverts(x64, masses):
    target = lambda x: -(x[0] ** 4) / 4 - x[1] ** 2 + x[0] * x[1] / 3  # noqa: E731
    flow = nose_hoover.flow(target, 0.3, masses, num_steps=4)
    start = Thermostatted(
        jnp.array([0.3, -0.5]),
        jnp.array([1.0, 0.4]),
        jnp.array([0.5, -0.3, 0.2])[: len(masses)],
    )
    image, log_determinant = flow(start)
    jacobian = jax.jacfwd(flat_flow(flow, 2))(jnp.concatenate(start))
    np.testing.assert_allclose(log_determinant, jnp.linalg.slogdet(jacobian)[1], atol=1e-13)
    back, of_back = nose_hoover.flow(target, -0.3, masses, num_steps=4)(image)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-13), back, start)
    np.testing.assert_allclose(of_back, -log_determinant, atol=1e-13)
    turned = image._replace(velocity=-image.velocity, friction=-image.friction)
    again, _ = flow(turned)
    np.testing.assert_allclose(again.position, start.position, atol=1e-13)


def test_kernel_and_flow_are_the_same_map(x64):
    masses = (0.8, 1.0)
    state = nose_hoover.init(jnp.array([0.3, -0.5]), oscillator, 2)
    state = state._replace(
        velocity=jnp.array([1.0, 0.4]),
        friction=jnp.array([0.5, -0.3]),
        is_at_rest=jnp.array(False),
    )
    kernel = nose_hoover.build_kernel()
    moved, info = kernel(jax.random.key(0), state, oscillator, 0.3, masses)
    start = Thermostatted(state.position, state.velocity, state.friction)
    flow = nose_hoover.flow(oscillator, 0.3, masses)
    image, heat = flow(start)
    np.testing.assert_allclose(moved.position, image.position, atol=1e-15)
    np.testing.assert_allclose(info.heat, heat, atol=1e-15)
    # As a bijection between densities of the extended space it has the same weight.
    target = nose_hoover.extended(oscillator, masses)
    _, other = bijection.build_kernel()(None, bijection.init(start, target), target, flow)
    np.testing.assert_allclose(
        info.log_weight_increment, other.log_weight_increment, atol=1e-14
    )


def test_the_weight_is_the_integrators_error(x64):
    """At a target at rest; per step of the third order in h."""

    def increment(h):
        state = nose_hoover.init(jnp.array([0.3, -0.5]), lambda x: -jnp.sum(x**4) / 4, 2)
        target = lambda x: -jnp.sum(x**4) / 4  # noqa: E731
        kernel = nose_hoover.build_kernel()
        _, info = kernel(jax.random.key(1), state, target, h, (1.0, 1.0))
        return float(info.log_weight_increment)

    ratio = increment(0.02) / increment(0.01)
    assert 7 < ratio < 9


def moments(key, masses, is_wrong):
    """Z, x and x² at the end of a path; or with the determinant left out."""
    move = nose_hoover.as_move(0.5, masses)

    def kernel(key, state, logdensity_fn, _):
        state, info = move.kernel(key, state, logdensity_fn, *move.args)
        lost = jnp.where(is_wrong, info.heat, 0)
        return state, info._replace(log_weight_increment=info.log_weight_increment - lost)

    end = gaussian_path.run(key, PATH, 0.0, 1000, (2,), kernel=kernel, init=move.init)
    return gaussian_path.weighted_moments(end)


@pytest.mark.parametrize("masses", [(1.0,), (0.5, 1.0, 1.0)])
def test_weights_are_exact(masses):
    def run(key, is_wrong):
        return moments(key, masses, is_wrong)

    name = f"thermostats {len(masses)}"
    expected = gaussian_path.exact_moments(PATH, 2)
    assert_unbiased(replicate(name, run, jnp.array(False)), expected)
    assert_biased(replicate(name, run, jnp.array(True)), expected)


def moving(t):
    """A trap that stiffens and moves: from log Z = log 2π to log Z = log(2π/4)."""
    return lambda x: -(1 + 3 * t) * jnp.sum((x - 2 * t) ** 2) / 2


BOTH_WAYS = nose_hoover.as_move(0.25, (1.0, 1.0))


def with_or_without_determinant(key, state, logdensity_fn, step_size, masses, is_wrong):
    state, info = BOTH_WAYS.kernel(key, state, logdensity_fn, step_size, masses)
    increment = info.log_weight_increment - jnp.where(is_wrong, info.heat, 0)
    return state, info._replace(log_weight_increment=increment)


def work_both_ways(is_wrong):
    """Of 4000 walkers each way; or with the determinant left out of the weights."""
    first, last = jax.random.normal(test_key("both ways"), (2, 4000, 2))
    times = jnp.linspace(0, 1, 17)[1:]
    dynamics = Dynamics(BOTH_WAYS._replace(kernel=with_or_without_determinant))
    flags = (jnp.full(16, is_wrong),)
    return annealing.work(test_key("w"), first, 2 + last / 2, moving, times, dynamics, flags)


def test_crooks_with_thermostats():
    """The reverse has new velocities and frictions, of their Gaussians; ΔF = log 4."""
    found = free_energy.estimate(*work_both_ways(False))
    assert found.doubts == ()
    assert abs(found.bar.value - jnp.log(4)) < 4.5 * found.bar.standard_error
    assert abs(found.slope.value - 1) < 4.5 * found.slope.standard_error


def test_canary_crooks_without_the_determinant():
    found = free_energy.estimate(*work_both_ways(True))
    is_off = abs(found.bar.value - jnp.log(4)) > 4.5 * found.bar.standard_error
    assert is_off or found.doubts


def test_canonical_averages_of_an_oscillator_by_walkers():
    move = nose_hoover.as_move(0.3, (1.0, 1.0))

    def run(key):
        x = jax.random.normal(key, (1000, 1))
        ensemble = walkers.init(x, oscillator, move.init)

        def step(ensemble, key):
            moved, _ = walkers.move(key, ensemble, oscillator, move.kernel, *move.args)
            return moved, None

        ensemble, _ = jax.lax.scan(step, ensemble, jax.random.split(key, 40))
        weight, x = jnp.exp(ensemble.log_weights), ensemble.position[:, 0]
        return jnp.stack([jnp.mean(weight * value) for value in (weight / weight, x**2, x**4)])

    assert_unbiased(replicate("canonical", run), np.array([1.0, 1.0, 3.0]))


def time_average(start, masses, value, target=oscillator, num_steps=40_000, degrees=None):
    """Average along one trajectory, without weights."""
    flow = nose_hoover.flow(target, 0.1, masses, degrees=degrees)

    @jax.jit
    def run(start):
        def step(carry, _):
            point, total = carry
            point, _ = flow(point)
            return (point, total + value(point)), None

        (_, total), _ = jax.lax.scan(step, (start, jnp.zeros(())), length=num_steps)
        return total / num_steps

    return float(run(start))


@pytest.fixture(scope="module")
def squares_of_oscillator():
    """<x²> in 64 stretches of a trajectory, by the number of thermostats and the start.

    A stretch takes a time of 625. Averages over a time of 1000 have a deviation of 0.05, where
    independent values of x² at times of 1 had 0.045: stretches are independent.
    """
    found = {}
    with jax.enable_x64(True):
        for number in (1, 2, 3):
            flow = nose_hoover.flow(oscillator, 0.1, (1.0,) * number)

            def step(point, _, flow=flow):
                point, _ = flow(point)
                return point, point.position[0] ** 2

            @jax.jit
            def run(start, step=step):
                def stretch(point, _):
                    point, squares = jax.lax.scan(step, point, length=6250)
                    return point, jnp.mean(squares)

                return jax.lax.scan(stretch, start, length=64)[1]

            for x in (1.0, 2.5):
                # From rest, too: velocities of zero must not switch the thermostat off.
                start = Thermostatted(jnp.array([x]), jnp.zeros(1), jnp.zeros(number))
                found[number, x] = np.asarray(run(start))
    return found


@pytest.mark.parametrize("number", [2, 3])
def test_a_chain_on_one_oscillator_is_ergodic(number, squares_of_oscillator):
    """Its trajectories tell <x²> = 1 from two energies, |z| < 4.5 over 64 stretches."""
    for x in (1.0, 2.5):
        assert_unbiased(squares_of_oscillator[number, x], 1.0)


def test_canary_one_thermostat_on_one_oscillator_is_not_ergodic(squares_of_oscillator):
    """It never leaves its torus, and <x²> is another on each."""
    low, high = (squares_of_oscillator[1, x] for x in (1.0, 2.5))
    assert_biased(low, 1.0)
    assert abs(low.mean() - high.mean()) > 0.3


def test_degrees_of_freedom_without_the_momentum(x64):
    """Two particles in three dimensions at rest as a whole: <K> = 3/2."""
    target = lambda x: -jnp.sum((x[0] - x[1]) ** 2) - jnp.sum((x[0] - x[1]) ** 4) / 4  # noqa: E731
    velocity = jnp.array([[0.5, -0.2, 1.0], [-0.5, 0.2, -1.0]])
    start = Thermostatted(jnp.array([[0.5, 0.1, 0], [-0.5, 0, 0.3]]), velocity, jnp.zeros(3))
    kinetic = lambda point: jnp.sum(point.velocity**2) / 2  # noqa: E731
    masses = (3.0, 1.0, 1.0)
    right = time_average(start, masses, kinetic, target, 60_000, degrees=3)
    assert abs(right - 1.5) < 0.1
    wrong = time_average(start, masses, kinetic, target, 60_000)
    assert wrong > 2.5


@pytest.mark.parametrize(
    ("masses", "words"),
    [
        ((), r"shape \(M,\), M ≥ 1"),
        ((1.0, -1.0), "positive and finite"),
        (1.0, r"got shape \(\)"),
    ],
)
def test_masses_that_are_none_are_refused(masses, words):
    with pytest.raises(ValueError, match=words):
        nose_hoover.as_move(0.1, masses)


def test_lengths_of_chain_and_state_must_agree():
    state = nose_hoover.init(jnp.ones(2), oscillator, 1)
    with pytest.raises(ValueError, match=r"shape \(1,\), as there are thermostats.*\(2,\)"):
        nose_hoover.build_kernel()(jax.random.key(0), state, oscillator, 0.1, (1.0, 1.0))
    with pytest.raises(ValueError, match="num_thermostats must be at least 1"):
        nose_hoover.init(jnp.ones(2), oscillator, 0)
    with pytest.raises(ValueError, match="step_size"):
        nose_hoover.build_kernel()(jax.random.key(0), state, oscillator, -0.1, (1.0,))
