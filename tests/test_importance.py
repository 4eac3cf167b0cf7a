"""Importance sampling from a model: closed forms of Gaussians, and enumerated Ising spins.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ising_states import draw, energies, exact_log_z
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import free_energy, targets
from jarzynski_jax.free_energy import (
    forward_effective_sample_size,
    importance_estimate,
    observable,
    thermodynamics,
)
from jarzynski_jax.weights import effective_sample_size, log_mean_exp

# ---------------------------------------------------------------- Gaussians, and N(0, s²)

LOG_Z = 0.5 * np.log(2 * np.pi)
SQUARES = (0.8, 1.0, 1.7)


def log_weight(x, square):
    """Of e^(-x²/2), whose Z is sqrt(2π), under N(0, s²)."""
    return -(x**2) / 2 + x**2 / (2 * square) + jnp.log(2 * jnp.pi * square) / 2


def gaussian_sides(key, square, num=4000):
    key_model, key_target = jax.random.split(key)
    model = jnp.sqrt(square) * jax.random.normal(key_model, (num,))
    target = jax.random.normal(key_target, (num,))
    return model, log_weight(model, square), log_weight(target, square)


def gaussian_statistics(key, square):
    _, of_model, of_target = gaussian_sides(key, square)
    return jnp.stack(
        [
            jnp.exp(log_mean_exp(of_model) - LOG_Z),
            jnp.exp(LOG_Z + log_mean_exp(-of_target)),
            jnp.exp(log_mean_exp(of_target) - LOG_Z),  # E_p[w]
            jnp.exp(log_mean_exp(2 * of_model) - 2 * LOG_Z),  # E_q[w²]
        ]
    )


@pytest.mark.parametrize("square", SQUARES)
def test_both_sides_estimate_z_and_both_sample_sizes_are_one_number(square):
    """1/ESS = s²/sqrt(2s² - 1), from either side."""
    inverse = square / np.sqrt(2 * square - 1)
    found = replicate("gaussian", gaussian_statistics, square)
    assert_unbiased(found, np.array([1, 1, inverse, inverse]))
    _, of_model, of_target = gaussian_sides(test_key("sizes"), square, 200_000)
    tolerance = 0.02
    assert float(effective_sample_size(of_model)) == pytest.approx(1 / inverse, abs=tolerance)
    found = float(forward_effective_sample_size(of_target))
    assert found == pytest.approx(1 / inverse, abs=tolerance)


def test_canary_a_model_that_is_not_normalised():
    found = replicate("gaussian", gaussian_statistics, 1.7)
    inverse = 1.7 / np.sqrt(2 * 1.7 - 1)
    assert_biased(found * 1.02, np.array([1, 1, inverse, inverse]))


def test_it_is_the_pair_of_exponential_averages():
    """Work log q - log p of the model's samples, and the reverse of the target's."""
    _, of_model, of_target = gaussian_sides(test_key("pair"), 1.7)
    found = importance_estimate(of_model, of_target)
    bounds = free_energy.two_sided_bounds(-of_model, of_target)
    mine = np.array([found.log_partition_function, found.upper])
    np.testing.assert_allclose(
        mine[:, 0], [-bounds.upper.value, -bounds.lower.value], rtol=1e-5
    )
    errors = [bounds.upper.standard_error, bounds.lower.standard_error]
    np.testing.assert_allclose(mine[:, 1], errors, rtol=1e-4)


def test_errors_are_those_seen_and_no_doubt_without_a_reason():
    """Scatter over 64 replicates within a third of the errors that are stated."""

    def run(key):
        _, of_model, of_target = gaussian_sides(key, 1.7)
        return log_mean_exp(of_model), -log_mean_exp(-of_target)

    seen = [np.std(of, ddof=1) for of in replicate("errors", run)]
    doubts, stated = 0, []
    for key in jax.random.split(test_key("stated"), 16):
        found = importance_estimate(*gaussian_sides(key, 1.7)[1:])
        doubts += found.doubts != ()
        stated.append([found.log_partition_function[1], found.upper[1], found.log_coverage[1]])
    stated = np.sqrt(np.mean(np.square(stated), axis=0))
    assert np.all(np.abs(stated[:2] / seen - 1) < 1 / 3)
    assert stated[2] == pytest.approx(np.hypot(*stated[:2]), rel=0.05)
    assert doubts <= 1  # three errors: by chance


def test_a_chain_has_a_larger_error():
    sides = gaussian_sides(test_key("chain"), 1.7)[1:]
    alone, chain = (
        importance_estimate(*sides, integrated_autocorrelation_time=tau) for tau in (0.5, 8.0)
    )
    ratio = chain.upper.standard_error / alone.upper.standard_error
    assert float(ratio) == pytest.approx(4.0, rel=1e-5)
    assert chain.log_partition_function == alone.log_partition_function


# ---------------------------------------------------------------- missing modes


@pytest.mark.parametrize("mass", [0.5, 0.25, 0.9])
def test_the_share_that_a_model_covers(mass):
    """Two modes of which the model has one: it is blind to the other, the target is not."""
    target = targets.two_modes(2, distance=12.0, mass=mass)  # nothing of one is in the other
    key_model, key_target = jax.random.split(test_key(f"modes {mass}"))
    centre = jnp.array([-6.0, 0.0])
    model = centre + jax.random.normal(key_model, (4000, 2))

    def log_weights(x):
        log_q = -jnp.sum((x - centre) ** 2, axis=1) / 2 - jnp.log(2 * jnp.pi)
        return jax.vmap(target.logdensity_fn)(x) - log_q

    found = importance_estimate(
        log_weights(model), log_weights(target.sample(key_target, 4000))
    )
    error = float(found.log_coverage.standard_error)
    assert abs(float(found.log_coverage.value) - np.log(mass)) < 4.5 * error
    assert error < 0.05
    assert float(found.effective_sample_size) > 0.99
    assert float(found.forward_effective_sample_size) < 0.01
    assert abs(float(found.upper.value)) < 4.5 * float(found.upper.standard_error)
    assert len(found.doubts) == 1
    assert "modes are missing" in found.doubts[0]
    assert "not to be believed" in str(found)
    # Without samples of the target nobody can tell.
    alone = importance_estimate(log_weights(model))
    assert alone.doubts == ()
    assert alone.upper is alone.log_coverage is alone.forward_effective_sample_size is None
    # Samples of one mode are not the target's.
    wrong = importance_estimate(
        log_weights(jnp.concatenate([model, -model])), log_weights(model)
    )
    assert wrong.doubts


def test_nearly_disjoint_modes_by_their_closed_form():
    """q = (1 - ε) A + ε B for p = m A + (1 - m) B: E_q w² = m²/(1 - ε) + (1 - m)²/ε."""
    share, mass, size = 0.01, 0.4, 10_000
    num = round(share * size)
    of = np.log([mass / (1 - share), (1 - mass) / share])
    of_model = np.repeat(of, [size - num, num])
    of_target = np.repeat(of, [round(mass * size), round((1 - mass) * size)])
    inverse = mass**2 / (1 - share) + (1 - mass) ** 2 / share
    found = importance_estimate(of_model, of_target)
    assert float(found.log_partition_function.value) == pytest.approx(0, abs=1e-5)
    assert float(found.log_coverage.value) == pytest.approx(0, abs=1e-5)
    assert float(found.effective_sample_size) == pytest.approx(1 / inverse, rel=1e-4)
    assert float(found.forward_effective_sample_size) == pytest.approx(1 / inverse, rel=1e-4)
    error = np.sqrt((inverse - 1) / (size - 1))
    assert float(found.log_partition_function.standard_error) == pytest.approx(error, rel=1e-3)
    assert found.doubts == ()


def test_one_sample_with_much_of_the_weight_is_doubted():
    planted = np.append(np.zeros(999), np.log(999 * 0.2 / 0.8))
    found = importance_estimate(planted)
    assert float(found.largest_share) == pytest.approx(0.2, rel=1e-4)
    assert "one sample has 0.2" in found.doubts[0]
    assert importance_estimate(np.zeros(1000)).doubts == ()
    for bad in (np.nan, np.inf):
        assert "NaN or infinite" in importance_estimate(np.append(planted, bad)).doubts[0]


# ---------------------------------------------------------------- thermodynamics of Ising spins

BETA, MODEL_BETA, SHAPE = 0.44, 0.35, (3, 4)
ENERGIES = jnp.asarray(energies(SHAPE), jnp.float32)
LOG_Q = -MODEL_BETA * energies(SHAPE) - exact_log_z(SHAPE, MODEL_BETA)


def exact_thermodynamics():
    energy = energies(SHAPE)
    log_z = exact_log_z(SHAPE, BETA)
    shares = np.exp(-BETA * energy - log_z)
    mean = shares @ energy
    variance = shares @ (energy - mean) ** 2
    return np.array([-log_z / BETA, mean, BETA * mean + log_z, BETA**2 * variance])


def ising_estimates(key, num=4000):
    """Values and errors, shape (2, 4), by the model of another temperature."""
    spins = draw(key, LOG_Q, SHAPE, num)
    bonds = spins * (jnp.roll(spins, -1, 1) + jnp.roll(spins, -1, 2))
    energy = -jnp.sum(bonds, axis=(1, 2)).astype(jnp.float32)
    log_weights = (MODEL_BETA - BETA) * energy + exact_log_z(SHAPE, MODEL_BETA)
    return jnp.asarray(thermodynamics(log_weights, energy, BETA)).T


@pytest.fixture(scope="module")
def thermodynamic():
    return replicate("thermodynamics", ising_estimates, num_replicates=512)


def test_thermodynamics_are_those_of_enumeration(thermodynamic):
    """Of 512 replicates the scatter is that stated, to 5 of its errors; z-scores are of 64."""
    values, errors = thermodynamic[:, 0], thermodynamic[:, 1]
    assert_unbiased(values[:64], exact_thermodynamics())
    ratio = np.sqrt(np.mean(errors**2, axis=0)) / values.std(axis=0, ddof=1)
    assert np.all(np.abs(ratio - 1) < 0.16)


def test_canary_an_entropy_without_its_covariance(thermodynamic):
    """Errors of β U and log Z added in squares, as if they were independent, are too large."""
    errors = np.sqrt(np.mean(thermodynamic[:, 1] ** 2, axis=0))
    apart = np.hypot(BETA * errors[1], BETA * errors[0])
    assert apart / thermodynamic[:, 0, 2].std(ddof=1) > 1.16


def test_canary_the_model_itself_is_not_the_target(thermodynamic):
    raw = exact_thermodynamics()
    raw[1] = np.exp(LOG_Q) @ energies(SHAPE)
    assert_biased(thermodynamic[:64, 0], raw)


def test_dead_samples_do_not_enter():
    log_weights = jnp.array([0.0, 0.0, -jnp.inf, 1.0])
    values = jnp.array([1.0, 2.0, jnp.nan, 4.0])
    found = observable(log_weights, values, 0.5)
    e = np.e
    mean = (3 + 4 * e) / (2 + e)
    assert float(found.value) == pytest.approx(mean + 0.5 * np.log((2 + e) / 4), rel=1e-5)
    assert np.isfinite(float(found.standard_error))


@pytest.mark.parametrize("log_weights", [np.zeros(1), np.zeros((2, 2)), np.zeros(0)])
def test_bad_input(log_weights):
    for run in (importance_estimate, lambda of: observable(of, of)):
        with pytest.raises(ValueError, match="shape"):
            run(log_weights)
    with pytest.raises(ValueError, match="integrated_autocorrelation_time must be positive"):
        importance_estimate(np.zeros(3), integrated_autocorrelation_time=0.0)


def test_offsets_of_known_weights_are_taken_off_in_double_precision():
    weights = 0.3 * np.random.default_rng(0).normal(size=20_000)
    back = weights[:1000] + 0.09  # E[w] is e^0.045: samples of the target have 0.09 more
    near, far = (importance_estimate(c + weights, c + back) for c in (0.0, 1e5))
    assert float(far.log_coverage.value) == pytest.approx(
        float(near.log_coverage.value), abs=1e-6
    )
    assert float(far.log_partition_function.value) == pytest.approx(1e5, abs=1)
    assert [doubt for doubt in far.doubts if "is rounded by" in doubt]
    assert not [doubt for doubt in near.doubts if "is rounded by" in doubt]


def test_an_exact_model_of_a_wrong_constant_is_doubted():
    (doubt,) = importance_estimate(jnp.zeros(16), jnp.ones(16)).doubts
    assert "inf standard errors" in doubt


def test_values_are_one_a_sample():
    x = jnp.ones((5, 1))
    with pytest.raises(ValueError, match=r"shape \(5,\), one a sample; got \(5, 1\)"):
        observable(jnp.zeros(5), x)
    with pytest.raises(ValueError, match="one a sample"):
        thermodynamics(jnp.zeros(5), x, 1.0)
