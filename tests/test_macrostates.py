r"""Free energies of regions by flows: the double well of Boltzmann generators, affine maps.

The well is :math:`x^4 - 6x^2 + x` times a Gaussian; all exact values are by quadrature here, on
the line: log Z of the whole 10.101528696983, F_R - F_L = 3.379901071224, cut at 0.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import free_energy, targets
from jarzynski_jax.free_energy import first_law, macrostates

# ---------------------------------------------------------------- exact values

WELL = targets.double_well(-1.0)
GRID = np.linspace(-5, 5, 2_000_001)
DENSITY = np.exp(-(GRID**4) + 6 * GRID**2 - GRID)
LOG_LEFT, LOG_RIGHT = (
    math.log(np.trapezoid(np.where(side, DENSITY, 0), GRID)) for side in (GRID < 0, GRID >= 0)
)


def test_the_exact_values_are_those_that_are_known():
    assert pytest.approx(10.068044770099, abs=2e-6) == LOG_LEFT
    assert pytest.approx(6.688143698874, abs=2e-6) == LOG_RIGHT
    assert pytest.approx(3.379901071224, abs=3e-6) == LOG_LEFT - LOG_RIGHT
    assert WELL.log_partition_function == pytest.approx(10.101528696983, abs=1e-6)


# ---------------------------------------------------------------- the well, by mixtures


def draw(key, num, share, width):
    """Samples of a model with a known density, a mixture about both minima."""
    key_side, key_x = jax.random.split(key)
    is_right = jax.random.uniform(key_side, (num,)) < share
    centre = jnp.where(is_right, 1.69, -1.77)
    return centre + width * jax.random.normal(key_x, (num,))


def log_model(x, share, width):
    left, right = norm.logpdf(x, -1.77, width), norm.logpdf(x, 1.69, width)
    return jnp.logaddexp(jnp.log1p(-share) + left, jnp.log(share) + right)


def log_weights_of(x, share, width):
    log_p = -(x**4) + 6 * x**2 - x
    return log_p - log_model(x, share, width)


def found_at(key, share, width, num=20_000):
    x = draw(key, num, share, width)
    log_weights = log_weights_of(x, share, width)
    return macrostates(log_weights, {"left": x < 0, "right": x >= 0}), x


@pytest.mark.parametrize(("share", "width"), [(0.03, 0.25), (0.5, 0.4), (0.3, 1.2)])
def test_any_model_that_has_both_wells_finds_the_difference(share, width):
    found, _ = found_at(test_key("any"), share, width)
    for region in found.regions.values():
        if width > 0.25:
            assert region.doubts == ()
        else:  # by quadrature the standard deviation of Z is 5 and 13 times its usual estimate
            (doubt,) = region.doubts
            assert "Pareto shape" in doubt
    difference = found.difference("left", "right")
    assert abs(difference.value - (LOG_LEFT - LOG_RIGHT)) < 3 * difference.standard_error
    assert 0 < difference.standard_error < 0.1
    for name, log_z in (("left", LOG_LEFT), ("right", LOG_RIGHT)):
        value, error = found.regions[name].free_energy
        assert abs(value + log_z) < 3.5 * error


def region_weights(key, fault):
    """Z of each region over the exact one; the fault normalises by the share in the region."""
    x = draw(key, 2000, 0.5, 0.4)
    weights = jnp.exp(log_weights_of(x, 0.5, 0.4))
    exact = jnp.exp(jnp.array([LOG_LEFT, LOG_RIGHT]))
    inside = jnp.stack([x < 0, x >= 0])
    means = jnp.mean(inside * weights, axis=1)
    return jnp.where(fault, means / jnp.mean(inside, axis=1), means) / exact


def test_a_region_is_normalised_by_all_samples():
    assert_unbiased(replicate("regions", region_weights, False), np.ones(2))
    assert_biased(replicate("regions", region_weights, True), np.ones(2))


def test_the_error_of_a_difference_is_the_spread_of_differences():
    """Of a log-odds, k of n samples on the left: 1/k + 1/(n - k) is the variance.

    The covariance of the two regions' means counts: without it the error is 0.6 of this.
    """
    is_left = np.arange(400) < 100
    found = macrostates(np.zeros(400), {"left": is_left, "right": ~is_left})
    difference = found.difference("left", "right")
    assert float(difference.value) == pytest.approx(-math.log(3), rel=1e-5)
    assert float(difference.standard_error) == pytest.approx(
        math.sqrt(1 / 100 + 1 / 300), rel=5e-3
    )


# ---------------------------------------------------------------- with samples of both ends


@pytest.fixture(scope="module")
def with_target():
    """A model of one sample in forty on the right, and samples of the target there."""
    x = draw(test_key("few"), 4000, 0.025, 0.35)
    y = WELL.sample(test_key("target"), 20_000)[:, 0]
    right, left = y[y >= 0][:500], y[y < 0][:500]
    log_weights = log_weights_of(x, 0.025, 0.35)
    of_target = {
        "left": log_weights_of(left, 0.025, 0.35),
        "right": log_weights_of(right, 0.025, 0.35),
    }
    regions = {"left": x < 0, "right": x >= 0}
    return macrostates(log_weights, regions), macrostates(log_weights, regions, of_target)


def test_bar_joins_samples_of_both_ends(with_target):
    alone, joined = with_target
    difference = joined.difference("left", "right")
    assert abs(difference.value - (LOG_LEFT - LOG_RIGHT)) < 3 * difference.standard_error
    for name in ("left", "right"):
        assert joined.regions[name].doubts == ()
        error = joined.regions[name].free_energy.standard_error
        assert error <= alone.regions[name].free_energy.standard_error * 1.05
        assert joined.regions[name].work.doubts == ()


# ---------------------------------------------------------------- doubts


def test_a_model_that_does_not_reach_a_region_is_doubted():
    x = -1.77 + 0.2 * jax.random.normal(test_key("left"), (5000,))
    log_weights = -(x**4) + 6 * x**2 - x - norm.logpdf(x, -1.77, 0.2)
    found = macrostates(log_weights, {"left": x < 0, "right": x >= 0})
    assert found.regions["left"].doubts == ()  # nothing shows there
    right = found.regions["right"]
    assert "0 of the model's samples are in the region" in right.doubts[0]
    assert np.isinf(right.free_energy.value)
    assert "0 of the model's samples are in the region" in str(found)


def test_a_model_that_reaches_the_edge_of_a_region_alone_is_doubted():
    """Its weights there are alike, and say nothing of the well behind."""
    x = -0.9 + 0.45 * jax.random.normal(test_key("edge"), (3000,))
    log_weights = -(x**4) + 6 * x**2 - x - norm.logpdf(x, -0.9, 0.45)
    found = macrostates(log_weights, {"left": x < 0, "right": x >= 0}).regions["right"]
    assert 2 <= found.num_samples < 100
    assert any("only" in doubt or "of the whole weight" in doubt for doubt in found.doubts), (
        found.doubts
    )
    y = WELL.sample(test_key("behind"), 20_000)[:, 0]
    y = y[y >= 0][:500]
    of_target = -(y**4) + 6 * y**2 - y - norm.logpdf(y, -0.9, 0.45)
    regions = {"left": x < 0, "right": x >= 0}
    told = macrostates(log_weights, regions, {"right": of_target}).regions["right"]
    assert told.doubts != ()


# ---------------------------------------------------------------- two Gaussians, affine flows


def test_two_gaussians_are_cut_by_their_tails_too():
    """F_R - F_L is that of the cut, -1.098528, not that of the modes, -log 3."""
    two = targets.two_modes(1, 8.0, 0.25)
    x = 5 * jax.random.normal(test_key("two"), (20_000, 1))
    log_weights = jax.vmap(two.logdensity_fn)(x) - norm.logpdf(x[:, 0], 0.0, 5.0)
    regions = {"left": x[:, 0] < 0, "right": x[:, 0] >= 0}
    difference = macrostates(log_weights, regions).difference("left", "right")
    assert abs(difference.value + 1.098527833806) < 3 * difference.standard_error


# x = m + s z of N(0, 1), and the target N(μ, δ²) as an energy.
M, SCALE, MU, WIDTH = 0.2, 1.3, 0.5, 1.7


def affine_work(key):
    z = jax.random.normal(key, (4000,))
    x = M + SCALE * z
    law = first_law(z**2 / 2, (x - MU) ** 2 / (2 * WIDTH**2), jnp.full(4000, jnp.log(SCALE)))
    half = jnp.mean(jnp.where(z < 0, jnp.exp(-law.work), 0))
    return jnp.stack([jnp.mean(law.work), jnp.mean(jnp.exp(-law.work)), half])


def test_work_of_an_affine_map_is_the_free_energy_and_the_divergence():
    """ΔF = -log δ; <W> = ΔF + KL; and of the half line z < 0 all are normalised by Z_q."""
    divergence = math.log(WIDTH / SCALE) + (SCALE**2 + (M - MU) ** 2) / (2 * WIDTH**2) - 0.5
    assert -math.log(WIDTH) == pytest.approx(-0.530628251062)
    assert -math.log(WIDTH) + divergence == pytest.approx(-0.454405786959)
    exact = np.array([-0.454405786959, WIDTH, 0.730935615])
    assert WIDTH * norm.cdf(M, MU, WIDTH) == pytest.approx(0.730935615, rel=1e-5)
    assert_unbiased(replicate("affine", affine_work), exact)


def test_heat_flows_into_what_expands_and_a_map_onto_its_own_image_produces_nothing():
    z = jax.random.normal(test_key("image"), (100,))
    law = first_law(
        z**2 / 2, (SCALE * z) ** 2 / (2 * SCALE**2), jnp.log(SCALE), temperature=1.0
    )
    assert float(law.heat) > 0
    assert float(law.exchanged_entropy) == pytest.approx(math.log(SCALE))
    # ΔF of the image is -log s: the work of every sample, reversible.
    np.testing.assert_allclose(law.work, -math.log(SCALE), atol=1e-6)
    hot = first_law(1.0, 3.0, 0.5, temperature=2.0)
    assert float(hot.heat / 2.0) == float(hot.exchanged_entropy)


# ---------------------------------------------------------------- what is refused

WEIGHTS = np.zeros(6)
IN = np.array([True, True, True, False, False, False])
REFUSED = {
    "none": (lambda: macrostates(WEIGHTS, {}), "at least one region; got none"),
    "overlap": (
        lambda: macrostates(WEIGHTS, {"a": IN, "b": np.roll(IN, 1)}),
        "'a' and 'b' have 2 samples in common",
    ),
    "shape": (
        lambda: macrostates(WEIGHTS, {"a": IN[:3]}),
        r"'a' must be booleans of shape \(6,\), one a sample; got bool of shape \(3,\)",
    ),
    "numbers": (lambda: macrostates(WEIGHTS, {"a": WEIGHTS}), "must be booleans"),
    "weights": (
        lambda: macrostates(WEIGHTS[None], {"a": IN}),
        r"shape \(n,\) with n ≥ 2; got \(1, 6\)",
    ),
    "a region of nobody": (
        lambda: macrostates(WEIGHTS, {"a": IN}, {"b": WEIGHTS}),
        r"given for \['b'\]; the regions are \['a'\]",
    ),
    "a name": (
        lambda: macrostates(WEIGHTS, {"a": IN}).difference("a", "c"),
        r"no region 'c'; the regions are \['a'\]",
    ),
    "traced": (
        lambda: jax.jit(lambda a: free_energy.macrostates(a, {"a": IN}).num_samples)(WEIGHTS),
        "looks at values",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused(case):
    call, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_a_region_of_a_small_share_is_doubted_as_the_whole_is():
    """The same samples inside, and none or many outside: what the target's see is the same."""
    rng = np.random.default_rng(3)
    x, of_target = 0.55 * rng.normal(size=1000), rng.normal(size=2000)

    def log_weights(x):
        return np.asarray(norm.logpdf(x) - norm.logpdf(x, 0.0, 0.55))

    def doubts(num_outside):
        share = math.log(1000 / (1000 + num_outside))
        values = np.concatenate([log_weights(x), np.zeros(num_outside)]) - share
        is_inside = np.arange(len(values)) < 1000
        found = macrostates(values, {"B": is_inside}, {"B": log_weights(of_target) - share})
        return [doubt.split(":")[0] for doubt in found.regions["B"].doubts]

    assert "samples of the target see" in doubts(0)[-1]
    assert doubts(99_000) == doubts(0)
