"""Metropolis adjustment: the target is invariant, and the result is MALA."""

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_path import ULABugs, reference_ula
from zscore import (
    BASE_SEED,
    NUM_REPLICATES,
    assert_biased,
    assert_unbiased,
    replicate,
    test_key,
)

from jarzynski_jax import walkers
from jarzynski_jax.energies import mixture
from jarzynski_jax.kernels import generalized_hmc, kinetic, metropolis, ula
from jarzynski_jax.kernels.preconditioning import preconditioner

ULA = ula.build_kernel()
MALA = metropolis.adjust(ula.as_move())
KINETIC = kinetic.build_kernel()
GHMC = metropolis.adjust(kinetic.as_move())
KINETIC_ARGS = (1.6, 0.2)  # step size and friction
# Two unequal modes, three apart, in two dimensions.
MIXTURE = {"a": jnp.array([-1.0, 0.0]), "b": jnp.array([2.0, 0.5]), "z": jnp.array(-1.0)}
H, NUM_STEPS, NUM_CHAINS = 0.8, 8, 2000


def logdensity(x):
    return -mixture.energy(MIXTURE, x)


def moments_of(x):
    """E[x], E[x²] of each coordinate, and E[x_0 ³]."""
    return jnp.concatenate([x.mean(0), (x**2).mean(0), (x[:, :1] ** 3).mean(0)])


def exact_moments():
    """By the two Gaussians of unit variance: E[x³] = m³ + 3m in each."""
    means = np.stack([MIXTURE["a"], MIXTURE["b"]])
    mass = np.asarray(mixture.mode_masses(MIXTURE), np.float64)
    cube = means[:, :1] ** 3 + 3 * means[:, :1]
    return mass @ np.concatenate([means, means**2 + 1, cube], axis=1)


def chain_moments(key, kernel, init=ula.init, args=(H,)):
    """Moments after a few steps of independent chains, from exact samples."""
    key_start, key_steps = jax.random.split(key)
    state = jax.vmap(lambda x: init(x, logdensity))(exact_start(key_start))

    def step(state, key):
        keys = jax.random.split(key, NUM_CHAINS)
        return jax.vmap(lambda k, s: kernel(k, s, logdensity, *args)[0])(keys, state), None

    state, _ = jax.lax.scan(step, state, jax.random.split(key_steps, NUM_STEPS))
    return moments_of(state.position)


def exact_start(key):
    return mixture.sample(key, MIXTURE, NUM_CHAINS)


def adjusted(key):
    return chain_moments(key, MALA)


def unadjusted(key):
    return chain_moments(key, ULA)


def adjusted_with_small_noise(key):
    kernel = metropolis.adjust(
        ula.as_move()._replace(kernel=reference_ula(ULABugs(noise_factor=0.5**0.5)))
    )
    return chain_moments(key, kernel)


def kinetic_moments(key, kernel, args=KINETIC_ARGS):
    return chain_moments(key, kernel, kinetic.init, args)


def adjusted_kinetic(key):
    return kinetic_moments(key, GHMC)


def adjusted_and_preconditioned(key):
    scaling = preconditioner(jnp.array([1.5, 0.5]))
    return kinetic_moments(key, GHMC, (*KINETIC_ARGS, scaling))


def unadjusted_kinetic(key):
    return kinetic_moments(key, KINETIC)


def rejected_without_turning_round(key):
    def broken(key, state, *args):
        new, info = GHMC(key, state, *args)
        turned = jnp.where(info.is_accepted, new.velocity, -new.velocity)
        return new._replace(velocity=turned), info

    return kinetic_moments(key, broken)


def test_the_target_is_invariant():
    """Exact samples of an asymmetric mixture stay so through 8 large steps (h = 0.8).

    |z| < 4.5 on five moments over 64 ensembles of 2000 chains.
    """
    assert_unbiased(replicate("invariant", adjusted), exact_moments())


def test_the_target_is_invariant_under_kinetic_steps():
    """As above; four in ten of the steps are rejected."""
    assert_unbiased(replicate("kinetic", adjusted_kinetic), exact_moments())


def test_the_target_is_invariant_under_preconditioned_kinetic_steps():
    assert_unbiased(replicate("kinetic", adjusted_and_preconditioned), exact_moments())


@pytest.mark.parametrize(
    "broken",
    [
        unadjusted,
        adjusted_with_small_noise,
        unadjusted_kinetic,
        rejected_without_turning_round,
    ],
)
def test_canary_without_a_right_adjustment_the_target_is_not_invariant(broken):
    assert_biased(replicate("invariant", broken), exact_moments())


@pytest.mark.parametrize("h", [0.1, 1.5])
def test_acceptance_is_that_of_blackjax(h):
    """The same keys give the same proposals, probabilities and decisions as BlackJAX's."""
    theirs = blackjax.mcmc.mala.build_kernel()

    @jax.jit
    @jax.vmap
    def both(key, x):
        state, info = MALA(key, ula.init(x, logdensity), logdensity, h)
        other, other_info = theirs(key, blackjax.mcmc.mala.init(x, logdensity), logdensity, h)
        return (state.position, info), (other.position, other_info)

    x = exact_start(test_key("mala start"))
    ours, expected = both(jax.random.split(test_key("mala"), NUM_CHAINS), x)
    rates = ours[1].acceptance_rate
    np.testing.assert_allclose(rates, expected[1].acceptance_rate, rtol=2e-4, atol=1e-6)
    # A decision may differ where the uniform number falls within the rounding.
    is_same = np.asarray(ours[1].is_accepted == expected[1].is_accepted)
    assert is_same.mean() > 0.998
    np.testing.assert_allclose(ours[0][is_same], expected[0][is_same], rtol=1e-5, atol=1e-5)


@jax.jit
@jax.vmap
def one_step(key, x):
    state = ula.init(x, logdensity)
    proposed, _ = ULA(jax.random.split(key)[0], state, logdensity, 1.5)
    return state, proposed, MALA(key, state, logdensity, 1.5)


def test_a_step_is_the_proposal_or_nothing():
    """Every leaf of the state is the proposed one if accepted, the old one if not."""
    keys = jax.random.split(test_key("leaves"), NUM_CHAINS)
    old, proposed, (new, info) = one_step(keys, exact_start(test_key("leaves start")))
    is_accepted = np.asarray(info.is_accepted)
    assert 0.1 < is_accepted.mean() < 0.9
    for before, candidate, after in zip(
        *map(jax.tree.leaves, (old, proposed, new)), strict=True
    ):
        mask = is_accepted.reshape((-1,) + (1,) * (after.ndim - 1))
        expected = np.where(mask, candidate, before)
        np.testing.assert_allclose(after, expected, rtol=1e-5, atol=1e-5)


def test_a_rejected_kinetic_walker_stays_and_turns_round():
    """From its first step on, when its velocity was just drawn."""

    @jax.jit
    @jax.vmap
    def step(key, x):
        state = kinetic.init(x, logdensity)
        _, info = KINETIC(jax.random.split(key)[0], state, logdensity, *KINETIC_ARGS)
        return info.drawn_velocity, GHMC(key, state, logdensity, *KINETIC_ARGS)

    x = exact_start(test_key("turn start"))
    drawn, (state, info) = step(jax.random.split(test_key("turn"), NUM_CHAINS), x)
    is_rejected = ~np.asarray(info.is_accepted)
    assert 0.1 < is_rejected.mean() < 0.9
    np.testing.assert_array_equal(state.position[is_rejected], x[is_rejected])
    np.testing.assert_allclose(state.velocity[is_rejected], -drawn[is_rejected], rtol=1e-5)
    assert not np.any(state.is_at_rest)


def test_accepted_as_often_as_it_says():
    keys = jax.random.split(test_key("rate"), NUM_CHAINS)
    _, _, (_, info) = one_step(keys, exact_start(test_key("rate start")))
    assert np.all((info.acceptance_rate >= 0) & (info.acceptance_rate <= 1))
    assert_unbiased(info.is_accepted - np.asarray(info.acceptance_rate, np.float64), 0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("kernel", "init", "args"), [(MALA, ula.init, (0.5,)), (GHMC, kinetic.init, (1.0, 0.5))]
)
def test_a_proposal_that_is_not_finite_is_rejected(kernel, init, args, bad):
    def broken(x):
        return jnp.where(x[0] > 0, bad, -jnp.sum(x**2) / 2)

    @jax.jit
    @jax.vmap
    def step(key):
        return kernel(key, init(-0.1 * jnp.ones(2), broken), broken, *args)

    state, info = step(jax.random.split(test_key("broken"), 500))
    assert np.all(state.position[:, 0] <= 0)
    assert np.all(np.isfinite(state.logdensity))
    assert 0 < np.mean(info.acceptance_rate == 0) < 1


def test_dtype_is_kept_in_64_bit_mode(dtype):
    x = jnp.ones(2, dtype)

    def gaussian(x):
        return -jnp.sum(x**2) / 2

    state, info = MALA(jax.random.key(0), ula.init(x, gaussian), gaussian, 0.1)
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {jnp.dtype(dtype)}
    assert info.acceptance_rate.dtype == dtype


# ---------------------------------------------------------------- a well with steep walls

#: E[(x - 1/2)²] = Γ(1/2)/Γ(1/6) 2000^(-1/3), of e^ℓ below.
VARIANCE_OF_WELL = 0.025273404407805


def steep(x):
    return -2000 * (x - 0.5) ** 6


def sample_steep(shape):
    """Exactly: 2000 (x - 1/2)⁶ is of the law Γ(1/6). By NumPy, which has not to compile it."""
    rng = np.random.default_rng(BASE_SEED)
    size = (rng.gamma(1 / 6, size=shape) / 2000) ** (1 / 6)
    return jnp.asarray(0.5 + rng.choice([-1.0, 1.0], shape) * size)


def in_steep_well(key, x, step_size, is_adjusted):
    """E[e^A]; the variance by weights, relative to what it is; and the same without weights."""
    weighted, adjusted = kinetic.as_move(), generalized_hmc.as_move(1)

    def step(ensemble, key):
        def by(move):
            return lambda: walkers.move(key, ensemble, steep, move.kernel, step_size, 20.0)[0]

        return jax.lax.cond(is_adjusted, by(adjusted), by(weighted)), None

    start = walkers.init(x, steep, weighted.init)
    ensemble, _ = jax.lax.scan(step, start, jax.random.split(key, 30))
    weight = jnp.exp(ensemble.log_weights)
    # Who was thrown out by a wall is nowhere, and has weight 0.
    square = jnp.where(weight > 0, (ensemble.position - 0.5) ** 2, 0) / VARIANCE_OF_WELL
    return jnp.stack([weight.mean(), (weight * square).mean(), square.mean()])


@pytest.fixture(scope="module")
def steep_well():
    starts = sample_steep((NUM_REPLICATES, 8000))
    keys = jax.random.split(test_key("steep well"), NUM_REPLICATES)

    @jax.jit
    def run(*args):
        return jax.lax.map(lambda of_one: in_steep_well(*of_one, *args), (keys, starts))

    found = {"weighted": run(0.045, False), "adjusted": run(0.15, True)}
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), found)


@pytest.mark.parametrize("name", ["weighted", "adjusted"])
def test_walkers_stay_in_a_steep_well(name, steep_well):
    """|z| < 4.5 on E[e^A] and on the variance, over 64 ensembles of 8000 walkers, 30 steps."""
    assert_unbiased(steep_well[name][:, :2], np.ones(2))


def test_canary_kinetic_steps_without_their_weight_are_too_narrow(steep_well):
    """By 1 % after 30 steps: z-scores of -6 to -9."""
    assert_biased(steep_well["weighted"][:, 2], 1.0)
