"""φ⁴ theory, the free field and single sites: quadrature, determinants, transfer matrices.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import kve
from zscore import BASE_SEED, assert_biased, assert_unbiased, replicate

from jarzynski_jax.annealing import estimate
from jarzynski_jax.targets import lattice

QUARTIC = 0.022


def field(shape, seed=0, scale=0.7):
    return scale * np.random.default_rng(seed).normal(size=shape)


# ---------------------------------------------------------------- actions and conventions


def hopping_action(x, kappa, quartic):
    """As it is written, site by site."""
    total = 0.0
    for site in np.ndindex(x.shape):
        for axis in range(x.ndim):
            ahead = list(site)
            ahead[axis] = (ahead[axis] + 1) % x.shape[axis]
            total -= 2 * kappa * x[site] * x[tuple(ahead)]
        total += (1 - 2 * quartic) * x[site] ** 2 + quartic * x[site] ** 4
    return total


def difference_action(x, gradient, square, quartic):
    """Of sums of squared differences."""
    steps = sum(np.sum((np.roll(x, -1, axis) - x) ** 2) for axis in range(x.ndim))
    return gradient * steps + np.sum(square * x**2 + quartic * x**4)


@pytest.mark.parametrize("shape", [(5,), (2, 3), (4, 4), (2, 3, 4)])
def test_the_action_is_what_is_written(shape, x64):
    x = field(shape)
    for kappa, quartic in ((0.1, 0.022), (-0.3, 0.7), (0.1, 0.0)):
        found = lattice.phi4(shape, kappa, quartic).logdensity_fn(jnp.asarray(x))
        assert float(found) == pytest.approx(-hopping_action(x, kappa, quartic), rel=1e-12)


@pytest.mark.parametrize("mass_squared", [-3.0, -0.5, 0.7])
@pytest.mark.parametrize("shape", [(6,), (3, 4), (2, 3, 4)])
def test_three_conventions_are_one_action(shape, mass_squared, x64):
    dimension, x = len(shape), field(shape)
    continuum = lattice.phi4_continuum(shape, mass_squared, 2.4).logdensity_fn(jnp.asarray(x))
    expected = -difference_action(x, 0.5, mass_squared / 2, 2.4 / 24)
    assert float(continuum) == pytest.approx(expected, rel=1e-12)
    mass = lattice.phi4_mass(shape, mass_squared, 0.4).logdensity_fn(jnp.asarray(x))
    expected = -difference_action(x, 1.0, mass_squared, 0.4)
    assert float(mass) == pytest.approx(expected, rel=1e-12)
    couplings = lattice.from_continuum(mass_squared, 2.4, dimension)
    assert lattice.to_continuum(couplings, dimension) == pytest.approx((mass_squared, 2.4))
    assert lattice.from_mass(mass_squared, 0.4, dimension) == pytest.approx(couplings)
    assert lattice.to_mass(couplings, dimension) == pytest.approx((mass_squared, 0.4))


@pytest.mark.parametrize(
    ("quartic", "kappa"), [(5.276, 0.30784), (4.807, 0.32251), (4.572, 0.33070)]
)
def test_couplings_at_vanishing_hop(quartic, kappa):
    """m² = -2d makes λ one half."""
    couplings = lattice.from_mass(-4.0, quartic)
    assert couplings.kappa == pytest.approx(kappa, abs=1e-5)
    assert couplings.quartic == pytest.approx(0.5, rel=1e-12)


# ---------------------------------------------------------------- one site


def site_moment(quartic, power, below=np.inf):
    """By quadrature: the integral of x^power e^{-(1-2λ)x² - λx⁴}, up to a bound."""
    return quad(
        lambda x: x**power * np.exp(-(1 - 2 * quartic) * x**2 - quartic * x**4), -np.inf, below
    )[0]


@pytest.mark.parametrize("quartic", [1e-4, 0.022, 0.3, 0.49, 0.5, 0.6, 3.0])
def test_log_z_of_a_site(quartic):
    """By quadrature, and by the Bessel function where it holds."""
    found = lattice.site_log_z(quartic)
    assert found == pytest.approx(np.log(site_moment(quartic, 0)), abs=1e-9)
    if quartic < 0.5:
        w = (1 - 2 * quartic) ** 2 / (8 * quartic)
        bessel = np.log((1 - 2 * quartic) / (4 * quartic)) / 2 + np.log(kve(0.25, w))
        assert found == pytest.approx(bessel, abs=1e-11)


def test_log_z_of_independent_sites():
    model = lattice.phi4((64, 8), kappa=0.0, quartic=QUARTIC)
    assert model.log_partition_function == pytest.approx(296.0783241508, abs=1e-8)
    assert lattice.site_log_z(QUARTIC) == pytest.approx(0.578277976857, abs=1e-11)


def site_statistics(x):
    inside = [jnp.mean(x < edge) for edge in EDGES]
    return jnp.stack([jnp.mean(x), jnp.mean(x**2), jnp.mean(x**4), *inside])


EDGES = (-2.0, -0.9, 0.1, 0.8)


@pytest.mark.parametrize("quartic", [0.022, 3.0])
def test_sites_are_drawn_from_their_density(quartic):
    """Moments, and the distribution function at four places."""
    model = lattice.phi4((2, 2), 0.0, quartic)
    found = replicate(f"sites {quartic}", lambda key: site_statistics(model.sample(key, 4000)))
    moments = [site_moment(quartic, power) for power in (1, 2, 4)]
    moments += [site_moment(quartic, 0, edge) for edge in EDGES]
    assert_unbiased(found, np.array(moments) / site_moment(quartic, 0))


def test_canary_sites_without_their_quartic_term():
    free = lattice.phi4((2, 2), 0.0, 0.0)
    found = replicate("sites canary", lambda key: site_statistics(free.sample(key, 4000)))
    moments = [site_moment(QUARTIC, power) for power in (1, 2, 4)]
    moments += [site_moment(QUARTIC, 0, edge) for edge in EDGES]
    assert_biased(found, np.array(moments) / site_moment(QUARTIC, 0))


# ---------------------------------------------------------------- the free field


def free_matrix(shape, kappa):
    """S = ½ φ M φ, with each site's neighbours along each axis, V by V."""
    unit = np.eye(int(np.prod(shape))).reshape(*shape, -1)
    ahead = sum(np.roll(unit, -1, axis) for axis in range(len(shape)))
    ahead = ahead.reshape(unit.shape[-1], -1)
    return 2 * np.eye(len(ahead)) - 2 * kappa * (ahead + ahead.T)


@pytest.mark.parametrize("shape", [(5,), (2, 2), (2, 3), (4, 4), (3, 2, 4)])
@pytest.mark.parametrize("share", [-0.4, 0.0, 0.4, 0.8])
def test_free_log_z_is_a_determinant(shape, share, x64):
    kappa = share / (2 * len(shape))
    model, x = lattice.phi4(shape, kappa, 0.0), field(shape)
    matrix = free_matrix(shape, kappa)
    expected = x.reshape(-1) @ matrix @ x.reshape(-1) / 2
    assert float(model.logdensity_fn(jnp.asarray(x))) == pytest.approx(-expected, rel=1e-12)
    log_z = x.size / 2 * np.log(2 * np.pi) - np.linalg.slogdet(matrix)[1] / 2
    assert model.log_partition_function == pytest.approx(log_z, rel=1e-12)


@pytest.mark.parametrize(
    ("shape", "at_a_tenth", "at_a_fifth"),
    [
        ((2, 2), 2.3766364653, 2.8002853955),
        ((8, 8), 37.3025089356, 39.8791279406),
        ((16, 8), 74.6050175213, 79.7570352940),
        ((64, 8), 298.4200700852, 319.0281403105),
    ],
)
def test_tabulated_free_fields(shape, at_a_tenth, at_a_fifth):
    for kappa, expected in ((0.1, at_a_tenth), (0.2, at_a_fifth)):
        found = lattice.phi4(shape, kappa, 0.0).log_partition_function
        assert found == pytest.approx(expected, abs=1e-9)


def test_free_fields_of_a_mass():
    """S = ½ φ(-Δ + 1)φ: the scale of the field is in log Z."""
    for length, expected in ((4, 2.687045629858), (2, 0.967703931716)):
        model = lattice.phi4_continuum((length, length), 1.0, 0.0)
        assert model.log_partition_function == pytest.approx(expected, abs=1e-11)


def test_every_weight_of_the_exact_flow_is_z(dtype):
    """ℓ(T z) - log N(z) + log|det|, whatever z is; so importance sampling has no error."""
    shape, kappa = (8, 6), 0.23
    model, flow = lattice.phi4(shape, kappa, 0.0), lattice.free_field_flow(shape, kappa)
    noise = jax.random.normal(jax.random.key(0), (200, *shape), dtype)
    x, log_det = jax.vmap(flow)(noise)
    log_noise = -jnp.sum(noise**2, axis=(1, 2)) / 2 - 24 * jnp.log(2 * jnp.pi)
    log_weights = jax.vmap(model.logdensity_fn)(x) - log_noise + log_det
    assert log_weights.dtype == dtype
    tolerance = 1e-4 if dtype == jnp.float32 else 1e-11
    np.testing.assert_allclose(log_weights, model.log_partition_function, atol=tolerance)


def test_the_flow_gains_the_volume_it_says(x64):
    flow = lattice.free_field_flow((3, 4), 0.2)
    jacobian = jax.jacfwd(lambda z: flow(z.reshape(3, 4))[0].reshape(-1))(jnp.zeros(12))
    log_det = flow(jnp.zeros((3, 4)))[1]
    assert float(log_det) == pytest.approx(np.linalg.slogdet(jacobian)[1], rel=1e-12)


@pytest.mark.parametrize(
    ("build", "scale"),
    [
        (lambda: lattice.phi4((2, 4), 0.2, 0.0), 1.0),
        (lambda: lattice.phi4_continuum((2, 4), 1.0, 0.0), np.sqrt(2 * 0.2)),
        (lambda: lattice.phi4_mass((2, 4), 1.0, 0.0), np.sqrt(0.2)),
    ],
    ids=["hopping", "continuum", "mass"],
)
def test_free_samples_have_their_covariance(build, scale):
    """⟨φ²⟩ and the neighbours' ⟨φφ⟩ along both axes, by the inverse of the matrix."""
    model = build()

    def statistics(key):
        x = model.sample(key, 2000)
        shifted = [x, jnp.roll(x, -1, 1), jnp.roll(x, -1, 2)]
        return jnp.stack([jnp.mean(x * other) for other in shifted])

    def expected(kappa):
        covariance = scale**2 * np.linalg.inv(free_matrix((2, 4), kappa))
        return np.array([covariance[0, 0], covariance[0, 4], covariance[0, 1]])

    found = replicate(f"free samples {scale}", statistics)
    assert_unbiased(found, expected(0.2))
    assert_biased(found, expected(0.19))  # the canary


# ---------------------------------------------------------------- two sites wide, any coupling


def log_z_two_wide(kappa, quartic, num_rows, num_points=22, reach=6.4):
    """By the transfer matrix of rows of two sites, which are joined by two bonds."""
    grid, step = np.linspace(-reach, reach, num_points, retstep=True)
    a, b = (axis.reshape(-1) for axis in np.meshgrid(grid, grid, indexing="ij"))
    sites = sum((1 - 2 * quartic) * x**2 + quartic * x**4 for x in (a, b))
    row = sites - 4 * kappa * a * b
    exponent = 2 * kappa * (np.outer(a, a) + np.outer(b, b)) - (row[:, None] + row) / 2
    eigenvalues = np.linalg.eigvalsh(np.exp(exponent)) * step**2
    return np.log(np.sum(eigenvalues**num_rows))


@pytest.mark.parametrize(
    ("kappa", "rows"),
    [
        (0.0, (2.31311191, 4.62622381, 9.25244763)),
        (0.1, (2.39644248, 4.74886138, 9.49716514)),
        (0.2, (2.76634555, 5.25142001, 10.47169719)),
        (0.25, (3.33203268, 5.99857140, 11.77164180)),
        (0.3, (5.21383435, 9.37887171, 18.00726687)),
    ],
)
def test_tabulated_two_wide_lattices(kappa, rows):
    for num_rows, expected in zip((2, 4, 8), rows, strict=True):
        assert log_z_two_wide(kappa, QUARTIC, num_rows) == pytest.approx(expected, abs=1e-7)


def test_the_transfer_matrix_is_right_where_there_are_closed_forms():
    free = lattice.phi4((4, 2), 0.2, 0.0).log_partition_function
    assert log_z_two_wide(0.2, 0.0, 4) == pytest.approx(free, abs=1e-9)
    sites = lattice.phi4((4, 2), 0.0, QUARTIC).log_partition_function
    assert log_z_two_wide(0.0, QUARTIC, 4) == pytest.approx(sites, abs=1e-9)


KAPPA, NUM_SEEDS = 0.25, 6


@pytest.fixture(scope="module")
def found():
    """log Z of 4x2 in one call, from independent sites; six seeds of eight replicates each."""
    base, target = (lattice.phi4((4, 2), kappa, QUARTIC) for kappa in (0.0, KAPPA))
    keys = jax.random.split(jax.random.key(BASE_SEED), NUM_SEEDS)
    return [estimate(key, base, target, num_gradients=200_000) for key in keys]


def mean_z_score(found, exact):
    """Of the mean over seeds, by the errors that each states: 42 degrees of freedom."""
    errors = [one.log_partition_function - exact for one in found]
    return np.sum(errors) / np.sqrt(np.sum([one.standard_error**2 for one in found]))


def test_log_z_annealed_from_independent_sites(found):
    """|z| < 4 of the transfer matrix; one of the brackets may be doubted by chance."""
    assert abs(mean_z_score(found, log_z_two_wide(KAPPA, QUARTIC, 4))) < 4
    assert np.mean([one.standard_error for one in found]) < 0.05
    assert sum(one.doubts != () for one in found) <= 1
    assert all(one.bounds.upper - one.bounds.lower < 0.2 for one in found)


def test_canary_another_hopping_parameter_is_caught(found):
    assert abs(mean_z_score(found, log_z_two_wide(KAPPA + 0.01, QUARTIC, 4))) > 4


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((4, 1), 0.1, 0.1), "lengths of at least 2"),
        (((), 0.1, 0.1), "lengths of at least 2"),
        (((4, 4), 0.1, -0.1), "quartic must be finite and at least 0"),
        (((4, 4), float("nan"), 0.1), "kappa must be finite"),
        (((4, 4), 0.25, 0.0), "kappa below 1/4"),
        (((4, 4), 0.3, 0.0), "kappa below 1/4"),
        (((4, 4), -0.25, 0.0), "kappa below 1/4"),
        (((4,), 0.5, 0.0), "kappa below 1/2"),
    ],
)
def test_bad_fields(arguments, message):
    with pytest.raises(ValueError, match=message):
        lattice.phi4(*arguments)


@pytest.mark.parametrize("of", [int, complex, bool])
def test_numbers_that_are_no_field(of):
    with pytest.raises(ValueError, match="floating numbers"):
        lattice.phi4((2, 2), 0.1, 0.1).logdensity_fn(jnp.ones((2, 2), of))
    with pytest.raises(ValueError, match="shape"):
        lattice.phi4((2, 2), 0.1, 0.1).logdensity_fn(jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="floating numbers"):
        lattice.free_field_flow((2, 2), 0.1)(jnp.ones((2, 2), of))


def test_couplings_that_no_lattice_has():
    with pytest.raises(ValueError, match="mass_squared must be above -4"):
        lattice.from_mass(-4.0, 0.0)
    with pytest.raises(ValueError, match="kappa below"):
        lattice.phi4_continuum((4, 4), 0.0, 0.0)
    with pytest.raises(ValueError, match="coupling must be finite and at least 0"):
        lattice.from_continuum(1.0, -1.0)
    with pytest.raises(ValueError, match="kappa must be positive"):
        lattice.to_mass(lattice.Couplings(0.0, 0.1))


def test_the_best_gaussian_of_the_free_field_is_the_free_field():
    field = lattice.phi4((4, 6), 0.2, 0.0)
    base = lattice.best_gaussian((4, 6), 0.2, 0.0)
    x = base.sample(jax.random.key(0), 50)
    log_weights = jax.vmap(field.logdensity_fn)(x) - jax.vmap(base.logdensity_fn)(x)
    np.testing.assert_allclose(log_weights, field.log_partition_function, atol=2e-3)
    fit = lattice.fit_gaussian((4, 6), 0.2, 0.0)
    assert fit.bound == pytest.approx(field.log_partition_function, abs=1e-6)


@pytest.mark.parametrize("kappa", [0.2, 0.3])
def test_the_best_gaussian_bounds_log_z_by_its_own_samples(kappa):
    """One-sided in the broken phase, where both signs have log 2 more."""
    field, fit = lattice.phi4((4, 4), kappa, 0.022), lattice.fit_gaussian((4, 4), kappa, 0.022)
    assert (fit.mean > 1) == (kappa == 0.3)
    one = lattice.best_gaussian((4, 4), kappa, 0.022, is_symmetric=False)
    keys = jax.random.split(jax.random.key(BASE_SEED), 2)
    x = one.sample(keys[0], 20_000)
    bounds = jax.vmap(field.logdensity_fn)(x) - jax.vmap(one.logdensity_fn)(x)
    error = float(jnp.std(bounds)) / 20_000**0.5
    assert abs(float(jnp.mean(bounds)) - fit.bound) < 4.5 * error
    both = lattice.best_gaussian((4, 4), kappa, 0.022)
    signs = jnp.sign(both.sample(keys[1], 20_000).mean((1, 2)))
    assert abs(float(jnp.mean(signs))) < 4.5 / 20_000**0.5
    far = one.logdensity_fn(x[0]) - both.logdensity_fn(x[0])
    assert float(far) == pytest.approx(np.log(2) if fit.mean > 1 else 0, abs=1e-4)


def test_the_best_gaussian_takes_no_negative_hopping():
    with pytest.raises(ValueError, match=r"kappa must be at least 0; got -0\.1"):
        lattice.best_gaussian((4, 4), -0.1, 0.022)
