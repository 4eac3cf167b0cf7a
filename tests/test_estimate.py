"""One call for log Z: right within its errors, and a doubt where it cannot be."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zscore import BASE_SEED

from jarzynski_jax import targets
from jarzynski_jax.annealing import estimate, geometric_path, tempering_path
from jarzynski_jax.density import Density
from jarzynski_jax.progress import show_fraction

NUM_GRADIENTS = 64_000
#: As wide as everything below.
BASE = targets.gaussian([9.0, 9.0])
#: Twice as narrow in one direction as in the other, and off the centre.
TARGET = Density(lambda x: -jnp.sum(jnp.array([0.5, 2.0]) * jnp.square(x - 1.0)))
LOG_Z = float(np.log(np.pi / np.sqrt(0.5 * 2.0)))
NUM_SEEDS = 16


def run(seed, target=TARGET, **options):
    options = {"num_gradients": NUM_GRADIENTS, **options}
    return estimate(jax.random.key(1000 * BASE_SEED + seed), BASE, target, **options)


@pytest.fixture(scope="module")
def found():
    return [run(seed) for seed in range(NUM_SEEDS)]


def test_log_z_is_right_and_so_are_its_errors(found):
    """|z| < 4 of the mean of Z over 16 seeds; the errors stated are those seen, within 2."""
    ratios = np.exp([one.log_partition_function - LOG_Z for one in found])
    error = ratios.std(ddof=1) / np.sqrt(NUM_SEEDS)
    assert error < 0.02
    assert abs(ratios.mean() - 1) < 4 * error
    stated = np.sqrt(np.mean([one.standard_error**2 for one in found]))
    assert 0.5 < stated / ratios.std(ddof=1) < 2


def test_canary_another_log_z_is_seen(found):
    ratios = np.exp([one.log_partition_function - (LOG_Z + 0.1) for one in found])
    assert abs(ratios.mean() - 1) > 4 * ratios.std(ddof=1) / np.sqrt(NUM_SEEDS)


def test_the_bracket_closes_without_doubts(found):
    """Three errors of eight replicates: one in a hundred is doubted by chance."""
    assert sum(one.doubts != () for one in found) <= 1
    for one in found:
        assert one.bounds.upper - one.bounds.lower < 0.2
        assert "nats" in str(one)


def test_samples_are_of_the_target(found):
    """Mean and variance of 16 times 512 dependent samples, by their spread over seeds."""
    x = np.stack([one.samples for one in found])
    assert x.shape == (NUM_SEEDS, 512, 2)
    for estimates, exact in ((x.mean(1), [1.0, 1.0]), (x.var(1), [1.0, 0.25])):
        error = estimates.std(0, ddof=1) / np.sqrt(NUM_SEEDS)
        assert np.all(np.abs(estimates.mean(0) - exact) < 4 * error + 0.01)


def test_gradients_are_no_more_than_were_given(found):
    spent = np.array([one.num_gradients for one in found])
    assert np.all(spent <= NUM_GRADIENTS)
    assert np.all(spent > 0.85 * NUM_GRADIENTS)


def test_choices_can_be_handed_in(found):
    choices = found[0].choices
    again = run(99, choices=choices)
    assert abs(again.log_partition_function - LOG_Z) < 0.2
    assert again.num_gradients < found[0].num_gradients
    np.testing.assert_array_equal(again.choices.times, choices.times)
    # Both coordinates have become narrower by what they are.
    ratio = choices.variances[-1] / jnp.array([1.0, 0.25])
    assert np.all((ratio > 0.4) & (ratio < 2.5))


def test_choices_handed_in_give_with_the_same_key_the_same_bit_for_bit(found):
    first, again = found[0], run(0, choices=found[0].choices)
    assert again.log_partition_function == first.log_partition_function
    assert again.standard_error == first.standard_error
    assert str(again) == str(first)
    assert again.num_gradients == first.num_gradients - first.choices.num_gradients
    for name in ("samples", "log_weights"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    jax.tree.map(np.testing.assert_array_equal, again.choices, first.choices)
    # Canary: with other choices it is another result.
    other = run(0, choices=found[1].choices)
    assert other.log_partition_function != first.log_partition_function


def test_a_path_in_place_of_a_target_and_a_warm_start_in_place_of_a_wide_one():
    """From whatever normalised base: log Z is that of the target."""
    warm = Density(
        lambda x: jnp.sum(jax.scipy.stats.norm.logpdf(x, 0.8, 0.7)),
        0.0,
        lambda key, n: 0.8 + 0.7 * jax.random.normal(key, (n, 2)),
    )
    linear = geometric_path(warm.logdensity_fn, TARGET.logdensity_fn)
    found = estimate(
        jax.random.key(BASE_SEED),
        warm,
        path=lambda t: linear(t),
        num_gradients=NUM_GRADIENTS,
    )
    assert abs(found.log_partition_function - LOG_Z) < 4 * found.standard_error + 0.01
    assert found.standard_error < 0.1
    assert 0.85 * NUM_GRADIENTS < found.num_gradients <= NUM_GRADIENTS


def test_a_path_that_is_known_to_be_linear_is_walked_as_between_densities(found):
    path = geometric_path(BASE.logdensity_fn, TARGET.logdensity_fn)
    same = run(0, None, path=path)
    assert same.log_partition_function == pytest.approx(
        found[0].log_partition_function, abs=1e-3
    )


def test_another_key_compiles_nothing(found, recompilations):
    with recompilations() as count:
        run(NUM_SEEDS)
        assert count() == 0


def test_a_density_that_cannot_be_reached_is_doubted():
    """So narrow and far away that two steps lose all walkers but one."""
    narrow = Density(lambda x: -jnp.sum(jnp.square((x - 5.0) / 1e-3)) / 2)
    assert run(0, narrow, num_gradients=20_000).doubts


NUM_DIMENSIONS = 20
#: The cube of [-1/2, 1/2], each coordinate by its logit.
CUBE = Density(
    lambda y: jnp.sum(jax.nn.log_sigmoid(y) + jax.nn.log_sigmoid(-y)),
    0.0,
    lambda key, n: jax.random.logistic(key, (n, NUM_DIMENSIONS)),
)


def spike(y):
    """Skilling's: most of the mass is where no step of a path leads, of first order."""
    x = jax.nn.sigmoid(y) - 0.5
    wide, narrow = (
        jnp.sum(jax.scipy.stats.norm.logpdf(x, 0.0, width)) for width in (0.1, 0.01)
    )
    return jnp.logaddexp(wide, jnp.log(100.0) + narrow)


def test_a_spike_is_seen_from_samples_found_otherwise_and_by_nobody_without():
    """Log Z is log 101; forward runs find the wide part alone, log Z = 0, and agree on it."""
    noise = 0.01 * jax.random.normal(jax.random.key(1), (128, NUM_DIMENSIONS))
    path = tempering_path(CUBE.logdensity_fn, spike)
    options = {"path": path, "num_gradients": 200_000, "num_walkers": 128}

    def find(relaxed):
        return estimate(jax.random.key(BASE_SEED), CUBE, relaxed=relaxed, **options)

    alone, beside = find(None), find(jax.scipy.special.logit(0.5 + noise))
    assert abs(alone.log_partition_function) < 1
    assert alone.doubts == ()
    assert any("nats apart" in doubt for doubt in beside.doubts)
    assert beside.bounds.lower < np.log(101) < beside.bounds.upper
    assert beside.num_gradients <= 200_000


def test_positions_may_be_pytrees_and_progress_adds_up_on_a_bar(capsys):
    base = Density(
        lambda x: -(x["a"] ** 2) / 2 - jnp.sum(x["b"] ** 2) / 2,
        1.5 * float(np.log(2 * np.pi)),
        lambda key, n: {
            "a": jax.random.normal(key, (n,)),
            "b": jax.random.normal(jax.random.fold_in(key, 1), (n, 2)),
        },
    )
    target = Density(lambda x: -(x["a"] ** 2) - jnp.sum(x["b"] ** 2))
    made = []
    with show_fraction("annealing", 100) as show:

        def progress(share):
            made.append(share)
            show(share)

        found = estimate(
            jax.random.key(0), base, target, num_gradients=NUM_GRADIENTS, progress=progress
        )
        jax.effects_barrier()
    assert abs(found.log_partition_function - 1.5 * np.log(np.pi)) < 0.1
    assert found.samples["b"].shape == (512, 2)
    assert sum(made) == pytest.approx(1)
    assert capsys.readouterr().out.splitlines()[-1] == "annealing: 100/100 steps"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_gradients": 100}, "num_gradients must be at least"),
        ({"num_walkers": 501}, "num_walkers must be a multiple of 32"),
        ({"path": lambda t: TARGET.logdensity_fn}, "either a target or a path"),
        ({"target": None}, "either a target or a path"),
        ({"relaxed": jnp.zeros((100, 2))}, "relaxed must have a multiple of 8 .*; got 100"),
        ({"target": TARGET.logdensity_fn}, "the target must be a Density"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        run(0, **options)


def test_a_base_without_samples_is_refused():
    with pytest.raises(ValueError, match="whose sample is None"):
        estimate(jax.random.key(0), TARGET, TARGET, num_gradients=1000)


def test_the_least_budget_that_is_told_suffices():
    base, target = targets.gaussian([1.0, 1.0]), Density(lambda x: -2 * jnp.sum(x**2))
    with pytest.raises(ValueError, match="num_gradients must be at least") as told:
        estimate(jax.random.key(0), base, target, num_gradients=1000, num_walkers=32)
    least = int(re.search(r"at least (\d+)", str(told.value))[1])
    found = estimate(jax.random.key(0), base, target, num_gradients=least, num_walkers=32)
    assert np.isfinite(found.log_partition_function)
