"""Free energies from work: Gaussian work in closed form, pymbar, and when to doubt.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore.
"""

from functools import partial

import blackjax
import gaussian_path
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_path import at
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import annealing, formatting, free_energy, walkers
from jarzynski_jax.annealing import paths
from jarzynski_jax.interop import blackjax as adapters
from jarzynski_jax.kernels import bijection, escorted, invariant, kinetic, sequence, ula
from jarzynski_jax.kernels.move import itself
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.walkers import Dynamics, langevin

DELTA_F = 1.3


@pytest.fixture
def pymbar():
    """Its import switches JAX's 64-bit mode on for good: switched back afterwards."""
    was_enabled = jax.config.jax_enable_x64
    from pymbar import other_estimators

    jax.config.update("jax_enable_x64", True)
    yield other_estimators
    jax.config.update("jax_enable_x64", was_enabled)


def gaussian_work(key, spread=1.0, sizes=(2000, 2000), delta_f=DELTA_F):
    """A Crooks pair: N(ΔF + s²/2, s²) forward, N(-ΔF + s²/2, s²) in reverse."""
    keys = jax.random.split(key)
    means = delta_f + spread**2 / 2, -delta_f + spread**2 / 2
    return [
        mean + spread * jax.random.normal(key, (size,))
        for key, mean, size in zip(keys, means, sizes, strict=True)
    ]


ESTIMATORS = {
    "bar": free_energy.bennett_acceptance_ratio,
    "crossing": lambda *works: free_energy.crooks_crossing(*works).difference,
    "slope": lambda *works: free_energy.crooks_crossing(*works).slope,
    "cumulants": lambda forward, reverse: free_energy.cumulant_expansion(forward),
    "forward": lambda forward, reverse: free_energy.exponential_average(forward),
    "reverse": lambda forward, reverse: free_energy.two_sided_bounds(forward, reverse).lower,
    "upper": lambda forward, reverse: free_energy.dissipation_bounds(forward, reverse).upper,
}
#: Of Gaussian work; ΔF if not named.
EXPECTED = {"slope": 1.0}
each_estimator = pytest.mark.parametrize("name", ESTIMATORS)


def estimates(name, spread=1.0, sizes=(2000, 2000), num_replicates=64):
    return replicate(
        f"{name} {spread} {sizes}",
        lambda key: jnp.stack(ESTIMATORS[name](*gaussian_work(key, spread, sizes))),
        num_replicates=num_replicates,
    )


@pytest.mark.parametrize(
    "name", ["bar", "crossing", "slope", "cumulants", "forward", "reverse"]
)
@pytest.mark.parametrize("sizes", [(2000, 2000), (3000, 700)], ids=["equal", "unequal"])
def test_gaussian_work(name, sizes):
    """The Jensen bias of the exponential averages is 4e-4 here, below their resolution."""
    assert_unbiased(estimates(name, sizes=sizes)[:, 0], EXPECTED.get(name, DELTA_F))


def test_canary_mean_work_is_biased():
    assert_biased(estimates("upper")[:, 0], DELTA_F)


@each_estimator
def test_standard_errors_are_those_of_many_runs(name):
    """Over 400 runs the ratio has an error of 4 %."""
    values, errors = estimates(name, num_replicates=400).T
    assert 0.85 < np.sqrt(np.mean(errors**2)) / values.std(ddof=1) < 1.15


@pytest.mark.parametrize("spread", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("sizes", [(300, 300), (500, 90)], ids=["equal", "unequal"])
def test_agrees_with_pymbar(spread, sizes, pymbar):
    forward, reverse = gaussian_work(test_key("pymbar"), spread, sizes)
    ours = free_energy.bennett_acceptance_ratio(forward, reverse)
    theirs = pymbar.bar(np.asarray(forward, float), np.asarray(reverse, float))
    assert float(ours.value) == pytest.approx(theirs["Delta_f"], abs=2e-3)
    assert float(ours.standard_error) == pytest.approx(theirs["dDelta_f"], rel=2e-2)
    common = pymbar.bar_overlap(np.asarray(forward, float), np.asarray(reverse, float))
    assert float(free_energy.overlap(forward, reverse)) == pytest.approx(common, abs=5e-3)
    ours = free_energy.exponential_average(forward)
    theirs = pymbar.exp(np.asarray(forward, float))
    assert float(ours.value) == pytest.approx(theirs["Delta_f"], abs=1e-3)
    assert float(ours.standard_error) == pytest.approx(theirs["dDelta_f"], rel=2e-2)


def skew_work(key, num_walkers=2000):
    """A stiffness switched at once from 1 to 4 in two dimensions, and back: x²/2 ~ Exp."""
    energies = jax.random.exponential(key, (2, num_walkers))
    return 3 * energies[0], -3 / 4 * energies[1]


def skew_estimates(name):
    return replicate(f"skew {name}", lambda key: jnp.stack(ESTIMATORS[name](*skew_work(key)))).T


@pytest.mark.parametrize("name", ["bar", "crossing", "slope"])
def test_skew_work(name):
    """Neither the values nor the errors need Gaussian work."""
    values, errors = skew_estimates(name)
    assert_unbiased(values, EXPECTED.get(name, np.log(4.0)))
    assert 0.7 < np.sqrt(np.mean(errors**2)) / values.std(ddof=1) < 1.4


def test_canary_cumulants_of_skew_work():
    assert_biased(skew_estimates("cumulants")[0], np.log(4.0))


@pytest.mark.parametrize("unit", [0.8, 1.2])
def test_crossing_of_work_in_other_units(unit):
    """log p_F(W)/p_R(-W) = (W - u ΔF)/u of work u W: the slope is 1/u."""

    def crossing(key):
        forward, reverse = gaussian_work(key)
        found = free_energy.crooks_crossing(unit * forward, unit * reverse)
        return jnp.stack([found.difference.value, found.slope.value])

    found = replicate(f"unit {unit}", crossing)
    assert_unbiased(found, np.array([unit * DELTA_F, 1 / unit]))
    assert_biased(found[:, 1], 1.0)


def test_error_of_the_crossing_where_the_slope_is_open():
    """Work of nearly no spread leaves the slope to chance: 1 ± 3, but not its crossing."""

    def scores(key):
        found = free_energy.crooks_crossing(*gaussian_work(key, 0.01)).difference
        return (found.value - DELTA_F) / found.standard_error

    found = replicate("open slope", scores, num_replicates=400)
    assert 0.85 < found.std() < 1.15
    assert np.abs(found).max() < 4.5


@pytest.mark.parametrize("shift", [0.0, 3.0], ids=["overlapping", "separated"])
def test_crossing_is_where_the_likelihood_is_largest(shift, x64):
    """By scipy, with the same prior; also where only the prior keeps the slope finite."""
    forward, reverse = (
        np.asarray(work, float) - shift
        for work in gaussian_work(test_key("fit"), 0.5, (40, 25))
    )
    found = free_energy.crooks_crossing(forward, reverse)
    centre = float(free_energy.bennett_acceptance_ratio(forward, reverse).value)
    work = np.concatenate([forward, -reverse]) - centre
    sign = np.repeat([1, -1], [40, 25])

    def loss(params):
        logit = np.log(40 / 25) + params[0] + params[1] * work
        prior = np.sum((params - np.array([0, 1])) ** 2) / (2 * 100**2)
        return np.sum(np.logaddexp(0, -sign * logit)) + prior

    best = optimize.minimize(loss, [0, 1], method="BFGS", options={"gtol": 1e-7}).x
    assert float(found.slope.value) == pytest.approx(best[1], rel=1e-4)
    assert float(found.difference.value) == pytest.approx(centre - best[0] / best[1], abs=1e-4)


def run(key, direction, start=None, num_walkers=500, resampler=None):
    """Work of walkers along 40 steps of a stiffening Gaussian, in one of both directions."""
    path = gaussian_path.stiffening(40, (1.0, 3.0), (0.0, 1.0))
    if direction == "reverse":
        path = jax.tree.map(lambda leaf: leaf[::-1], path)
    end = gaussian_path.run(key, path, 0.05, num_walkers, (2,))
    return -end.log_weights


def test_langevin_work():
    """Of real walkers: ΔF = log(k₁/k₀) in two dimensions."""

    def bar(key):
        keys = jax.random.split(key)
        work = run(keys[0], "forward"), run(keys[1], "reverse")
        return jnp.stack(free_energy.bennett_acceptance_ratio(*work))

    values, errors = replicate("langevin work", bar).T
    assert_unbiased(values, np.log(3.0))
    assert 0.7 < np.sqrt(np.mean(errors**2)) / values.std(ddof=1) < 1.4


def test_reverse_runs_from_other_samples_are_caught():
    """From a density that is not the last one: the bounds cross."""
    key_forward, key_reverse, key_start = jax.random.split(test_key("wrong start"), 3)
    path = paths.geometric_path(
        at(gaussian_path.Target(3.0, 1.0)), at(gaussian_path.Target(1.0, 0.0))
    )
    dynamics = langevin(0.05, resampler=adaptive(systematic, 0.0))
    # Nearly twice as wide as the last density.
    x = 1 + jax.random.normal(key_start, (2000, 2))
    start = walkers.init(x, path(0.0), ula.init)
    times = jnp.linspace(0, 1, 41)[1:]
    end, _ = annealing.anneal(key_reverse, start, path, times, dynamics)
    forward = run(key_forward, "forward", num_walkers=2000)
    found = free_energy.estimate(forward, -end.log_weights)
    assert any("did not start from samples" in doubt for doubt in found.doubts)


def test_good_work_is_not_doubted():
    for seed in range(5):
        found = free_energy.estimate(*gaussian_work(jax.random.key(seed)))
        assert found.doubts == ()
        assert abs(float(found.bar.value) - DELTA_F) < 4.5 * float(found.bar.standard_error)


def test_no_overlap_is_doubted():
    found = free_energy.estimate(*gaussian_work(jax.random.key(0), spread=8.0))
    assert any(doubt.startswith("overlap") for doubt in found.doubts)


def test_work_that_is_nan_is_doubted():
    forward, reverse = gaussian_work(jax.random.key(0))
    found = free_energy.estimate(forward.at[3].set(jnp.nan), reverse)
    assert found.doubts == ("1 values of the work are NaN or minus infinity",)


def test_walkers_that_died_weigh_nothing():
    """A half of the walkers die by chance: ΔF of what is left is log 2 larger; doubted."""
    forward, reverse = gaussian_work(test_key("dead"))
    dead = jax.random.bernoulli(test_key("who dies"), 0.5, forward.shape)
    found = free_energy.estimate(jnp.where(dead, jnp.inf, forward), reverse)
    assert abs(float(found.forward.value) - DELTA_F - np.log(2)) < 0.15
    assert found.doubts[0].endswith("% of the forward walkers died on the way")
    few = free_energy.estimate(forward.at[3].set(jnp.inf), reverse)
    assert few.doubts == ()
    assert abs(float(few.bar.value) - DELTA_F) < 4.5 * float(few.bar.standard_error)


@pytest.mark.parametrize("name", ["forward", "cumulants", "upper"])
def test_estimates_of_walkers_of_whom_some_died(name):
    """A fifth dies by chance: ΔF is log 1.25 larger; the errors know of the chance."""

    def after_death(key):
        key_dead, key_work = jax.random.split(key)
        forward, reverse = gaussian_work(key_work)
        dead = jax.random.bernoulli(key_dead, 0.2, forward.shape)
        found = ESTIMATORS[name](jnp.where(dead, jnp.inf, forward), reverse)
        return jnp.stack(found)

    values, errors = replicate(f"some died {name}", after_death).T
    if name == "upper":  # a bound, by half the variance of the work
        values -= 0.5
    assert_unbiased(values, DELTA_F + np.log(1.25))
    assert 0.7 < np.sqrt(np.mean(errors**2)) / values.std(ddof=1) < 1.4


@pytest.mark.parametrize("size", [2, 3, 7, 10, 100])
def test_work_without_spread(size):
    """As a perfect map has it: all estimates agree, and nothing is doubted."""
    found = free_energy.estimate(jnp.full(size, 1.3), jnp.full(size, -1.3))
    assert found.doubts == ()
    for value in (found.bar, found.forward, found.reverse, found.crossing, found.cumulants):
        assert float(value.value) == pytest.approx(1.3, abs=1e-4)
        assert float(value.standard_error) < 1e-3


def switched(width, key, num_walkers=4000):
    """A sudden switch from N(0, 1) to N(0, 1.5²), back from samples of another width."""
    keys = jax.random.split(key)
    forward, reverse = (jax.random.normal(key, (num_walkers,)) for key in keys)
    switch = lambda x: x**2 / (2 * 1.5**2) - x**2 / 2  # noqa: E731
    return switch(forward), -switch(width * reverse)


@pytest.mark.parametrize("width", [1.1, 2.0])
def test_samples_too_narrow_or_too_wide_are_caught(width):
    found = free_energy.estimate(*switched(width, test_key("width")))
    assert any("did not start from samples" in doubt for doubt in found.doubts)


@pytest.mark.parametrize("unit", [0.8, 1.2])
def test_work_in_other_units_is_doubted(unit):
    large = partial(gaussian_work, sizes=(4000, 4000)), partial(skew_work, num_walkers=4000)
    for pair in large:
        for key in jax.random.split(test_key("units"), 16):
            found = free_energy.estimate(*(unit * work for work in pair(key)))
            assert any("not in nats" in doubt for doubt in found.doubts)


def test_skew_work_is_not_doubted():
    """Though the weights of its reverse runs have no variance."""
    for key in jax.random.split(test_key("skew"), 64):
        assert free_energy.estimate(*skew_work(key)).doubts == ()


def test_right_samples_are_hardly_ever_doubted():
    """Of 300 sound pairs each, with little and with much dissipation: at most one."""
    for spread in (0.3, 1.0, 1.5, 2.5):
        doubted = [
            free_energy.estimate(*gaussian_work(key, spread)).doubts
            for key in jax.random.split(test_key("sound"), 75)
        ]
        assert sum(map(bool, doubted)) <= 1, doubted
    keys = jax.random.split(test_key("switched"), 75)
    doubted = [free_energy.estimate(*switched(1.5, key)).doubts for key in keys]
    assert sum(map(bool, doubted)) <= 1, doubted


# ---------------------------------------------------------------- work of walkers

STIFFEN = paths.geometric_path(lambda x: -(x**2) / 2, lambda x: -2 * x**2)


def drift(x):
    return -1.2 * x


def squeeze(x):
    return 0.8 * x, jnp.log(0.8)


def stretch(x):
    return x / 0.8, -jnp.log(0.8)


SQUEEZE = bijection.as_move(squeeze, stretch)
STUCK = bijection.as_move(squeeze, squeeze)


def of_move(move, num_moves=1):
    return Dynamics(move, num_moves, adaptive(systematic, 0.5))


MALA = of_move(invariant.markov_move(adapters.invariant_kernel(blackjax.mala), 0.3))
ESCORTED = escorted.as_move(drift, 0.3, 0.5)
#: name: (dynamics, steps).
WORK = {
    "ula, four moves": (langevin(0.4, num_moves=4), 1),
    "kinetic, four moves": (of_move(kinetic.as_move(0.9, 1.0), num_moves=4), 1),
    "mala": (MALA, 3),
    "escorted": (of_move(ESCORTED), 2),
    "escorted, the same drift both ways": (of_move(ESCORTED._replace(reverse=itself)), 2),
    "map": (of_move(SQUEEZE), 2),
    "map, a sequence of one": (of_move(sequence.as_move([SQUEEZE])), 2),
    "map without its inverse": (of_move(STUCK), 2),
}


def bar_of(name, turn=True):
    """BAR of 1000 walkers each way; not turned round, with moves after each change."""
    dynamics, num_steps = WORK[name]

    def bar(key):
        key_start, key_run = jax.random.split(key)
        x = jax.random.normal(key_start, (2, 1000))
        times = jnp.linspace(0, 1, num_steps + 1)
        if turn:
            found = annealing.work(key_run, x[0], x[1] / 2, STIFFEN, times, dynamics)
            return free_energy.bennett_acceptance_ratio(*found).value
        never = dynamics._replace(resampler=adaptive(systematic, 0.0))
        work = []
        for way, start, key in zip(
            (times, times[::-1]), (x[0], x[1] / 2), jax.random.split(key_run), strict=True
        ):
            first = walkers.init(start, STIFFEN(way[0]), never.kernel_init)
            work.append(-annealing.anneal(key, first, STIFFEN, way[1:], never)[0].log_weights)
        return free_energy.bennett_acceptance_ratio(*work).value

    return replicate(f"work {name} {turn}", bar)


@pytest.mark.parametrize(
    "name",
    [
        "ula, four moves",
        "kinetic, four moves",
        "mala",
        "escorted",
        "map",
        "map, a sequence of one",
    ],
)
def test_work_both_ways_is_that_of_one_process(name):
    """BAR of it is right; its bias, of order 1/n, is below the resolution."""
    assert_unbiased(bar_of(name), np.log(2))


@pytest.mark.parametrize("name", ["ula, four moves", "kinetic, four moves"])
def test_canary_runs_that_are_not_turned_round(name):
    assert_biased(bar_of(name, turn=False), np.log(2))


@pytest.mark.parametrize(
    "name", ["escorted, the same drift both ways", "map without its inverse"]
)
def test_canary_moves_back_that_undo_nothing(name):
    assert_biased(bar_of(name), np.log(2))


def test_runs_that_are_not_turned_round_are_doubted():
    x = jax.random.normal(jax.random.key(0), (2, 4000))
    times = jnp.linspace(0, 1, 3)
    found = free_energy.estimate(
        *annealing.work(
            jax.random.key(1),
            x[0],
            x[1] / 2,
            STIFFEN,
            times,
            WORK["escorted, the same drift both ways"][0],
        )
    )
    assert any("turned round in time" in doubt for doubt in found.doubts)


def test_work_of_kernels_that_do_not_undo_themselves_needs_their_reverse():
    x = jnp.zeros(3)
    times = jnp.linspace(0, 1, 3)
    two_stages = sequence.as_move([SQUEEZE, ula.as_move(0.2)])
    for move in (bijection.as_move(squeeze), two_stages):
        with pytest.raises(ValueError, match=r"whose reverse is known.*None"):
            annealing.work(jax.random.key(0), x, x, STIFFEN, times, of_move(move))
    with pytest.raises(ValueError, match="times must ascend"):
        annealing.work(jax.random.key(0), x, x, STIFFEN, jnp.linspace(1, 0, 3), MALA)


@each_estimator
def test_estimators_can_be_jitted_in_both_precisions(name, dtype):
    forward, reverse = (work.astype(dtype) for work in gaussian_work(jax.random.key(0)))
    found = jax.jit(ESTIMATORS[name])(forward, reverse)
    assert found.value.dtype == found.standard_error.dtype == dtype


# ---------------------------------------------------------------- work of any size


def numbers(found):
    """{name: (value, error)}; the crossing only where the work determines it."""
    names = ("bar", "forward", "reverse")
    if found.slope.value > 0.2 and found.slope.standard_error < 1:
        names += ("crossing", "slope")
    return {name: np.asarray(getattr(found, name), np.float64) for name in names}


def assert_same(found, expected, shift=0.0):
    """To a hundredth of the standard errors, and the digits that ΔF has."""
    assert float(found.overlap) == pytest.approx(float(expected.overlap), abs=1e-4)
    found = numbers(found)
    for name, (right, of_right) in numbers(expected).items():
        value, error = found[name]
        if name != "slope":
            right += shift
        tolerance = 1e-2 * of_right + 1e-4 + 1e-6 * abs(right)
        assert value == pytest.approx(right, abs=tolerance), name
        assert error == pytest.approx(of_right, rel=1e-2, abs=1e-4), name


def works(size, low=-8.0, high=8.0):
    """Multiples of 1/64: sums with large integers are exact in float32."""
    ints = st.integers(int(64 * low), int(64 * high))
    return st.lists(ints, min_size=size, max_size=size).map(lambda n: np.array(n) / 64)


any_work = st.lists(st.floats(allow_nan=False), min_size=9, max_size=9)


@given(works(9), works(7), st.integers(-100_000, 100_000))
def test_an_offset_moves_the_value_alone(forward, reverse, shift):
    found = free_energy.estimate(forward, reverse)
    moved = free_energy.estimate(forward + shift, reverse - shift)
    assert_same(moved, found, shift)
    value = np.asarray(moved.cumulants.value) - np.asarray(found.cumulants.value)
    assert value == pytest.approx(shift, rel=1e-6, abs=1e-4)


@given(works(9), works(7), st.randoms(use_true_random=False))
def test_order_does_not_matter(forward, reverse, random):
    mixed = [random.sample(work.tolist(), work.size) for work in (forward, reverse)]
    assert_same(free_energy.estimate(*mixed), free_energy.estimate(forward, reverse))


@given(works(9), works(9))
def test_exchange_of_directions_turns_the_sign(forward, reverse):
    there, back = (
        free_energy.estimate(*pair) for pair in ((forward, reverse), (reverse, forward))
    )
    turn = lambda estimate: estimate._replace(value=-estimate.value)  # noqa: E731
    turned = back._replace(
        bar=turn(back.bar),
        crossing=turn(back.crossing),
        forward=turn(back.reverse),
        reverse=turn(back.forward),
    )
    assert_same(turned, there)


@given(works(9), works(7), st.sampled_from([np.float16, np.float32, jnp.bfloat16, list]))
def test_type_does_not_matter(forward, reverse, kind):
    """Of numbers that all types have."""
    forward, reverse = np.round(forward), np.round(reverse)
    cast = np.ndarray.tolist if kind is list else lambda work: work.astype(kind)
    expected = free_energy.estimate(forward, reverse)
    assert_same(free_energy.estimate(cast(forward), cast(reverse)), expected)
    assert_same(free_energy.estimate(forward.astype(int), reverse.astype(int)), expected)
    assert_same(free_energy.estimate(jnp.asarray(forward), jnp.asarray(reverse)), expected)


@given(works(9), works(7), st.floats(100, 1e38), st.booleans())
def test_hopeless_work_is_that_of_a_dead_walker(forward, reverse, huge, is_forward):
    """However large it is; an average is less by the logarithm of the share of the living."""
    pair = [forward, reverse]
    found = []
    for value in (huge, np.inf):
        work = list(pair)
        work[not is_forward] = np.append(work[not is_forward], value)
        found.append(free_energy.estimate(*work))
    assert_same(*found)
    alive = free_energy.estimate(forward, reverse)
    if is_forward:
        gain = float(found[0].forward.value - alive.forward.value)
        assert gain == pytest.approx(np.log(10 / 9), abs=1e-4)


@given(any_work, any_work)
def test_work_of_any_size_is_never_nan_undoubted(forward, reverse):
    found = free_energy.estimate(forward, reverse)
    leaves = jax.tree.leaves(found._replace(doubts=()))
    assert found.doubts or not np.any(np.isnan(np.array(leaves)))


@pytest.mark.parametrize("huge", [1e4, 1e12, 1e30, 3e38, np.inf])
def test_one_huge_work_weighs_nothing(huge):
    forward, reverse = gaussian_work(test_key("huge"), sizes=(1000, 1000))
    found = free_energy.estimate(forward.at[17].set(huge), reverse)
    dead = free_energy.estimate(forward.at[17].set(jnp.inf), reverse)
    assert found.doubts == ()
    assert_same(found, dead)
    assert abs(float(found.bar.value) - DELTA_F) < 4.5 * float(found.bar.standard_error)


@pytest.mark.parametrize("name", ["bar", "crossing", "slope"])
def test_the_dead_of_one_side_under_vmap(name):
    """Their ΔF is infinite, without an error; the others of the batch are not touched."""
    forward, reverse = gaussian_work(test_key("batch"), sizes=(100, 100))
    dead = jnp.full(100, jnp.inf)
    batch = jnp.stack([forward, dead, forward]), jnp.stack([reverse, reverse, dead])
    found = jax.jit(jax.vmap(ESTIMATORS[name]))(*batch)
    alone = ESTIMATORS[name](forward, reverse)
    assert np.allclose(np.array(found)[:, 0], np.array(alone), rtol=1e-4)
    if name != "slope":
        assert found.value[1:].tolist() == [np.inf, -np.inf]
        assert np.all(np.isnan(found.standard_error[1:]))


def test_large_offsets():
    """ΔF of thousands of nats costs digits, not sense."""
    forward, reverse = gaussian_work(jax.random.key(0), delta_f=5000.0)
    found = free_energy.bennett_acceptance_ratio(forward, reverse)
    assert float(found.value) == pytest.approx(5000.0, abs=0.2)


@pytest.mark.filterwarnings("error")
def test_an_offset_of_float64_is_taken_off_before_a_cast():
    """The spread stays; that float32 does not hold the sum is said."""
    forward, reverse = (np.asarray(work, float) for work in gaussian_work(test_key("offset")))
    found, moved = (
        free_energy.estimate(forward + offset, reverse - offset) for offset in (0.0, 1e8)
    )
    assert_same(moved, found, 1e8)
    assert found.doubts == ()
    assert len(moved.doubts) == 1
    assert "is rounded by" in moved.doubts[0]
    with jax.enable_x64(True):
        moved = free_energy.estimate(forward + 1e8, reverse - 1e8)
        assert moved.doubts == ()
        assert float(moved.bar.value) == pytest.approx(float(found.bar.value) + 1e8, abs=1e-4)
    rounded = free_energy.estimate(jnp.asarray(forward + 1e8), jnp.asarray(reverse - 1e8))
    assert any("is rounded by" in doubt for doubt in rounded.doubts)


@pytest.mark.parametrize("shape", [(), (1,), (3, 2)])
def test_bad_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="forward_work"):
        free_energy.estimate(jnp.zeros(shape), jnp.zeros(3))
    with pytest.raises(ValueError, match="reverse_work"):
        free_energy.bennett_acceptance_ratio(jnp.zeros(3), jnp.zeros(shape))


def test_an_estimate_is_printed_as_a_table():
    noise = np.random.default_rng(0).normal(size=(2, 1000))
    lines = str(free_energy.estimate(3.5 + noise[0], -2.5 + noise[1])).splitlines()
    bar = free_energy.bennett_acceptance_ratio(3.5 + noise[0], -2.5 + noise[1])
    shown = formatting.format_with_error(float(bar.value), float(bar.standard_error))
    assert lines[1].split("BAR")[1].strip() == shown
    assert "overlap 0." in lines[-1]
    poor = str(free_energy.estimate(43 + 9 * noise[0], 38 + 9 * noise[1])).splitlines()
    assert poor[-1].startswith("not to be believed: overlap")


def test_an_estimate_of_traced_work_is_refused():
    with pytest.raises(ValueError, match=r"free_energy\.estimate looks at values"):
        jax.jit(lambda work: free_energy.estimate(work, work).bar)(jnp.arange(4.0))
