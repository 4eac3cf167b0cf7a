"""Resampling: exact counts by hypothesis, unbiasedness by z-scores over keys."""

from functools import partial

import blackjax
import blackjax.smc.resampling as blackjax_resampling
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import resampling, weights
from jarzynski_jax.resampling import (
    NO_ANCESTOR,
    adaptive,
    fixed_point,
    from_log_weights,
    multinomial,
    residual,
    stratified,
    systematic,
)

SCHEMES = [systematic, stratified, multinomial, residual]
LOG_SCHEMES = {scheme: from_log_weights(scheme) for scheme in SCHEMES}
INF = np.inf
each_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.__name__)
# (N, M), few of them, as each is compiled anew.
sizes = st.sampled_from([(1, 1), (1, 5), (6, 1), (7, 7), (40, 9), (5, 64)])
positive = st.floats(2.0**-100, 2.0**100, width=32) | st.floats(2.0**-7, 1, width=32)
compiled = jax.jit(
    lambda index, key, w, m: jax.lax.switch(
        index, [partial(s, num_samples=m) for s in SCHEMES], key, w
    ),
    static_argnums=3,
)


def draw(scheme, seed, w, num_samples):
    ancestors = compiled(SCHEMES.index(scheme), jax.random.key(seed), w, num_samples)
    assert ancestors.shape == (num_samples,)
    assert ancestors.dtype == jnp.int32
    return np.asarray(ancestors)


@st.composite
def weights_and_size(draw_from):
    """Weights from 0 to 1e30, at least one positive, and a number of samples."""
    n, m = draw_from(sizes)
    w = draw_from(npst.arrays(np.float32, n, elements=st.just(0.0) | positive))
    w[draw_from(st.integers(0, n - 1))] = draw_from(positive)
    return w, m


def expected_counts(w, num_samples):
    w = np.asarray(w, np.float64)
    return num_samples * w / w.sum()


def rounding(num_samples):
    """The weights are scaled by one float32 factor, so M p_i is known to M 2^-22."""
    return num_samples * 2.0**-22


seeds = st.integers(0, 2**31 - 1)


@given(weights_and_size(), seeds)
def test_systematic_draws_floor_or_ceil(case, seed):
    w, m = case
    counts = np.bincount(draw(systematic, seed, w, m), minlength=w.size)
    mean, tolerance = expected_counts(w, m), rounding(m)
    assert np.all(counts >= np.floor(mean - tolerance))
    assert np.all(counts <= np.ceil(mean + tolerance))


@given(weights_and_size(), seeds)
def test_stratified_is_off_by_less_than_two(case, seed):
    """A walker's interval of length M p covers all but its two end strata in full."""
    w, m = case
    counts = np.bincount(draw(stratified, seed, w, m), minlength=w.size)
    assert np.all(np.abs(counts - expected_counts(w, m)) < 2 + rounding(m))


@given(weights_and_size(), seeds)
def test_residual_draws_at_least_floor(case, seed):
    w, m = case
    counts = np.bincount(draw(residual, seed, w, m), minlength=w.size)
    assert np.all(counts >= np.floor(expected_counts(w, m) - rounding(m)))


@each_scheme
@given(weights_and_size(), seeds)
@settings(max_examples=40)
def test_ancestors_exist_and_have_weight(scheme, case, seed):
    w, m = case
    ancestors = draw(scheme, seed, w, m)
    assert np.all((ancestors >= 0) & (ancestors < w.size))
    assert np.all(w[ancestors] > 0)
    if scheme in (systematic, stratified):
        assert np.all(np.diff(ancestors) >= 0)


@each_scheme
@given(weights_and_size(), seeds, st.integers(-20, 20))
@settings(max_examples=30)
def test_weights_need_not_be_normalised(scheme, case, seed, power):
    """A factor of a power of two changes no bit of the arithmetic."""
    w, m = case
    w = np.clip(w, 0, 2.0**80)
    w = np.where(w < 2.0**-80, 0, w).astype(np.float32)
    if not w.any():
        w[0] = 1
    scaled = (w * 2.0**power).astype(np.float32)
    np.testing.assert_array_equal(draw(scheme, seed, w, m), draw(scheme, seed, scaled, m))


UNUSABLE = {
    "nan": [1.0, np.nan, 1.0],
    "negative": [1.0, -1e-3, 1.0],
    "inf": [1.0, INF, 1.0],
    "minus inf": [1.0, -INF, 1.0],
    "all nan": [np.nan] * 3,
    "all inf": [INF] * 3,
    "all zero": [0.0, 0.0, 0.0],
    "all negative": [-1.0, -2.0, -1.0],
}


@each_scheme
@pytest.mark.parametrize("w", UNUSABLE.values(), ids=UNUSABLE.keys())
@pytest.mark.parametrize("transform", [lambda f, **_: f, jax.jit], ids=["eager", "jit"])
def test_unusable_weights_have_no_ancestor(scheme, w, transform):
    resample = transform(scheme, static_argnames="num_samples")
    ancestors = resample(jax.random.key(0), jnp.array(w), num_samples=4)
    assert ancestors.tolist() == [NO_ANCESTOR] * 4


@each_scheme
@pytest.mark.parametrize(
    "log_weights",
    [[-INF, -INF, -INF], [0.0, np.nan, 0.0], [0.0, INF, 0.0], [np.nan, -INF, -INF]],
    ids=str,
)
@pytest.mark.parametrize("transform", [lambda f, **_: f, jax.jit], ids=["eager", "jit"])
def test_unusable_log_weights_have_no_ancestor(scheme, log_weights, transform):
    resample = transform(LOG_SCHEMES[scheme], static_argnames="num_samples")
    ancestors = resample(jax.random.key(0), jnp.array(log_weights), num_samples=2)
    assert ancestors.tolist() == [NO_ANCESTOR] * 2


@each_scheme
@pytest.mark.parametrize("offset", [-2000.0, 0.0, 2000.0])
def test_log_weights_of_any_size(scheme, offset):
    log_weights = jnp.array([-INF, 0.0, -INF, 0.0]) + offset
    ancestors = from_log_weights(scheme)(jax.random.key(0), log_weights, 64)
    assert set(ancestors.tolist()) == {1, 3}


# ---------------------------------------------------------------- unbiased


def mean_counts(resample, w, num_samples, num_keys=20_000):
    """Counts of each walker over independent keys, shape (num_keys, N)."""
    keys = jax.random.split(test_key("unbiased"), num_keys)

    def counts(key):
        ancestors = resample(key, w, num_samples)
        return jnp.zeros(w.shape[0]).at[ancestors].add(1)

    return jax.jit(jax.vmap(counts))(keys)


SKEWED = jnp.array([0.05, 0.5, 0.0, 0.13, 0.02, 0.3])


@each_scheme
@pytest.mark.parametrize("num_samples", [1, 6, 17])
def test_unbiased(scheme, num_samples):
    """E[count_i] = M p_i, |z| < 4.5 over 20 000 keys, for M below, at and above N."""
    counts = mean_counts(scheme, 3 * SKEWED, num_samples)
    assert_unbiased(counts, expected_counts(SKEWED, num_samples))


@each_scheme
def test_canary_a_resampler_with_wrong_probabilities_is_caught(scheme):
    """Drawing from p^1.1 shifts a count of 1/2 by about 4 %, dozens of standard errors."""
    assert_biased(mean_counts(scheme, SKEWED**1.1, 6), expected_counts(SKEWED, 6))


def test_multinomial_draws_are_independent():
    """Var(count_i) = M p_i (1 - p_i) and Cov(count_i, count_j) = -M p_i p_j."""
    m, p = 6, np.asarray(SKEWED, np.float64)
    counts = np.asarray(mean_counts(multinomial, SKEWED, m), np.float64) - m * p
    products = counts[:, :, None] * counts[:, None, :]
    assert_unbiased(products, m * (np.diag(p) - np.outer(p, p)))


# ---------------------------------------------------------------- large ensembles

LARGE = 2**20


def large_weights(kind):
    rng = np.random.default_rng(0)
    w = rng.exponential(size=LARGE).astype(np.float32)
    if kind == "heavy":
        w[LARGE // 3] = w.sum(dtype=np.float64)
    elif kind == "lognormal":
        w = np.exp(3 * rng.normal(size=LARGE)).astype(np.float32)
    return w


def errors(ancestors, w):
    """|count - M p|, walker by walker and summed up to each walker, against float64."""
    mean = expected_counts(w, LARGE)
    error = np.bincount(ancestors, minlength=LARGE)[:LARGE] - mean
    return np.abs(error), np.abs(np.cumsum(error))


@pytest.mark.parametrize("kind", ["exponential", "heavy", "lognormal"])
def test_systematic_with_a_million_walkers_in_float32(kind):
    """|count - M p| < 1, for every walker and for the first i of them, all i.

    A count M p is known to the one rounding of the common factor, M p 2^-23; the largest
    weight also takes what rounding leaves over, M 2^-23 at most.
    """
    w = large_weights(kind)
    ancestors = jax.jit(systematic, static_argnums=2)(test_key(kind), w, LARGE)
    error, error_of_sum = errors(ancestors, w)
    tolerance = 2.0**-22 * np.maximum(expected_counts(w, LARGE), 1)
    tolerance[w.argmax()] += LARGE * 2.0**-23
    assert np.all(error < 1 + tolerance)
    assert error_of_sum.max() < 1 + LARGE * 2.0**-23


def test_canary_a_float32_cumulative_sum_is_caught():
    """The textbook comb on a float32 cumulative sum is off by more than a copy."""
    w = large_weights("heavy")
    cumulative = np.cumsum(w / w.sum(), dtype=np.float32)
    comb = (np.arange(LARGE) + 0.5) / LARGE
    _, error_of_sum = errors(np.searchsorted(cumulative, comb), w)
    assert error_of_sum.max() > 2


@pytest.mark.parametrize("scheme", [stratified, multinomial, residual])
def test_other_schemes_with_a_million_walkers(scheme):
    """The heavy walker has half of the weight: its count is M/2 to 4.5 standard deviations.

    Multinomial: sqrt(M)/2 = 512. The others: less. The next to it is a binomial too.
    """
    w = large_weights("heavy")
    ancestors = np.asarray(jax.jit(scheme, static_argnums=2)(test_key("large"), w, LARGE))
    heavy = LARGE // 3
    assert abs(np.sum(ancestors == heavy) - LARGE / 2) < 4.5 * np.sqrt(LARGE) / 2
    share = w[:heavy].sum(dtype=np.float64) / w.sum(dtype=np.float64)
    spread = np.sqrt(LARGE * share * (1 - share))
    assert abs(np.sum(ancestors < heavy) - LARGE * share) < 4.5 * spread
    # A million draws from an exponential crowd: about M/2 distinct of them, not a handful.
    assert np.unique(ancestors).size > LARGE / 5


@each_scheme
def test_few_of_many(scheme):
    """M << N: 30 of a million equal walkers, uniform over the index: mean and variance.

    The mean index of M uniform draws is N/2 with a standard deviation of N / sqrt(12 M).
    """
    w = jnp.ones(LARGE)
    resample = jax.jit(partial(scheme, num_samples=30))
    keys = jax.random.split(test_key("few"), 20)
    ancestors = np.stack([resample(key, w) for key in keys])
    score = (ancestors.mean() / LARGE - 0.5) * np.sqrt(12 * ancestors.size)
    assert abs(score) < 4.5
    assert np.unique(ancestors).size > 0.99 * ancestors.size


@each_scheme
def test_many_of_few(scheme):
    ancestors = jax.jit(scheme, static_argnums=2)(test_key("many"), SKEWED, LARGE)
    counts = np.bincount(ancestors, minlength=6)
    spread = np.sqrt(expected_counts(SKEWED, LARGE)) + 1
    assert np.all(np.abs(counts - expected_counts(SKEWED, LARGE)) < 4.5 * spread)


# ---------------------------------------------------------------- extreme uniform numbers

TOP = np.uint32(2**32 - 1)


@pytest.mark.parametrize("num", [1, 31, 32, 33, 255, 257, 5000])
@pytest.mark.parametrize("dtype", [jnp.int32, jnp.uint32])
def test_cumulative_sums_by_blocks_are_exact_and_wrap_around(num, dtype):
    integers = np.random.default_rng(num).integers(0, 2**31, num).astype(dtype)
    expected = np.cumsum(integers, dtype=dtype)
    assert np.array_equal(fixed_point.cumulative_sum(jnp.asarray(integers)), expected)


@partial(jax.jit, static_argnums=1)
def comb_at_both_ends(w, m):
    """The cumulative distribution, and the ancestors at the least and the greatest u."""
    substrata = -(-w.shape[0] // m)
    cumulative = fixed_point.cumulative_distribution(w, m * substrata)
    lowest = fixed_point.FixedPoint(jnp.int32(0), jnp.uint32(0))
    highest = fixed_point.FixedPoint(jnp.int32(substrata - 1), TOP)
    ancestors = [
        fixed_point.comb_ancestors(cumulative, offset, m, substrata)
        for offset in (lowest, highest)
    ]
    return cumulative, ancestors


@given(weights_and_size())
def test_comb_at_the_ends_of_the_uniform_number(case):
    """At u = 0 and at the u just below 1 no ancestor of zero weight, none out of range."""
    w, m = case
    cumulative, both_ancestors = comb_at_both_ends(w, m)
    whole = m * -(-w.size // m)
    assert (int(cumulative.whole[-1]), int(cumulative.fraction[-1])) == (whole, 0)
    for ancestors in map(np.asarray, both_ancestors):
        assert np.all((ancestors >= 0) & (ancestors < w.size))
        assert np.all(w[ancestors] > 0)
        counts = np.bincount(ancestors, minlength=w.size)
        assert np.all(np.abs(counts - expected_counts(w, m)) < 1 + rounding(m))


@jax.jit
def search_at_both_ends(w):
    cumulative = fixed_point.cumulative_distribution(w, w.shape[0])
    points = fixed_point.FixedPoint(
        jnp.array([0, w.shape[0] - 1], jnp.int32), jnp.array([0, TOP], jnp.uint32)
    )
    return cumulative, fixed_point.search(cumulative, points)


@given(weights_and_size())
def test_search_at_the_ends_of_the_uniform_number(case):
    cumulative, ancestors = search_at_both_ends(case[0])
    used = np.flatnonzero(np.diff(cumulative_float64(cumulative), prepend=0))
    assert ancestors.tolist() == [used[0], used[-1]]


def cumulative_float64(cumulative):
    return np.asarray(cumulative.whole, np.float64) + np.asarray(cumulative.fraction) / 2**32


# ---------------------------------------------------------------- dtypes and errors


@each_scheme
@pytest.mark.parametrize("low", [jnp.bfloat16, jnp.float16, jnp.int32])
def test_other_dtypes_of_weights(scheme, low):
    ancestors = scheme(jax.random.key(0), jnp.array([0, 1, 0, 3], low), 8)
    assert set(ancestors.tolist()) <= {1, 3}
    assert ancestors.dtype == jnp.int32


@each_scheme
def test_bfloat16_log_weights(scheme):
    log_weights = jnp.array([-INF, 0.0, -INF, 1.0], jnp.bfloat16)
    assert set(from_log_weights(scheme)(jax.random.key(0), log_weights, 8).tolist()) == {1, 3}


@each_scheme
@pytest.mark.parametrize("of", [jnp.float32, jnp.float64])
def test_in_64_bit_mode(scheme, of, x64):
    """int32 ancestors, and for float32 weights the same ones as without the mode."""
    w = jnp.asarray(np.random.default_rng(3).exponential(size=100), of)
    resample = jax.jit(partial(scheme, num_samples=100))
    ancestors = resample(jax.random.key(3), w)
    assert ancestors.dtype == jnp.int32
    with jax.enable_x64(False):
        w32 = jnp.asarray(np.asarray(w, np.float32))
        expected = resample(jax.random.key(3), w32)
    # float64 weights differ from float32 ones by a rounding that moves no point here.
    np.testing.assert_array_equal(ancestors, expected)


@pytest.mark.parametrize("of", [jnp.float32, jnp.float64])
def test_systematic_floor_or_ceil_in_64_bit_mode(of, x64):
    w = jnp.asarray(np.random.default_rng(4).exponential(size=10_000), of)
    ancestors = jax.jit(systematic, static_argnums=2)(jax.random.key(4), w, 10_000)
    counts = np.bincount(ancestors, minlength=10_000)
    assert np.all(np.abs(counts - expected_counts(w, 10_000)) < 1 + rounding(10_000))


@each_scheme
@pytest.mark.parametrize(
    ("w", "num_samples", "message"),
    [
        (jnp.ones((2, 2)), 2, "shape"),
        (jnp.ones(()), 2, "shape"),
        (jnp.ones(0), 2, "shape"),
        (jnp.ones(3), 0, "at least 1"),
        (jnp.ones(3), -1, "at least 1"),
        (jnp.ones(3), 2**24 + 1, "at most 2\\^24"),
    ],
)
def test_static_mistakes(scheme, w, num_samples, message):
    with pytest.raises(ValueError, match=message):
        scheme(jax.random.key(0), w, num_samples)


@each_scheme
def test_no_recompilation(scheme):
    resample = jax.jit(partial(scheme, num_samples=5))
    for seed in range(3):
        resample(jax.random.key(seed), jnp.arange(5.0) + seed)
    assert resample._cache_size() == 1


@each_scheme
def test_vmap_equals_one_by_one(scheme):
    keys = jax.random.split(jax.random.key(5), 4)
    w = jnp.asarray(np.random.default_rng(5).exponential(size=(4, 12)), jnp.float32)
    resample = jax.jit(partial(scheme, num_samples=12))
    mapped = jax.jit(jax.vmap(resample))(keys, w)
    singly = [resample(key, row) for key, row in zip(keys, w, strict=True)]
    np.testing.assert_array_equal(mapped, singly)


# ---------------------------------------------------------------- adaptive

UNEVEN = jnp.log(jnp.array([4.0, 1.0, 1.0, 2.0, 0.5, 0.0]))


def uneven(seed, size=50):
    return jnp.asarray(np.random.default_rng(seed).normal(size=size) * 2, jnp.float32)


@each_scheme
def test_adaptive_conserves_the_mean_weight(scheme):
    """Every new log-weight is the log-mean-exp of the old, to rounding."""
    resample = jax.jit(adaptive(scheme, 1.0))
    for shift in (0.0, -500.0, 500.0):
        log_weights = uneven(0) + shift
        _, new, info = resample(jax.random.key(0), log_weights)
        assert bool(info.is_resampled)
        assert np.unique(new).size == 1
        expected = weights.log_mean_exp(log_weights)
        np.testing.assert_allclose(new, expected, rtol=3e-7)
        np.testing.assert_allclose(weights.log_mean_exp(new), expected, rtol=3e-7)


def unnormalised_mean(resample, key, log_weights, values):
    """(1/N) Σ f e^A after resampling; on average what it was before."""
    ancestors, new = resample(key, log_weights)
    return jnp.mean(values[ancestors] * jnp.exp(new))


ADAPTED_LOG_WEIGHTS, ADAPTED_VALUES = uneven(1, 20), jnp.arange(20.0)


def estimates_after(resample):
    keys = jax.random.split(test_key("adaptive"), 20_000)
    return jax.jit(
        jax.vmap(lambda k: unnormalised_mean(resample, k, ADAPTED_LOG_WEIGHTS, ADAPTED_VALUES))
    )(keys)


EXPECTED_AFTER = np.mean(
    np.asarray(ADAPTED_VALUES, np.float64) * np.exp(np.asarray(ADAPTED_LOG_WEIGHTS, np.float64))
)


@each_scheme
def test_adaptive_keeps_expectations(scheme):
    """E[(1/N) Σ f(X_i) e^{A_i}] is the same before and after; |z| < 4.5, 20 000 keys."""
    resample = adaptive(scheme, 1.0)
    assert_unbiased(estimates_after(lambda *args: resample(*args)[:2]), EXPECTED_AFTER)


def test_canary_a_resampler_that_forgets_the_mean_weight_is_caught():
    def forgetful(key, log_weights):
        ancestors, _, _ = adaptive(systematic, 1.0)(key, log_weights)
        return ancestors, jnp.zeros_like(log_weights)

    assert_biased(estimates_after(forgetful), EXPECTED_AFTER)


@pytest.mark.parametrize("log_weights", [UNEVEN, jnp.full(6, -INF).at[0].set(0.0)])
def test_threshold_zero_is_never(log_weights):
    ancestors, new, info = adaptive(systematic, 0.0)(jax.random.key(0), log_weights)
    assert not bool(info.is_resampled)
    assert ancestors.tolist() == list(range(6))
    np.testing.assert_array_equal(new, log_weights)


@pytest.mark.parametrize(("log_weights", "expected"), [(UNEVEN, True), (jnp.zeros(6), False)])
def test_threshold_one_is_whenever_weights_differ(log_weights, expected):
    info = adaptive(systematic, 1.0)(jax.random.key(0), log_weights)[2]
    assert bool(info.is_resampled) is expected


@pytest.mark.parametrize(
    ("criterion", "threshold", "expected"),
    [
        # The weights (8, 1 × 8): ESS/N = 256/(9·72) = 0.395, perplexity/N = 0.6285.
        (weights.effective_sample_size, 0.39, False),
        (weights.effective_sample_size, 0.40, True),
        (weights.perplexity, 0.40, False),
        (weights.perplexity, 0.62, False),
        (weights.perplexity, 0.64, True),
    ],
)
def test_criterion(criterion, threshold, expected):
    log_weights = jnp.log(jnp.array([8.0] + [1.0] * 8))
    resample = jax.jit(adaptive(systematic, threshold, criterion))
    _, _, info = resample(jax.random.key(0), log_weights)
    assert bool(info.is_resampled) is expected
    np.testing.assert_allclose(info.effective_sample_size, criterion(log_weights), rtol=1e-6)


@pytest.mark.parametrize(
    "log_weights", [[-INF] * 3, [0.0, np.nan, 0.0], [np.nan] * 3, [0.0, INF, 0.0]], ids=str
)
def test_dead_ensemble_is_reported_and_left_alone(log_weights):
    resample = jax.jit(adaptive(systematic, 1.0))
    ancestors, new, info = resample(jax.random.key(0), jnp.array(log_weights))
    assert bool(info.is_dead)
    assert not bool(info.is_resampled)
    assert ancestors.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(new, np.array(log_weights, np.float32))


def test_one_dead_walker_does_not_kill_the_ensemble():
    log_weights = jnp.array([0.0, -INF, 0.0, 0.0])
    ancestors, new, info = adaptive(systematic, 1.0)(jax.random.key(0), log_weights)
    assert not bool(info.is_dead)
    assert 1 not in ancestors.tolist()
    np.testing.assert_allclose(new, np.log(0.75), rtol=1e-6)


@pytest.mark.parametrize("threshold", [-0.1, 1.01, np.nan, INF])
def test_threshold_outside_zero_to_one(threshold):
    with pytest.raises(ValueError, match="ess_threshold"):
        adaptive(systematic, threshold)


# ---------------------------------------------------------------- BlackJAX


@pytest.mark.parametrize("name", ["systematic", "stratified", "multinomial", "residual"])
def test_blackjax_resamplers_fit_into_adaptive(name):
    """A resampler of BlackJAX, told log-weights by us, keeps Σ f e^A on average."""
    resample = adaptive(getattr(blackjax_resampling, name), 1.0)
    assert_unbiased(estimates_after(lambda *args: resample(*args)[:2]), EXPECTED_AFTER)


def tempered_smc(scheme):
    """BlackJAX's tempered SMC from N(0, 1) to N(0, 1/4) in two steps, 1000 particles."""
    algorithm = blackjax.tempered_smc(
        lambda x: -jnp.sum(x**2) / 2,
        lambda x: -1.5 * jnp.sum(x**2),
        blackjax.mala.build_kernel(),
        blackjax.mala.init,
        {"step_size": jnp.array([0.1])},
        resampling_fn=scheme,
        num_mcmc_steps=10,
    )

    def estimate(key):
        key_start, key_first, key_second = jax.random.split(key, 3)
        state = algorithm.init(jax.random.normal(key_start, (1000, 1)))
        state, first = algorithm.step(key_first, state, 0.5)
        state, second = algorithm.step(key_second, state, 1.0)
        return (
            second.ancestors,
            first.log_likelihood_increment + second.log_likelihood_increment,
        )

    return estimate


@each_scheme
def test_ours_fit_into_blackjax_smc(scheme):
    """The evidence estimates Z_1/Z_0 = 1/2 without bias, in two increments.

    The second step begins with a resampling by unequal weights. BlackJAX's evidence is
    unbiased with an unbiased resampler; |z| < 4.5 over 64 replicates.
    """
    ancestors, log_evidence = replicate("smc", tempered_smc(scheme))
    assert ancestors.min() >= 0
    assert np.unique(ancestors[0]).size < 1000
    assert_unbiased(np.exp(log_evidence), 0.5)


# ---------------------------------------------------------------- islands


def island_draw(log_weights, num_islands, ess_threshold=0.9, exchange_threshold=0.0, seed=0):
    resample = resampling.islands(systematic, num_islands, ess_threshold, exchange_threshold)
    return resample(jax.random.key(seed), jnp.asarray(log_weights))


@pytest.mark.parametrize("num_islands", [1, 2, 5, 10])
def test_walkers_stay_on_their_island_and_islands_keep_their_weight(num_islands):
    log_weights = 2 * jax.random.normal(test_key("islands"), (100,))
    ancestors, new, info = island_draw(log_weights, num_islands)
    size = 100 // num_islands
    np.testing.assert_array_equal(ancestors // size, np.arange(100) // size)
    before, after = (
        np.exp(np.asarray(w, np.float64)).reshape(num_islands, -1).sum(axis=1)
        for w in (log_weights, new)
    )
    np.testing.assert_allclose(after, before, rtol=1e-5)
    assert bool(info.is_resampled)
    assert float(info.effective_sample_size) == pytest.approx(
        float(weights.effective_sample_size(log_weights))
    )


def test_an_island_that_is_well_is_left_alone():
    log_weights = np.log(np.array([1.0, 1.0, 1.0, 1.1, 9.0, 0.0, 0.0, 0.0]) + 1e-30)
    ancestors, new, info = island_draw(log_weights, 2)
    assert ancestors.tolist() == [0, 1, 2, 3, 4, 4, 4, 4]
    np.testing.assert_allclose(new[:4], log_weights[:4], rtol=1e-6)
    np.testing.assert_allclose(new[4:], np.log(9 / 4), rtol=1e-5)
    assert bool(info.is_resampled)


def test_islands_exchange_when_they_have_drifted_apart():
    log_weights = np.repeat([0.0, 10.0], 4)
    ancestors, new, _ = island_draw(log_weights, 2, exchange_threshold=0.8)
    assert np.all(np.asarray(ancestors) >= 4)
    np.testing.assert_allclose(new, np.log((1 + np.exp(10.0)) / 2), rtol=1e-6)
    ancestors, new, info = island_draw(log_weights, 2, exchange_threshold=0.0)
    np.testing.assert_array_equal(ancestors, np.arange(8))
    np.testing.assert_allclose(new, log_weights)
    assert not bool(info.is_resampled)


def test_a_dead_island_is_peopled_again():
    log_weights = np.array([-np.inf, -np.inf, 0.0, 0.0])
    ancestors, new, info = island_draw(log_weights, 2, exchange_threshold=0.9)
    assert np.all(np.asarray(ancestors) >= 2)
    np.testing.assert_allclose(new, np.log(0.5), rtol=1e-6)
    _, new, info = island_draw(np.full(4, -np.inf), 2)
    assert bool(info.is_dead)
    assert np.all(np.isneginf(new))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0.5, 0.5), "num_islands must be at least 1; got 0"),
        ((2, 1.5, 0.5), "ess_threshold"),
        ((2, 0.5, -1.0), "exchange_threshold"),
    ],
)
def test_bad_islands_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        resampling.islands(systematic, *arguments)


def test_islands_must_be_of_one_size():
    with pytest.raises(ValueError, match="must divide the number of walkers, 7; got 2"):
        island_draw(np.zeros(7), 2)
