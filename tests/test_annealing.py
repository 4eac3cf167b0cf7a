"""Annealing and its two-sided bound, against quadrature and closed forms.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore.
The replicates are those of ``log_partition_bounds`` itself.
"""

import math
from functools import cache, partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_path import Target, logdensity, sample
from scipy.integrate import quad
from zscore import (
    NUM_REPLICATES,
    Z_LIMIT,
    assert_biased,
    assert_unbiased,
    replicate,
    test_key,
    z_scores,
)

from jarzynski_jax import training, walkers
from jarzynski_jax.annealing import (
    anneal,
    anneal_adaptively,
    geometric_path,
    log_partition_bounds,
    relax,
    work,
)
from jarzynski_jax.energies import gaussian_base, mixture
from jarzynski_jax.kernels import invariant, metropolis, ula
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.walkers import Dynamics, langevin

H = 0.1
DYNAMICS = langevin(H)


class Problem(NamedTuple):
    """A path from a Gaussian base to a target with a known log Z."""

    log_z_0: float
    log_z: float
    logdensity_0: object
    logdensity_1: object
    sample_0: object
    sample_1: object

    @property
    def path(self):
        return geometric_path(self.logdensity_0, self.logdensity_1)


def problem(base, logdensity_1, sample_1, log_z):
    """In one dimension, with positions of shape ()."""
    return Problem(
        math.log(2 * math.pi / float(base.stiffness)) / 2,
        log_z,
        lambda x: logdensity(base, x),
        logdensity_1,
        lambda key, shape: sample(key, base, shape),
        sample_1,
    )


@cache
def gaussian():
    """Stiffening from 1 to 2 while the centre moves from 0 to 0.7."""
    base, target = (Target(jnp.float32(k), jnp.float32(c)) for k, c in [(1, 0), (2, 0.7)])
    return problem(
        base,
        lambda x: logdensity(target, x),
        lambda key, shape: sample(key, target, shape),
        math.log(2 * math.pi / 2) / 2,
    )


@cache
def two_modes(a=-2.0, b=2.5, stiffness=0.25):
    """A quarter of the mass at a, the rest at b; log Z by quadrature."""
    base = Target(jnp.float32(stiffness), jnp.float32(0))
    params = {"a": jnp.full(1, a), "b": jnp.full(1, b), "z": jnp.float32(-math.log(3))}

    def density(x):
        return math.exp(-((x - a) ** 2) / 2) + 3 * math.exp(-((x - b) ** 2) / 2)

    return problem(
        base,
        lambda x: -mixture.energy(params, x[None]),
        lambda key, shape: mixture.sample(key, params, math.prod(shape)).reshape(shape),
        math.log(quad(density, -40, 40, points=[a, b], epsabs=1e-12)[0]),
    )


PROBLEMS = {"gaussian": gaussian, "two modes": two_modes}
each_problem = pytest.mark.parametrize("name", PROBLEMS)


def forgetful(dynamics):
    """A bug: walkers are weighed anew by the new target before they move."""

    def kernel(key, state, logdensity_fn, step_size):
        fresh = ula.init(state.position, logdensity_fn)
        return dynamics.move.kernel(key, fresh, logdensity_fn, step_size)

    return dynamics._replace(move=dynamics.move._replace(kernel=kernel))


@partial(jax.jit, static_argnums=(0, 1, 2))
def compiled_bounds(problem, dynamics, num_steps, key, start, relaxed):
    flat, flat_relaxed = (
        None if leaf is None else leaf.reshape(-1, *leaf.shape[2:]) for leaf in (start, relaxed)
    )
    return log_partition_bounds(
        key,
        flat,
        problem.path,
        problem.log_z_0,
        dynamics,
        num_steps,
        flat_relaxed,
        num_replicates=start.shape[0],
    )


def bounds_of(problem, key_name, num_steps, shape, dynamics, sample_1=None):
    """The three bounds less the exact log Z, as float64 arrays, and the whole result."""
    key_0, key_1, key = jax.random.split(test_key(key_name), 3)
    start, relaxed = (
        problem.sample_0(key_0, shape),
        (sample_1 or problem.sample_1)(key_1, shape),
    )
    result = compiled_bounds(problem, dynamics, num_steps, key, start, relaxed)
    estimates = (result.forward, result.backward, result.backward_from_relaxed)
    return tuple(np.asarray(log_z, np.float64) - problem.log_z for log_z in estimates), result


SHAPE = (NUM_REPLICATES, 700)


@cache
def bounds(name, num_steps):
    """The bounds with the usual dynamics."""
    return bounds_of(PROBLEMS[name](), f"{name} {num_steps}", num_steps, SHAPE, DYNAMICS)


# ---------------------------------------------------------------- unbiased


@each_problem
def test_the_partition_function_is_unbiased(name):
    """E[Z/Z_exact] = 1 forward, E[Z_exact/Z] = 1 backward from samples of the target."""
    (forward, _, backward), _ = bounds(name, 8)
    assert_unbiased(np.exp(forward), 1)
    assert_unbiased(np.exp(-backward), 1)


def test_the_partition_function_is_unbiased_with_resampling_at_every_step():
    dynamics = langevin(H, resampler=adaptive(systematic, 1.0))
    (forward, _, backward), result = bounds_of(two_modes(), "always", 8, SHAPE, dynamics)
    assert np.all(result.forward_info.is_resampled)
    assert_unbiased(np.exp(forward), 1)
    assert_unbiased(np.exp(-backward), 1)


@each_problem
def test_canary_walkers_that_forget_the_old_target(name):
    it = PROBLEMS[name]()
    (forward, _, backward), _ = bounds_of(it, "forgetful", 8, SHAPE, forgetful(langevin(H)))
    assert_biased(np.exp(forward), 1)
    assert_biased(np.exp(-backward), 1)


# ---------------------------------------------------------------- the bracket


@cache
def bounds_of_few(name, num_steps):
    """Three walkers, never resampled, 800 times: the bracket is wide."""
    dynamics = langevin(H, resampler=adaptive(systematic, 0.0))
    return bounds_of(PROBLEMS[name](), "few", num_steps, (800, 3), dynamics)[0]


@each_problem
def test_forward_is_below_and_backward_above(name):
    """With few walkers and few steps Jensen's inequality is strict: |z| > 4.5, 800 runs."""
    forward, _, backward = bounds_of_few(name, 3)
    assert z_scores(forward, 0) < -Z_LIMIT
    assert z_scores(backward, 0) > Z_LIMIT


@each_problem
def test_the_bracket_closes(name):
    """With 100 steps it is narrower than with 3: |z| > 4.5, 800 runs of three walkers."""
    gaps = [
        backward - forward
        for forward, _, backward in map(partial(bounds_of_few, name), (3, 100))
    ]
    error = np.hypot(*np.std(gaps, axis=1)) / math.sqrt(800)
    assert (np.mean(gaps[0]) - np.mean(gaps[1])) / error > Z_LIMIT


@each_problem
def test_slow_annealing_is_right(name):
    """To 0.02 nats from both sides; the spread over 64 runs makes 0.02 4.5 errors or more."""
    for bound in bounds(name, 64)[0]:
        assert np.std(bound) / math.sqrt(NUM_REPLICATES) < 0.02 / 4.5
        assert abs(np.mean(bound)) < 0.02


@each_problem
def test_backward_from_end_points_agrees_when_annealing_is_slow(name):
    (_, backward, relaxed), _ = bounds(name, 64)
    error = np.hypot(
        *(np.std(bound) / math.sqrt(NUM_REPLICATES) for bound in (backward, relaxed))
    )
    assert abs(np.mean(backward) - np.mean(relaxed)) < Z_LIMIT * error


def test_canary_bounds_from_wrong_samples_cross_or_open():
    """Too wide samples take the upper bound below the lower; too narrow ones blow it up."""

    def gap(stiffness, num_steps=3):
        wrong = Target(jnp.float32(stiffness), jnp.float32(0.7))
        (forward, _, backward), _ = bounds_of(
            gaussian(),
            f"samples of stiffness {stiffness}",
            num_steps,
            SHAPE,
            DYNAMICS,
            lambda key, shape: sample(key, wrong, shape),
        )
        return backward - forward, backward

    right, _ = gap(2.0)
    wide, backward_of_wide = gap(0.5)
    narrow, backward_of_narrow = gap(200.0)
    assert_biased(np.exp(-backward_of_wide), 1)
    assert_biased(np.exp(-backward_of_narrow), 1)
    assert z_scores(wide, 0) < -Z_LIMIT
    assert z_scores(narrow, np.mean(right)) > Z_LIMIT
    assert np.mean(narrow) > np.mean(right) + 0.1


def test_a_mode_that_the_forward_run_misses_shows_in_the_relaxed_samples():
    """The bracket of a narrow base and its own end points is tight, and log 4 too low.

    The far mode at 14 holds three quarters of the mass, and no walker from N(0, 1) finds it.
    """
    it = two_modes(a=0.5, b=14.0, stiffness=1.0)
    (forward, backward, relaxed), result = bounds_of(it, "far mode", 32, SHAPE, DYNAMICS)
    assert np.max(result.end_points) < 7
    # Blind: both sides agree on the near mode's log Z.
    assert abs(np.mean(forward) + math.log(4)) < 0.05
    assert abs(np.mean(backward) + math.log(4)) < 0.05
    # Seen: from true samples three quarters of the walkers return with a weight of nothing.
    assert abs(np.mean(relaxed)) < 0.05
    assert np.mean(relaxed) - np.mean(backward) > 1.2


# ---------------------------------------------------------------- the interface


def test_shapes_and_diagnostics():
    _, result = bounds("gaussian", 8)
    assert result.forward.shape == (NUM_REPLICATES,)
    assert result.end_points.shape == SHAPE
    assert all(leaf.shape == (NUM_REPLICATES, 8) for leaf in result.forward_info)
    assert np.all(result.forward_info.num_dead == 0)
    for ess in result.forward_info[:2]:
        assert np.all(ess > 1 / SHAPE[1])
        assert np.all(ess <= 1 + 1e-6)


def test_end_points_are_samples_of_the_target():
    """Means over each replicate's end points after slow annealing: E[x], E[x²]; |z| < 4.5."""
    _, result = bounds("gaussian", 64)
    x = np.asarray(result.end_points, np.float64)
    moments = np.stack([x.mean(axis=1), np.square(x).mean(axis=1)], axis=1)
    assert_unbiased(moments, [0.7, 0.7**2 + 1 / 2])


def test_positions_may_be_pytrees_and_relaxed_left_out():
    """Under jit; two independent Gaussians, whose log Z add."""

    def logdensity_1(x):
        return -2 * jnp.sum(jnp.square(x["u"])) - jnp.square(x["v"])

    path = geometric_path(lambda x: -jnp.sum(x["u"] ** 2) / 2 - x["v"] ** 2 / 2, logdensity_1)
    key_u, key_v, key = jax.random.split(test_key("pytree"), 3)
    positions = {
        "u": jax.random.normal(key_u, (8, 300, 2)),
        "v": jax.random.normal(key_v, (8, 300)),
    }
    result = jax.jit(lambda key, x: log_partition_bounds(key, x, path, 0.0, langevin(H), 50))(
        key, positions
    )
    assert result.backward_from_relaxed is None
    assert jax.tree.map(jnp.shape, result.end_points) == {"u": (8, 300, 2), "v": (8, 300)}
    # d/2 log of the ratio of stiffnesses; the spread of one run is about 0.05.
    expected = -math.log(4) - math.log(2) / 2
    assert np.mean(result.forward) == pytest.approx(expected, abs=0.1)
    assert np.mean(result.backward) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("num_steps", [0, -3])
def test_at_least_one_step(num_steps):
    path = geometric_path(lambda x: -(x**2) / 2, lambda x: -(x**2))
    with pytest.raises(ValueError, match=f"num_steps.*got {num_steps}"):
        log_partition_bounds(
            jax.random.key(0), jnp.zeros((1, 4)), path, 0.0, langevin(H), num_steps
        )


@pytest.mark.parametrize("shape", [(), (0,), (3, 1)])
def test_times_must_be_a_row(shape):
    path = geometric_path(lambda x: -(x**2) / 2, lambda x: -(x**2))
    ensemble = walkers.init(jnp.zeros(4), path(0.0), ula.init)
    with pytest.raises(ValueError, match="times must have shape"):
        anneal(jax.random.key(0), ensemble, path, jnp.ones(shape), langevin(H))


def test_geometric_path_joins_its_ends():
    """At t = 0 and t = 1 it is the given log-densities, and a straight line between."""
    first, last = (lambda x: -jnp.sum(x**2)), (lambda x: jnp.sum(jnp.sin(x)) - 7)
    path, x = geometric_path(first, last), jnp.array([0.3, -1.2])
    assert float(path(0.0)(x)) == float(first(x))
    assert float(path(1.0)(x)) == float(last(x))
    expected = 0.75 * float(first(x)) + 0.25 * float(last(x))
    assert float(path(0.25)(x)) == pytest.approx(expected, rel=1e-6)


def test_anneal_along_times_that_are_not_equal():
    """Any ascending times will do, pauses included: E[Z/Z_exact] = 1 at their end."""
    it = gaussian()
    times = jnp.array([0.1, 0.4, 0.4, 0.5, 0.9, 1.0])

    def run(key):
        key_start, key = jax.random.split(key)
        start = walkers.init(it.sample_0(key_start, (500,)), it.path(0.0), ula.init, it.log_z_0)
        end, info = anneal(key, start, it.path, times, langevin(H))
        moments = jnp.stack([jnp.ones(500), end.position, end.position**2])
        weight = jnp.exp(end.log_weights + it.log_z_0 - it.log_z)
        return jnp.mean(weight * moments, axis=1), info.num_dead

    moments, num_dead = replicate("times", run)
    assert num_dead.shape == (NUM_REPLICATES, 6)
    assert not np.any(num_dead)
    assert_unbiased(moments, [1, 0.7, 0.7**2 + 1 / 2])


# ---------------------------------------------------------------- relaxation


def moments_after(move, num_walkers=400):
    """Mean, square and fourth power after ten moves from exact samples of N(0, 1)."""

    def run(key):
        key_start, key = jax.random.split(key)
        x = move(key, jax.random.normal(key_start, (num_walkers, 2)))
        return jnp.stack([jnp.mean(x**power) for power in (1, 2, 4)])

    return replicate("relax", run)


def standard(x):
    return -jnp.sum(jnp.square(x)) / 2


COARSE = 0.8


def test_relaxation_leaves_the_target_invariant():
    """At h = 0.8, where ULA's own variance is 1/(1 - h/2) = 1.67: |z| < 4.5 over 64 runs."""

    def move(key, x):
        return relax(key, x, standard, langevin(COARSE), 10)[0]

    assert_unbiased(moments_after(move), [0, 1, 3])


def test_canary_without_the_metropolis_test():
    def move(key, x):
        ensemble = walkers.init(x, standard, ula.init)
        for k in jax.random.split(key, 10):
            ensemble, _ = walkers.move(k, ensemble, standard, ula.build_kernel(), COARSE)
        return ensemble.position

    assert_biased(moments_after(move), [0, 1, 3])


def test_relaxation_finds_the_target():
    """From far away, all of the walkers; and it reports the mean acceptance rate."""
    x, rate = jax.jit(
        lambda key: relax(key, jnp.full((500, 2), 6.0), standard, langevin(0.2), 80)
    )(test_key("find"))
    assert x.shape == (500, 2)
    # 1000 numbers of unit variance: 4.5 standard errors.
    assert abs(np.mean(x)) < 4.5 / math.sqrt(1000)
    assert abs(np.mean(np.square(x)) - 1) < 4.5 * math.sqrt(2 / 1000)
    assert 0.9 < float(rate) < 1


def test_relaxation_does_not_enter_a_region_of_no_density():
    """A proposal whose energy is NaN is rejected."""
    target = lambda x: jnp.where(x > 0.5, jnp.nan, -jnp.square(x) / 2)  # noqa: E731
    x, rate = relax(test_key("nan"), jnp.zeros(300), target, langevin(0.3), 30)
    assert np.all(np.asarray(x) <= 0.5)
    assert np.std(x) > 0.3
    assert 0.3 < float(rate) < 1


def _trap(t):
    """A box of width 1 that moves from 0 to 5: the ends have no position in common."""
    return lambda x: jnp.where(jnp.abs(x - 5 * t) < 0.5, 0.0, -jnp.inf)


def test_states_without_a_common_position_jitted_or_not():
    """Adjusted moves: E[e^A] counts the volumes, 1 to 1."""
    kernel = invariant.build_kernel(ula.init, metropolis.adjust(ula.as_move()))
    dynamics = Dynamics(invariant.markov_move(kernel, 0.1), 2, adaptive(systematic, 0.5))
    x = jax.random.uniform(jax.random.key(0), (2000,), minval=-0.5, maxval=0.5)
    times = jnp.linspace(0, 1, 101)[1:]

    def run(key):
        start = walkers.init(x, _trap(0.0), dynamics.kernel_init)
        end, _ = anneal(key, start, _trap, times, dynamics)
        return walkers.log_partition_function(end), end.leakage

    log_z, leakage = run(jax.random.key(1))
    jitted, _ = jax.jit(run)(jax.random.key(1))
    assert float(log_z) == pytest.approx(float(jitted), abs=1e-5)
    assert float(leakage) == 0
    assert np.isfinite(log_z)


def test_a_schedule_of_ones_own_is_that_of_equal_steps():
    path = geometric_path(lambda x: -(x**2) / 2, lambda x: -2 * x**2)
    x, dynamics, key = (
        jax.random.normal(jax.random.key(0), (1000,)),
        langevin(H),
        jax.random.key(1),
    )
    run = partial(log_partition_bounds, key, path=path, log_partition_function_0=0.0)
    run = partial(run, dynamics=dynamics)
    equal = run(positions=x, num_steps=20, num_replicates=2)
    given = run(positions=x.reshape(2, 500), times=jnp.arange(1, 21) / 20)
    np.testing.assert_allclose(given.forward, equal.forward, atol=1e-5)
    np.testing.assert_allclose(given.backward, equal.backward, atol=1e-5)


def test_a_part_of_the_walkers_goes_back():
    """Forward nothing changes; back it is another estimate of the same log 1/2."""
    path = geometric_path(lambda x: -(x**2) / 2, lambda x: -2 * x**2)
    x = jax.random.normal(test_key("going back"), (NUM_REPLICATES, 100))
    run = partial(log_partition_bounds, jax.random.key(1), x, path, 0.0, langevin(H), 40)
    whole, part = run(), run(num_backward=20)
    np.testing.assert_array_equal(part.forward, whole.forward)
    np.testing.assert_array_equal(part.end_points, whole.end_points)
    np.testing.assert_array_equal(run(num_backward=100).backward, whole.backward)
    assert not np.any(part.backward == whole.backward)
    assert abs(z_scores(part.backward, math.log(0.5))) < Z_LIMIT


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1000, 3), {"num_steps": 5}, "one ensemble of 1000 walkers.*num_replicates"),
        ((100, 784), {"num_steps": 5}, "one ensemble of 100 walkers.*num_replicates"),
        ((1000,), {"num_steps": 5}, "R replicates of N walkers"),
        ((1000, 3), {"num_steps": 5, "num_replicates": 7}, "must divide.*1000.*got 7"),
        ((2, 500), {"num_steps": 5, "num_backward": 3}, "num_backward must divide.*500.*got 3"),
        ((2, 500), {"num_steps": 5, "num_backward": 0}, "num_backward must divide.*got 0"),
        ((2, 500), {}, "either num_steps or times"),
        ((2, 500), {"num_steps": 5, "times": jnp.ones(1)}, "either num_steps or times"),
        ((2, 500), {"times": jnp.array([1.0, 0.5])}, "times must ascend"),
    ],
)
def test_ensembles_that_look_like_replicates_are_refused(shape, options, message):
    path = geometric_path(lambda x: -jnp.sum(x**2) / 2, lambda x: -2 * jnp.sum(x**2))
    with pytest.raises(ValueError, match=message):
        log_partition_bounds(
            jax.random.key(0), jnp.zeros(shape), path, 0.0, langevin(H), **options
        )


def test_a_second_call_compiles_nothing(recompilations):
    path = geometric_path(lambda x: -(x**2) / 2, lambda x: -2 * x**2)
    x = jax.random.normal(jax.random.key(0), (2, 100))
    times, last = jnp.linspace(0, 1, 6)[1:], path(1.0)

    def calls(key):
        dynamics = langevin(H)  # made anew each time
        start = walkers.init(x[0], path(0.0), dynamics.kernel_init)
        anneal(key, start, path, times, dynamics)
        log_partition_bounds(key, x, path, 0.0, dynamics, 5)
        work(key, x[0], x[1] / 2, path, times, dynamics)
        relax(key, x[0], last, dynamics, 5)
        anneal_adaptively(key, start, path, dynamics, 0.9, 5)

    calls(jax.random.key(1))
    with recompilations() as count:
        calls(jax.random.key(2))
    assert count() == 0


def test_more_replicates_than_walkers_are_bounded():
    """Their number is known there, so nobody has to guess it."""
    base = gaussian_base.GaussianBase(jnp.zeros(1), jnp.array(1.0), jnp.array(1.0))
    found = training.bound_from_base(
        jax.random.key(0),
        base,
        lambda params, x: params * jnp.sum(x**2) / 2,
        4.0,
        jnp.linspace(-1, 1, 50)[:, None],
        0.0,
        langevin(H),
        training.Annealing(steps=20, walkers=4, replicates=9),
    )
    assert found.bounds.forward.shape == (9,)
    assert found.bounds.end_points.shape == (9, 4, 1)


def test_progress_adds_up_and_changes_no_number():
    path = geometric_path(lambda x: -(x**2) / 2, lambda x: -2 * x**2)
    x = jax.random.normal(jax.random.key(0), (2, 100))
    arguments = (jax.random.key(1), x, path, 0.0, langevin(H), 77, x / 2)
    shares = []
    told = log_partition_bounds(*arguments, progress=shares.append)
    assert sum(shares) == pytest.approx(1)
    assert len(shares) == 2 * 3 * 50
    chex.assert_trees_all_equal(told, log_partition_bounds(*arguments))


def test_progress_is_told_of_few_steps_and_of_replicates_side_by_side():
    shares = []

    def run(key, x):
        return relax(key, x, lambda x: -(x**2) / 2, langevin(H), 3, progress=shares.append)

    keys = jax.random.split(jax.random.key(0), 4)
    jax.block_until_ready(jax.vmap(run)(keys, jnp.zeros((4, 10))))
    assert shares == pytest.approx(3 * [1 / 3])


def test_schedules_end_at_the_last_density_and_replicates_have_walkers():
    path = geometric_path(lambda x: -(x**2) / 2, lambda x: -(x**2))
    x = jnp.zeros((8, 8))
    with pytest.raises(ValueError, match=r"times must end at 1.*got 0\.9"):
        log_partition_bounds(
            jax.random.key(0), x, path, 0.0, langevin(0.1), times=jnp.array([0.5, 0.9])
        )
    with pytest.raises(ValueError, match="leave it out"):
        log_partition_bounds(
            jax.random.key(0), x, path, 0.0, langevin(0.1), 4, num_replicates=8
        )
