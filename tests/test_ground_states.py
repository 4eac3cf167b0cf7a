"""Drifts and waves that learn ground states, the three numbers, and what must be doubted."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jarzynski_jax import quantum, training
from jarzynski_jax.free_energy import Estimate
from jarzynski_jax.kernels import feynman_kac, guides, ula
from jarzynski_jax.quantum import Extrapolation, Sampling
from jarzynski_jax.quantum.doubts import doubts_of_order
from jarzynski_jax.quantum.variational import clip_around_median
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.walkers import Dynamics, langevin

SEED = 0
OSCILLATOR = quantum.harmonic(1)
SMALL = Sampling(num_blocks=80, num_warmup=20, blocks_per_window=5, relaxation_steps=50)


def _linear_drift(strength, x):
    return -strength * x


def _gaussian(strength, x):
    return -strength * jnp.sum(x**2) / 2


@pytest.fixture(scope="module")
def path_integral():
    """Learning of an oscillator's drift from twice its strength."""
    objective = quantum.path_integral_cost(
        OSCILLATOR,
        _linear_drift,
        optax.adam(optax.exponential_decay(0.05, 40, 0.5)),
        step_size=0.1,
        num_steps=16,
    )
    x = jax.random.normal(jax.random.key(SEED), (512, 1)) / 2
    state = objective.init(jax.random.key(0), jnp.array(2.0), x)
    key = jax.random.key(SEED + 1)
    half = training.fit(key, objective, state, num_steps=100).state
    return objective, state, half, training.fit(key, objective, half, num_steps=200), key


def test_a_drift_learns_the_oscillator(path_integral):
    """Where the corrected gradient of the Euler chain is 0, and at its cost there.

    From its stationary variance 1/(w (2 - h w)) the variance of the chain follows from step to
    step; the correction's gradient is that of half w times the last one, w held fixed.
    """
    *_, found, _ = path_integral
    h, num_steps = 0.1, 16

    def corrected(w, fixed):
        variance, cost = 1 / (fixed * (2 - h * fixed)), 0.0
        for _ in range(num_steps):
            cost += h * (w**2 + 1) / 2 * variance
            variance = (1 - h * w) ** 2 * variance + h
        return cost + fixed * variance / 2

    slopes = [
        (corrected(w + 1e-4, w) - corrected(w - 1e-4, w), w)
        for w in np.linspace(0.5, 1.5, 1001)
    ]
    expected = min(slopes, key=lambda pair: abs(pair[0]))[1]
    assert float(found.state.params) == pytest.approx(expected, abs=0.03)
    cost = found.metrics.loss[-50:]
    error = cost.std() / np.sqrt(50)
    at_rest = (expected**2 + 1) / (2 * expected * (2 - h * expected))
    assert abs(cost.mean() - at_rest) < 5 * error + 1e-3
    assert found.metrics.num_dead.sum() == 0


def test_path_integral_resumes_bit_for_bit(path_integral):
    objective, state, _, found, key = path_integral
    whole = training.fit(key, objective, state, num_steps=200)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, whole.state, found.state))


def test_a_walker_on_a_nucleus_poisons_no_gradient():
    """Of two walkers one starts on the proton: it is counted and left out."""
    hydrogen = quantum.atom(1.0, 1)
    objective = quantum.path_integral_cost(
        hydrogen, _linear_drift, optax.sgd(0.1), step_size=0.01, num_steps=2
    )
    x = jnp.array([[[0.5, 0.0, 0.0]], [[0.0, 0.0, 0.0]]])
    state, metrics = jax.jit(objective.step)(
        jax.random.key(0), objective.init(jax.random.key(0), jnp.array(1.0), x), None
    )
    assert metrics.num_dead == 1
    assert not metrics.is_skipped
    assert jnp.isfinite(metrics.gradient_norm)
    assert jnp.all(jnp.isfinite(state.positions))


def _variational(step_size, resampler=adaptive(systematic, 0.5)):  # noqa: B008
    return quantum.variational_energy(
        OSCILLATOR,
        _gaussian,
        optax.sgd(1.0),
        langevin(step_size, resampler=resampler),
        clip_width=np.inf,
    )


@pytest.fixture(scope="module")
def gradient_steps():
    """By how much one update moves the strength 1.6 at a large step, 64 times."""
    objective = _variational(0.2)

    def update(key):
        key_x, key_step = jax.random.split(key)
        x = jax.random.normal(key_x, (2000, 1)) / jnp.sqrt(2 * 1.6)
        state = objective.init(key, jnp.array(1.6), x)
        state, metrics = objective.step(key_step, state, None)
        return 1.6 - state.params, metrics.loss

    keys = jax.random.split(jax.random.key(SEED), 64)
    return jax.tree.map(np.asarray, jax.lax.map(update, keys))


def test_the_gradient_of_the_variational_energy(gradient_steps):
    """E(w) = w/4 + 1/(4 w), at a step where Langevin alone is off: 64 z-scored replicates."""
    gradients, energies = gradient_steps
    w = 1.6
    for values, expected in (
        (gradients, 0.25 - 0.25 / w**2),
        (energies, w / 4 + 0.25 / w),
    ):
        error = values.std(ddof=1) / 8
        assert error < 0.01
        assert abs(values.mean() - expected) < 4.5 * error


def test_canary_unweighted_langevin_has_another_energy():
    """Its variance is 1/(2 w (1 - h w)) at the step h."""
    w, h = 1.6, 0.2
    variance = 1 / (2 * w) / (1 - h * w)
    biased = w / 2 + (1 - w**2) / 2 * variance
    assert abs(biased - (w / 4 + 0.25 / w)) > 0.1


def test_a_wave_learns_the_oscillator():
    objective = quantum.variational_energy(
        OSCILLATOR, _gaussian, optax.adam(0.03), langevin(0.1)
    )
    x = jax.random.normal(jax.random.key(SEED), (1000, 1)) / jnp.sqrt(2 * 1.6)
    state = objective.init(jax.random.key(0), jnp.array(1.6), x)
    key = jax.random.key(SEED + 1)
    found = training.fit(key, objective, state, num_steps=150)
    # At the ground state the local energy is constant: no noise is left.
    assert found.state.params == pytest.approx(1.0, abs=2e-2)
    assert found.metrics.loss[-1] == pytest.approx(0.5, abs=1e-3)
    assert found.metrics.loss_deviation[-1] < 0.03
    half = training.fit(key, objective, state, num_steps=75).state
    again = training.fit(key, objective, half, num_steps=150)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, again.state, found.state))


def test_clipping_is_around_the_median():
    values = jnp.concatenate([jnp.linspace(-1, 1, 101), jnp.array([99.0])])
    clipped = clip_around_median(values, 5.0)
    assert clipped[-1] < 10
    assert jnp.array_equal(clipped[:-1], values[:-1])


def test_objectives_refuse_what_makes_no_sense():
    optimizer, x = optax.sgd(0.1), jnp.zeros((4, 1))
    with pytest.raises(ValueError, match=r"a Hamiltonian is what.*got harmonic"):
        quantum.path_integral_cost(quantum.harmonic, _linear_drift, optimizer, 0.1, 2)
    with pytest.raises(ValueError, match="num_steps of an episode"):
        quantum.path_integral_cost(OSCILLATOR, _linear_drift, optimizer, 0.1, 0)
    objective = quantum.path_integral_cost(OSCILLATOR, lambda w, x: w, optimizer, 0.1, 2)
    with pytest.raises(ValueError, match=r"shape of a position, \(1,\); got \(\)"):
        objective.init(jax.random.key(0), jnp.array(1.0), x)
    objective = _variational(0.1)
    with pytest.raises(ValueError, match=r"positions must have shape \(N, \*\(1,\)\)"):
        objective.init(jax.random.key(0), jnp.array(1.0), jnp.zeros((4, 2)))
    state = objective.init(jax.random.key(0), jnp.array(1.0), x)
    with pytest.raises(ValueError, match="takes no data"):
        objective.step(jax.random.key(0), state, x)
    with pytest.raises(ValueError, match="clip_width must be positive"):
        quantum.variational_energy(OSCILLATOR, _gaussian, optimizer, langevin(0.1), 0.0)


# ---------------------------------------------------------------- the report


@pytest.fixture(scope="module")
def reports():
    """With a wave that is too narrow, with a drift, and at steps beyond stability."""
    x = jnp.zeros((4, 200, 1))
    wave = jax.tree_util.Partial(_gaussian, jnp.array(1.5))
    drift = jax.tree_util.Partial(_linear_drift, jnp.array(1.5))
    key = jax.random.key(SEED)

    def report(step_sizes, **guide):
        return quantum.ground_state_report(
            key, OSCILLATOR, x, step_sizes=step_sizes, sampling=SMALL, **guide
        )

    return (
        report((0.1, 0.2), log_wave_fn=wave),
        report((0.1, 0.2), drift_fn=drift),
        report((3.0, 4.0), drift_fn=drift),
    )


def test_three_numbers_in_order(reports):
    """E = w/4 + 1/(4 w) = 0.5417 for the bounds, 1/2 for diffusion Monte Carlo."""
    found, *_ = reports
    for value, expected in (
        (found.variational, 1.5 / 4 + 0.25 / 1.5),
        (found.diffusion, 0.5),
    ):
        assert value.standard_error < 0.01
        assert abs(value.value - expected) < 4 * value.standard_error
    # First order in h is all that is taken out of the cost.
    assert found.cost.value == pytest.approx(0.5417, abs=0.02)
    assert found.doubts == ()
    assert "diffusion Monte Carlo" in str(found)


def test_a_drift_that_is_not_known_to_be_a_gradient(reports):
    _, found, _ = reports
    assert found.variational is None
    assert abs(found.diffusion.value - 0.5) < 4 * found.diffusion.standard_error
    assert found.cost.value > found.diffusion.value
    exact = [quantum.trotter_energy(at.step_size) for at in found.at_steps]
    for at, energy in zip(found.at_steps, exact, strict=True):
        assert abs(at.growth.value - energy) < 4 * at.growth.standard_error


def test_a_step_beyond_stability_is_doubted(reports):
    """The drift -1.5 x is unstable above h = 4/3."""
    *_, found = reports
    assert found.doubts != ()


def test_a_drift_alone_is_no_guide_among_nuclei():
    hydrogen = quantum.atom(1.0, 1)

    def drift(x):
        return -x / (1e-6 + jnp.linalg.norm(x))

    tiny = Sampling(num_blocks=10, num_warmup=5, blocks_per_window=5, relaxation_steps=0)
    found = quantum.ground_state_report(
        jax.random.key(SEED),
        hydrogen,
        jax.random.normal(jax.random.key(1), (2, 20, 1, 3)),
        step_sizes=(0.01, 0.02),
        drift_fn=drift,
        sampling=tiny,
    )
    assert found.diffusion is None
    assert any("weights with an attractive Coulomb potential" in of for of in found.doubts)


def test_what_is_out_of_order_is_doubted():
    def fit(value):
        return Extrapolation(Estimate(value, 0.01), Estimate(0.0, 0.1), 0.0, 0)

    assert doubts_of_order(fit(1.0), Estimate(0.9, 0.01), fit(0.8), fit(0.8)) == []
    (doubt,) = doubts_of_order(fit(1.0), Estimate(0.9, 0.01), fit(0.96), fit(0.96))
    assert "energy of diffusion Monte Carlo lies 0.06 above the variational energy" in doubt
    (doubt,) = doubts_of_order(fit(0.8), Estimate(0.9, 0.01), fit(0.7), fit(0.7))
    assert "variational energy lies 0.1 above the cost" in doubt
    (doubt,) = doubts_of_order(fit(1.0), None, fit(0.8), fit(0.9))
    assert "growth and mixed energy differ by 0.1" in doubt
    bent = fit(0.8)._replace(chi_square=30.0, degrees_of_freedom=1)
    (doubt,) = doubts_of_order(fit(1.0), None, bent, fit(0.8))
    assert "does not depend on the step as it should" in doubt


def test_hydrogen_has_no_variance_and_tells_its_mean_radius():
    """Each local energy is -1/2 at any step; mixed means of r and 1/r are 3/2 and 1."""
    hydrogen = quantum.atom(1.0, 1)
    x = jax.random.normal(jax.random.key(SEED), (8, 400, 1, 3))
    move = feynman_kac.as_move(guides.wave_guide(hydrogen.log_ground_state), 0.05)

    def observe(state):
        r = jnp.linalg.norm(state.position)
        return state.energy, r, 1 / r

    run = quantum.run_populations(
        jax.random.key(SEED + 2),
        x,
        hydrogen.rate,
        Dynamics(move),
        observe,
        num_windows=16,
        blocks_per_window=5,
        steps_per_block=20,
    )
    energy, radius, inverse = run.observed
    assert np.allclose(energy, -0.5, atol=1e-5)
    assert np.allclose(run.walkers.state.energy, -0.5, atol=1e-5)
    for values, expected in ((radius, 1.5), (inverse, 1.0)):
        value, error = quantum.mixed_mean(values, run, num_warmup=20)
        assert error < 0.03
        assert abs(value - expected) < 4 * error
    growth = quantum.growth_energy(run, 1.0, num_warmup=20)
    assert abs(growth.value + 0.5) < 4 * growth.standard_error


def test_runs_and_reports_refuse_what_makes_no_sense():
    x = jnp.zeros((2, 4, 1))
    dynamics = Dynamics(ula.as_move(0.1))
    sizes = {"num_windows": 1, "blocks_per_window": 1, "steps_per_block": 1}
    with pytest.raises(ValueError, match=r"leading axes \(R, N\)"):
        quantum.run_populations(
            jax.random.key(0), jnp.zeros(4), _gaussian, dynamics, lambda state: (), **sizes
        )
    with pytest.raises(ValueError, match="num_windows must be at least 1; got 0"):
        quantum.run_populations(
            jax.random.key(0),
            x,
            _gaussian,
            dynamics,
            lambda state: (),
            **{**sizes, "num_windows": 0},
        )
    for given, message in (
        ({"step_sizes": (0.1,)}, "at least two step sizes"),
        ({"step_sizes": (0.1, -0.2)}, "must be positive"),
        ({"step_sizes": (0.1, 0.2)}, "got neither"),
        ({"step_sizes": (0.1, 0.2), "drift_fn": abs, "log_wave_fn": abs}, "got both"),
    ):
        with pytest.raises(ValueError, match=message):
            quantum.ground_state_report(jax.random.key(0), OSCILLATOR, x, **given)
    with pytest.raises(ValueError, match=r"shape \(R, N, \*\(1,\)\)"):
        quantum.ground_state_report(
            jax.random.key(0), OSCILLATOR, x[0], step_sizes=(0.1, 0.2), drift_fn=abs
        )
    with pytest.raises(ValueError, match="must divide num_blocks"):
        Sampling(num_blocks=7).sizes  # noqa: B018


def test_walkers_beyond_a_wall_are_no_energy_below_the_lowest():
    """A wave that does not end at the wall has an infinite energy, and is told so."""
    box = quantum.Hamiltonian(lambda x: jnp.where(jnp.abs(x[0]) < 1, 0.0, jnp.inf), (1,))
    objective = quantum.variational_energy(
        box, lambda w, x: -w * jnp.sum(x**2) / 2, optax.adam(0.05), langevin(0.05)
    )
    x = jax.random.normal(jax.random.key(0), (100, 1))
    state = objective.init(jax.random.key(1), jnp.array(0.5), x)
    _, metrics = jax.jit(objective.step)(jax.random.key(2), state, None)
    assert float(metrics.loss) == np.inf
    assert bool(metrics.is_skipped)
    assert int(metrics.num_dead) > 10


def test_local_energies_of_half_precision_are_computed_in_single():
    energy = guides.local_energy(
        lambda x: -0.45 * jnp.sum(x**2), lambda x: jnp.sum(x**2) / 2, None
    )
    x = jax.random.normal(jax.random.key(0), (3,)).astype(jnp.bfloat16)
    assert float(energy(x)) == pytest.approx(float(energy(x.astype(jnp.float32))), rel=1e-6)
