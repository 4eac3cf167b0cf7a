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
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import annealing, free_energy, paths, walkers
from jarzynski_jax import blackjax as adapters
from jarzynski_jax.dynamics import Dynamics, langevin
from jarzynski_jax.kernels import escorted, invariant, kinetic, ula
from jarzynski_jax.resampling import adaptive, systematic

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
    "cumulants": lambda forward, reverse: free_energy.cumulant_expansion(forward),
    "forward": lambda forward, reverse: free_energy.exponential_average(forward),
    "reverse": lambda forward, reverse: free_energy.two_sided_bounds(forward, reverse).lower,
    "upper": lambda forward, reverse: free_energy.dissipation_bounds(forward, reverse).upper,
}
each_estimator = pytest.mark.parametrize("name", ESTIMATORS)


def estimates(name, spread=1.0, sizes=(2000, 2000), num_replicates=64):
    return replicate(
        f"{name} {spread} {sizes}",
        lambda key: jnp.stack(ESTIMATORS[name](*gaussian_work(key, spread, sizes))),
        num_replicates=num_replicates,
    )


@pytest.mark.parametrize("name", ["bar", "crossing", "cumulants", "forward", "reverse"])
@pytest.mark.parametrize("sizes", [(2000, 2000), (3000, 700)], ids=["equal", "unequal"])
def test_gaussian_work(name, sizes):
    """The Jensen bias of the exponential averages is 4e-4 here, below their resolution."""
    assert_unbiased(estimates(name, sizes=sizes)[:, 0], DELTA_F)


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


@pytest.mark.parametrize("unit", [0.8, 1.2])
def test_crossing_of_work_in_other_units(unit):
    """log p_F(W)/p_R(-W) = (W - u ΔF)/u of work u W: the slope is 1/u."""

    def crossing(key):
        forward, reverse = gaussian_work(key)
        found = free_energy.crooks_crossing(unit * forward, unit * reverse)
        return jnp.stack([found.difference.value, found.slope.value])

    assert_unbiased(replicate(f"unit {unit}", crossing), [unit * DELTA_F, 1 / unit])


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


def back(x):
    return 1.2 * x


def of_kernel(init, kernel, *args, num_moves=1):
    return Dynamics(init, kernel, args, num_moves, adaptive(systematic, 0.5))


MALA = of_kernel(invariant.init, adapters.invariant_kernel(blackjax.mala), 0.3)
FORWARD = of_kernel(
    partial(escorted.init, velocity_fn=drift), escorted.build_kernel(), drift, 0.3, 0.5
)
BACKWARD = of_kernel(
    partial(escorted.init, velocity_fn=back), escorted.build_kernel(), back, 0.3, 0.5
)
#: name: (dynamics, those in reverse, steps).
WORK = {
    "ula, four moves": (langevin(0.4, num_moves=4), None, 1),
    "kinetic, four moves": (
        of_kernel(kinetic.init, kinetic.build_kernel(), 0.9, 1.0, num_moves=4),
        None,
        1,
    ),
    "mala": (MALA, None, 3),
    "escorted": (FORWARD, BACKWARD, 2),
}


def bar_of(name, reverse=None, turn=True):
    """BAR of 1000 walkers each way; not turned round, with moves after each change."""
    dynamics, backward, num_steps = WORK[name]

    def bar(key):
        key_start, key_run = jax.random.split(key)
        x = jax.random.normal(key_start, (2, 1000))
        times = jnp.linspace(0, 1, num_steps + 1)
        if turn:
            found = annealing.work(
                key_run, x[0], x[1] / 2, STIFFEN, times, dynamics, reverse or backward
            )
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


@pytest.mark.parametrize("name", WORK)
def test_work_both_ways_is_that_of_one_process(name):
    """BAR of it is right; its bias, of order 1/n, is below the resolution."""
    assert_unbiased(bar_of(name), np.log(2))


@pytest.mark.parametrize("name", ["ula, four moves", "kinetic, four moves"])
def test_canary_runs_that_are_not_turned_round(name):
    assert_biased(bar_of(name, turn=False), np.log(2))


def test_canary_escorted_with_the_same_drift_both_ways():
    assert_biased(bar_of("escorted", reverse=FORWARD), np.log(2))


def test_runs_that_are_not_turned_round_are_doubted():
    x = jax.random.normal(jax.random.key(0), (2, 4000))
    times = jnp.linspace(0, 1, 3)
    found = free_energy.estimate(
        *annealing.work(jax.random.key(1), x[0], x[1] / 2, STIFFEN, times, FORWARD, FORWARD)
    )
    assert any("turned round in time" in doubt for doubt in found.doubts)


def test_work_of_kernels_that_do_not_undo_themselves_needs_their_reverse():
    x = jnp.zeros(3)
    with pytest.raises(ValueError, match=r"reverse_dynamics must be given.*EscortedInfo"):
        annealing.work(jax.random.key(0), x, x, STIFFEN, jnp.linspace(0, 1, 3), FORWARD)
    with pytest.raises(ValueError, match="times must ascend"):
        annealing.work(jax.random.key(0), x, x, STIFFEN, jnp.linspace(1, 0, 3), MALA)


@each_estimator
def test_estimators_can_be_jitted_in_both_precisions(name, dtype):
    forward, reverse = (work.astype(dtype) for work in gaussian_work(jax.random.key(0)))
    found = jax.jit(ESTIMATORS[name])(forward, reverse)
    assert found.value.dtype == found.standard_error.dtype == dtype


def test_large_offsets():
    """ΔF of thousands of nats costs digits, not sense."""
    forward, reverse = gaussian_work(jax.random.key(0), delta_f=5000.0)
    found = free_energy.bennett_acceptance_ratio(forward, reverse)
    assert float(found.value) == pytest.approx(5000.0, abs=0.2)


@pytest.mark.parametrize("shape", [(), (1,), (3, 2)])
def test_bad_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="forward_work"):
        free_energy.estimate(jnp.zeros(shape), jnp.zeros(3))
    with pytest.raises(ValueError, match="reverse_work"):
        free_energy.bennett_acceptance_ratio(jnp.zeros(3), jnp.zeros(shape))
