"""BlackJAX as a partner: its kernels with our walkers, ours in its loops and in its SMC.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore.
"""

from functools import partial

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from blackjax.smc import resampling as bj_resampling
from blackjax.smc.base import SMCState
from blackjax.util import run_inference_algorithm, thin_kernel
from zscore import assert_biased, assert_unbiased, replicate

from jarzynski_jax import walkers
from jarzynski_jax.interop import blackjax as adapters
from jarzynski_jax.kernels import bijection, escorted, invariant, kinetic, ula
from jarzynski_jax.resampling import adaptive, multinomial, stratified, systematic

D = 5
LOG_EVIDENCE = D * np.log(0.5) / 2
NUM_PARTICLES = 500
TIMES = np.linspace(0, 1, 6, dtype=np.float32)[1:]


def log_prior(x):
    return -jnp.sum(x**2) / 2 - D / 2 * jnp.log(2 * jnp.pi)


def log_likelihood(x):
    """The evidence is that of a Gaussian of half the variance: 2^(-d/2)."""
    return -jnp.sum(x**2) / 2


# ---------------------------------------------------------------- their SMC, our weights


def smc(kernel_init, kernel, parameters, resampler=systematic, threshold=0.5):
    return blackjax.tempered_smc(
        log_prior,
        log_likelihood,
        None,
        None,
        parameters,
        None,
        num_mcmc_steps=3,
        update_particles_fn=adapters.weighted_update(
            kernel_init, kernel, adaptive(resampler, threshold)
        ),
    )


def plain_ula_smc(step_size):
    """ULA handed to BlackJAX as if it left its target invariant."""
    kernel = ula.build_kernel()
    return blackjax.tempered_smc(
        log_prior,
        log_likelihood,
        lambda key, state, logdensity_fn, step_size: kernel(
            key, state, logdensity_fn, step_size
        ),
        ula.init,
        {"step_size": jnp.array([step_size])},
        bj_resampling.systematic,
        num_mcmc_steps=3,
    )


def evidence(algorithm, name):
    """The evidence over the exact one, of each replicate."""

    def run(key):
        key_start, key_smc = jax.random.split(key)

        def step(state, numbered):
            index, time = numbered
            state, info = algorithm.step(jax.random.fold_in(key_smc, index), state, time)
            return state, info.log_likelihood_increment

        state = algorithm.init(jax.random.normal(key_start, (NUM_PARTICLES, D)))
        # Its first inverse temperature is a number of Python's, and no array.
        state = jax.tree.map(jnp.asarray, state)
        increments = jax.lax.scan(step, state, (jnp.arange(len(TIMES)), TIMES))[1]
        return jnp.exp(jnp.sum(increments) - LOG_EVIDENCE)

    return replicate(f"evidence {name}", run)


H = {"step_size": jnp.array([0.3])}
FRICTION = {"step_size": jnp.array([0.5]), "friction": jnp.array([1.0])}


@pytest.mark.parametrize(
    ("name", "kernel_init", "kernel", "parameters", "threshold"),
    [
        ("ula", ula.init, ula.build_kernel(), H, 0.5),
        ("ula, always", ula.init, ula.build_kernel(), H, 1.0),
        ("ula, never", ula.init, ula.build_kernel(), H, 0.0),
        ("kinetic", kinetic.init, kinetic.build_kernel(), FRICTION, 0.5),
        ("mala", invariant.init, adapters.invariant_kernel(blackjax.mala), H, 0.5),
    ],
)
def test_evidence_from_our_weights_is_unbiased(
    name, kernel_init, kernel, parameters, threshold
):
    """At coarse time steps, h = 0.3 for a smallest variance of 0.5."""
    algorithm = smc(kernel_init, kernel, parameters, threshold=threshold)
    assert_unbiased(evidence(algorithm, name), 1.0)


def test_canary_plain_ula_gives_a_wrong_evidence():
    found = evidence(plain_ula_smc(0.3), "plain")
    assert_biased(found, 1.0)
    error = found.std(ddof=1) / np.sqrt(len(found))
    assert abs(found.mean() - 1) > 10 * error


def test_adaptive_tempered_smc():
    """Its schedule is adaptive, so the evidence is consistent: right to a few percent."""
    algorithm = blackjax.adaptive_tempered_smc(
        log_prior,
        log_likelihood,
        None,
        None,
        H,
        None,
        target_ess=0.8,
        num_mcmc_steps=3,
        update_particles_fn=adapters.weighted_update(
            ula.init, ula.build_kernel(), adaptive(systematic, 0.5)
        ),
    )
    state = algorithm.init(jax.random.normal(jax.random.key(0), (4000, D)))
    step, total = jax.jit(algorithm.step), 0.0
    for index in range(50):
        state, info = step(jax.random.key(index + 1), state)
        total += float(info.log_likelihood_increment)
        if float(state.tempering_param) >= 1:
            break
    assert float(state.tempering_param) == pytest.approx(1)
    assert total == pytest.approx(LOG_EVIDENCE, abs=0.1)
    second_moment = jnp.sum(state.weights * jnp.mean(state.particles**2, axis=1))
    assert float(second_moment) == pytest.approx(0.5, abs=0.05)


def test_parameters_of_each_particle():
    """A leading axis of N gives each particle its own step size."""
    sizes = {"step_size": jnp.linspace(0.05, 0.3, NUM_PARTICLES)}
    algorithm = smc(ula.init, ula.build_kernel(), sizes)
    assert_unbiased(evidence(algorithm, "own step sizes"), 1.0)


def test_particles_where_the_likelihood_is_nan_get_weight_zero():
    algorithm = blackjax.tempered_smc(
        log_prior,
        lambda x: jnp.where(x[0] > 1, jnp.nan, 0.0),
        None,
        None,
        H,
        None,
        num_mcmc_steps=1,
        update_particles_fn=adapters.weighted_update(
            ula.init, ula.build_kernel(), adaptive(systematic, 0.0)
        ),
    )
    state = algorithm.init(jax.random.normal(jax.random.key(0), (200, D)))
    state, info = algorithm.step(jax.random.key(1), state, 0.5)
    assert bool(jnp.all(jnp.isfinite(state.weights)))
    assert 0 < int(jnp.sum(state.weights == 0)) < 100
    assert bool(jnp.isfinite(info.log_likelihood_increment))


def test_a_contract_that_changed_says_what_changed():
    update = adapters.weighted_update(ula.init, ula.build_kernel(), adaptive(systematic, 0.5))

    class Renamed:
        _fields = ("positions", "log_weights")

    with pytest.raises(ValueError, match=r"1\.7\.1.*'particles'.*positions"):
        update(jax.random.key(0), Renamed(), 1, H, log_prior, log_likelihood)
    state = SMCState(jnp.zeros((2, D)), jnp.log(jnp.array([0.5, 0.5])), None)
    with pytest.raises(ValueError, match=r"1\.7\.1.*normalised weights.*negative"):
        update(jax.random.key(0), state, 1, H, log_prior, log_likelihood)
    with pytest.raises(ValueError, match=r"1\.7\.1.*log_weights_fn.*5 arguments by position"):
        update(jax.random.key(0), state, 1, H, log_prior)
    with pytest.raises(ValueError, match=r"1\.7\.1.*\['extra'\] by name"):
        update(jax.random.key(0), state, 1, H, log_prior, log_likelihood, extra=0)


def test_a_state_with_other_fields_is_noticed(monkeypatch):
    monkeypatch.setitem(adapters._CONTRACT, SMCState, ("particles", "log_weights"))
    with pytest.raises(ValueError, match=r"1\.7\.1's SMCState has the fields.*log_weights"):
        adapters.weighted_update(ula.init, ula.build_kernel(), adaptive(systematic, 0.5))


def test_parameters_of_another_shape_are_refused():
    algorithm = smc(ula.init, ula.build_kernel(), {"step_size": jnp.array(0.1)})
    state = algorithm.init(jnp.zeros((7, D)))
    with pytest.raises(ValueError, match=r"'step_size'.*1 or of 7.*\(\)"):
        algorithm.step(jax.random.key(0), state, 0.5)


# ---------------------------------------------------------------- their loops, our kernels


def target(x):
    return -jnp.sum(x**2) / 2


KERNELS = {
    "ula": ula.as_top_level_api(target, 0.1),
    "kinetic": kinetic.as_top_level_api(target, 0.3, 1.0),
    "escorted": escorted.as_top_level_api(target, jnp.zeros_like, 0.1, 1.0),
    "bijection": bijection.as_top_level_api(target, lambda x: (-x, jnp.array(0.0))),
    "invariant": invariant.as_top_level_api(
        target, blackjax.mala.init, blackjax.mala.build_kernel(), 0.1
    ),
}


@pytest.mark.parametrize("name", KERNELS)
def test_run_inference_algorithm_takes_our_kernels(name):
    state, (states, info) = run_inference_algorithm(
        jax.random.key(0), KERNELS[name], 20, initial_position=jnp.ones(D)
    )
    assert states.position.shape == (20, D)
    assert info.log_weight_increment.shape == (20,)
    assert bool(jnp.all(jnp.isfinite(state.position)))


def test_thin_kernel_takes_ours():
    """Increments of the thinned steps add up to that of all of them."""
    thinned = thin_kernel(
        ula.build_kernel(), 7, lambda info: jax.tree.map(lambda leaf: leaf.sum(axis=0), info)
    )
    start = ula.init(jnp.ones(D), target)
    end, info = thinned(jax.random.key(0), start, target, 0.1)
    # At a fixed Gaussian target A depends on the end points alone.
    expected = -0.1 / 4 * (jnp.sum(end.position**2) - jnp.sum(start.position**2))
    assert float(info.log_weight_increment) == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("ours", [systematic, stratified, multinomial])
def test_their_smc_takes_our_resamplers(ours):
    algorithm = blackjax.tempered_smc(
        log_prior,
        log_likelihood,
        blackjax.mala.build_kernel(),
        blackjax.mala.init,
        H,
        ours,
        num_mcmc_steps=2,
    )
    assert_unbiased(evidence(algorithm, f"mala {ours.__name__}"), 1.0)


@pytest.mark.parametrize("theirs", [bj_resampling.systematic, bj_resampling.residual])
def test_we_take_their_resamplers(theirs):
    algorithm = smc(ula.init, ula.build_kernel(), H, resampler=theirs, threshold=1.0)
    assert_unbiased(evidence(algorithm, f"theirs {theirs.__name__}"), 1.0)


# ---------------------------------------------------------------- their kernels, our walkers


def tempered(time):
    return lambda x: log_prior(x) + time * log_likelihood(x)


@pytest.mark.parametrize(
    ("name", "kernel", "args"),
    [
        ("elliptical slice", adapters.elliptical_slice(jnp.zeros(D), jnp.ones(D)), ()),
        ("hmc", adapters.invariant_kernel(blackjax.hmc), (0.4, jnp.ones(D), 3)),
    ],
)
def test_annealing_with_their_kernels_is_exact(name, kernel, args):
    def run(key):
        key_start, key_path = jax.random.split(key)
        x = jax.random.normal(key_start, (NUM_PARTICLES, D))

        def move(ensemble, numbered):
            index, time = numbered
            key_move = jax.random.fold_in(key_path, index)
            return walkers.move(key_move, ensemble, tempered(time), kernel, *args)[0], None

        ensemble = walkers.init(x, tempered(0.0), invariant.init)
        ensemble = jax.lax.scan(move, ensemble, (jnp.arange(len(TIMES)), TIMES))[0]
        weight = jnp.exp(ensemble.log_weights - LOG_EVIDENCE)
        second_moment = jnp.mean(jnp.mean(ensemble.position**2, axis=1) * weight)
        return jnp.stack([jnp.mean(weight), second_moment])

    assert_unbiased(replicate(f"annealing {name}", run), np.array([1.0, 0.5]))


def test_elliptical_slice_leaves_its_target_invariant():
    """With a prior that is neither centred nor isotropic."""
    mean, covariance = jnp.array([1.0, -1.0]), jnp.array([[1.0, 0.5], [0.5, 2.0]])
    precision = jnp.linalg.inv(covariance)
    kernel = adapters.elliptical_slice(mean, covariance)

    def posterior(x):
        deviation = x - mean
        return -deviation @ precision @ deviation / 2 - jnp.sum(x**2)

    total = precision + 2 * jnp.eye(2)
    centre = jnp.linalg.solve(total, precision @ mean)

    def moments(key):
        key_start, key_move = jax.random.split(key)
        x = jax.random.multivariate_normal(key_start, centre, jnp.linalg.inv(total), (500,))
        states = jax.vmap(partial(invariant.init, logdensity_fn=posterior))(x)
        for index in range(3):
            keys = jax.random.split(jax.random.fold_in(key_move, index), 500)
            states = jax.vmap(lambda k, s: kernel(k, s, posterior)[0])(keys, states)
        return jnp.mean(states.position, axis=0)

    assert_unbiased(replicate("elliptical slice", moments), np.asarray(centre))


def test_elliptical_slice_as_a_plain_sampler_is_refused():
    with pytest.raises(ValueError, match="takes a likelihood, not a target"):
        adapters.invariant_kernel(
            blackjax.elliptical_slice, cov_matrix=jnp.eye(2), mean=jnp.zeros(2)
        )


def test_a_sampler_without_a_kernel_is_refused():
    with pytest.raises(ValueError, match="'init'"):
        adapters.invariant_kernel(object())


@pytest.mark.parametrize("name", ["ghmc", "mclmc", "dynamic_hmc", "sgld"])
def test_samplers_that_do_not_start_from_a_position_alone_do_not_fit(name):
    with pytest.raises(ValueError, match=r"the init of this one takes \(position.*not fit"):
        adapters.invariant_kernel(getattr(blackjax, name))


def test_parameters_by_name_are_those_by_position():
    def target(x):
        return -jnp.sum(x**2) / 2

    key, state = jax.random.key(0), invariant.init(jnp.ones(2), target)
    named = adapters.invariant_kernel(
        blackjax.hmc,
        step_size=0.3,
        num_integration_steps=4,
        inverse_mass_matrix=jnp.ones(2),
        divergence_threshold=500,
    )
    moved, _ = named(key, state, target)
    expected, _ = adapters.invariant_kernel(blackjax.hmc)(
        key, state, target, 0.3, jnp.ones(2), 4
    )
    np.testing.assert_array_equal(moved.position, expected.position)
    with pytest.raises(ValueError, match=r"'step_size', .* where it moves; got .'stepsize'"):
        adapters.invariant_kernel(blackjax.hmc, stepsize=0.3)


def test_what_dies_where_the_likelihood_is_zero_is_told():
    """BlackJAX's density is 0 · (-inf) there at a temper of 0."""

    def leakage(outside):
        smc = blackjax.tempered_smc(
            lambda x: -(x**2) / 2,
            lambda x: jnp.where(x > 0, 0.0, outside),
            None,
            None,
            {"step_size": jnp.array([0.1])},
            None,
            num_mcmc_steps=2,
            update_particles_fn=adapters.weighted_update(
                ula.init, ula.build_kernel(), adaptive(systematic, 0.5)
            ),
        )
        state = smc.init(jax.random.normal(jax.random.key(0), (400,)))
        return float(smc.step(jax.random.key(1), state, 1.0)[1].update_info.leakage)

    assert leakage(-jnp.inf) > 0.4
    assert leakage(-30.0) == 0
