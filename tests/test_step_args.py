"""Arguments of the kernel that change from step to step of a path.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore. The
path is that of gaussian_path, from N(0, 1) to N(1, 1/4), in few and coarse steps. Each canary
is the same program with a switch turned.
"""

from typing import NamedTuple

import gaussian_path
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from zscore import assert_biased, assert_unbiased, replicate

from jarzynski_jax import annealing, walkers
from jarzynski_jax.kernels import bijection, escorted, kinetic, sequence, ula
from jarzynski_jax.kernels.move import Move, itself
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.walkers import Dynamics, kinetic_langevin, langevin

NUM_STEPS = 6
TIMES = jnp.linspace(0, 1, NUM_STEPS + 1)[1:]
BEFORE = TIMES - 1 / NUM_STEPS
# From long steps to short ones, and not in proportion to anything of the path.
STEP_SIZES = jnp.array([0.4, 0.3, 0.05, 0.2, 0.1, 0.08])
RESAMPLER = adaptive(systematic, 0.5)
EXPECTED = gaussian_path.exact_moments(gaussian_path.stiffening(NUM_STEPS))


def path(t):
    return gaussian_path.at(gaussian_path.Target(1 + 3 * t, t))


def dynamics_of(kernel, init, num_moves=1):
    return Dynamics(Move(init, kernel), num_moves, RESAMPLER)


def moments(key, dynamics, step_args):
    key_start, key_path = jax.random.split(key)
    x = jax.random.normal(key_start, (2000, 1))
    start = walkers.init(x, path(0.0), dynamics.kernel_init)
    end, _ = annealing.anneal(key_path, start, path, TIMES, dynamics, step_args)
    return gaussian_path.weighted_moments(end)


# ---------------------------------------------------------------- a step size of its own


def weighed_by_another(build_kernel, *fixed):
    """Moves by one step size and, if the switch is on, weighs by another."""

    def kernel(key, state, logdensity_fn, step_size, other, is_wrong):
        move = build_kernel()
        state_after, info = move(key, state, logdensity_fn, step_size, *fixed)
        wrong = move(key, state, logdensity_fn, other, *fixed)[1].log_weight_increment
        increment = jnp.where(is_wrong, wrong, info.log_weight_increment)
        return state_after, info._replace(log_weight_increment=increment)

    return kernel


def moments_by_step_size(key, is_wrong):
    """Of ULA and of kinetic Langevin, with one move a step and with two."""
    next_sizes = jnp.roll(STEP_SIZES, -1)
    switch = jnp.full(NUM_STEPS, is_wrong)
    found = []
    for num_moves in (1, 2):
        kernel = weighed_by_another(ula.build_kernel)
        by_ula = dynamics_of(kernel, ula.init, num_moves)
        found.append(moments(key, by_ula, (STEP_SIZES, next_sizes, switch)))
        kernel = weighed_by_another(kinetic.build_kernel, 1.0)
        by_kinetic = dynamics_of(kernel, kinetic.init, num_moves)
        lengths = jnp.sqrt(2 * STEP_SIZES)
        found.append(moments(key, by_kinetic, (lengths, jnp.roll(lengths, -1), switch)))
    return jnp.stack(found)


def test_a_step_size_along_the_path_is_exact():
    assert_unbiased(replicate("step sizes", moments_by_step_size, jnp.array(False)), EXPECTED)


def test_canary_step_sizes_of_the_next_step_in_the_weight():
    found = replicate("step sizes", moments_by_step_size, jnp.array(True))
    for index in range(found.shape[1]):
        assert_biased(found[:, index], EXPECTED)


@pytest.mark.parametrize("make", [langevin, lambda h: kinetic_langevin(h, 1.0)])
def test_equal_step_sizes_are_one_step_size(make):
    x = jax.random.normal(jax.random.key(0), (50, 1))
    fixed, free = make(0.1), make(None)
    start = walkers.init(x, path(0.0), fixed.kernel_init)
    key, sizes = jax.random.key(1), jnp.full(NUM_STEPS, 0.1)
    expected, _ = annealing.anneal(key, start, path, TIMES, fixed)
    found, _ = annealing.anneal(key, start, path, TIMES, free, (sizes,))
    np.testing.assert_allclose(found.log_weights, expected.log_weights, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.position, expected.position, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- a drift that depends on time


def velocity(t, x):
    """Nearly that which transports the path: ċ - k̇/(2k) (x - c)."""
    return 0.8 * (1 - 3 / (2 * (1 + 3 * t)) * (x - t))


DIFFUSION = 0.5
NOTHING, BACKWARD, FORWARD = range(3)


def moments_escorted(key, wrong):
    """With the drift of another step in the backward density, or in the forward one."""
    move, h = escorted.build_kernel(), 1 / NUM_STEPS

    def log_forward(displacement, drift):
        return -jnp.sum(jnp.square(displacement - h * drift)) / (4 * h * DIFFUSION)

    def kernel(key, state, logdensity_fn, now, before):
        closing = Partial(velocity, jnp.where(wrong == BACKWARD, before, now))
        after, info = move(key, state, logdensity_fn, closing, h, DIFFUSION)
        displacement = after.position - state.position
        drift = velocity(jnp.where(wrong == FORWARD, now, before), state.position)
        correction = log_forward(
            displacement, state.velocity + DIFFUSION * state.logdensity_grad
        ) - log_forward(displacement, drift + DIFFUSION * state.logdensity_grad)
        increment = info.log_weight_increment + correction
        after = after._replace(velocity=velocity(now, after.position))
        return after, info._replace(log_weight_increment=increment)

    def init(position, logdensity_fn):
        return escorted.init(position, logdensity_fn, Partial(velocity, 0.0))

    return moments(key, dynamics_of(kernel, init), (TIMES, BEFORE))


@pytest.mark.parametrize("wrong", [NOTHING, BACKWARD])
def test_a_drift_that_depends_on_time_is_exact(wrong):
    """The backward density may be any that is normalised, with the drift of any step."""
    assert_unbiased(replicate("escorted", moments_escorted, jnp.array(wrong)), EXPECTED)


def test_canary_the_drift_of_another_step_in_the_forward_density():
    assert_biased(replicate("escorted", moments_escorted, jnp.array(FORWARD)), EXPECTED)


# ---------------------------------------------------------------- a map of its own at each step


class Affine(NamedTuple):
    log_scale: jax.Array
    shift: jax.Array
    is_forgotten: jax.Array


def affine(layer, x):
    """Of a layer that is forgotten the log-determinant is left out."""
    log_det = jnp.where(layer.is_forgotten, 0, layer.log_scale * x.size)
    return jnp.exp(layer.log_scale) * x + layer.shift, log_det


FLOW = Dynamics(
    sequence.as_move([bijection.as_move(), ula.as_move()]), 1, adaptive(systematic, 0.5)
)


def moments_by_flow(key, forgotten):
    """A layer takes the old Gaussian some way to the new one, and ULA follows."""
    log_scale = 0.7 * jnp.log((1 + 3 * BEFORE) / (1 + 3 * TIMES)) / 2
    shift = 0.7 * (TIMES - jnp.exp(log_scale) * BEFORE)
    layers = Affine(log_scale, shift, jnp.arange(NUM_STEPS) == forgotten)
    return moments(key, FLOW, ((Partial(affine, layers),), (STEP_SIZES,)))


def test_a_map_of_its_own_at_each_step_is_exact():
    assert_unbiased(replicate("flow", moments_by_flow, jnp.array(-1)), EXPECTED)


def test_canary_a_layer_without_its_log_determinant():
    assert_biased(replicate("flow", moments_by_flow, jnp.array(3)), EXPECTED)


def test_stages_take_a_tuple_each():
    x = jax.random.normal(jax.random.key(0), (5, 1))
    start = walkers.init(x, path(0.0), FLOW.kernel_init)
    with pytest.raises(ValueError, match=r"sequence of 2 kernels takes a tuple.*got tuple"):
        annealing.anneal(jax.random.key(1), start, path, TIMES, FLOW, ((STEP_SIZES,),))


# ---------------------------------------------------------------- which step is given what


class CountingState(NamedTuple):
    position: jax.Array
    logdensity: jax.Array
    log_endpoint: jax.Array


class CountingInfo(NamedTuple):
    log_weight_increment: jax.Array


def counting_init(position, logdensity_fn):
    return CountingState(position, logdensity_fn(position), jnp.zeros(()))


def counting_kernel(key, state, logdensity_fn, factor, summand):
    """Adds the argument of the step times the target's log-density, which is t."""
    del key
    state = counting_init(state.position, logdensity_fn)
    return state, CountingInfo(factor * summand["a"] * state.logdensity)


def time_path(t):
    return lambda x: t + 0 * x


COUNTING = Dynamics(
    Move(counting_init, counting_kernel, (2.0,), itself), 3, adaptive(systematic, 0.0)
)
ARGS = ({"a": jnp.array([1.0, 10.0, 100.0, 1e3, 1e4, 1e5])},)


def test_each_move_of_a_step_is_given_the_same():
    start = walkers.init(jnp.zeros(4), time_path(0.0), counting_init)
    end, _ = annealing.anneal(jax.random.key(0), start, time_path, TIMES, COUNTING, ARGS)
    expected = 2 * 3 * float(jnp.sum(ARGS[0]["a"] * TIMES))
    np.testing.assert_allclose(end.log_weights, expected, rtol=1e-6)


def test_backward_runs_are_given_those_of_the_step_forward():
    bounds = annealing.log_partition_bounds(
        jax.random.key(0),
        jnp.zeros((2, 4)),
        time_path,
        0.0,
        COUNTING._replace(num_moves=1),
        NUM_STEPS,
        jnp.zeros((2, 4)),
        step_args=ARGS,
    )
    args = ARGS[0]["a"]
    np.testing.assert_allclose(bounds.forward, 2 * float(jnp.sum(args * TIMES)), rtol=1e-6)
    back = -2 * float(jnp.sum(args * BEFORE))
    np.testing.assert_allclose(bounds.backward, back, rtol=1e-6)
    np.testing.assert_allclose(bounds.backward_from_relaxed, back, rtol=1e-6)


def test_work_is_given_the_same_move_for_move():
    found = annealing.work(
        jax.random.key(0),
        jnp.zeros(4),
        jnp.zeros(4),
        time_path,
        TIMES,
        COUNTING,
        ARGS,
    )
    args = np.asarray(ARGS[0]["a"])
    np.testing.assert_allclose(found.forward, -2 * 3 * np.sum(args * TIMES), rtol=1e-6)
    # Back, two of three moves stay at a time, and the third goes to the time before.
    times = 2 * np.asarray(TIMES) + np.asarray(BEFORE)
    np.testing.assert_allclose(found.reverse, -2 * np.sum(args * times), rtol=1e-6)


def test_bounds_with_step_sizes_are_unbiased_both_ways():
    def ratios(key):
        key_start, key_end, key_run = jax.random.split(key, 3)
        x = jax.random.normal(key_start, (1, 2000, 1))
        last = 1 + jax.random.normal(key_end, (1, 2000, 1)) / 2
        sizes = jnp.linspace(0.2, 0.05, 40)  # walkers that widen need more steps
        bounds = annealing.log_partition_bounds(
            key_run, x, path, 0.0, langevin(None), 40, last, step_args=(sizes,)
        )
        return jnp.exp(jnp.stack([bounds.forward[0], -bounds.backward_from_relaxed[0]]))

    assert_unbiased(replicate("bounds", ratios), np.array([0.5, 2.0]))


# ---------------------------------------------------------------- interface


def anneal_with(step_args, dynamics=None):
    dynamics = dynamics or langevin(None)
    start = walkers.init(jnp.zeros((5, 1)), path(0.0), dynamics.kernel_init)
    return annealing.anneal(jax.random.key(0), start, path, TIMES, dynamics, step_args)


BAD_STEP_ARGS = {
    "too long": ((jnp.full(7, 0.1),), r"leading axis K = 6.*got shapes \[\(7,\)\]"),
    "a scalar": ((0.1,), r"leading axis K = 6.*got shapes \[\(\)\]"),
    "an array": (STEP_SIZES, r"must be a tuple.*write \(step_args,\)"),
    "a named tuple": (CountingInfo(STEP_SIZES), r"must be a tuple.*got CountingInfo"),
    "none": (None, r"kernel takes \(.*step_size.*given 0 arguments"),
    "too many": ((STEP_SIZES,) * 3, r"kernel takes \(.*step_size.*given 3 arguments"),
}


@pytest.mark.parametrize("name", BAD_STEP_ARGS)
def test_bad_step_args_are_refused(name):
    step_args, message = BAD_STEP_ARGS[name]
    with pytest.raises(ValueError, match=message):
        anneal_with(step_args)


def test_bad_step_args_of_bounds_and_work_are_refused():
    x, wrong = jnp.zeros((1, 5, 1)), (jnp.full(7, 0.1),)
    with pytest.raises(ValueError, match="leading axis K = 6"):
        annealing.log_partition_bounds(
            jax.random.key(0), x, path, 0.0, langevin(None), 6, step_args=wrong
        )
    with pytest.raises(ValueError, match="leading axis K = 6"):
        annealing.work(
            jax.random.key(0), x[0], x[0], path, TIMES, langevin(None), step_args=wrong
        )


def test_other_values_compile_nothing(recompilations):
    dynamics = langevin(None)
    halves = STEP_SIZES / 2
    first, _ = anneal_with((STEP_SIZES,), dynamics)
    with recompilations() as count:
        second, _ = anneal_with((halves,), dynamics)
    assert count() == 0
    assert not np.allclose(first.position, second.position)


def test_work_with_step_sizes_needs_no_reverse_dynamics():
    x = jax.random.normal(jax.random.key(0), (2, 500, 1))
    found = annealing.work(
        jax.random.key(1), x[0], 1 + x[1] / 2, path, TIMES, langevin(None), (STEP_SIZES,)
    )
    assert np.all(np.isfinite(found.forward))
    assert np.all(np.isfinite(found.reverse))
