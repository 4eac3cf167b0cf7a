"""The bracket and its doubts; exact cross entropies of Gaussians and mixtures."""

import warnings

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import mixture

from jarzynski_jax import free_energy, targets
from jarzynski_jax.annealing import (
    AnnealingInfo,
    LogPartitionBounds,
    geometric_path,
    log_partition_bounds,
)
from jarzynski_jax.app import baselines
from jarzynski_jax.data.noise import add_noise, noise_entropy
from jarzynski_jax.walkers import langevin

ENERGIES = np.array([19.0, 20.0, 21.0])
GOOD = np.array([15.0, 15.1, 14.9, 15.0])


def _bounds(forward=GOOD, backward=GOOD + 0.1, relaxed=GOOD + 0.1, ess=0.6):
    info = AnnealingInfo(*(np.full((4, 10), ess) for _ in range(4)))
    return LogPartitionBounds(forward, backward, relaxed, None, info)


def test_a_good_bracket_is_believed():
    result = free_energy.bracket(ENERGIES, _bounds(), entropy_floor=13.76)
    assert result.doubts == ()
    assert result.lower == pytest.approx(35.0)
    assert result.upper == pytest.approx(35.1)
    assert result.lower_error == pytest.approx(np.std(GOOD, ddof=1) / 2)
    assert result.test_error == pytest.approx(1 / np.sqrt(3))


@pytest.mark.parametrize(
    ("bounds", "floor", "doubt"),
    [
        (_bounds(backward=GOOD + 3), 13.76, "3.0 nats apart"),
        (_bounds(relaxed=GOOD + 3), 13.76, "3.0 nats apart"),
        (_bounds(relaxed=GOOD - 1), 13.76, "relaxed from data is 1.0 nats below"),
        (_bounds(backward=GOOD - 1), 13.76, "end points is 1.0 nats below"),
        (_bounds(), 40.0, "below the entropy of the noise"),
        (_bounds(ess=0.01), 13.76, "fell to 1 %"),
        (_bounds(forward=np.full(4, -np.inf)), 13.76, "not finite"),
    ],
)
def test_each_doubt_is_raised(bounds, floor, doubt):
    doubts = free_energy.bracket(ENERGIES, bounds, floor).doubts
    assert any(doubt in text for text in doubts), doubts


def test_a_bracket_is_printed_with_its_errors_and_doubts():
    found = free_energy.bracket(ENERGIES, _bounds())
    assert str(found) == "35.000 ± 0.041 to 35.100 ± 0.041 nats"
    lines = str(free_energy.bracket(ENERGIES, _bounds(backward=GOOD + 3), 40.0)).splitlines()
    assert lines[0] == "35.000 ± 0.041 to 38.000 ± 0.041 nats"
    assert [line.split(":")[0] for line in lines[1:]] == ["not to be believed"] * 2
    assert repr(found).startswith("Bracket(lower=35.0")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_test_energies_that_are_not_finite_are_doubted_and_not_the_walkers(bad):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = free_energy.bracket(np.array([19.0, bad, bad]), _bounds())
    assert result.doubts == ("2 of 3 test energies are not finite",)


def test_values_that_are_traced_are_refused():
    with pytest.raises(ValueError, match=r"free_energy\.bracket looks at values.*jax\.jit"):
        jax.jit(lambda x: free_energy.bracket(x, _bounds()).lower)(ENERGIES)
    with pytest.raises(ValueError, match="log_partition_bracket looks at values"):
        jax.vmap(lambda x: free_energy.log_partition_bracket(_bounds(x)).lower)(GOOD[None])


def test_relaxed_samples_may_be_off_within_the_tolerance():
    result = free_energy.bracket(ENERGIES, _bounds(relaxed=GOOD - 0.3))
    assert result.doubts == ()
    assert result.relaxed == pytest.approx(34.7)
    assert free_energy.bracket(ENERGIES, _bounds(relaxed=None)).relaxed is None


def test_the_larger_backward_bound_counts():
    result = free_energy.bracket(ENERGIES, _bounds(relaxed=GOOD + 0.3))
    assert result.upper == pytest.approx(35.3)


def test_noise_entropy_is_that_of_scipy():
    expected = stats.multivariate_normal(np.zeros(5), 0.04 * np.eye(5)).entropy()
    assert noise_entropy(5, 0.2) == pytest.approx(expected)


def test_gaussian_cross_entropy_is_exact():
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(500, 3)) * [1, 2, 3], rng.normal(size=(40, 2, 3))
    covariance = np.cov(train.T, bias=True) + 0.09 * np.eye(3)
    exact = -stats.multivariate_normal(train.mean(axis=0), covariance).logpdf(test)
    values = baselines.gaussian_cross_entropy(train, test, 0.3)
    np.testing.assert_allclose(values, exact.mean(axis=1), rtol=1e-6)


def test_mixture_of_three_is_found_and_beats_one_gaussian():
    rng = np.random.default_rng(0)
    centres = np.array([[-8.0, 0], [8, 0], [0, 8]])
    clean = centres[rng.integers(3, size=600)] + 0.3 * rng.normal(size=(600, 2))
    test = add_noise(clean[:100], 0.3, 10, seed=1)
    values, count = baselines.mixture_cross_entropy(clean[100:], test, 0.3, (1, 2, 3))
    assert count == 3
    # Exact: log 3, and the entropy of a Gaussian of variance 0.09 + 0.09 in two dimensions.
    exact = np.log(3) + noise_entropy(2, np.sqrt(0.18))
    # The standard error of a mean of 100 test samples is about 0.07.
    assert values.mean() == pytest.approx(exact, abs=0.25)
    assert baselines.gaussian_cross_entropy(clean[100:], test, 0.3).mean() > exact + 1


def test_a_feature_that_never_varies_is_a_gaussian_of_its_own():
    """As scikit-learn has it, without the long way round."""
    rng = np.random.default_rng(0)
    varying = rng.normal(size=(300, 2)) + 4 * (rng.random((300, 1)) < 0.4)
    clean = np.column_stack([varying[:, 0], np.full(300, -1.0), varying[:, 1]])
    test = add_noise(clean[:50], 0.3, 3, seed=1)
    values, _ = baselines.mixture_cross_entropy(clean, test, 0.3, (2,))
    model = mixture.GaussianMixture(2, reg_covar=0.09, max_iter=300, random_state=0).fit(clean)
    expected = -model.score_samples(test.reshape(-1, 3).astype(np.float64)).reshape(50, 3)
    np.testing.assert_allclose(values, expected.mean(axis=1), rtol=1e-5)


def test_noise_copies():
    noisy = add_noise(np.zeros((2000, 3), np.float32), 0.3, 4, seed=0)
    assert noisy.shape == (2000, 4, 3)
    assert noisy.dtype == np.float32
    assert np.std(noisy) == pytest.approx(0.3, rel=0.02)
    assert add_noise(np.zeros((5, 3)), 0.0, 4, seed=0).shape == (5, 1, 3)


@pytest.mark.parametrize("relaxed", [None, GOOD[:1] + 0.1])
@pytest.mark.parametrize(("gap", "doubt"), [(3.0, "3.0 nats apart"), (-3.0, "3.0 nats below")])
def test_one_replicate_is_not_believed_for_want_of_an_error(relaxed, gap, doubt):
    info = AnnealingInfo(*(np.full((1, 10), 0.6) for _ in range(4)))
    bounds = LogPartitionBounds(GOOD[:1], GOOD[:1] + gap, relaxed, None, info)
    result = free_energy.bracket(ENERGIES, bounds)
    assert any(doubt in text for text in result.doubts)
    assert result.lower_error == np.inf
    fine = LogPartitionBounds(GOOD[:1], GOOD[:1] + 0.1, relaxed, None, info)
    assert free_energy.bracket(ENERGIES, fine).doubts == ()


offsets = st.floats(-1e4, 1e4)


@given(offsets, st.permutations(range(4)), st.floats(-2, 2))
def test_a_bracket_does_not_depend_on_offsets_and_order(offset, order, gap):
    """Energies and log Z move against each other where an energy is known to a constant."""
    order = np.array(order)
    plain = free_energy.bracket(ENERGIES, _bounds(backward=GOOD + gap, relaxed=None))
    moved = free_energy.bracket(
        ENERGIES[::-1] + offset,
        _bounds(GOOD[order] - offset, GOOD[order] + gap - offset, None),
    )
    np.testing.assert_allclose(moved[:4], plain[:4], atol=1e-6)
    assert moved.test_error == pytest.approx(plain.test_error)
    assert moved.doubts == plain.doubts


def test_log_z_itself_is_bracketed():
    found = free_energy.log_partition_bracket(_bounds())
    assert (found.lower, found.upper) == pytest.approx((15.0, 15.1))
    assert found.doubts == ()


NARROW = targets.gaussian([0.02] + [1.0] * 7)
WIDE = targets.gaussian([4.0] * 8)


@pytest.mark.parametrize(
    ("step_size", "num_steps", "cause"),
    [(0.04, 200, "time step"), (0.04, 2000, "time step"), (0.02, 20, "more annealing steps")],
)
def test_doubts_name_the_step_size_or_the_number_of_steps(step_size, num_steps, cause):
    """h = 0.04 is unstable for a variance of 0.02, which more steps make worse; 0.02 is not."""
    path = geometric_path(WIDE.logdensity_fn, NARROW.logdensity_fn)
    x = WIDE.sample(jax.random.key(0), 2000).reshape(4, 500, 8)
    bounds = jax.jit(
        lambda key: log_partition_bounds(
            key, x, path, WIDE.log_partition_function, langevin(step_size), num_steps
        )
    )(jax.random.key(1))
    doubts = free_energy.log_partition_bracket(bounds).doubts
    assert cause in doubts[0]
    is_step = cause == "time step"
    assert any("Take a smaller step size" in doubt for doubt in doubts) == is_step
    assert any("would bring them together" in doubt for doubt in doubts) != is_step


def test_integers_keep_their_noise():
    noisy = add_noise(np.full((500, 2), 200, np.uint8), 0.3, 4, seed=0)
    assert noisy.dtype == np.float32
    # 4000 squares of a normal: the standard error of the mean square is 2 % of it.
    assert abs(np.mean((noisy - 200) ** 2) / 0.09 - 1) < 0.1
    assert add_noise(np.ones((5, 3), bool), 0.0, 4, seed=0).dtype == np.float32


def test_what_never_varies_is_one_gaussian_of_the_noise():
    train, noise = np.full((20, 2), 7.0), np.array([[[0.3, -0.1]], [[0.0, 0.2]]])
    values, num_components = baselines.mixture_cross_entropy(
        train, train[:2, None] + noise, 0.3
    )
    expected = np.log(2 * np.pi * 0.09) + np.sum(noise**2, axis=(1, 2)) / 0.18
    np.testing.assert_allclose(values, expected)
    assert num_components == 1


def test_a_bracket_of_the_dead_says_so():
    """Nothing is known of a step where nobody arrived; that is no reason to crash."""
    info, dead = AnnealingInfo(*(np.zeros((2, 5)) for _ in range(4))), np.full(2, -np.inf)
    nowhere = np.full((2, 3), np.nan)
    bounds = LogPartitionBounds(dead, -dead, None, nowhere, info, info, None, np.zeros(2))
    assert any("not finite" in doubt for doubt in free_energy.bracket(ENERGIES, bounds).doubts)
