"""Autocorrelation times, against closed forms of linear recursions and of enumerated chains."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import lfilter
from zscore import BASE_SEED

from jarzynski_jax.free_energy import autocorrelation


def recursion(coefficient, num_chains, length, seed=0):
    """x' = a x + noise, stationary from the start: τ = (1 + a) / 2(1 - a)."""
    noise = np.random.default_rng([BASE_SEED, seed]).normal(size=(num_chains, length))
    noise[:, 0] /= np.sqrt(1 - coefficient**2)
    return lfilter([1.0], [1.0, -coefficient], noise, axis=1)


def exact_time(coefficient):
    return (1 + coefficient) / (1 - coefficient) / 2


@pytest.mark.parametrize("coefficient", [-0.9, -0.5, 0.0, 0.5, 0.9, 0.98])
@pytest.mark.parametrize(("num_chains", "length"), [(1, 40_000), (7, 6_001), (40, 5_000)])
def test_times_of_linear_recursions(coefficient, num_chains, length):
    """Within 4.5 errors, of 1 seed; below one half where values alternate."""
    found = autocorrelation(recursion(coefficient, num_chains, length))
    time, error = found.time
    assert abs(time - exact_time(coefficient)) < 4.5 * error + 0.02 * exact_time(coefficient)
    assert error < 0.2 * time + 0.02
    assert found.doubts == ()
    size = num_chains * length / (2 * exact_time(coefficient))
    assert float(found.effective_sample_size) == pytest.approx(size, rel=0.5)


def test_errors_are_the_spread_over_repetitions():
    """Of τ and of the mean: over 200 repetitions z-scores have the variance 1 ± 0.3."""
    exact = exact_time(0.8)
    all_values = recursion(0.8, 200, 20_000, seed=1)
    found = [autocorrelation(values) for values in all_values]
    of_times = [float((of.time.value - exact) / of.time.standard_error) for of in found]
    of_means = [float(of.mean.value / of.mean.standard_error) for of in found]
    for scores in (of_times, of_means):
        assert np.mean(scores) == pytest.approx(0, abs=0.35)
        assert np.var(scores) == pytest.approx(1, abs=0.35)


def test_canary_errors_of_independent_values_are_too_small():
    all_values = recursion(0.8, 200, 20_000, seed=1)
    naive = all_values.mean(1) / (all_values.std(1) / np.sqrt(20_000))
    assert np.var(naive) > 1.35


def test_independent_values_have_the_textbook_error():
    """sd/sqrt(Mn) within 1 %, for which it takes many: τ adds its own error."""
    values = recursion(0.0, 8, 100_000, seed=2)
    found = autocorrelation(values)
    textbook = values.std(ddof=1) / np.sqrt(values.size)
    assert float(found.mean.standard_error) == pytest.approx(textbook, rel=0.01)
    assert float(found.mean.value) == pytest.approx(values.mean(), rel=1e-4)


def test_what_alternates_is_worth_more_than_there_is():
    """ρ = -1/2: τ = 1/6, three times as many values; a cut at negative ρ would say one half."""
    found = autocorrelation(recursion(-0.5, 4, 20_000, seed=3))
    assert float(found.effective_sample_size) == pytest.approx(3 * 80_000, rel=0.1)


@pytest.mark.parametrize("frozen", [0.0, 5.0, 0.1])
@pytest.mark.parametrize("noise", [0.0, 1e-30])
def test_a_frozen_chain_is_worth_nothing(frozen, noise):
    values = frozen + noise * np.random.default_rng(0).normal(size=2000)
    found = autocorrelation(jnp.asarray(values if frozen else 0 * values, jnp.float32))
    assert np.isnan(found.time.value)
    assert float(found.effective_sample_size) == 0
    assert "do not change" in found.doubts[0]


def test_noise_about_zero_is_no_frozen_chain():
    """Of 1e-30 too: there is no size below which values do not change."""
    values = np.random.default_rng(0).normal(size=2000)
    large, small = (autocorrelation(jnp.asarray(values * size)) for size in (1.0, 1e-30))
    assert not small.doubts
    np.testing.assert_allclose(small.time.value, large.time.value, rtol=1e-4)


def test_chains_that_all_drift():
    """32 chains of 500 values, unit noise on a drift of ±2: not 0 because their means agree."""
    noise = np.random.default_rng(BASE_SEED).normal(size=(32, 500))
    sign = np.where(np.arange(32) % 2, 1, -1)[:, None]
    found = autocorrelation(noise + 2 * sign * np.linspace(-1, 1, 500))
    assert float(found.time.value) > 40
    assert "too short" in found.doubts[0]


def test_chains_that_stay_in_two_places_have_not_mixed():
    noise = np.random.default_rng(BASE_SEED).normal(size=(8, 2000))
    found = autocorrelation(noise + 3 * np.where(np.arange(8) % 2, 1, -1)[:, None])
    assert "too short" in found.doubts[0]


def test_one_switch_between_two_modes_is_told():
    noise = 0.1 * np.random.default_rng(BASE_SEED).normal(size=4000)
    found = autocorrelation(noise + np.where(np.arange(4000) < 1700, -1, 1))
    assert float(found.time.value) > 100
    assert "too short" in found.doubts[0]


def test_burn_in_is_told():
    values = recursion(0.5, 1, 2000)[0] + 40 * np.exp(-np.arange(2000) / 300)
    assert "burn-in" in autocorrelation(values).doubts[0]


@pytest.mark.parametrize("length", [2, 3, 10, 49])
def test_short_chains_give_a_number_and_a_doubt(length):
    """No error in the middle of a run; of few chains of few values, or of many."""
    for num_chains in (1, 200):
        found = autocorrelation(recursion(0.9, num_chains, length))
        assert np.isfinite(found.time.value)
        assert found.doubts != ()
        assert "tau" in str(found)


def test_one_function_for_all_chains_beats_a_time_for_each():
    """Chains of 200 values with τ = 9.5: the mean of their own times is too small."""
    chains = recursion(0.9, 50, 200)
    together = float(autocorrelation(chains).time.value)
    each = np.mean([float(autocorrelation(chain).time.value) for chain in chains])
    assert abs(together - 9.5) < abs(each - 9.5)


def test_thinned_values_keep_their_time():
    """Every 100th value of τ = 9.5 is independent: one half, and not less."""
    found = autocorrelation(recursion(0.9, 4, 200_000)[:, ::100])
    assert float(found.time.value) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(value):
    values = np.zeros(100)
    values[7] = value
    found = autocorrelation(values)
    assert np.isnan(found.time.value)
    assert found.doubts == ("some values are NaN or infinite",)


@pytest.mark.parametrize("shape", [(), (1,), (3, 1), (0, 5), (2, 3, 4)])
def test_bad_shapes(shape):
    with pytest.raises(ValueError, match="values must have shape"):
        autocorrelation(np.zeros(shape))


def test_traced_values_are_refused():
    with pytest.raises(ValueError, match="looks at values"):
        jax.jit(lambda x: autocorrelation(x).time)(jnp.zeros(10))
