"""The ensemble: moving, resampling on the shadow weight, pools and their blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_path import (
    at,
    exact_moments,
    run,
    sample,
    stiffening,
    target_at,
    weighted_moments,
)
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import annealing, resampling, targets, walkers, weights
from jarzynski_jax.annealing import geometric_path
from jarzynski_jax.kernels import ula
from jarzynski_jax.walkers import langevin

KERNEL = ula.build_kernel()
ALWAYS = resampling.adaptive(resampling.systematic, 1.0)
HALF = resampling.adaptive(resampling.systematic, 0.5)
move = jax.jit(walkers.move, static_argnums=(2, 3))
resample = jax.jit(walkers.resample, static_argnums=2)


def gaussian(x):
    return -jnp.sum(jnp.square(x)) / 2


def tree_gaussian(x):
    return sum(gaussian(leaf) for leaf in jax.tree.leaves(x))


def start(num=50, shape=(2,), name="start"):
    x = jax.random.normal(test_key(name), (num, *shape))
    return walkers.init(x, gaussian, ula.init)


def stiff(x):
    return 3 * gaussian(x)


def uneven():
    """An ensemble with uneven weights, after three moves under a stiffer target."""
    ensemble = start()
    for step_key in jax.random.split(test_key("uneven"), 3):
        ensemble, _ = move(step_key, ensemble, stiff, KERNEL, 0.2)
    return ensemble


def assert_trees_equal(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(a, b)


# ---------------------------------------------------------------- init


def test_init_is_an_unweighted_ensemble():
    x = {"a": jnp.ones((4, 2)), "b": (jnp.zeros((4, 3, 1)),)}
    ensemble = walkers.init(x, tree_gaussian, ula.init, 1.5)
    assert ensemble.log_weights.tolist() == [0.0] * 4
    assert_trees_equal(ensemble.position, x)
    np.testing.assert_allclose(ensemble.state.logdensity, -1.0)
    assert_trees_equal(ensemble.state.logdensity_grad, jax.tree.map(jnp.negative, x))
    assert float(ensemble.initial_log_partition_function) == 1.5
    assert float(walkers.log_partition_function(ensemble)) == 1.5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_first_position_is_dead(bad):
    x = jnp.arange(-2.0, 2.0)
    ensemble = walkers.init(x, lambda x: jnp.where(x > 0, bad, gaussian(x)), ula.init)
    assert ensemble.log_weights.tolist() == [0.0, 0.0, 0.0, -np.inf]
    assert float(walkers.log_partition_function(ensemble)) == pytest.approx(np.log(0.75))


@pytest.mark.parametrize(
    "positions",
    [
        jnp.zeros(()),
        jnp.zeros((0, 2)),
        {"a": jnp.zeros((3, 2)), "b": jnp.zeros(4)},
        {"a": jnp.zeros((3, 2)), "b": jnp.zeros(())},
        {},
    ],
    ids=["scalar", "none", "unequal", "one scalar", "empty"],
)
def test_positions_need_a_common_leading_axis(positions):
    with pytest.raises(ValueError, match="leading axis"):
        walkers.init(positions, tree_gaussian, ula.init)


@pytest.mark.parametrize("positions", [jnp.arange(3), {"a": jnp.zeros(3), "b": jnp.arange(3)}])
def test_positions_must_be_of_floating_point(positions):
    with pytest.raises(ValueError, match="floating point"):
        walkers.init(positions, tree_gaussian, ula.init)


@pytest.mark.parametrize("of", [jnp.float32, jnp.float64])
def test_dtype_is_kept_in_64_bit_mode(of, x64):
    x = jnp.ones((6, 2), of)
    ensemble = walkers.init(x, gaussian, ula.init, np.float64(1.0))
    ensemble, info = move(jax.random.key(0), ensemble, gaussian, KERNEL, 0.1)
    ensemble, _ = resample(jax.random.key(1), ensemble, ALWAYS)
    leaves = jax.tree.leaves((ensemble._replace(roots=None), info.log_weight_increment))
    assert all(leaf.dtype == of for leaf in leaves)
    assert ensemble.roots.dtype == jnp.int32
    assert walkers.log_partition_function(ensemble).dtype == of


# ---------------------------------------------------------------- move


def test_every_walker_has_noise_of_its_own():
    """At a flat density X' - X = sqrt(2h) ξ: walkers and coordinates are uncorrelated."""
    ensemble = walkers.init(jnp.zeros((3, 2)), lambda x: 0 * x[0], ula.init)

    @jax.jit
    @jax.vmap
    def noise(key):
        new, _ = walkers.move(key, ensemble, lambda x: 0 * x[0], KERNEL, 0.5)
        return new.position.reshape(-1)

    draws = np.asarray(noise(jax.random.split(test_key("noise"), 20_000)), np.float64)
    assert_unbiased(draws[:, :, None] * draws[:, None, :], np.eye(6))


def test_move_adds_the_increment_and_keeps_the_rest():
    ensemble = start()._replace(initial_log_partition_function=jnp.float32(7.0))
    new, info = move(test_key("move"), ensemble, gaussian, KERNEL, 0.1)
    np.testing.assert_allclose(new.log_weights, info.log_weight_increment, atol=1e-7)
    assert info.is_finite.shape == (50,)
    assert float(new.initial_log_partition_function) == 7.0


def test_no_recompilation():
    step = jax.jit(
        lambda key, ensemble, k: walkers.move(
            key, ensemble, lambda x: k * gaussian(x), KERNEL, 0.1
        )
    )
    exchange = jax.jit(lambda key, ensemble: walkers.resample(key, ensemble, HALF))
    ensemble = start()
    for index in range(3):
        ensemble, _ = step(jax.random.key(index), ensemble, 1.0 + index)
        ensemble, _ = exchange(jax.random.key(index), ensemble)
    assert step._cache_size() == 1
    assert exchange._cache_size() == 1


def test_buffers_can_be_donated():
    """A donated ensemble gives the same numbers, straight from init too."""

    def step(key, ensemble):
        ensemble, _ = walkers.move(key, ensemble, gaussian, KERNEL, 0.1)
        return walkers.resample(key, ensemble, ALWAYS)[0]

    donating = jax.jit(step, donate_argnums=1)
    expected, ensemble = jax.jit(step)(jax.random.key(0), start()), start()
    assert_trees_equal(donating(jax.random.key(0), ensemble), expected)


def test_log_partition_function_adds_the_start():
    """log Z = log Z_0 + log mean e^A, also for weights far beyond exp's range."""
    ensemble = start(3)._replace(
        log_weights=jnp.array([1000.0, 1000.0, -jnp.inf]),
        initial_log_partition_function=jnp.float32(-2.0),
    )
    expected = 998 + np.log(2 / 3)
    assert float(walkers.log_partition_function(ensemble)) == pytest.approx(expected, abs=1e-3)


# ---------------------------------------------------------------- resampling, one call


def test_resampling_keeps_the_mean_shadow_weight_and_each_endpoint():
    """New Ã is the log-mean-exp of the old; A - Ã is each walker's own -(h/4)|∇U|²."""
    ensemble = uneven()
    shadow = walkers.shadow_log_weights(ensemble)
    new, info = resample(test_key("resample"), ensemble, ALWAYS)
    assert bool(info.is_resampled)
    expected = np.full(50, float(weights.log_mean_exp(shadow)))
    np.testing.assert_allclose(walkers.shadow_log_weights(new), expected, atol=2e-6)
    square = jnp.sum(new.state.logdensity_grad**2, axis=1)
    np.testing.assert_allclose(new.log_weights, expected - 0.05 * square, rtol=1e-5, atol=1e-5)


def test_resampling_copies_whole_walkers():
    """Every leaf of a new walker's state is from the one same ancestor."""
    ensemble = uneven()
    new, _ = resample(test_key("resample"), ensemble, ALWAYS)
    shadow = walkers.shadow_log_weights(ensemble)
    ancestors, _, _ = ALWAYS(test_key("resample"), shadow)
    assert np.unique(ancestors).size < 50
    assert_trees_equal(new.state, jax.tree.map(lambda leaf: leaf[ancestors], ensemble.state))


def test_info_is_of_before():
    ensemble = uneven()
    _, info = resample(test_key("resample"), ensemble, ALWAYS)
    shadow = walkers.shadow_log_weights(ensemble)
    for ours, log_weights in [
        (info.effective_sample_size, ensemble.log_weights),
        (info.shadow_effective_sample_size, shadow),
    ]:
        assert float(ours) == pytest.approx(float(weights.effective_sample_size(log_weights)))
    assert float(info.effective_sample_size) != float(info.shadow_effective_sample_size)


def test_the_shadow_weight_is_the_trigger():
    """Weights uneven by their endpoint factor alone do not trigger; uneven shadows do."""
    peak, flat = jnp.where(jnp.arange(50) == 0, 20.0, 0.0), jnp.zeros(50)
    ensemble = start()

    def with_weights(endpoint, log_weights):
        state = ensemble.state._replace(log_endpoint=endpoint)
        return ensemble._replace(state=state, log_weights=log_weights)

    new, info = resample(jax.random.key(0), with_weights(peak, peak), HALF)
    assert not bool(info.is_resampled)
    assert float(info.effective_sample_size) == pytest.approx(0.02)
    assert float(info.shadow_effective_sample_size) == 1
    assert_trees_equal(new, with_weights(peak, peak))
    _, info = resample(jax.random.key(0), with_weights(-peak, flat), HALF)
    assert bool(info.is_resampled)
    assert float(info.effective_sample_size) == 1


@pytest.mark.parametrize("bad", [-np.inf, np.nan])
def test_a_dead_ensemble_is_reported_and_left_alone(bad):
    ensemble = start()._replace(log_weights=jnp.full(50, bad))
    new, info = resample(jax.random.key(0), ensemble, ALWAYS)
    assert bool(info.is_dead)
    assert not bool(info.is_resampled)
    assert_trees_equal(new, ensemble)


def test_resampling_replaces_the_dead():
    """A third dead: their log-weights become finite, and the mean weight is kept."""
    log_weights = jnp.where(jnp.arange(60) % 3 == 0, -jnp.inf, 0.0)
    ensemble = start(60)._replace(log_weights=log_weights)
    new, info = resample(jax.random.key(0), ensemble, ALWAYS)
    assert not bool(info.is_dead)
    np.testing.assert_allclose(new.log_weights, np.log(2 / 3), rtol=1e-5)
    assert not set(new.position[:, 0].tolist()) & set(ensemble.position[::3, 0].tolist())


# ---------------------------------------------------------------- resampling, along a path


def forgetful(key, ensemble):
    """Set the log-weights to 0 after a resampling, and forget their mean."""
    new, _ = walkers.resample(key, ensemble, ALWAYS)
    return new._replace(log_weights=new.state.log_endpoint)


def endpointless(key, ensemble):
    """Set A, rather than Ã, to the log of the mean of e^Ã."""
    new, _ = walkers.resample(key, ensemble, ALWAYS)
    return new._replace(log_weights=walkers.shadow_log_weights(new))


def stale_endpoint(key, ensemble):
    """Leave each endpoint factor in its slot while the walkers are exchanged."""
    new, _ = walkers.resample(key, ensemble, ALWAYS)
    shadow = walkers.shadow_log_weights(new)
    return new._replace(log_weights=shadow + ensemble.state.log_endpoint)


def never(key, ensemble):
    return ensemble


def by(scheme, threshold):
    resampler = resampling.adaptive(scheme, threshold)
    return lambda key, ensemble: walkers.resample(key, ensemble, resampler)[0]


def on_islands(exchange_threshold):
    resampler = resampling.islands(resampling.systematic, 4, 1.0, exchange_threshold)
    return lambda key, ensemble: walkers.resample(key, ensemble, resampler)[0]


RIGHT = {
    "systematic": by(resampling.systematic, 1.0),
    "systematic, some of the time": by(resampling.systematic, 0.8),
    "stratified": by(resampling.stratified, 1.0),
    "multinomial": by(resampling.multinomial, 1.0),
    "residual": by(resampling.residual, 1.0),
    "never": never,
    "islands": on_islands(0.0),
    "islands that exchange": on_islands(0.99),
}
WRONG = {
    "forgetful": forgetful,
    "endpointless": endpointless,
    "stale": stale_endpoint,
}
CHOICES = {**RIGHT, **WRONG}


def index_of(choice):
    return jnp.int32(list(CHOICES).index(choice))


def resample_by(index):
    """One of the above by its number, so that one program does for all."""
    return lambda key, ensemble: jax.lax.switch(index, CHOICES.values(), key, ensemble)


def resampled_moments(key, path, h, index):
    return weighted_moments(run(key, path, h, num_walkers=500, resample=resample_by(index)))


@pytest.mark.parametrize("choice", RIGHT)
def test_resampled_walkers_are_properly_weighted(choice):
    """E[f(X_K) e^{A_K}] = (Z_K/Z_0) E_K[f] for f = 1, x, x² through resamplings.

    k from 1 to 4, c from 0 to 1 in 50 steps of h = 0.1, a resampling after each step
    (threshold 1) or some of them; |z| < 4.5 over 64 ensembles of 500.
    """
    path = stiffening(50)
    moments = replicate("resampled", resampled_moments, path, 0.1, index_of(choice))
    assert_unbiased(moments, exact_moments(path))


@pytest.mark.parametrize("choice", WRONG)
def test_canary_wrong_resampling_is_caught(choice):
    path = stiffening(50)
    moments = replicate("resampled", resampled_moments, path, 0.1, index_of(choice))
    assert_biased(moments, exact_moments(path))


def test_fifty_resamplings_do_not_bias_the_partition_function():
    """k from 1 to 4 in 50 steps of h = 0.2, resampled at each: E[e^A] = 1/2."""
    path = stiffening(50, centre=(0.0, 0.0))
    often, never = (
        replicate("fifty", resampled_moments, path, 0.2, index_of(choice))
        for choice in ("systematic", "never")
    )
    assert_unbiased(often, exact_moments(path))
    # No wider than without resampling. The ratio of two standard deviations over 64
    # replicates is known to 13 %, so 1.6 is beyond 4 of its own.
    assert often[:, 0].std() < 1.6 * never[:, 0].std()


# ---------------------------------------------------------------- blocks of a pool


@pytest.mark.parametrize(("num", "block"), [(12, 4), (13, 4), (10, 10), (7, 1), (100, 33)])
def test_draw_block_is_distinct_and_uniform(num, block):
    """Ascending, distinct; walker i is drawn as often as 1 / the size of its stratum.

    Strata differ in size by one at most; |z| < 4.5 for each walker over 20 000 keys.
    """
    keys = jax.random.split(test_key(f"block {num}"), 20_000)
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: walkers.draw_block(key, num, block)))(keys))
    assert drawn.shape == (20_000, block)
    assert drawn.dtype == np.int32
    assert np.all(np.diff(drawn, axis=1) > 0)
    assert drawn.min() == 0
    assert drawn.max() == num - 1
    strata = np.array_split(np.arange(num), block)
    expected = np.concatenate([np.full(s.size, 1 / s.size) for s in strata])
    is_drawn = np.zeros((20_000, num))
    np.put_along_axis(is_drawn, drawn, 1, axis=1)
    assert_unbiased(is_drawn, expected)


def test_draw_block_is_independent_between_strata():
    """Whether walkers i and j of two strata are drawn together: 1/9 of the time."""
    keys = jax.random.split(test_key("pairs"), 20_000)
    drawn = jax.vmap(lambda key: walkers.draw_block(key, 6, 2))(keys)
    first, second = np.asarray(drawn[:, 0]), np.asarray(drawn[:, 1]) - 3
    together = np.eye(9)[3 * first + second]
    assert_unbiased(together, np.full(9, 1 / 9))


@pytest.mark.parametrize("block", [0, -1, 11])
def test_draw_block_refuses(block):
    with pytest.raises(ValueError, match="block"):
        walkers.draw_block(jax.random.key(0), 10, block)


def tree_pool():
    key_a, key_b = jax.random.split(test_key("tree"))
    x = {"a": jax.random.normal(key_a, (10, 2)), "b": jax.random.normal(key_b, (10,))}
    return walkers.init(x, tree_gaussian, ula.init, 2.0)


@pytest.mark.parametrize("indices", [[0, 3, 9], [9, 0, 4], list(range(10))], ids=str)
def test_put_undoes_take(indices):
    pool, indices = tree_pool(), jnp.array(indices)
    assert_trees_equal(jax.jit(walkers.put)(pool, indices, walkers.take(pool, indices)), pool)


def test_put_changes_the_block_alone():
    pool, indices = tree_pool(), jnp.array([1, 4, 5])
    block = walkers.take(pool, indices)
    block, _ = move(test_key("block"), block, tree_gaussian, KERNEL, 0.1)
    new = walkers.put(pool, indices, block)
    assert_trees_equal(walkers.take(new, indices), block)
    others = jnp.array([0, 2, 3, 6, 7, 8, 9])
    assert_trees_equal(walkers.take(new, others), walkers.take(pool, others))
    assert not np.any(np.asarray(new.position["b"] == pool.position["b"])[np.asarray(indices)])


POOL_SIZE, BLOCK_SIZE = 512, 128


def pool_moments(key, path, h, index, is_touched_at_last):
    """Walkers of a pool, a block of which is moved and resampled under each new target.

    At last all are moved once more under the last target.
    """
    key_start, key_path, key_last = jax.random.split(key, 3)
    first, last = target_at(path, 0), target_at(path, -1)
    pool = walkers.init(sample(key_start, first, (POOL_SIZE, 1)), at(first), ula.init)

    def step(pool, xs):
        key, target = xs
        key_block, key_move, key_resample = jax.random.split(key, 3)
        indices = walkers.draw_block(key_block, POOL_SIZE, BLOCK_SIZE)
        block = walkers.take(pool, indices)
        block, _ = walkers.move(key_move, block, at(target), KERNEL, h)
        return walkers.put(pool, indices, resample_by(index)(key_resample, block)), None

    rest = jax.tree.map(lambda leaf: leaf[1:], path)
    keys = jax.random.split(key_path, rest.stiffness.shape[0])
    pool, _ = jax.lax.scan(step, pool, (keys, rest))
    touched, _ = walkers.move(key_last, pool, at(last), KERNEL, h)
    return jnp.where(is_touched_at_last, weighted_moments(touched), weighted_moments(pool))


def pool_estimates(choice, is_touched_at_last=True):
    path = stiffening(30, (1.0, 3.0))
    index = index_of(choice)
    return replicate("pool", pool_moments, path, 0.1, index, is_touched_at_last), exact_moments(
        path
    )


@pytest.mark.parametrize("choice", RIGHT)
def test_a_pool_is_properly_weighted(choice):
    """A walker that is left alone for a while is weighed along its own targets, exactly.

    Each of 30 targets, k from 1 to 3 and c from 0 to 1, moves a quarter of the pool at
    random (h = 0.1) and resamples within it; |z| < 4.5 over 64 pools of 512.
    """
    assert_unbiased(*pool_estimates(choice))


@pytest.mark.parametrize("choice", WRONG)
def test_canary_wrong_resampling_in_a_pool_is_caught(choice):
    assert_biased(*pool_estimates(choice))


def test_canary_a_pool_that_lags_behind_its_target_is_caught():
    assert_biased(*pool_estimates("systematic", is_touched_at_last=False))


# ---------------------------------------------------------------- walkers that are thrown about


def unbounded_ula(rng_key, state, logdensity_fn, step_size):
    """ULA with the endpoint factor as it is, however large."""
    state, info = ula.build_kernel()(rng_key, state, logdensity_fn, step_size)
    endpoint = -step_size / 4 * jnp.sum(jnp.square(state.logdensity_grad))
    return state._replace(log_endpoint=jnp.nan_to_num(endpoint)), info


def funnel_error(kernel):
    """Error of log Z of a funnel in whose neck steps of h = 0.1 are unstable; 12 runs."""
    dynamics = langevin(0.1)
    dynamics = dynamics._replace(move=dynamics.move._replace(kernel=kernel))
    target = targets.funnel()
    path = geometric_path(lambda x: -jnp.sum(jnp.square(x / 3)) / 2, target.logdensity_fn)
    log_z_start = 5 * np.log(2 * np.pi * 9)

    def log_z(key):
        key_start, key_path = jax.random.split(key)
        x = 3 * jax.random.normal(key_start, (300, 10))
        ensemble = walkers.init(x, path(0.0), ula.init)
        times = jnp.linspace(0, 1, 501)[1:] ** 4
        end, _ = annealing.anneal(key_path, ensemble, path, times, dynamics)
        return walkers.log_partition_function(end) + log_z_start

    return np.abs(replicate("funnel", log_z, num_replicates=12))


def test_unstable_walkers_do_not_take_over():
    """In the neck |∇ℓ|² has no bound; walkers of no weight must have no offspring."""
    assert np.all(funnel_error(ula.build_kernel()) < 3)


def test_canary_unbounded_endpoint_lets_them():
    assert np.median(funnel_error(unbounded_ula)) > 30
