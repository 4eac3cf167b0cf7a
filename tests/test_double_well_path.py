"""A quantum particle in a double well: transfer matrices, quadrature, the harmonic limit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jarzynski_jax.targets import lattice
from jarzynski_jax.targets.lattice import double_well_path, double_well_path_values

SETTINGS = {"spacing": 0.4, "mass": 1.7, "frequency_squared": -0.8, "quartic": 0.6}


def action(x, spacing, mass, frequency_squared, quartic):
    """As it is written, from time to time."""
    total = 0.0
    for now, after in zip(x, [*x[1:], x[0]], strict=True):
        total += mass / 2 * ((after - now) / spacing) ** 2
        total += mass * frequency_squared / 2 * now**2 + quartic / 4 * now**4
    return spacing * total


def test_the_action_is_what_is_written(x64):
    x = np.random.default_rng(0).normal(size=7)
    found = double_well_path(7, **SETTINGS).logdensity_fn(jnp.asarray(x))
    assert float(found) == pytest.approx(-action(x, **SETTINGS), rel=1e-12)


def test_log_z_of_two_times_by_quadrature(x64):
    """On a grid of both positions, of the log-density itself; and the other values."""
    grid, step = np.linspace(-5, 5, 201, retstep=True)
    both = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
    model = double_well_path(2, **SETTINGS)
    weights = np.exp(jax.vmap(model.logdensity_fn)(jnp.asarray(both)))
    exact = double_well_path_values(2, **SETTINGS)
    assert exact.log_partition_function == pytest.approx(
        np.log(weights.sum() * step**2), abs=1e-11
    )
    mean_square = np.sum(weights * both[:, 0] ** 2) / weights.sum()
    assert exact.mean_square == pytest.approx(mean_square, abs=1e-11)
    # Half a weight on the axes, where the grid has points: a trapezoid's edge.
    share = np.where(both[:, 0] * both[:, 1] > 0, 1.0, 0.0)
    share += np.where((both == 0).sum(1) == 1, 0.5, 0.0) + np.where(
        (both == 0).all(1), 0.5, 0.0
    )
    assert exact.one_sided == pytest.approx(np.sum(weights * share) / weights.sum(), abs=1e-3)


def by_trapezoids(num_sites, spacing, mass, frequency_squared, quartic, num_points=500):
    """Log Z, gap and ⟨x²⟩ on a grid of the whole line."""
    grid, step = np.linspace(-6, 6, num_points, retstep=True)
    potential = spacing * (mass * frequency_squared / 2 * grid**2 + quartic / 4 * grid**4)
    kinetic = mass / (2 * spacing) * (grid[:, None] - grid) ** 2
    matrix = np.exp(-kinetic - (potential[:, None] + potential) / 2) * step
    eigenvalues, vectors = np.linalg.eigh(matrix)
    powers = (np.maximum(eigenvalues, 0) / eigenvalues[-1]) ** num_sites
    log_z = num_sites * np.log(eigenvalues[-1]) + np.log(powers.sum())
    mean_square = powers @ (grid**2 @ vectors**2) / powers.sum()
    return log_z, np.log(eigenvalues[-1] / eigenvalues[-2]), mean_square


@pytest.mark.parametrize(
    ("mass", "spacing", "log_z", "log_gap", "one_sided"),
    [
        (2.75, 1.0, 107.992097, 0.006557, 0.9415),
        (2.75, 0.5, 44.434211, 0.003430, 0.9623),
        (2.75, 0.25, 2.367047, 0.001749, 0.9754),
        (2.75, 0.1, -38.727811, 0.000704, 0.9866),
        (3.0, 1.0, 127.820977, 0.001940, 0.9888),
        (3.0, 0.5, 52.933464, 0.001001, 0.9914),
        (3.0, 0.25, 5.222248, 0.000509, 0.9938),
        (3.0, 0.1, -39.256701, 0.000205, 0.9964),
    ],
)
def test_tabulated_paths_of_64_times(mass, spacing, log_z, log_gap, one_sided):
    """A table, and trapezoids on the whole line; the mass of one side is a table's to 1e-4."""
    found = double_well_path_values(64, spacing, mass=mass)
    assert found.log_partition_function == pytest.approx(log_z, abs=1e-6)
    assert found.log_gap == pytest.approx(log_gap, abs=1e-6)
    assert found.one_sided == pytest.approx(one_sided, abs=2e-4)
    again = by_trapezoids(64, spacing, mass, -1.0, 1.0)
    assert found[:3] == pytest.approx(again, rel=1e-9, abs=1e-10)


@pytest.mark.parametrize(
    ("mass", "num_sites", "log_z"),
    [(2.75, 8, 14.10331), (2.75, 16, 27.513796), (3.0, 8, 16.584025), (3.0, 16, 32.474744)],
)
def test_tabulated_shorter_paths(mass, num_sites, log_z):
    found = double_well_path_values(num_sites, mass=mass).log_partition_function
    assert found == pytest.approx(log_z, abs=1e-6)
    assert double_well_path(num_sites, mass=mass).log_partition_function == found


def test_canary_steps_that_are_not_divided_by_the_spacing():
    """(m₀/2)(x' - x)² in place of its quotient by a²: the same at a = 1 alone."""
    for spacing in (1.0, 0.5):
        found = double_well_path_values(64, spacing).log_partition_function
        # a (m₀/2)(Δx)² is the kinetic term of mass m₀ a², whose potential is set back.
        mass = 2.75 * spacing**2
        wrong = double_well_path_values(
            64, spacing, mass=mass, frequency_squared=-(spacing**-2)
        )
        is_same = abs(found - wrong.log_partition_function) < 1e-9
        assert is_same == (spacing == 1.0)
        assert spacing == 1.0 or wrong.log_partition_function == pytest.approx(
            75.227884, abs=1e-6
        )


@pytest.mark.parametrize("quartic", [0.0, 1e-9])
def test_a_harmonic_oscillator_is_a_determinant(quartic):
    n, spacing, mass, square = 12, 0.5, 2.0, 1.3
    found = double_well_path_values(
        n, spacing, mass=mass, frequency_squared=square, quartic=quartic
    )
    waves = 2 - 2 * np.cos(2 * np.pi * np.arange(n) / n)
    stiffness = mass / spacing * waves + spacing * mass * square
    log_z = np.sum(np.log(2 * np.pi / stiffness)) / 2
    assert found.log_partition_function == pytest.approx(log_z, abs=1e-8)
    assert found.mean_square == pytest.approx(np.mean(1 / stiffness), abs=1e-8)


def test_fine_steps_tend_to_the_gap_of_the_hamiltonian():
    """E₁ - E₀ of p²/2m + V on a grid by sine functions, against log(λ₀/λ₁)/a."""
    mass, n, reach = 2.75, 400, 8.0
    grid = np.arange(1, n) * 2 * reach / n - reach
    waves = np.sin(np.outer(np.arange(1, n), np.arange(1, n)) * np.pi / n) * np.sqrt(2 / n)
    momenta = np.arange(1, n) * np.pi / (2 * reach)
    potential = -mass / 2 * grid**2 + grid**4 / 4
    energies = np.linalg.eigvalsh(
        (waves * momenta**2 / (2 * mass)) @ waves + np.diag(potential)
    )
    assert energies[:2] == pytest.approx([-1.2249, -1.2178], abs=1e-4)
    gap = double_well_path_values(64, 0.01).log_gap / 0.01
    assert gap == pytest.approx(energies[1] - energies[0], rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_sites": 1}, "lengths of at least 2"),
        ({"spacing": 0.0}, "spacing must be positive"),
        ({"spacing": float("nan")}, "spacing must be positive"),
        ({"mass": -1.0}, "mass must be positive"),
        ({"quartic": -1.0}, "quartic must be finite and at least 0"),
        ({"quartic": 0.0}, "frequency_squared must be positive"),
        ({"spacing": 1e-5}, "too fine"),
    ],
)
def test_bad_paths(arguments, message):
    arguments = {"num_sites": 8, **arguments}
    for build in (double_well_path, double_well_path_values):
        with pytest.raises(ValueError, match=message):
            build(**arguments)


def test_wells_far_apart_and_bad_positions():
    far = lattice.double_well_path_values(8, mass=1.0, quartic=1e-2)
    # Fluctuations in the wells, of frequency √2, shift the mean square by less than 1.
    assert far.mean_square == pytest.approx(100, abs=1)
    assert far.one_sided == pytest.approx(1.0)
    assert double_well_path_values(8, mass=1.0, quartic=1e-3).log_gap == pytest.approx(
        0, abs=1e-12
    )
    with pytest.raises(ValueError, match="floating numbers"):
        double_well_path(4).logdensity_fn(jnp.ones(4, int))
