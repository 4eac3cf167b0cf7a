import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.special import logsumexp
from scipy.stats import entropy

from jarzynski_jax import free_energy, weights

INF = np.inf
SUMMARIES = [weights.log_mean_exp, weights.effective_sample_size, weights.perplexity]
log_weight_arrays = npst.arrays(
    np.float32,
    st.sampled_from([1, 2, 7, 64]),
    elements=st.floats(-200, 200, width=32) | st.just(-INF),
).filter(lambda a: np.any(np.isfinite(a)))


def truth(log_weights):
    """Log-mean-exp, ESS/N and perplexity/N in float64."""
    a = np.asarray(log_weights, np.float64)
    p = np.exp(a - logsumexp(a))
    n = a.size
    return logsumexp(a) - np.log(n), 1 / (n * np.sum(p**2)), np.exp(entropy(p)) / n


@given(log_weight_arrays)
def test_summaries_agree_with_float64(log_weights):
    """To the float32 rounding of exp(A - max A), whose argument is up to 400."""
    for summary, expected in zip(SUMMARIES, truth(log_weights), strict=True):
        np.testing.assert_allclose(summary(log_weights), expected, rtol=2e-4, atol=1e-4)


@given(log_weight_arrays)
def test_normalize_sums_to_one_and_is_zero_only_for_the_dead(log_weights):
    p = np.asarray(weights.normalize(log_weights), np.float64)
    assert p.sum() == pytest.approx(1, abs=1e-5)
    assert np.all(p[np.isneginf(log_weights)] == 0)


@given(log_weight_arrays)
def test_fractions_are_ordered(log_weights):
    """1/N ≤ ESS/N ≤ perplexity/N ≤ 1: Rényi's entropy falls with its order."""
    ess, perplexity = (float(summary(log_weights)) for summary in SUMMARIES[1:])
    assert 1 / log_weights.size * (1 - 1e-5) <= ess <= perplexity * (1 + 1e-5)
    assert perplexity <= 1 + 1e-5


@pytest.mark.parametrize("shift", [-3e4, -100.0, 1000.0, 3e4])
def test_a_common_factor_moves_only_the_mean(shift):
    log_weights = jnp.array([0.0, 1.0, -2.0, -jnp.inf])
    moved = log_weights + shift
    np.testing.assert_allclose(
        weights.log_mean_exp(moved), weights.log_mean_exp(log_weights) + shift, rtol=1e-6
    )
    for summary in SUMMARIES[1:]:
        # The shifted numbers are themselves rounded, to 2e-3 at 3e4.
        np.testing.assert_allclose(summary(moved), summary(log_weights), atol=4e-3)


def test_closed_forms():
    """m equal weights among N: ESS/N = perplexity/N = m/N; mean weight m/N."""
    log_weights = jnp.where(jnp.arange(8) < 2, 3.0, -jnp.inf)
    assert float(weights.effective_sample_size(log_weights)) == pytest.approx(0.25)
    assert float(weights.perplexity(log_weights)) == pytest.approx(0.25)
    assert float(weights.log_mean_exp(log_weights)) == pytest.approx(3 + np.log(0.25))


def test_dead_ensemble_is_zero_and_never_nan():
    dead = jnp.full(4, -jnp.inf)
    assert float(weights.log_mean_exp(dead)) == -INF
    assert float(weights.effective_sample_size(dead)) == 0
    assert float(weights.perplexity(dead)) == 0
    assert np.all(np.isnan(weights.normalize(dead)))


@pytest.mark.parametrize("summary", SUMMARIES)
def test_nan_is_not_hidden(summary):
    assert np.isnan(summary(jnp.array([0.0, jnp.nan, -jnp.inf])))


@pytest.mark.parametrize("summary", [*SUMMARIES, weights.normalize, weights.as_log_weights])
@pytest.mark.parametrize("shape", [(), (0,), (3, 2)])
def test_wrong_shapes_are_refused(summary, shape):
    with pytest.raises(ValueError, match=r"shape \(N,\)"):
        summary(jnp.zeros(shape))


@pytest.mark.parametrize("summary", [*SUMMARIES, weights.normalize])
@pytest.mark.parametrize("low", [jnp.bfloat16, jnp.float16, jnp.float32, jnp.int32])
def test_never_below_float32(summary, low):
    assert summary(jnp.zeros(3, low)).dtype == jnp.float32


@pytest.mark.parametrize("summary", [*SUMMARIES, weights.normalize])
def test_dtype_is_kept_in_64_bit_mode(summary, x64):
    assert summary(jnp.zeros(3, jnp.float32)).dtype == jnp.float32
    assert summary(jnp.zeros(3, jnp.float64)).dtype == jnp.float64


def test_float64_is_computed_in_float64(x64):
    log_weights = np.random.default_rng(0).normal(size=100) * 3
    for summary, expected in zip(SUMMARIES, truth(log_weights), strict=True):
        np.testing.assert_allclose(summary(jnp.asarray(log_weights)), expected, rtol=1e-13)


def test_a_large_ensemble_in_float32():
    """A million weights: the mean is right to 1e-5, as the sum is pairwise."""
    log_weights = np.random.default_rng(1).normal(size=2**20).astype(np.float32)
    for summary, expected in zip(SUMMARIES, truth(log_weights), strict=True):
        np.testing.assert_allclose(summary(log_weights), expected, rtol=1e-5)


def test_weighted_mean_of_a_pytree():
    log_weights = jnp.log(jnp.array([1.0, 2.0, 1.0]))
    values = {"a": jnp.array([1.0, 2.0, 3.0]), "b": (jnp.arange(12.0).reshape(3, 2, 2),)}
    means = weights.weighted_mean(log_weights, values)
    assert float(means["a"]) == pytest.approx(2)
    np.testing.assert_allclose(means["b"][0], np.arange(4.0, 8).reshape(2, 2), rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, INF, -INF])
def test_the_values_of_the_dead_do_not_enter(bad):
    values = jnp.array([[1.0, 2.0], [bad, bad]])
    means = weights.weighted_mean(jnp.array([0.0, -jnp.inf]), values)
    assert means.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("shape", [(2,), (), (4, 3)])
def test_weighted_mean_refuses_another_number_of_walkers(shape):
    with pytest.raises(ValueError, match="leading axis 3"):
        weights.weighted_mean(jnp.zeros(3), jnp.zeros(shape))


def test_several_ensembles_by_vmap():
    log_weights = jnp.array(np.random.default_rng(2).normal(size=(5, 20)), jnp.float32)
    for summary in SUMMARIES:
        singly = [summary(row) for row in log_weights]
        np.testing.assert_allclose(jax.vmap(summary)(log_weights), singly, rtol=1e-6)


def test_errors_of_a_hundred_thousand_walkers():
    """N (N - 1) is beyond 32 bits."""
    shares = jnp.full(100_000, 1e-5).at[0].add(1e-3).at[1:].add(-1e-3 / 99_999)
    p = np.asarray(shares, np.float64)
    exact = np.sqrt((len(p) * np.sum(p**2) - 1) / (len(p) - 1))
    assert float(weights.relative_error(shares)) == pytest.approx(exact, rel=1e-3)
    found = free_energy.importance_estimate(jnp.log(shares))
    error = float(found.log_partition_function.standard_error)
    assert error == pytest.approx(exact, rel=1e-3)
