"""Chains of equilibrium simulations, and moves corrected for another density.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ising_states import common, draw, energies, frequencies, states
from scipy.special import logsumexp
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import targets, walkers
from jarzynski_jax.annealing import estimate, geometric_path, multistage
from jarzynski_jax.kernels import (
    flip,
    generalized_hmc,
    heat_bath,
    sequence,
    surrogate,
    ula,
    wolff,
)
from jarzynski_jax.targets import lattice

# ---------------------------------------------------------------- φ⁴, by the transfer matrix

LONG = (4, 2)
#: λ = 0.022 at κ = 0.3, by the transfer matrix (tests of phi4).
LOG_Z = 9.37887171


@pytest.fixture(scope="module")
def found():
    """From κ = 0 to 0.3 in ten steps: 64 chains of 400 samples each, with flips."""
    base, target = (lattice.phi4(LONG, kappa, 0.022) for kappa in (0.0, 0.3))
    path = geometric_path(base.logdensity_fn, target.logdensity_fn)
    move = sequence.as_move([generalized_hmc.as_move(3, 0.35, 0.5), flip.as_move()])
    return multistage(
        test_key("chain"),
        base,
        path,
        jnp.linspace(0, 1, 11)[1:],
        move,
        num_chains=64,
        num_samples=400,
        num_burn_in=50,
        observe=lambda x: (lattice.bond_sum(x), jnp.mean(x)),
    )


def test_log_z_of_a_field_is_the_transfer_matrix(found):
    """Both estimators within 4.5 of their errors, which are small; 1 seed."""
    for value, error in (found.log_partition_function, found.acceptance_ratio):
        assert abs(value - LOG_Z) < 4.5 * error
        assert error < 0.1
    assert found.acceptance_ratio.standard_error < found.log_partition_function.standard_error
    assert found.doubts == ()
    total = lattice.phi4(LONG, 0.0, 0.022).log_partition_function + found.steps.value.sum()
    assert float(total) == pytest.approx(float(found.log_partition_function.value), rel=1e-6)


def test_canary_another_end_is_caught(found):
    """One hundredth more of κ: log Z is 0.4 higher."""
    value, error = found.log_partition_function
    assert abs(value - 9.80) > 4.5 * error


def test_what_is_observed_is_of_each_stop(found):
    """Both signs at every stop; 2⟨Σφφ⟩ is the slope of log Z, here across the last step."""
    bonds, means = found.observed
    assert bonds.shape == (10, 64, 400)
    assert np.all(np.abs(np.mean(np.asarray(means) > 0, (1, 2)) - 0.5) < 0.05)
    slopes = 2 * 0.03 * np.mean(np.asarray(bonds, np.float64), (1, 2))
    assert slopes[-2] < float(found.steps.value[-1]) < slopes[-1]


def test_the_variance_of_a_step_is_known():
    """Z(2Δ)Z(0)/Z(Δ)² - 1 of the free field, for which the first step has exact samples."""

    def relative_variance(key):
        field, next_one = (lattice.phi4((4, 4), kappa, 0.0) for kappa in (0.0, 0.03))
        x = field.sample(key, 4000)
        log_ratio = jax.vmap(next_one.logdensity_fn)(x) - jax.vmap(field.logdensity_fn)(x)
        return jnp.mean(jnp.exp(2 * (log_ratio - delta)))

    values = [lattice.phi4((4, 4), k, 0.0).log_partition_function for k in (0.0, 0.03, 0.06)]
    delta = values[1] - values[0]
    expected = np.exp(values[2] + values[0] - 2 * values[1])
    assert expected - 1 > 0.01
    assert_unbiased(replicate("variance", relative_variance)[:, None], np.array([expected]))
    assert_biased(replicate("variance", relative_variance)[:, None] - expected + 1, [expected])


def test_spins_along_temperatures():
    """Ising 4x4 from β = 0 to 0.4 by clusters: within 4.5 errors of Kaufman, 1 seed."""
    base, target = (lattice.ising((4, 4), beta) for beta in (0.0, 0.4))
    path = geometric_path(base.logdensity_fn, target.logdensity_fn)
    found = multistage(
        test_key("spins"),
        base,
        path,
        jnp.linspace(0, 1, 5)[1:],
        wolff.as_move(True),
        num_chains=20,
        num_samples=300,
        num_burn_in=10,
    )
    assert found.positions.dtype == jnp.int32
    value, error = found.acceptance_ratio
    assert abs(value - target.log_partition_function) < 4.5 * error
    assert error < 0.1


def test_bad_chains():
    base = targets.gaussian([1.0])
    path = geometric_path(base.logdensity_fn, base.logdensity_fn)
    times, sizes = jnp.ones(1), {"num_chains": 2, "num_samples": 10, "num_burn_in": 0}
    key, move = jax.random.key(0), generalized_hmc.as_move(1, 0.1, 1.0)
    with pytest.raises(ValueError, match="leaves its target invariant"):
        multistage(key, base, path, times, ula.as_move(0.1), **sizes)
    with pytest.raises(ValueError, match="num_samples at least 2"):
        multistage(key, base, path, times, move, **{**sizes, "num_samples": 1})
    with pytest.raises(ValueError, match="exact start"):
        multistage(key, lattice.phi4(LONG, 0.3, 0.022), path, times, move, **sizes)


def test_short_chains_are_doubted():
    base = targets.gaussian([1.0])
    path = geometric_path(base.logdensity_fn, lambda x: -jnp.sum(x**2) / 50)
    found = multistage(
        jax.random.key(0),
        base,
        path,
        jnp.array([0.5, 1.0]),
        generalized_hmc.as_move(1, 0.1, 1.0),
        num_chains=2,
        num_samples=50,
        num_burn_in=0,
    )
    assert found.doubts[0].startswith("step 2: the chains are too short")


# ---------------------------------------------------------------- moves for another density

SHAPE = (2, 4)
FIELDS = jnp.asarray(np.random.default_rng(0).normal(size=SHAPE) / 3, jnp.float32)
REFERENCE = lattice.ising(SHAPE, 0.3).logdensity_fn


def in_fields(x):
    return REFERENCE(x) + jnp.sum(FIELDS * x)


LOG_P = np.asarray(jax.vmap(in_fields)(jnp.asarray(states(SHAPE), jnp.float32)), np.float64)
MOVES = {
    "heat bath": heat_bath.as_move(),
    "clusters": wolff.as_move(True),
    "flip": flip.as_move(),
}


def weighted_frequencies(key, is_faulty, name):
    """Of all states, from the reference to the density with fields: Z/Z₀ of them in all."""
    key_start, *keys = jax.random.split(key, 3)
    start = draw(key_start, -0.3 * energies(SHAPE), SHAPE, 4000)
    right = surrogate.build_kernel(MOVES[name], REFERENCE)
    ensemble = walkers.init(start, REFERENCE, surrogate.init)
    for number in keys:
        moved, _ = walkers.move(number, ensemble, in_fields, right)
        blind, _ = walkers.move(number, ensemble, REFERENCE, MOVES[name].kernel)
        position = jnp.where(is_faulty, blind.position, moved.position)
        state = jax.vmap(lambda x: surrogate.init(x, in_fields))(position)
        ensemble = moved._replace(state=state)
    return frequencies(ensemble.position, jnp.exp(ensemble.log_weights))


EXPECTED = np.exp(LOG_P - logsumexp(-0.3 * energies(SHAPE)))


@pytest.mark.parametrize("name", ["heat bath", "clusters"])
def test_corrected_moves_are_exact_along_a_path(name):
    def run(key, is_faulty):
        return weighted_frequencies(key, is_faulty, name)

    assert_unbiased(*common(replicate("surrogate", run, False), EXPECTED))
    assert_biased(*common(replicate("surrogate", run, True), EXPECTED))


def annealed_on(key, is_faulty):
    """Z of spins in fields, by walkers from a model of independent spins in other fields."""
    odds = jnp.linspace(-0.6, 0.4, 8).reshape(SHAPE)

    def model(x):
        return jnp.sum(jax.nn.log_sigmoid(odds * x))

    key_start, *keys = jax.random.split(key, 5)
    is_up = jax.random.uniform(key_start, (4000, *SHAPE)) < jax.nn.sigmoid(odds)
    start = jnp.where(is_up, 1, -1).astype(jnp.int32)
    path = geometric_path(model, REFERENCE)
    kernel = surrogate.build_kernel(MOVES["heat bath"], REFERENCE)
    ensemble = walkers.init(start, path(0.0), surrogate.init)
    for time, number in zip((0.25, 0.5, 0.75, 1.0), keys, strict=True):
        moved, _ = walkers.move(number, ensemble, path(time), kernel)
        blind, _ = walkers.move(number, ensemble, REFERENCE, MOVES["heat bath"].kernel)
        position = jnp.where(is_faulty, blind.position, moved.position)
        state = jax.vmap(lambda x, time=time: surrogate.init(x, path(time)))(position)
        ensemble = moved._replace(state=state)
    shares = jnp.exp(ensemble.log_weights - logsumexp(-0.3 * energies(SHAPE)))
    bonds = jax.vmap(lattice.bond_sum)(ensemble.position.astype(jnp.float32))
    return jnp.stack([shares.mean(), (shares * bonds).mean() / 8])


def test_annealing_on_from_a_model_is_exact():
    """Z, and the mean energy times Z, with the target as the reference of the moves."""
    shares = np.exp(-0.3 * energies(SHAPE) - logsumexp(-0.3 * energies(SHAPE)))
    expected = np.array([1.0, -np.sum(shares * energies(SHAPE)) / 8])
    assert_unbiased(replicate("annealed on", annealed_on, False), expected)
    assert_biased(replicate("annealed on", annealed_on, True), expected)


def test_moves_that_cannot_be_corrected():
    with pytest.raises(ValueError, match="have a reverse"):
        surrogate.as_move(ula.as_move(0.1), REFERENCE)
    two = sequence.as_move([heat_bath.as_move(), flip.as_move()])
    with pytest.raises(ValueError, match="have a reverse"):
        surrogate.as_move(two, REFERENCE)
    assert surrogate.as_move(flip.as_move(), REFERENCE).is_invariant


def test_a_path_that_begins_at_another_constant_is_told():
    base = targets.gaussian([1.0])._replace(log_partition_function=0.0)
    normalised = base._replace(
        logdensity_fn=lambda x: base.logdensity_fn(x) - jnp.log(2 * jnp.pi) / 2
    )
    path = geometric_path(base.logdensity_fn, lambda x: -jnp.sum(x**2))
    with pytest.raises(ValueError, match="must begin at the base's log-density"):
        estimate(jax.random.key(0), normalised, path=path, num_gradients=10_000, num_walkers=32)
    with pytest.raises(ValueError, match="must begin at the base's log-density"):
        multistage(
            jax.random.key(0),
            normalised,
            path,
            jnp.array([0.5, 1.0]),
            generalized_hmc.as_move(2, 0.4, 1.0),
            num_chains=8,
            num_samples=10,
            num_burn_in=1,
        )
