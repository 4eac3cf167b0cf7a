"""How an ensemble moves: the choice of a dynamics, and what advancing it counts."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jarzynski_jax import walkers
from jarzynski_jax.kernels import kinetic, ula
from jarzynski_jax.kernels.move import Move
from jarzynski_jax.kernels.preconditioning import preconditioner
from jarzynski_jax.resampling import adaptive, multinomial
from jarzynski_jax.walkers import Dynamics, advance, kinetic_langevin, langevin


@pytest.mark.parametrize("step_size", [0, 0.0, -0.1, float("inf"), float("nan")])
def test_step_size_must_be_positive_and_finite(step_size):
    with pytest.raises(ValueError, match=f"step_size.*got {step_size}"):
        langevin(step_size)
    with pytest.raises(ValueError, match=f"step_size.*got {step_size}"):
        kinetic_langevin(step_size, 1.0)


@pytest.mark.parametrize("friction", [0, -0.5, float("nan")])
def test_friction_must_be_positive(friction):
    with pytest.raises(ValueError, match=f"friction.*got {friction}"):
        kinetic_langevin(0.1, friction)


@pytest.mark.parametrize("num_moves", [0, -1])
def test_at_least_one_move(num_moves):
    with pytest.raises(ValueError, match=f"num_moves.*got {num_moves}"):
        langevin(0.1, num_moves)
    with pytest.raises(ValueError, match=f"num_moves.*got {num_moves}"):
        kinetic_langevin(0.1, 1.0, num_moves)


def test_langevin_is_ula():
    resampler = adaptive(multinomial, 0.3)
    dynamics = langevin(0.1, 2, resampler)
    assert dynamics.kernel_init is ula.init
    assert dynamics.move.args == (0.1,)
    assert dynamics.num_moves == 2
    assert dynamics.resampler is resampler


def test_kinetic_langevin_has_velocities():
    resampler = adaptive(multinomial, 0.3)
    scaling = preconditioner(jnp.ones(2))
    dynamics = kinetic_langevin(0.1, 0.5, 2, resampler, preconditioner=scaling)
    assert dynamics.kernel_init is kinetic.init
    assert dynamics.move.args == (0.1, 0.5, scaling)
    assert dynamics.num_moves == 2
    assert dynamics.resampler is resampler


def test_a_step_size_may_be_traced():
    def target(x):
        return -jnp.square(x) / 2

    def run(step_size):
        dynamics = langevin(step_size)
        ensemble = walkers.init(jnp.linspace(-1, 1, 5), target, dynamics.kernel_init)
        return advance(jax.random.key(0), ensemble, target, dynamics)[0].position

    np.testing.assert_allclose(jax.jit(run)(0.1), run(0.1), rtol=1e-6)
    assert not np.allclose(jax.jit(run)(0.2), run(0.1))


class CountingState(NamedTuple):
    position: jax.Array
    logdensity: jax.Array
    log_endpoint: jax.Array


class CountingInfo(NamedTuple):
    log_weight_increment: jax.Array


def counting(num_moves, fatal=5.0):
    """Each move adds one to the position and two to the log-weight; it is fatal at 5."""

    def init(position, logdensity_fn):
        return CountingState(position, logdensity_fn(position), jnp.zeros(()))

    def kernel(key, state, logdensity_fn, step):
        del key
        position = state.position + step
        increment = jnp.where(position == fatal, -jnp.inf, 2.0)
        return init(position, logdensity_fn), CountingInfo(increment)

    return Dynamics(Move(init, kernel, (1.0,)), num_moves, adaptive(multinomial, 0.0))


@pytest.mark.parametrize("num_moves", [1, 2, 4])
def test_advance_makes_all_its_moves(num_moves):
    dynamics = counting(num_moves)
    ensemble = walkers.init(jnp.array([10.0, 20.0]), lambda x: -x, dynamics.kernel_init)
    after, num_dead = jax.jit(
        lambda ensemble: advance(jax.random.key(0), ensemble, lambda x: 3 * x, dynamics)
    )(ensemble)
    assert after.position.tolist() == [10.0 + num_moves, 20.0 + num_moves]
    assert after.log_weights.tolist() == [2.0 * num_moves] * 2
    assert after.state.logdensity.tolist() == [3 * (10.0 + num_moves), 3 * (20.0 + num_moves)]
    assert int(num_dead) == 0


def test_advance_counts_the_deaths_of_all_its_moves_once():
    """At 5 after one, two and three moves; the last two never; one was dead before."""
    dynamics = counting(3)
    positions = jnp.array([4.0, 3.0, 2.0, 10.0, 11.0, 3.0])
    ensemble = walkers.init(positions, lambda x: -x, dynamics.kernel_init)
    dead = jnp.arange(6) == 5
    ensemble = ensemble._replace(log_weights=jnp.where(dead, -jnp.inf, ensemble.log_weights))
    after, num_dead = advance(jax.random.key(0), ensemble, lambda x: -x, dynamics)
    assert int(num_dead) == 3
    assert np.isneginf(after.log_weights).tolist() == [True, True, True, False, False, True]
    _, num_dead = advance(jax.random.key(1), after, lambda x: -x, dynamics)
    assert int(num_dead) == 0


def test_moves_draw_independent_noise():
    """Two moves of a free particle: the displacement has variance 2 * 2h, not (2)² * 2h.

    Of 4000 walkers; the variance's standard error is 2.2 %, and 4.5 of them are 10 %.
    """

    def free(x):
        return 0.0 * x

    ensemble = walkers.init(jnp.zeros(4000), free, ula.init)
    moved, _ = advance(jax.random.key(3), ensemble, free, langevin(0.5, num_moves=2))
    assert np.var(moved.position) == pytest.approx(2.0, rel=0.1)
    assert moved.log_weights.tolist() == [0.0] * 4000


BAD_NUMBERS = [
    0,
    0.0,
    -0.1,
    float("nan"),
    np.float64(-0.1),
    np.float32(-0.1),
    np.float16(0),
    np.int64(0),
    np.float32("nan"),
    np.array(-0.1),
    np.array([0.1, -0.1]),
    jnp.array(-0.1),
    jnp.array(jnp.inf),
]


@pytest.mark.parametrize("bad", BAD_NUMBERS)
@pytest.mark.parametrize(
    "make", [langevin, lambda h: kinetic_langevin(h, 1.0), lambda h: kinetic_langevin(1.0, h)]
)
def test_numbers_of_any_type_are_checked(make, bad):
    if make is not langevin and np.any(np.isposinf(bad)):
        pytest.skip("an infinite friction is unadjusted Langevin")
    with pytest.raises(ValueError, match="must be positive"):
        make(bad)


@pytest.mark.parametrize("good", [1, np.float16(0.1), np.array(0.1), jnp.array(0.1)])
def test_positive_numbers_of_any_type_are_taken(good):
    assert langevin(good).move.args == (good,)
    jax.jit(lambda h: langevin(h).move.args)(good)
