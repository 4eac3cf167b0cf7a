"""Hamiltonians with their exact ground states, waves with their cusps, estimates of series."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks.studies.quantum.references import helium_energy, two_bosons
from jarzynski_jax import free_energy, quantum
from jarzynski_jax.energies import functional
from jarzynski_jax.kernels.guides import local_energy
from jarzynski_jax.quantum import molecules

SEED = 0
MODELS = {
    "harmonic": quantum.harmonic(3),
    "masses": quantum.harmonic(2, jnp.array([1.0, 4.0])),
    "coupled": quantum.coupled_oscillators([[2.0, 0.5], [0.5, 1.0]]),
    "poschl_teller": quantum.poschl_teller(1.7),
    "morse": quantum.morse(8.0, 0.5),
    "calogero": quantum.calogero(3, 2.0),
    "free_bosons": quantum.bosons_in_trap(3, 0.0),
    "hydrogenic": quantum.atom(2.0, 1),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_local_energy_of_a_ground_state_is_its_energy_everywhere(x64, name):
    model = MODELS[name]
    energy = local_energy(model.log_ground_state, model.potential_fn, model.inverse_masses)
    x = jax.random.normal(jax.random.key(SEED), (5, *model.shape))
    assert np.allclose(jax.jit(jax.vmap(energy))(x), model.ground_energy, atol=1e-10)


@pytest.mark.parametrize(
    ("square", "fourth", "expected"),
    [(0.5, 1.0, 0.803770651234), (0.0, 1.0, 0.667986259156), (-4.0, 1.0, -2.199186505380)],
)
def test_energies_on_a_grid(square, fourth, expected):
    potential = quantum.quartic(square, fourth).potential_fn
    coarse = quantum.grid_energies(potential, -6, 6, 120)
    fine = quantum.grid_energies(potential, -7, 7, 200)
    assert np.allclose(coarse, fine, atol=1e-9)
    assert fine[0] == pytest.approx(expected, abs=1e-9)
    if square == -4.0:
        assert fine[1] - fine[0] == pytest.approx(0.095691887715, abs=1e-9)


def test_energies_on_a_grid_of_wells_with_a_closed_form():
    for name in ("poschl_teller", "morse"):
        model = MODELS[name]
        found = quantum.grid_energies(model.potential_fn, -8, 16, 400)
        assert found[0] == pytest.approx(model.ground_energy, abs=1e-6)


def test_variational_energies_of_helium_by_quadrature():
    assert helium_energy(27 / 16, 0.0) == pytest.approx(-2.84765625, abs=1e-10)
    assert helium_energy(2.0, 0.5) == pytest.approx(-2.855504587156, abs=1e-10)


def test_two_bosons_by_the_radial_equation():
    assert two_bosons(0.0) == pytest.approx(2.0, abs=1e-5)
    assert two_bosons(3.0) == pytest.approx(two_bosons(3.0, num_points=1500), abs=1e-5)
    assert two_bosons(3.0) == pytest.approx(2.311983, abs=1e-5)


def test_nuclei():
    _, protons = quantum.hydrogen_molecule(1.4)
    assert protons.repulsion == pytest.approx(0.714285714)
    with pytest.raises(ValueError, match=r"0 and 1 are both at \[1.0, 0.0, 0.0\]"):
        quantum.nuclei_of([[1, 0, 0], [1, 0, 0]], [1, 1])
    with pytest.raises(ValueError, match=r"charges of nuclei must be positive.*-1.0"):
        quantum.nuclei_of([[0, 0, 0]], [-1])
    with pytest.raises(ValueError, match=r"positions of shape \(M, 3\)"):
        quantum.nuclei_of([[0, 0]], [1])
    with pytest.raises(ValueError, match="must be what nuclei_of"):
        quantum.molecule([[0, 0, 0]], 1)
    with pytest.raises(ValueError, match="distance, R, must be positive"):
        quantum.hydrogen_molecule(0.0)
    with pytest.raises(ValueError, match="num_electrons must be at least 1"):
        quantum.atom(1.0, 0)


def test_models_refuse_what_makes_no_sense():
    for call, message in (
        (lambda: quantum.harmonic(2, jnp.array([1.0, 0.0])), "masses must be positive"),
        (lambda: quantum.harmonic(0), "dimension must be at least 1"),
        (lambda: quantum.coupled_oscillators([[1.0, 2.0], [2.0, 1.0]]), "positive definite"),
        (lambda: quantum.morse(0.1, 1.0), "above 1/2 for a bound state"),
        (lambda: quantum.poschl_teller(-1.0), "strength, l, must be positive"),
        (lambda: quantum.quartic(1.0, 0.0), "fourth, b, must be positive"),
        (lambda: quantum.calogero(1), "at least 2 particles"),
        (lambda: quantum.bosons_in_trap(2, -1.0), "a repulsion that is not negative"),
        (lambda: quantum.grid_energies(lambda x: x[0], 1, 0), "a grid needs low < high"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.fixture(scope="module")
def cusped():
    """A wave of H2 whose network is not zero, and its parameters."""
    _, protons = quantum.hydrogen_molecule()
    wave, params = functional(quantum.CuspedWave(protons, 2, 8, rngs=nnx.Rngs(0)))
    key = jax.random.key(1)
    leaves, structure = jax.tree.flatten(params)
    moved = [
        leaf + 0.3 * jax.random.normal(jax.random.fold_in(key, i), leaf.shape)
        for i, leaf in enumerate(leaves)
    ]
    return wave, jax.tree.unflatten(structure, moved)


def test_the_local_energy_is_bounded_at_the_cusps(x64, cusped):
    """An electron comes to a proton, and another electron, to 1e-6; in double precision."""
    hamiltonian, protons = quantum.hydrogen_molecule()
    wave, params = cusped
    energy = jax.jit(local_energy(lambda x: wave(params, x), hamiltonian.potential_fn))
    other = jnp.array([0.4, 0.3, -0.2])
    along = jnp.array([1.0, 2.0, 2.0]) / 3
    at_proton, at_electron = (
        [float(energy(jnp.stack([at + r * along, other]))) for r in 10.0 ** -np.arange(1, 7)]
        for at in (jnp.asarray(protons.positions[0]), other)
    )
    for energies in (at_proton, at_electron):
        assert np.all(np.abs(energies) < 30)
        assert abs(energies[-1] - energies[-2]) < 1e-3


def test_canary_without_the_cusp_it_is_not(x64):
    hamiltonian = quantum.atom(1.0, 1)
    energy = local_energy(lambda x: -jnp.sum(x**2), hamiltonian.potential_fn)
    assert energy(jnp.array([[0.0, 0.0, 1e-6]])) < -1e5


def test_waves_and_drifts_know_no_order_of_particles(cusped):
    wave, params = cusped
    trap, trap_params = functional(quantum.TrapWave(3, 2, 8, rngs=nnx.Rngs(0)))
    drift, drift_params = functional(quantum.PairDrift(3, 2, 8, rngs=nnx.Rngs(0)))

    @jax.jit
    def changes(x, y):
        """By what exchanges change log ψ of two electrons and of three bosons, and a drift."""
        of_electrons = wave(params, x) - wave(params, x[::-1])
        orders = jnp.array([[1, 0, 2], [2, 0, 1]])
        of_bosons = [trap(trap_params, y[order]) - trap(trap_params, y) for order in orders]
        of_drift = [
            drift(drift_params, y[order]) - drift(drift_params, y)[order] for order in orders
        ]
        return of_electrons, of_bosons, of_drift

    key = jax.random.key(SEED)
    found = changes(jax.random.normal(key, (2, 3)), jax.random.normal(key, (3, 2)))
    assert all(jnp.all(jnp.abs(leaf) < 2e-5) for leaf in jax.tree.leaves(found))


def test_the_paper_s_drift_meets_the_cusps():
    _, protons = quantum.hydrogen_molecule()
    drift = quantum.PairDrift(2, 3, 8, nuclei=protons, rngs=nnx.Rngs(0))
    near = jnp.asarray(protons.positions[0]) + jnp.array([1e-3, 0.0, 0.0])
    far = jnp.array([0.0, 30.0, 0.0])
    smooth = quantum.PairDrift(2, 3, 8, rngs=nnx.Rngs(0))
    x = jnp.stack([near, far])
    # The other proton pulls along z, and the other electron is far along y.
    assert (drift(x) - smooth(x))[0, 0] == pytest.approx(-1.0, abs=2e-3)


def test_coincident_particles_are_told_and_poison_no_gradient(cusped):
    """Two electrons at one point, one on a proton: V is infinite, derivatives are finite."""
    hamiltonian, protons = quantum.hydrogen_molecule()
    wave, params = cusped
    proton = jnp.asarray(protons.positions[0], jnp.float32)
    together = jnp.stack([jnp.ones(3), jnp.ones(3)])
    on_proton = jnp.stack([proton, jnp.ones(3)])
    assert jnp.isposinf(hamiltonian.potential_fn(together))
    assert jnp.isneginf(hamiltonian.potential_fn(on_proton))
    gradients = jax.jit(
        lambda x: (jax.grad(hamiltonian.potential_fn)(x), jax.grad(wave, (0, 1))(params, x))
    )
    for x in (together, on_proton):
        leaves = jax.tree.leaves(gradients(x))
        assert all(jnp.all(jnp.isfinite(leaf)) for leaf in leaves)


def test_waves_refuse_positions_of_another_shape(cusped):
    wave, params = cusped
    with pytest.raises(ValueError, match=r"a position must have shape \(2, 3\)"):
        wave(params, jnp.ones((3, 3)))
    with pytest.raises(ValueError, match=r"a position must have shape \(2, 2\)"):
        quantum.TrapWave(2, 2, rngs=nnx.Rngs(0))(jnp.ones((2, 3)))
    with pytest.raises(ValueError, match=r"a position must have shape \(2, 2\)"):
        quantum.PairDrift(2, 2, rngs=nnx.Rngs(0))(jnp.ones((2, 3)))
    _, protons = quantum.hydrogen_molecule()
    with pytest.raises(ValueError, match="nuclei are in 3 dimensions"):
        quantum.PairDrift(2, 2, nuclei=protons, rngs=nnx.Rngs(0))


def test_distances_and_pairs():
    x = jnp.array([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    pairs = quantum.models.pair_differences(x)
    assert molecules.distances(pairs).tolist() == [5.0, 0.0, 5.0]


# ---------------------------------------------------------------- series


def test_the_global_ratio_is_neither_the_mean_of_ratios_nor_of_blocks():
    weights = np.tile([1.0, 3.0], (2, 16))
    energies = np.tile([0.0, 1.0], (2, 16))
    assert free_energy.weighted_ratio(np.log(weights), energies).value == pytest.approx(0.75)
    assert energies.mean() == 0.5


def test_the_error_of_a_correlated_series():
    """AR(1): 4 series of 4096; the variance of the mean is (1 + a)/(1 - a) of independence."""
    rng, coefficient = np.random.default_rng(SEED), 0.9
    noise = rng.normal(size=(4, 4096))
    series = np.zeros_like(noise)
    for t in range(1, 4096):
        series[:, t] = coefficient * series[:, t - 1] + noise[:, t]
    true = 1 / (1 - coefficient) / np.sqrt(noise.size)
    errors = free_energy.blocking_errors(series)
    assert errors[0] < 0.5 * true
    found = free_energy.blocked_mean(series)
    assert 0.7 * true < found.standard_error < 2 * true
    assert abs(found.value) < 4 * true


def test_series_refuse_what_makes_no_sense():
    with pytest.raises(ValueError, match=r"a series must have shape \(R, T\)"):
        free_energy.blocked_mean(np.zeros(3))
    with pytest.raises(ValueError, match="at least 16 values"):
        free_energy.blocked_mean(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="the same shape"):
        free_energy.weighted_ratio(np.zeros((1, 16)), np.zeros((1, 17)))
    with pytest.raises(ValueError, match="must not be negative"):
        free_energy.past_log_weights(np.zeros((1, 16)), -1)


def test_extrapolation():
    steps = np.array([0.1, 0.2, 0.4])
    exact = quantum.extrapolate(steps, 1 + 3 * steps**2, 0.1 * np.ones(3), powers=(2,))
    assert exact.value.value == pytest.approx(1.0)
    assert exact.slope.value == pytest.approx(3.0)
    assert exact.chi_square == pytest.approx(0.0, abs=1e-20)
    parabola = quantum.extrapolate(steps, 1 + 3 * steps - steps**2, np.ones(3), powers=(1, 2))
    assert parabola.value.value == pytest.approx(1.0)
    assert parabola.slope.value == pytest.approx(3.0)
    assert parabola.degrees_of_freedom == 0
    rng = np.random.default_rng(SEED)
    values = [
        quantum.extrapolate(steps, 1 + 3 * steps + 0.1 * rng.normal(size=3), 0.1 * np.ones(3))
        for _ in range(2000)
    ]
    deviations = np.std([found.value.value for found in values])
    assert deviations == pytest.approx(values[0].value.standard_error, rel=0.06)
    assert np.mean([found.chi_square for found in values]) == pytest.approx(1.0, abs=0.15)
    for given, message in (
        (([0.1, 0.1], [1, 1], [1, 1]), "at least 2 different positive steps"),
        (([0.1, 0.2], [1, 1], [1, 1], (1, 2)), "at least 3 different positive steps"),
        (([0.1, 0.2], [1, np.nan], [1, 1]), "must be finite"),
        (([0.1, 0.2], [1, 1, 1], [1, 1]), "the same shape"),
    ):
        with pytest.raises(ValueError, match=message):
            quantum.extrapolate(*given)


@pytest.mark.parametrize(
    ("errors", "value", "error"),
    [([1e-10, 0.01], 0.9, 0.01), ([0.01, 0.0], 0.9, 0.02), ([0.0, 0.01], 0.9, 0.01)],
)
def test_errors_far_apart_leave_the_fit_its_digits(errors, value, error):
    found = quantum.extrapolate([0.1, 0.2], [1.0, 1.1], errors).value
    assert float(found.value) == pytest.approx(value, abs=1e-6)
    assert float(found.standard_error) == pytest.approx(error, rel=1e-3)


def test_a_potential_is_a_scalar_at_each_position():
    with pytest.raises(ValueError, match=r"finite scalar.*of shape \(1,\)"):
        quantum.grid_energies(lambda x: x**2 / 2, -10, 10)
    with pytest.raises(ValueError, match="finite values"):
        quantum.grid_energies(lambda x: jnp.where(x[0] < 0, jnp.inf, 0.0), -1, 1)


def test_trotters_energy_has_its_digits_at_small_steps():
    for step in (0.5, 1e-2, 1e-4):
        exact = np.arcsinh(step / 2) / step
        assert float(quantum.trotter_energy(step)) == pytest.approx(exact, rel=1e-6)
