"""Lattice systems: their exact solutions by enumeration, quadrature and transfer matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ising_states import energies, exact_log_z, states

from jarzynski_jax.targets import lattice

BETA_C = lattice.CRITICAL_INVERSE_TEMPERATURE
SHAPES = [(2, 2), (2, 3), (3, 2), (3, 3), (3, 4), (4, 3), (4, 4), (2, 5)]

# ---------------------------------------------------------------- the Ising model


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("beta", [0.0, 1e-3, 0.2, 0.44, BETA_C, 0.6, 3.0])
def test_kaufman_is_enumeration(shape, beta):
    """Log Z, energy, entropy and heat capacity of all 2^N states, to 11 digits."""
    found = lattice.ising_thermodynamics(shape, beta)
    energy = energies(shape)
    log_z = exact_log_z(shape, beta)
    shares = np.exp(-beta * energy - log_z)
    mean = np.sum(shares * energy)
    variance = np.sum(shares * (energy - mean) ** 2)
    assert found.log_partition_function == pytest.approx(log_z, rel=1e-13)
    assert found.energy == pytest.approx(mean, rel=1e-11, abs=1e-11)
    assert found.entropy == pytest.approx(log_z + beta * mean, rel=1e-11)
    assert found.heat_capacity == pytest.approx(beta**2 * variance, rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("length", [2, 3, 8])
@pytest.mark.parametrize("beta", [0.0, 1e-3, 0.44, 3.0])
def test_a_ring_is_enumeration(length, beta):
    """Each bond once, in one direction; on two sites there are two."""
    spins = states((1, length))[:, 0].astype(int)
    energy = -np.sum(spins * np.roll(spins, -1, 1), axis=1)
    shares = np.exp(-beta * energy)
    log_z, shares = np.log(shares.sum()), shares / shares.sum()
    mean = np.sum(shares * energy)
    variance = np.sum(shares * (energy - mean) ** 2)
    found = lattice.ising_thermodynamics((length,), beta)
    assert found.log_partition_function == pytest.approx(log_z, rel=1e-13)
    assert found.energy == pytest.approx(mean, rel=1e-11, abs=1e-11)
    assert found.entropy == pytest.approx(log_z + beta * mean, rel=1e-9)
    assert found.heat_capacity == pytest.approx(beta**2 * variance, rel=1e-9, abs=1e-11)
    model = lattice.ising((length,), beta)
    assert float(model.logdensity_fn(jnp.ones(length, jnp.int32))) == pytest.approx(
        length * beta
    )


def test_canary_bonds_counted_once_where_a_length_is_two():
    """Z of 2x2 with four bonds in place of eight."""
    once = np.log(np.sum(np.exp(-BETA_C * energies((2, 2)) / 2)))
    assert once == pytest.approx(3.178053830348, abs=1e-12)
    found = lattice.ising_thermodynamics((2, 2), BETA_C).log_partition_function
    assert found == pytest.approx(4.382026634674, abs=1e-12)


@pytest.mark.parametrize(
    ("length", "log_z", "energy", "magnetization"),
    [
        (2, 4.382026634674, -1.697056, 0.899264),
        (3, 9.020213400944, -1.611246, 0.871072),
        (4, 15.521915458755, -1.565624, 0.843860),
    ],
)
def test_values_at_the_critical_temperature(length, log_z, energy, magnetization):
    """log Z, energy and mean |m| of small tori, as others have tabulated them."""
    shape = (length, length)
    found = lattice.ising_thermodynamics(shape, BETA_C)
    assert found.log_partition_function == pytest.approx(log_z, abs=1e-11)
    assert found.energy / length**2 == pytest.approx(energy, abs=1e-6)
    shares = np.exp(-BETA_C * energies(shape) - exact_log_z(shape, BETA_C))
    mean = np.abs(states(shape).astype(int).sum((1, 2))) @ shares / length**2
    assert mean == pytest.approx(magnetization, abs=1e-6)


def test_number_of_states_of_each_energy():
    values, counts = np.unique(energies((4, 4)), return_counts=True)
    below = {-32: 2, -24: 32, -20: 64, -16: 424, -12: 1728, -8: 6688, -4: 13568, 0: 20524}
    found = dict(zip(values.tolist(), counts.tolist(), strict=True))
    assert found == {**below, **{-energy: count for energy, count in below.items()}}


def log_z_by_transfer_matrix(length, num_rows, beta):
    """Of all rows at once: exact, and nothing of Kaufman's in it."""
    rows = 2 * ((np.arange(2**length)[:, None] >> np.arange(length)) & 1) - 1
    within = (rows * np.roll(rows, 1, axis=1)).sum(1)
    between = rows @ rows.T
    matrix = np.exp(beta * (between + (within[:, None] + within[None]) / 2 - 2 * length))
    eigenvalues = np.linalg.eigvalsh(matrix)
    return 2 * beta * length * num_rows + np.log(np.sum(eigenvalues**num_rows))


@pytest.mark.parametrize("beta", [0.05, 0.44, BETA_C * 0.999, BETA_C * 1.001, 0.6, 2.0])
@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (8, 8), (7, 30)])
def test_kaufman_is_the_transfer_matrix(shape, beta):
    """On either side of the critical point, where the last product changes its sign."""
    length, num_rows = min(shape), max(shape)
    expected = log_z_by_transfer_matrix(length, num_rows, beta)
    found = lattice.ising_thermodynamics(shape, beta)
    assert found.log_partition_function == pytest.approx(expected, rel=1e-12)


def test_large_lattices_and_low_temperatures():
    """Onsager's infinite lattice, the two ground states, and no overflow on the way to them."""
    catalan = 0.915965594177219
    found = lattice.ising_thermodynamics((512, 512), BETA_C)
    assert found.log_partition_function / 512**2 == pytest.approx(
        np.log(2) / 2 + 2 * catalan / np.pi, abs=4e-6
    )
    assert found.energy / 512**2 == pytest.approx(-np.sqrt(2), abs=2e-3)
    for beta in (5.0, 19.9, 20.1, 1e3):
        cold = lattice.ising_thermodynamics((64, 48), beta)
        assert cold.log_partition_function == pytest.approx(
            2 * 3072 * beta + np.log(2), rel=1e-14
        )
        assert cold.entropy == pytest.approx(np.log(2), abs=1e-7)
        assert abs(cold.heat_capacity) < 1e-6


@pytest.mark.parametrize("beta", [0.3, BETA_C, 0.7])
def test_energy_and_heat_capacity_are_derivatives(beta):
    """By differences of log Z and of the energy, on a torus that is too large to enumerate."""
    step = 1e-5
    below, at, above = (
        lattice.ising_thermodynamics((20, 32), beta + shift) for shift in (-step, 0, step)
    )
    slope = (above.log_partition_function - below.log_partition_function) / (2 * step)
    assert at.energy == pytest.approx(-slope, rel=1e-7)
    curvature = -(above.energy - below.energy) / (2 * step)
    assert at.heat_capacity == pytest.approx(beta**2 * curvature, rel=1e-6)


@pytest.mark.parametrize("kind", [jnp.int8, jnp.int32, jnp.float32])
def test_the_log_density_counts_each_bond_once(kind):
    """Of all states of a torus that is not square."""
    model = lattice.ising((3, 4), 0.7)
    found = jax.vmap(model.logdensity_fn)(jnp.asarray(states((3, 4)), kind))
    np.testing.assert_allclose(found, -0.7 * energies((3, 4)), rtol=1e-6)


def test_a_flip_costs_what_the_energies_say():
    """At every site of a torus that is not square: 2 s_i times the gradient."""
    model = lattice.ising((3, 4), 0.7)
    spins = np.random.default_rng(0).choice([-1.0, 1.0], (3, 4)).astype(np.float32)
    gradient = jax.grad(model.logdensity_fn)(jnp.asarray(spins))
    before = float(model.logdensity_fn(spins))
    for site in np.ndindex(3, 4):
        flipped = spins.copy()
        flipped[site] *= -1
        change = float(model.logdensity_fn(flipped)) - before
        assert change == pytest.approx(-2 * spins[site] * float(gradient[site]), abs=1e-5)


def test_spins_at_infinite_temperature_are_independent():
    model = lattice.ising((4, 6), 0)
    spins = model.sample(jax.random.key(0), 4000)
    assert spins.dtype == jnp.int32
    assert spins.shape == (4000, 4, 6)
    assert set(np.unique(spins)) == {-1, 1}
    covariance = np.cov(spins.reshape(4000, -1).T)
    assert np.max(np.abs(covariance - np.eye(24))) < 4.5 / np.sqrt(4000)
    assert model.log_partition_function == pytest.approx(24 * np.log(2), rel=1e-14)
    assert lattice.ising((4, 6), 0.1).sample is None


def test_what_is_no_spin_has_no_density():
    model = lattice.ising((2, 2), 0.5)
    for wrong in ([[0, 1], [1, 1]], [[2, 1], [1, -1]], [[0.5, 1], [1, 1]]):
        assert float(model.logdensity_fn(jnp.asarray(wrong))) == -np.inf


@pytest.mark.parametrize(
    ("shape", "beta", "message"),
    [
        ((1, 4), 0.4, "lengths of at least 2"),
        ((), 0.4, "lengths of at least 2"),
        ((4, 4, 4), 0.4, "must have 2 axes"),
        ([4, 4], 0.4, "lengths of at least 2"),
        ((4, 4.0), 0.4, "lengths of at least 2"),
        ((4, 4), -0.1, "at least 0"),
        ((4, 4), float("nan"), "finite"),
        ((4, 4), float("inf"), "finite"),
    ],
)
def test_bad_ising_models(shape, beta, message):
    for build in (lattice.ising, lattice.ising_thermodynamics):
        with pytest.raises(ValueError, match=message):
            build(shape, beta)


@pytest.mark.parametrize(
    "spins", [jnp.ones((4, 2)), jnp.ones((2, 4), bool), jnp.ones((2, 4)) + 0j]
)
def test_bad_spins(spins):
    with pytest.raises(ValueError, match="a configuration must"):
        lattice.ising((2, 4), 0.4).logdensity_fn(spins)
