"""The flip of all signs, and integers in kernels without gradients.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore.
"""

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zscore import assert_biased, assert_unbiased, replicate

from jarzynski_jax import walkers
from jarzynski_jax.kernels import bijection, flip, invariant, kinetic, sequence
from jarzynski_jax.targets import lattice

#: Normal numbers of mean 1/2: their images have other densities.
OLD, NEW = (lambda x: -jnp.sum(x**2) / 2), (lambda x: -jnp.sum((x - 0.5) ** 2))


def moments(key, is_blind):
    """E[e^A] with x and x², of flips by the densities or by a coin that does not look."""
    key_start, key_move = jax.random.split(key)
    ensemble = walkers.init(jax.random.normal(key_start, (4000, 2)), OLD, flip.init)
    ensemble, _ = walkers.move(key_move, ensemble, NEW, flip.build_kernel())
    weights = jnp.exp(ensemble.log_weights)
    coin = jax.random.rademacher(key, (4000, 1))
    x = jnp.where(is_blind, ensemble.position * coin, ensemble.position)
    return jnp.stack([jnp.mean(weights * of) for of in (1.0, x[:, 0], x[:, 1] ** 2)])


#: Z₁/Z₀ = 1/2, and of variance 1/2 each.
EXPECTED = 0.5 * np.array([1, 0.5, 0.75])


def test_a_target_without_symmetry_stays():
    assert_unbiased(replicate("flip", moments, False), EXPECTED)


def test_canary_a_coin_that_does_not_look():
    assert_biased(replicate("flip", moments, True), EXPECTED)


def test_both_phases_of_a_field_are_visited():
    """From one phase of φ⁴ beyond the transition, in one step, half of the walkers each."""
    model = lattice.phi4((4, 4), 0.3, 0.022)
    move = sequence.as_move([kinetic.as_move(0.1, 1.0), flip.as_move()])
    start = walkers.init(jnp.full((2000, 4, 4), 2.3), model.logdensity_fn, move.init)
    run = jax.jit(lambda key: walkers.move(key, start, model.logdensity_fn, move.kernel))
    end, info = run(jax.random.key(0))
    assert abs(float(jnp.mean(end.position.mean((1, 2)) > 0)) - 0.5) < 4.5 / np.sqrt(4 * 2000)
    np.testing.assert_array_equal(info.stages[1].log_weight_increment, 0)
    found = jax.vmap(model.logdensity_fn)(end.position)
    np.testing.assert_allclose(end.state.logdensity, found, rtol=1e-5)


def test_spins_and_pytrees_flip():
    spins = flip.init(jnp.ones((2, 3), jnp.int8), lattice.ising((2, 3), 0.4).logdensity_fn)
    kernel = flip.build_kernel()
    down, _ = kernel(jax.random.key(0), spins, lambda x: -50.0 * jnp.sum(x))
    np.testing.assert_array_equal(down.position, -jnp.ones((2, 3), jnp.int8))
    assert down.position.dtype == jnp.int8
    tree = flip.init({"a": jnp.ones(2), "b": jnp.ones(())}, lambda x: jnp.sum(x["a"]))
    moved, _ = kernel(jax.random.key(0), tree, lambda x: -90.0 * x["b"])
    assert float(moved.position["b"]) == -1.0
    assert flip.as_move().is_invariant


# ---------------------------------------------------------------- integers


def test_a_map_of_integers_is_a_bijection():
    """ΔA of a cyclic shift of spins in a field, whose volume is that of points."""
    target = lambda x: jnp.sum(x * jnp.arange(3))  # noqa: E731
    state = bijection.init(jnp.array([1, -1, -1]), target)
    moved, info = bijection.build_kernel()(None, state, target, lambda x: (jnp.roll(x, 1), 0.0))
    np.testing.assert_array_equal(moved.position, [-1, 1, -1])
    assert moved.position.dtype == jnp.int32
    assert float(info.log_weight_increment) == -1 - (-3)


def test_what_would_be_rounded_is_refused():
    state = bijection.init(jnp.array([1, -1]), lambda x: jnp.sum(x) * 1.0)
    halve = lambda x: (x / 2, 0.0)  # noqa: E731
    with pytest.raises(ValueError, match="must leave integers integers"):
        bijection.build_kernel()(None, state, jnp.sum, halve)
    drift = invariant.build_kernel(
        invariant.init,
        lambda key, state, fn: (state._replace(position=state.position + 0.5), 0),
    )
    with pytest.raises(ValueError, match="must leave integers integers"):
        drift(None, state, lambda x: jnp.sum(x) * 1.0)


@pytest.mark.parametrize(
    ("sampler", "argument"),
    [(blackjax.mala, 0.1), (blackjax.rmh, lambda key, x: x + jax.random.normal(key, x.shape))],
)
def test_gradients_and_noise_take_no_integers(sampler, argument):
    kernel = invariant.build_kernel(sampler.init, sampler.build_kernel())
    target = lambda x: jnp.sum(x) * 1.0  # noqa: E731
    state = invariant.init(jnp.array([1, -1]), target)
    with pytest.raises(ValueError, match="positions must be of floating point"):
        kernel(jax.random.key(0), state, target, argument)


@pytest.mark.parametrize("of", [bool, complex])
def test_other_numbers_are_refused(of):
    with pytest.raises(ValueError, match="floating point or integers"):
        flip.init(jnp.ones(3, of), lambda x: jnp.zeros(()))
