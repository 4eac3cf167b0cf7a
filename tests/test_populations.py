"""Populations of walkers in imaginary time: their size, copies, warm-up, errors, and resuming.

Two or four particles, each in the well x⁴, with a drift that is not its ground state's: at the
step h the energy is that of the propagator on a grid, for any drift, and a multiple of one
particle's. Nothing is ever rejected, so no acceptance can change with the number of copies.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zscore import BASE_SEED

from jarzynski_jax import free_energy, quantum
from jarzynski_jax.kernels import feynman_kac, guides
from jarzynski_jax.walkers import Dynamics

STEP, STEPS_PER_BLOCK = 0.1, 2
BLOCK = STEP * STEPS_PER_BLOCK
WARMUP = 40
#: Blocks whose growth weighs in means: 3 units of time, where correlations last 0.3.
PAST = 15


def _drift(x):
    return -0.7 * x


def _energy(state):
    return state.energy


DYNAMICS = Dynamics(feynman_kac.as_move(guides.drift_guide(_drift), STEP))
WELL = quantum.quartic()


def _run(positions, num_windows=20, seed=0):
    return quantum.run_populations(
        jax.random.fold_in(jax.random.key(BASE_SEED), seed),
        positions,
        WELL.rate,
        DYNAMICS,
        _energy,
        num_windows=num_windows,
        blocks_per_window=10,
        steps_per_block=STEPS_PER_BLOCK,
    )


def _normal(num_populations, num_walkers, dimension):
    shape = num_populations, num_walkers, dimension
    return 0.6 * jax.random.normal(jax.random.key(BASE_SEED + 100), shape)


@pytest.fixture(scope="module")
def exact():
    """Of one particle: the propagator's energy, and the mean of V over its ground state."""
    x, spacing = np.linspace(-4, 4, 600, retstep=True)
    gaps = x[:, None] - x
    kinetic = np.exp(-(gaps**2) / (2 * STEP)) / np.sqrt(2 * np.pi * STEP) * spacing
    half = np.exp(-STEP * x**4 / 2)
    values, vectors = np.linalg.eigh(half[:, None] * kinetic * half)
    ground = np.abs(vectors[:, -1])
    return -np.log(values[-1]) / STEP, np.sum(ground * x**4) / np.sum(ground)


@pytest.fixture(scope="module")
def populations():
    """Four particles; by number of walkers, ever fewer populations."""
    return {n: _run(_normal(r, n, 4)) for r, n in ((256, 10), (64, 100), (16, 400), (4, 1600))}


@pytest.fixture(scope="module")
def pair():
    """Two particles."""
    return _run(_normal(16, 400, 2), seed=1)


def _growth(run, num_past=PAST, num_warmup=WARMUP):
    return quantum.growth_energy(run, BLOCK, num_warmup, num_past)


def _mixed(run):
    return quantum.mixed_mean(run.observed, run, WARMUP, PAST)


def _z(found, expected):
    return (found.value - expected) / found.standard_error


@pytest.mark.parametrize("num_walkers", [100, 400, 1600])
def test_populations_of_any_size_have_one_energy(populations, exact, num_walkers):
    """25 600 or 6400 walkers each, within 4 standard errors: growth, and the mean of V."""
    run = populations[num_walkers]
    for found, expected in zip((_growth(run), _mixed(run)), exact, strict=True):
        assert found.standard_error < 0.05
        assert abs(_z(found, 4 * expected)) < 4


def test_canary_a_small_population_that_forgets_its_growth_is_biased(populations, exact):
    """Of 10 walkers: right with the weights of the past, too high without."""
    assert abs(_z(_growth(populations[10]), 4 * exact[0])) < 4
    assert _z(_growth(populations[10], num_past=0), 4 * exact[0]) > 4


def test_two_copies_have_twice_the_energy(populations, pair, exact):
    for found, single in (
        (_growth(populations[400]), _growth(pair)),
        (_mixed(populations[400]), _mixed(pair)),
    ):
        error = np.hypot(found.standard_error, 2 * single.standard_error)
        assert abs(found.value - 2 * single.value) < 4 * error
    assert abs(_z(_growth(pair), 2 * exact[0])) < 4


def test_two_warm_ups_end_at_one_energy(pair):
    """Walkers near the ground state, and all of them far out, whose first block tells it."""
    far = _run(jnp.full((16, 400, 2), 2.0, jnp.float32), seed=2)

    def z(num_warmup):
        near, other = _growth(pair), _growth(far, num_warmup=num_warmup)
        error = np.hypot(near.standard_error, other.standard_error)
        return abs(near.value - other.value) / error

    assert z(WARMUP) < 4
    assert np.asarray(far.log_growth)[:, 0].mean() < 3 * np.asarray(pair.log_growth).mean()


def test_a_run_goes_on_bit_for_bit(pair):
    half = _run(_normal(16, 400, 2), num_windows=10, seed=1)
    whole = _run(half, num_windows=10, seed=1)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, whole, pair))
    # With weights of their own, that a start from positions alone would lose.
    assert jnp.ptp(half.walkers.log_weights) > 0
    with pytest.raises(ValueError, match="blocks_per_window must be 10"):
        quantum.run_populations(
            jax.random.key(0),
            half,
            WELL.rate,
            DYNAMICS,
            _energy,
            num_windows=1,
            blocks_per_window=5,
            steps_per_block=STEPS_PER_BLOCK,
        )


def test_the_global_mean_weighs_moments_by_the_growth_that_led_to_them():
    """Weights 1 and 3, energies 0 and 1: 3/4; a mean of the ratios would be 1/2."""
    growth, energies = np.log(np.tile([1.0, 3.0], (2, 16))), np.tile([0.0, 1.0], (2, 16))
    zeros = np.zeros((2, 16))
    run = quantum.Run(growth, zeros, zeros, zeros, zeros, zeros, zeros, zeros, ())
    assert quantum.mixed_mean(energies, run, num_past=1).value == pytest.approx(0.75)
    assert quantum.mixed_mean(energies, run).value == pytest.approx(0.5)


# ---------------------------------------------------------------- standard errors


def _excess(values, errors, expected):
    """Z-score of chi square: the spread of replicates above their stated variances."""
    ratio = np.mean((np.asarray(values) - expected) ** 2) / np.mean(np.square(errors))
    return (ratio - 1) * np.sqrt(len(values) / 2)


def _replicates(run):
    """Four populations each, of a run without its walkers."""
    run = run._replace(walkers=())
    return [
        jax.tree.map(lambda leaf, i=i: leaf[i : i + 4], run)
        for i in range(0, run.log_growth.shape[0], 4)
    ]


def test_errors_of_runs_are_the_spread_of_64_runs(populations, exact):
    """Chi square of 64 runs within 4 deviations; the canary takes blocks as independent."""
    runs = _replicates(populations[10])
    for of, expected in ((_growth, exact[0]), (_mixed, exact[1])):
        found = np.array([of(run) for run in runs])
        assert abs(_excess(*found.T, 4 * expected)) < 4
    naive = []
    for run in runs:
        values = np.asarray(run.observed)[:, WARMUP:]
        weights = free_energy.past_log_weights(run.log_growth, PAST)[:, WARMUP:]
        weights = np.exp(weights - weights.max())
        deviations = weights / weights.mean() * (values - _mixed(run).value)
        naive.append(free_energy.blocking_errors(deviations)[0])
    assert _excess(found[:, 0], naive, 4 * exact[1]) > 4


@pytest.mark.parametrize("time", [0.0, 2.0, 25.0, 50.0])
def test_errors_of_series_that_are_not_much_longer_than_their_correlation(time):
    """1000 times 4 series of 400 values: stated errors are the true one, to 4 deviations.

    They may be 20 % too large, not too small. The canary is the error from blocks alone, which
    end at 64 values.
    """
    rng = np.random.default_rng(BASE_SEED)
    factor = np.exp(-1 / time) if time else 0.0
    noise = rng.normal(size=(1000, 4, 400))
    series = noise.copy()
    for t in range(1, 400):
        change = np.sqrt(1 - factor**2) * noise[:, :, t]
        series[:, :, t] = factor * series[:, :, t - 1] + change
    found = np.array([free_energy.blocked_mean(of) for of in series])
    assert _excess(*found.T, 0.0) < 4
    assert np.sqrt(np.mean(found[:, 1] ** 2)) < 1.2 * found[:, 0].std()
    if time >= 25:
        blocks = [np.max(free_energy.blocking_errors(of)) for of in series]
        assert _excess(found[:, 0], blocks, 0.0) > 4
