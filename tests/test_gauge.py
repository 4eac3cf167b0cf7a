"""U(1) gauge theory on a torus, against sums over charges, derivatives and its own samples.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import iv
from zscore import assert_biased, assert_unbiased, replicate

from jarzynski_jax.targets import lattice

TABLE = [
    (8, 1, 15.09851894, 0.44638997),
    (8, 2, 52.73558666, 0.69777466),
    (8, 3, 101.45969057, 0.80998555),
    (8, 5, 211.50110301, 0.89342125),
    (8, 7, 328.17357595, 0.92570036),
    (16, 1, 60.39407578, 0.44638997),
    (16, 2, 210.94234662, 0.69777466),
    (16, 3, 405.83875118, 0.80998529),
    (16, 5, 845.99853461, 0.89338314),
    (16, 7, 1312.63818627, 0.92553221),
]


@pytest.mark.parametrize(("length", "beta", "log_z", "plaquette"), TABLE)
def test_tabulated_tori(length, beta, log_z, plaquette):
    """A table, and the character sum with SciPy's Bessel functions."""
    found = lattice.gauge_values((length, length), beta)
    assert found.log_partition_function == pytest.approx(log_z, abs=1e-8)
    assert found.mean_plaquette == pytest.approx(plaquette, abs=1e-8)
    orders, volume = np.arange(-60, 61), length**2
    characters = iv(orders, beta)
    ratios = characters / iv(0, beta)
    total = volume * np.log(iv(0, beta)) + np.log(np.sum(ratios**volume))
    assert found.log_partition_function == pytest.approx(total, rel=1e-13)
    slopes = (iv(orders - 1, beta) + iv(orders + 1, beta)) / 2 / iv(0, beta)
    mean = np.sum(ratios ** (volume - 1) * slopes) / np.sum(ratios**volume)
    assert found.mean_plaquette == pytest.approx(mean, rel=1e-12)


def test_the_torus_is_not_its_plaquettes():
    """Four of them at β = 1; independent ones, of open boundaries, have 0.9437."""
    found = lattice.gauge_values((2, 2), 1.0).log_partition_function
    assert found == pytest.approx(1.020319166818, abs=1e-12)
    assert 4 * np.log(iv(0, 1.0)) == pytest.approx(0.943657434029, abs=1e-12)


def charges(num_plaquettes, beta, num_points=2**13):
    """Weight of each charge: the V-fold convolution of one angle's density at 2πQ."""
    step = 2 * np.pi / num_points
    angle = (np.arange(num_points) + 0.5) * step - np.pi
    padded = np.zeros(num_points * num_plaquettes)
    padded[:num_points] = np.exp(beta * np.cos(angle)) * step / (2 * np.pi)
    power = np.fft.fft(padded) ** num_plaquettes
    sums = np.fft.ifft(power).real
    # Of V midpoints the sum is V(h/2 - π) and whole steps; V is even, so Q = 0 is on the grid.
    first = num_plaquettes * num_points // 2 - num_plaquettes // 2
    most = num_plaquettes // 2 - 1
    orders = np.arange(-most, most + 1)
    return orders, sums[first + orders * num_points] * num_points


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 3.0, 7.0])
@pytest.mark.parametrize("shape", [(2, 2), (2, 3), (4, 4)])
def test_log_z_and_charges_by_convolution(shape, beta):
    """Nothing of characters is in it: Z and ⟨Q²⟩ as sums over the topological charge."""
    found = lattice.gauge_values(shape, beta)
    orders, weights = charges(shape[0] * shape[1], beta)
    assert found.log_partition_function == pytest.approx(np.log(weights.sum()), abs=1e-5)
    mean = weights @ orders**2 / weights.sum()
    assert found.mean_square_charge == pytest.approx(mean, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("beta", [0.3, 2.0, 6.0])
def test_the_mean_plaquette_is_a_derivative(beta):
    below, at, above = (lattice.gauge_values((4, 6), beta + h) for h in (-1e-4, 0, 1e-4))
    slope = (above.log_partition_function - below.log_partition_function) / 2e-4
    assert at.mean_plaquette == pytest.approx(slope / 24, rel=1e-7)


def statistics(key, beta):
    """E of e^ℓ, with cos P and Q², under uniform links; the β is that of the weights."""
    links = lattice.u1_gauge((2, 4), 0.0).sample(key, 8000)
    cosines = jnp.cos(jax.vmap(lattice.plaquettes)(links))
    weights = jnp.exp(beta * jnp.sum(cosines, axis=(1, 2)))
    charge = jax.vmap(lattice.topological_charge)(links)
    values = [jnp.ones_like(weights), jnp.mean(cosines, axis=(1, 2)), charge**2]
    return jnp.stack([jnp.mean(weights * value) for value in values])


def expected(beta):
    exact = lattice.gauge_values((2, 4), beta)
    z = np.exp(exact.log_partition_function)
    return z * np.array([1, exact.mean_plaquette, exact.mean_square_charge])


@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_weighted_uniform_links_agree(beta):
    assert_unbiased(replicate("links", statistics, beta), expected(beta))


def test_canary_another_coupling_is_caught():
    assert_biased(replicate("links", statistics, 0.4), expected(0.43))


def test_the_density_is_gauge_invariant_and_periodic(x64):
    """Also far outside of [-π, π); the charge is a whole number."""
    model = lattice.u1_gauge((3, 4), 2.0)
    rng = np.random.default_rng(0)
    links, phases = rng.uniform(-np.pi, np.pi, (2, 3, 4)), rng.uniform(-np.pi, np.pi, (3, 4))
    moved = np.stack(
        [links[axis] + phases - np.roll(phases, -1, axis) for axis in (0, 1)]
    ) + 2 * np.pi * rng.integers(-3, 4, (2, 3, 4))
    found = [float(model.logdensity_fn(jnp.asarray(x))) for x in (links, moved)]
    assert found[0] == pytest.approx(found[1], rel=1e-12)
    turns = [float(lattice.topological_charge(jnp.asarray(x))) for x in (links, moved)]
    assert turns[0] == turns[1] == round(turns[0])


def test_the_action_is_what_is_written(x64):
    links = np.random.default_rng(1).uniform(-np.pi, np.pi, (2, 3, 4))
    total, turns = 0.0, 0.0
    for i, j in np.ndindex(3, 4):
        angle = (
            links[0, i, j]
            + links[1, (i + 1) % 3, j]
            - links[0, i, (j + 1) % 4]
            - links[1, i, j]
        )
        total += np.cos(angle)
        turns += np.angle(np.exp(1j * angle)) / (2 * np.pi)
    found = lattice.u1_gauge((3, 4), 2.0).logdensity_fn(jnp.asarray(links))
    assert float(found) == pytest.approx(2 * total - 24 * np.log(2 * np.pi), rel=1e-12)
    charge = float(lattice.topological_charge(jnp.asarray(links)))
    assert charge == pytest.approx(turns, abs=1e-9)


def test_a_uniform_flux_has_the_charge_it_is_made_of():
    """P = 2πQ/V, modulo 2π, everywhere on a torus of 4 by 6."""
    rows, columns = np.indices((4, 6))
    for charge in (-3, 1, 5):
        flux = 2 * np.pi * charge / 24
        # The links of the last column carry back what a row has gathered.
        links = np.stack([-flux * columns, np.where(columns == 5, 6 * flux * rows, 0)])
        assert float(lattice.topological_charge(jnp.asarray(links))) == charge


@pytest.mark.parametrize(
    ("shape", "beta", "message"),
    [
        ((1, 4), 1.0, "lengths of at least 2"),
        ((4, 4, 4), 1.0, "must have 2 axes"),
        ((4, 4), -1.0, "at least 0"),
        ((4, 4), float("nan"), "finite"),
    ],
)
def test_bad_gauge_theories(shape, beta, message):
    for build in (lattice.u1_gauge, lattice.gauge_values):
        with pytest.raises(ValueError, match=message):
            build(shape, beta)


def test_bad_links():
    model = lattice.u1_gauge((2, 4), 1.0)
    assert model.sample is None
    with pytest.raises(ValueError, match="shape"):
        model.logdensity_fn(jnp.ones((2, 4)))
    with pytest.raises(ValueError, match="floating numbers"):
        model.logdensity_fn(jnp.ones((2, 2, 4), complex))
