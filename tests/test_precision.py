"""Positions keep their precision, weights are float32 at least, and log Z is right in all."""

import contextlib
import math

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jarzynski_jax import annealing, training, walkers
from jarzynski_jax.annealing import anneal_adaptively, geometric_path
from jarzynski_jax.interop import blackjax as adapters
from jarzynski_jax.kernels import bijection, escorted, invariant, sequence, ula
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.walkers import Dynamics, kinetic_langevin, langevin

RESAMPLER = adaptive(systematic, 0.5)
EXACT = -2 * math.log(2)  # four numbers, variance 1 to 1/2


def _path(constant):
    return geometric_path(
        lambda x: -jnp.sum(x**2) / 2, lambda x: -jnp.sum(x**2) + 0 * constant[0]
    )


def _still(x):
    return jnp.zeros_like(x)


MALA = adapters.invariant_kernel(blackjax.mala)
STAGES = [
    bijection.as_move(lambda x: (-x, jnp.zeros(()))),
    ula.as_move(0.05),
]
DYNAMICS = {
    "ula": langevin(0.05),
    "kinetic": kinetic_langevin(0.3, 1.0),
    "escorted": Dynamics(escorted.as_move(_still, 0.05, 1.0), 1, RESAMPLER),
    "mala": Dynamics(invariant.markov_move(MALA, 0.1), 1, RESAMPLER),
    "sequence": Dynamics(sequence.as_move(STAGES), 1, RESAMPLER),
}
# (64-bit mode, dtype of the positions)
PRECISIONS = {
    "float32 in 64-bit mode": (True, jnp.float32),
    "float64": (True, jnp.float64),
    "bfloat16": (False, jnp.bfloat16),
    "float16": (False, jnp.float16),
    "bfloat16 in 64-bit mode": (True, jnp.bfloat16),
}


@contextlib.contextmanager
def switched(precision):
    is_wide, dtype = PRECISIONS[precision]
    with jax.enable_x64(True) if is_wide else contextlib.nullcontext():
        yield jnp.dtype(dtype)


@pytest.fixture(params=["float32 in 64-bit mode", "bfloat16"])
def precision(request):
    with switched(request.param) as dtype:
        yield dtype


@pytest.mark.parametrize("name", PRECISIONS)
def test_annealing_in_every_precision(name):
    with switched(name) as dtype:
        _anneal("ula", dtype)


@pytest.mark.parametrize("name", [name for name in DYNAMICS if name != "ula"])
def test_annealing_with_every_kernel(name, precision):
    _anneal(name, precision)


def _anneal(name, precision):
    dynamics, wide = DYNAMICS[name], jnp.promote_types(precision, jnp.float32)
    path = _path(np.zeros(1, wide))
    x = jax.random.normal(jax.random.key(0), (2000, 4), precision)
    start = walkers.init(x, path(0.0), dynamics.kernel_init)
    end, _ = annealing.anneal(
        jax.random.key(1), start, path, jnp.linspace(0, 1, 41)[1:], dynamics
    )
    assert end.position.dtype == precision
    assert end.log_weights.dtype == wide
    assert float(walkers.log_partition_function(end)) == pytest.approx(EXACT, abs=0.1)
    weights = np.exp(np.asarray(end.log_weights, np.float64))
    squares = np.asarray(end.position, np.float64) ** 2
    assert np.average(squares.mean(axis=1), weights=weights) == pytest.approx(0.5, abs=0.05)


def test_brackets_schedules_and_work(precision):
    dynamics, path = DYNAMICS["ula"], _path(np.zeros(1, np.float32))
    x = jax.random.normal(jax.random.key(0), (2, 500, 4), precision)
    bounds = annealing.log_partition_bounds(
        jax.random.key(1), x, path, 0.0, dynamics, 40, x / 2
    )
    np.testing.assert_allclose(bounds.forward, EXACT, atol=0.3)
    np.testing.assert_allclose(bounds.backward, EXACT, atol=0.3)
    assert bounds.end_points.dtype == precision
    start = walkers.init(x[0], path(0.0), dynamics.kernel_init)
    end, info = anneal_adaptively(jax.random.key(2), start, path, dynamics, 0.95, 60)
    assert bool(info.is_complete)
    assert float(walkers.log_partition_function(end)) == pytest.approx(EXACT, abs=0.3)
    work = annealing.work(
        jax.random.key(3), x[0], x[1] / math.sqrt(2), path, jnp.linspace(0, 1, 41), dynamics
    )
    assert float(jnp.mean(work.forward)) > EXACT


def test_a_density_that_is_wider_than_the_positions(x64):
    """Float64 constants in the target, say data: the weights are float64, positions float32."""
    path, dynamics = _path(np.zeros(1, np.float64)), DYNAMICS["ula"]
    x = jax.random.normal(jax.random.key(0), (2000, 4), jnp.float32)
    start = walkers.init(x, path(0.0), dynamics.kernel_init)
    end, _ = annealing.anneal(
        jax.random.key(1), start, path, jnp.linspace(0, 1, 41)[1:], dynamics
    )
    assert end.position.dtype == jnp.float32
    assert float(walkers.log_partition_function(end)) == pytest.approx(EXACT, abs=0.1)


def test_training(precision):
    def energy_fn(params, x):
        return jnp.sum((x - params) ** 2) / 2

    objective = training.jarzynski(energy_fn, optax.sgd(0.1), langevin(0.1))
    x = jax.random.normal(jax.random.key(0), (500, 2), precision)
    state = objective.init(
        jax.random.key(1), jnp.zeros(2, jnp.float32), x, x, math.log(2 * math.pi), x
    )
    result = training.fit(
        jax.random.key(2), objective, state, x + 1, num_steps=100, batch_size=100
    )
    np.testing.assert_allclose(result.state.params, 1.0, atol=0.2)
    assert result.state.walkers.position.dtype == precision


def test_noise_of_half_precision_has_tails():
    """In bfloat16 itself jax.random.normal has some hundred values and none beyond 2.9."""
    state = ula.init(jnp.zeros(200_000, jnp.bfloat16), lambda x: 0 * jnp.sum(x))
    moved, _ = ula.build_kernel()(jax.random.key(0), state, lambda x: 0 * jnp.sum(x), 0.5)
    assert float(jnp.max(moved.position)) > 3.5
