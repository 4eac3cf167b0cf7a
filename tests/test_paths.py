"""Paths of densities and schedules: values, and mistakes that are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jarzynski_jax import annealing, walkers
from jarzynski_jax.annealing import paths, schedules
from jarzynski_jax.kernels import ula
from jarzynski_jax.walkers import langevin


def quadratic(x):
    return -jnp.sum(x**2) / 2


def test_tempering_path_from_prior_to_posterior():
    path, x = paths.tempering_path(quadratic, lambda x: -3 * x), jnp.array(0.7)
    assert float(path(0.0)(x)) == pytest.approx(float(quadratic(x)))
    assert float(path(0.25)(x)) == pytest.approx(float(quadratic(x)) - 0.75 * 0.7)
    assert float(path(1.0)(x)) == pytest.approx(float(quadratic(x)) - 3 * 0.7)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([], r"shape \(0,\)"),
        (0.5, r"shape \(\)"),
        ([0.5, 0.2, 1.0], r"from 0.5 they come to times\[1\] = 0.2, then to 1"),
        ([0.5, 0.2, 0.2, 0.4], r"from 0.5 they come to times\[2\] = 0.2, then to 0.4"),
        ([0.5, 1.5], "0.5 to 1.5"),
        ([-0.1, 1.0], "-0.1"),
        ([0.5, float("nan")], r"in \[0, 1\]"),
    ],
)
def test_bad_schedules_are_refused(times, message):
    with pytest.raises(ValueError, match=message):
        paths.check_times(times)
    path, dynamics = paths.geometric_path(quadratic, quadratic), langevin(0.1)
    start = walkers.init(jnp.zeros((4, 1)), quadratic, dynamics.kernel_init)
    with pytest.raises(ValueError, match=message):
        annealing.anneal(jax.random.key(0), start, path, times, dynamics)


@pytest.mark.parametrize("times", [[1.0], [0.2, 0.2, 1.0], [0.5, 0.0], [0.0, 0.1, 0.1, 0.5]])
def test_schedules_may_pause_and_go_down(times):
    assert paths.check_times(times).tolist() == pytest.approx(times)


def test_traced_schedules_pass():
    assert jax.jit(paths.check_times)(jnp.array([0.5, 0.2, 1.0])).shape == (3,)


def test_ends_that_make_no_sense_are_refused():
    x = jnp.array([[-1.0], [1.0]])
    log = lambda x: jnp.sum(jnp.log(x))  # noqa: E731
    for path, message in (
        (paths.geometric_path(quadratic, log), r"t = 1 is NaN or \+inf at 1 of 2"),
        (
            paths.geometric_path(lambda x: jnp.inf, quadratic),
            r"t = 0 is NaN or \+inf at 2 of 2",
        ),
        (
            paths.tempering_path(lambda x: jnp.where(x[0] > 5, 0.0, -jnp.inf), quadratic),
            "zero at all",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            annealing.log_partition_bounds(
                jax.random.key(0), x[None], path, 0.0, langevin(0.1), 10
            )


def test_annealing_looks_at_the_ends_of_its_path():
    x = jnp.array([[-1.0], [1.0]])
    path = paths.geometric_path(quadratic, lambda x: jnp.sum(x) * jnp.nan)
    ensemble = walkers.init(x, path(0.0), ula.init)
    times, key = jnp.linspace(0, 1, 4)[1:], jax.random.key(0)
    with pytest.raises(ValueError, match=r"t = 1 is NaN or \+inf at 2 of 2"):
        annealing.anneal(key, ensemble, path, times, langevin(0.1))
    with pytest.raises(ValueError, match=r"t = 1 is NaN or \+inf at 2 of 2"):
        schedules.anneal_adaptively(key, ensemble, path, langevin(0.1), 0.9, 5)


@pytest.mark.parametrize("join", [paths.geometric_path, paths.tempering_path])
def test_a_density_that_is_off_has_no_gradient(join):
    """At t = 0 a walker stands where the other density's gradient is NaN."""
    path = join(quadratic, lambda x: jnp.where(x[0] > 0, jnp.sqrt(x[0]), -jnp.inf))
    x = jnp.array([-1.0])
    for grad in (jax.grad(path(0.0))(x), jax.jit(lambda t: jax.grad(path(t))(x))(0.0)):
        np.testing.assert_allclose(grad, jax.grad(quadratic)(x))


@pytest.mark.parametrize("join", [paths.geometric_path, paths.tempering_path])
def test_a_density_may_be_zero_somewhere(join):
    """At t = 0 the last density is not there yet, traced or not."""
    x = jnp.array([[-1.0], [1.0]])
    path = join(quadratic, lambda x: jnp.where(x[0] > 0, 0.0, -jnp.inf))
    paths.check_ends(path, x)
    for start in (path(0.0)(x[0]), jax.jit(lambda t: path(t)(x[0]))(0.0)):
        assert float(start) == pytest.approx(-0.5)
    assert float(path(1.0)(x[0])) == -jnp.inf
