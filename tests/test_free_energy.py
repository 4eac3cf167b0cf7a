"""Free energies from work: Gaussian work in closed form, pymbar, and when to doubt.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore.
"""

import gaussian_path
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_path import at
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import annealing, free_energy, paths, walkers
from jarzynski_jax.dynamics import langevin
from jarzynski_jax.kernels import ula
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
    "crossing": free_energy.gaussian_crossing,
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


def test_crossing_of_unequal_variances():
    """Work that is not of a Crooks pair: the crossing of N(0, 1) and N(4, 4), by hand."""
    keys = jax.random.split(test_key("crossing"))
    forward = 4 + 2 * jax.random.normal(keys[0], (200_000,))
    reverse = jax.random.normal(keys[1], (200_000,))
    # (x - 4)²/8 + log 2 = x²/2, between the means.
    root = np.roots([3 / 8, 1, -2 - np.log(2)]).max()
    found = free_energy.gaussian_crossing(forward, reverse)
    assert abs(float(found.value) - root) < 4.5 * float(found.standard_error)


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


def test_dead_walkers_are_doubted():
    forward, reverse = gaussian_work(jax.random.key(0))
    found = free_energy.estimate(forward.at[3].set(jnp.inf), reverse)
    assert found.doubts == ("1 values of the work are not finite: walkers died on the way",)


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
