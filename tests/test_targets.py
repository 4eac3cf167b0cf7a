"""Targets: their log Z by quadrature or by their own samples, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm
from zscore import assert_biased, assert_unbiased, replicate

from jarzynski_jax import targets
from jarzynski_jax.density import Density

TARGETS = {
    "gaussian": targets.gaussian([1.0, 0.25, 4.0]),
    "two modes": targets.two_modes(3, distance=5.0),
    "forty modes": targets.forty_modes(),
    "funnel": targets.funnel(4, 1.5),
    "double well": targets.double_well(),
    "many well": targets.many_well(4),
    "product": targets.product([targets.double_well(-1.0), targets.gaussian([2.0])]),
}
CENTRES = {
    "gaussian": (jnp.zeros(3), 0.3),
    "two modes": (jnp.array([2.5, 0.0, 0.0]), 0.5),
    "funnel": (jnp.zeros(4), 0.5),
    "double well": (jnp.array([1.7]), 0.1),
    "product": (jnp.array([-1.7, 0.0]), 0.1),
}
each_target = pytest.mark.parametrize("name", TARGETS)


def reciprocal(name, offset=0.0):
    """Mean over samples of Z q(x) e^{-ℓ(x)}, with q a normalised density inside the target.

    By the reciprocal identity its expectation is 1 whatever q is: here a Gaussian about a
    place of high density, narrower than the target there (a well has the width 0.21), or it
    would lie where no sample of the target does.
    """
    target = TARGETS[name]
    centre, width = CENTRES[name]

    def mean(key):
        x = target.sample(key, 50_000)
        squares = jnp.sum(jnp.square((x - centre) / width), axis=1) / 2
        log_q = -squares - target.dimension * jnp.log(width * jnp.sqrt(2 * jnp.pi))
        log_p = jax.vmap(target.logdensity_fn)(x) - target.log_partition_function - offset
        return jnp.mean(jnp.exp(log_q - log_p))

    return replicate(f"target {name}", mean)


@pytest.mark.parametrize("name", ["two modes", "funnel", "double well", "product", "gaussian"])
def test_samples_density_and_partition_function_agree(name):
    assert_unbiased(reciprocal(name), 1.0)


def test_forty_modes_by_quadrature():
    """Over a square that holds all of it, in steps of a fifth of a mode's width."""
    axis = np.arange(-50, 50, 0.25)
    grid = jnp.array(np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2))
    total = jnp.sum(jnp.exp(jax.vmap(targets.forty_modes().logdensity_fn)(grid))) * 0.25**2
    assert float(total) == pytest.approx(1, abs=1e-4)


def test_canary_another_partition_function_is_caught():
    assert_biased(reciprocal("double well", offset=0.1), 1.0)


@pytest.mark.parametrize("tilt", [-1.0, 0.0, 0.5])
def test_double_well_by_quadrature(tilt):
    target = targets.double_well(tilt)
    density = lambda x: np.exp(-(x**4) + 6 * x**2 + tilt * x)  # noqa: E731
    assert target.log_partition_function == pytest.approx(np.log(quad(density, -5, 5)[0]), 1e-9)
    x = jnp.array([1.3])
    assert float(target.logdensity_fn(x)) == pytest.approx(np.log(density(1.3)), rel=1e-5)


def test_funnel_in_two_dimensions_by_quadrature():
    target = targets.funnel(2, 1.0)
    grid = jnp.linspace(-8, 8, 1201)
    # In the coordinate u = y e^{-x/2} the funnel is a Gaussian.
    neck, scaled = jnp.meshgrid(grid, grid, indexing="ij")
    points = jnp.stack([neck, scaled * jnp.exp(neck / 2)], axis=-1).reshape(-1, 2)
    density = jnp.exp(jax.vmap(target.logdensity_fn)(points) + points[:, 0] / 2)
    assert float(jnp.sum(density) * (grid[1] - grid[0]) ** 2) == pytest.approx(1, abs=1e-4)


def test_the_funnel_has_the_moments_that_are_known():
    """E x_i² = e^4.5, and 1.0 % beyond 30, where others cut their samples: by its density."""
    target = targets.funnel(2)
    neck, scaled = jnp.meshgrid(
        jnp.linspace(-20, 40, 1201), jnp.linspace(-8, 8, 641), indexing="ij"
    )
    points = jnp.stack([neck, scaled * jnp.exp(neck / 2)], axis=-1).reshape(-1, 2)
    log_volume = points[:, 0] / 2 + jnp.log(0.05 * 0.025)
    mass = jnp.exp(jax.vmap(target.logdensity_fn)(points) + log_volume)
    assert float(jnp.sum(mass * points[:, 1] ** 2)) == pytest.approx(np.exp(4.5), rel=1e-3)
    beyond = float(jnp.sum(jnp.where(jnp.abs(points[:, 1]) > 30, mass, 0)))
    assert beyond == pytest.approx(FAR_IN_FUNNEL, rel=5e-3)


#: P(|x_i| > 30) of the funnel with scale 3.
FAR_IN_FUNNEL = quad(
    lambda neck: norm.pdf(neck, 0, 3) * 2 * norm.sf(30 * np.exp(-neck / 2)), -30, 30
)[0]


def far_in_funnel(key, clip):
    """The share of samples of ten dimensions beyond 30, of what it should be."""
    x = jnp.clip(targets.funnel().sample(key, 20_000)[:, 1:], -clip, clip)
    return jnp.mean(jnp.abs(x) > 30) / FAR_IN_FUNNEL


def test_samples_of_the_funnel_are_not_cut():
    assert pytest.approx(0.010, abs=5e-4) == FAR_IN_FUNNEL
    assert_unbiased(replicate("funnel", far_in_funnel, jnp.inf), 1)
    assert_biased(replicate("funnel", far_in_funnel, jnp.array(30.0)), 1)


def test_many_well_is_a_sum_of_wells():
    target = targets.many_well(32)
    expected = 16 * (targets.double_well().log_partition_function + np.log(2 * np.pi) / 2)
    assert target.log_partition_function == pytest.approx(expected)
    shares = (target.sample(jax.random.key(0), 20_000)[:, ::2] > 0).mean(axis=0)
    one = float(jnp.mean(targets.double_well().sample(jax.random.key(1), 100_000) > 0))
    np.testing.assert_allclose(shares, one, atol=0.02)


def test_masses_of_two_modes():
    x = targets.two_modes(2).sample(jax.random.key(0), 40_000)
    assert float(jnp.mean(x[:, 0] < 0)) == pytest.approx(0.25, abs=0.01)


@each_target
def test_shapes_gradients_and_dtypes(name):
    target = TARGETS[name]
    x = target.sample(jax.random.key(0), 5)
    assert x.shape == (5, target.dimension)
    values, gradients = jax.vmap(jax.value_and_grad(target.logdensity_fn))(x)
    assert values.dtype == x.dtype == jnp.float32
    assert bool(jnp.all(jnp.isfinite(values)) & jnp.all(jnp.isfinite(gradients)))


def test_a_product_without_samples_has_none():
    bare = Density(lambda x: -jnp.sum(x**2), 0.0, None, 1)
    assert targets.product([bare, targets.double_well()]).sample is None


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: targets.gaussian([1.0, -1.0]), "positive"),
        (lambda: targets.gaussian([]), "positive"),
        (lambda: targets.gaussian_mixture(np.zeros(3), 1.0), r"\(3,\)"),
        (lambda: targets.gaussian_mixture(np.zeros((2, 1)), 0.0), "scale"),
        (lambda: targets.gaussian_mixture(np.zeros((2, 1)), 1.0, np.array([1, 1])), "sum one"),
        (lambda: targets.two_modes(0), "dimension.*0"),
        (lambda: targets.two_modes(2, mass=1.0), "mass.*1.0"),
        (lambda: targets.funnel(1), "2 dimensions; got 1"),
        (lambda: targets.funnel(3, -1.0), "scale.*-1.0"),
        (lambda: targets.double_well(3.0), "tilt.*3.0"),
        (lambda: targets.many_well(3), "even.*3"),
        (lambda: targets.product([]), "at least one"),
    ],
)
def test_bad_input_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    "target",
    [
        targets.gaussian([1.0] * 3),
        targets.two_modes(3),
        targets.funnel(3),
        targets.double_well(),
        targets.product([targets.double_well(), targets.gaussian([1.0])]),
    ],
)
def test_positions_are_of_the_densitys_shape(target):
    for shape in ((), (target.dimension + 1,), (5, target.dimension)):
        with pytest.raises(ValueError, match=f"must have shape \\({target.dimension},\\)"):
            target.logdensity_fn(jnp.ones(shape))


def test_masses_that_are_nan_are_none():
    with pytest.raises(ValueError, match="masses must be 2 positive numbers"):
        targets.gaussian_mixture(np.zeros((2, 1)), 1.0, np.array([np.nan, np.nan]))
