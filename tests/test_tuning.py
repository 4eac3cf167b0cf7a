"""The step size with a wanted acceptance or effective sample size."""

import blackjax
import jax
import jax.numpy as jnp
import pytest

from jarzynski_jax.annealing import acceptance_rate, find_step_size
from jarzynski_jax.interop import blackjax as adapters
from jarzynski_jax.kernels import invariant, kinetic, ula
from jarzynski_jax.kernels.preconditioning import preconditioner
from jarzynski_jax.weights import effective_sample_size

VARIANCES = jnp.array([1.0, 0.04, 0.25])


def target(x):
    return -jnp.sum(x**2 / VARIANCES) / 2


def samples(key, num_samples=4000):
    return jnp.sqrt(VARIANCES) * jax.random.normal(key, (num_samples, 3))


def find(wanted, kernel=ula, *args, **kwargs):
    x = samples(jax.random.key(0))
    move = kernel.as_move(*args)
    return find_step_size(jax.random.key(1), x, target, move, target=wanted, **kwargs)


@pytest.mark.parametrize("wanted", [0.6, 0.9, 0.99])
def test_the_acceptance_is_that_of_mala(wanted):
    """BlackJAX's MALA with the step size found, from fresh samples."""
    found = find(wanted)
    assert float(found.reached) == pytest.approx(wanted, abs=5e-3)
    mala = blackjax.mala(target, float(found.step_size))
    states = jax.vmap(mala.init)(samples(jax.random.key(2)))
    keys = jax.random.split(jax.random.key(3), 4000)
    _, info = jax.vmap(mala.step)(keys, states)
    assert float(jnp.mean(info.acceptance_rate)) == pytest.approx(wanted, abs=0.02)


def test_effective_sample_size_of_a_step():
    found = find(0.95, measure=effective_sample_size)
    kernel = ula.build_kernel()
    states = jax.vmap(lambda x: ula.init(x, target))(samples(jax.random.key(2)))
    keys = jax.random.split(jax.random.key(3), 4000)
    _, info = jax.vmap(lambda k, s: kernel(k, s, target, found.step_size))(keys, states)
    kept = float(effective_sample_size(info.log_weight_increment))
    assert kept == pytest.approx(0.95, abs=0.02)


def test_other_kernels_and_preconditioners():
    plain = find(0.9)
    preconditioned = find(0.9, ula, preconditioner(VARIANCES))
    # In units of the variances it may step as far as on the standard normal.
    assert float(preconditioned.step_size) > 5 * float(plain.step_size)
    moving = find(0.9, kinetic, 1.0)
    assert float(moving.reached) == pytest.approx(0.9, abs=5e-3)
    # A kinetic step of size h goes as far as one of ULA of size h²/2.
    assert 0.2 < float(moving.step_size) ** 2 / 2 / float(plain.step_size) < 5


def test_it_can_be_jitted():
    def run(key):
        x = samples(key, 500)
        return find_step_size(key, x, target, ula.as_move(), target=0.8)

    assert float(jax.jit(run)(jax.random.key(0)).reached) == pytest.approx(0.8, abs=0.02)


def test_dead_walkers_are_rejections():
    rates = acceptance_rate(jnp.array([-jnp.inf, 0.0, 2.0, jnp.log(0.5)]))
    assert float(rates) == pytest.approx(2.5 / 4)


def test_a_markov_kernel_has_nothing_to_tune_by():
    kernel = adapters.invariant_kernel(blackjax.mala)
    with pytest.raises(ValueError, match="no increments at a fixed target"):
        find_step_size(
            jax.random.key(0),
            jnp.zeros((5, 2)),
            lambda x: -jnp.sum(x**2) / 2,
            invariant.markov_move(kernel),
            target=0.8,
        )


@pytest.mark.parametrize("wanted", [0.0, 1.0, -3])
def test_bad_targets_are_refused(wanted):
    with pytest.raises(ValueError, match=f"target.*{wanted}"):
        find(wanted)


def test_a_second_call_compiles_nothing(recompilations):
    find(0.8)
    with recompilations() as count:
        find(0.7)
    assert count() == 0
