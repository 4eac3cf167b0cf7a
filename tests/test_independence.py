"""Independence Metropolis, against enumeration, closed forms and its own canaries.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ising_states import common, draw, energies, frequencies, index_of, states
from scipy.special import logsumexp
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import annealing, targets, walkers
from jarzynski_jax.density import Density
from jarzynski_jax.free_energy import autocorrelation, importance_estimate
from jarzynski_jax.kernels import generalized_hmc, heat_bath, independence, sequence
from jarzynski_jax.kernels.density_state import without_endpoint
from jarzynski_jax.kernels.invariant import InvariantInfo
from jarzynski_jax.targets import lattice
from jarzynski_jax.walkers import Dynamics

SHAPE = (2, 4)
#: Log-odds of each site under a model of independent spins: nothing is symmetric.
ODDS = jnp.asarray(np.random.default_rng(0).normal(size=SHAPE) / 3, jnp.float32)


def product_model():
    """Spins that are independent, up with the odds of their site."""

    def logdensity_fn(x):
        return jnp.sum(jax.nn.log_sigmoid(ODDS * x))

    def sample(key, n):
        is_up = jax.random.uniform(key, (n, *SHAPE)) < jax.nn.sigmoid(ODDS)
        return jnp.where(is_up, 1, -1).astype(jnp.int32)

    return Density(logdensity_fn, 0.0, sample)


MODEL = product_model()
HOT, COLD = (lattice.ising(SHAPE, beta) for beta in (0.1, 0.3))
LOG_Q = np.asarray(jax.vmap(MODEL.logdensity_fn)(jnp.asarray(states(SHAPE))), np.float64)
LOG_P = {beta: -beta * energies(SHAPE) for beta in (0.1, 0.3)}


def test_the_model_is_normalised():
    assert logsumexp(LOG_Q) == pytest.approx(0, abs=1e-5)


# ---------------------------------------------------------------- exact weights


def without_log_q(key, state, logdensity_fn):
    """The same step that takes the proposals to be symmetric: a fault."""
    key_draw, key_accept = jax.random.split(key)
    increment = logdensity_fn(state.position) - state.logdensity
    proposed = MODEL.sample(key_draw, 1)[0]
    ratio = logdensity_fn(proposed) - logdensity_fn(state.position)
    is_accepted = jnp.log(jax.random.uniform(key_accept)) < ratio
    position = jnp.where(is_accepted, proposed, state.position)
    moved = without_endpoint(position, logdensity_fn(position))
    return moved, InvariantInfo(increment, jnp.isfinite(increment), 0.0)


def weighted_frequencies(key, is_faulty, num_walkers=4000):
    """Of all states, from the hot lattice to the cold one: Z/Z₀ of them in all."""
    key_start, key_move, key_again = jax.random.split(key, 3)
    start = draw(key_start, LOG_P[0.1], SHAPE, num_walkers)

    def run(init, kernel):
        ensemble = walkers.init(start, HOT.logdensity_fn, init)
        for key in (key_move, key_again):
            ensemble, _ = walkers.move(key, ensemble, COLD.logdensity_fn, kernel)
        return frequencies(ensemble.position, jnp.exp(ensemble.log_weights))

    right = run(independence.build_init(MODEL), independence.build_kernel(MODEL))
    return jnp.where(is_faulty, run(heat_bath.init, without_log_q), right)


EXPECTED = np.exp(LOG_P[0.3] - logsumexp(LOG_P[0.1]))


def test_weights_are_exact_along_a_path():
    """Of all 256 states at once, by a model that has neither symmetry nor couplings."""
    assert_unbiased(*common(replicate("path", weighted_frequencies, False), EXPECTED))


def test_canary_proposals_taken_for_symmetric():
    assert_biased(*common(replicate("path", weighted_frequencies, True), EXPECTED))


# ---------------------------------------------------------------- acceptance, closed forms


def transition_matrix(log_p, log_q):
    """Of the chain on all states; the second value is its acceptance at rest."""
    p, q = (np.exp(of - logsumexp(of)) for of in (log_p, log_q))
    weight = p / q
    matrix = q * np.minimum(1, weight / weight[:, None])
    acceptance = float(p @ matrix.sum(1))
    np.fill_diagonal(matrix, 0)
    np.fill_diagonal(matrix, 1 - matrix.sum(1))
    return matrix, acceptance


def exact_time(matrix, p, values):
    """τ = ½ + Σ ρ(t), by a linear system."""
    deviation = values - p @ values
    system = np.eye(len(p)) - matrix + np.outer(np.ones(len(p)), p)
    summed = np.linalg.solve(system, deviation)  # Σ_t≥0
    return float((p * deviation) @ summed / ((p * deviation) @ deviation)) - 0.5


@pytest.fixture(scope="module")
def chains():
    """32 chains of 6000 steps from exact samples of the cold lattice."""
    kernel = independence.build_kernel(MODEL)
    init = independence.build_init(MODEL)

    def run(key):
        key_start, key = jax.random.split(key)
        state = init(draw(key_start, LOG_P[0.3], SHAPE, 1)[0], COLD.logdensity_fn)

        def step(state, key):
            state, info = kernel(key, state, COLD.logdensity_fn)
            return state, (jnp.sum(state.position), index_of(state.position), info)

        return jax.lax.scan(step, state, jax.random.split(key, 6000))[1]

    return jax.jit(jax.vmap(run))(jax.random.split(test_key("chains"), 32))


def test_acceptance_is_that_of_the_enumerated_chain(chains):
    """Σ_ij min(p_i q_j, p_j q_i), within 4.5 of the chains' own errors."""
    _, expected = transition_matrix(LOG_P[0.3], LOG_Q)
    found = autocorrelation(chains[2].acceptance_rate)
    assert found.doubts == ()
    assert abs(found.mean.value - expected) < 4.5 * found.mean.standard_error
    asked = autocorrelation(chains[2].is_accepted.astype(float)).mean
    assert abs(asked.value - expected) < 4.5 * asked.standard_error
    assert np.all(chains[2].is_proposal_finite)
    np.testing.assert_array_equal(chains[2].log_weight_increment, 0)


def test_the_time_is_that_of_the_enumerated_chain(chains):
    """τ of the magnetization, within 4.5 of its errors; its slowest mode is 1 - 1/w_max."""
    matrix, _ = transition_matrix(LOG_P[0.3], LOG_Q)
    p = np.exp(LOG_P[0.3] - logsumexp(LOG_P[0.3]))
    magnetization = states(SHAPE).reshape(256, -1).sum(1).astype(float)
    expected = exact_time(matrix, p, magnetization)
    found = autocorrelation(chains[0])
    assert abs(found.time.value - expected) < 4.5 * found.time.standard_error
    assert found.time.standard_error < 0.1 * expected
    weights = p * np.exp(-(LOG_Q - logsumexp(LOG_Q)))
    slowest = np.sort(np.linalg.eigvals(matrix).real)[-2]
    assert slowest == pytest.approx(1 - 1 / weights.max(), rel=1e-9)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_acceptance_of_gaussians(scale):
    """(4/π) arctan(min(s, 1/s)) of N(0, s²) for N(0, 1); 1 for the target itself."""
    key_model, key_order = jax.random.split(test_key("gaussians"))
    x = scale * jax.random.normal(key_model, (200_001,))
    log_weights = -(x**2) / 2 + x**2 / (2 * scale**2)
    found = independence.accept_in_order(key_order, log_weights)
    expected = 4 / np.pi * np.arctan(min(scale, 1 / scale))
    asked = autocorrelation(found.is_accepted[1000:].astype(jnp.float32) if scale != 1 else x)
    assert asked.doubts == ()
    mean = asked.mean.value if scale != 1 else jnp.mean(found.is_accepted[1:])
    assert abs(mean - expected) < 4.5 * asked.mean.standard_error * (scale != 1) + 1e-6
    if scale >= 1:  # of the narrow model weights have no variance
        variance = jnp.var(x[found.indices[1000:]])
        assert float(variance) == pytest.approx(1, abs=0.05)


def test_in_order_is_the_kernel():
    """The frequencies of a chain of proposals drawn before, within 5 of its errors."""
    key_draw, key_order = jax.random.split(test_key("in order"))
    x = MODEL.sample(key_draw, 100_000)
    log_weights = jax.vmap(COLD.logdensity_fn)(x) - jax.vmap(MODEL.logdensity_fn)(x)
    found = independence.accept_in_order(key_order, log_weights)
    is_up = x[found.indices].sum((1, 2)) == 8
    share = autocorrelation(is_up.astype(jnp.float32)).mean
    expected = np.exp(8 * 2 * 0.3 - logsumexp(LOG_P[0.3]))
    assert abs(share.value - expected) < 5 * share.standard_error
    assert share.standard_error < 0.1 * expected


@pytest.mark.parametrize("num", [1, 2, 101, 601])
def test_any_number_of_proposals(num):
    found = independence.accept_in_order(jax.random.key(0), jnp.zeros(num))
    assert found.indices.tolist() == list(range(num))
    assert found.is_accepted.tolist() == [False, *[True] * (num - 1)]


# ---------------------------------------------------------------- what goes wrong


def test_proposals_that_are_not_finite_are_rejected_and_told():
    log_weights = jnp.array([jnp.nan, jnp.inf, 0.0, jnp.nan, -jnp.inf, 50.0, jnp.inf, 0.0])
    found = independence.accept_in_order(jax.random.key(0), log_weights)
    assert found.indices.tolist() == [2, 2, 2, 2, 2, 5, 5, 5]
    assert int(found.num_not_finite) == 5
    with pytest.raises(ValueError, match="no chain can start"):
        independence.accept_in_order(jax.random.key(0), log_weights[:2])


def broken(fails):
    """A model of which the log-density is NaN where it is said."""
    gaussian = targets.gaussian([1.0])
    return gaussian._replace(
        logdensity_fn=lambda x: jnp.where(fails(x[0]), jnp.nan, gaussian.logdensity_fn(x))
    )


def run_chain(proposal, target, start, num_steps=200):
    algorithm = independence.as_top_level_api(target, proposal)

    def step(state, key):
        state, info = algorithm.step(key, state)
        return state, (state.position[0], info)

    keys = jax.random.split(jax.random.key(1), num_steps)
    return jax.lax.scan(step, algorithm.init(jnp.array([start])), keys)[1]


def test_a_chain_does_not_freeze_in_silence():
    """A NaN where it stands is left at once; one of the model is counted, and never taken."""
    target = lambda x: jnp.where(x[0] > 5, jnp.nan, -jnp.sum(x**2) / 2)  # noqa: E731
    positions, info = run_chain(targets.gaussian([1.0]), target, 6.0)
    assert float(positions[0]) < 5
    np.testing.assert_array_equal(info.acceptance_rate, 1)
    half = lambda x: -jnp.sum(x**2) / 2  # noqa: E731
    positions, info = run_chain(broken(lambda x: x > 0), half, -0.5)
    assert np.all(positions < 0)
    assert 0.3 < np.mean(info.is_proposal_finite) < 0.7
    np.testing.assert_array_equal(info.is_accepted, info.is_proposal_finite)
    _, info = run_chain(broken(lambda x: x == x), half, -0.5)
    assert not np.any(info.is_proposal_finite | info.is_accepted)


def test_a_planted_sample_has_its_share_and_holds_the_chain():
    """One sample in 2000 where the model is e^8 too small."""
    log_weights = jnp.zeros(2000).at[500].set(8.0)
    found = independence.accept_in_order(jax.random.key(0), log_weights)
    stays = int(jnp.sum(found.indices == 500))
    assert stays > 200
    estimate = importance_estimate(log_weights)
    assert float(estimate.largest_share) == pytest.approx(np.e**8 / (np.e**8 + 1999), rel=1e-4)
    assert "one sample has" in estimate.doubts[0]
    # A plateau of 1000 steps and more is no time that 2000 of them can tell.
    on_it = (found.indices == 500).astype(jnp.float32)
    assert "too short" in autocorrelation(on_it).doubts[0]


def test_between_local_moves_each_tells_its_own_acceptance():
    """Heat bath and proposals in turns, at rest: the law of the cold lattice."""
    move = sequence.as_move([heat_bath.as_move(), independence.as_move(MODEL)])

    def stay(key):
        key_start, key_move = jax.random.split(key)
        start = draw(key_start, LOG_P[0.3], SHAPE, 4000)
        ensemble = walkers.init(start, COLD.logdensity_fn, move.init)
        ensemble, info = walkers.move(key_move, ensemble, COLD.logdensity_fn, move.kernel)
        changed, accepted = info.stages[0].mcmc_info, info.stages[1].acceptance_rate
        return frequencies(ensemble.position), jnp.array([changed.mean(), accepted.mean()])

    found, rates = replicate("in turns", stay)
    assert_unbiased(*common(found, np.exp(LOG_P[0.3] - logsumexp(LOG_P[0.3]))))
    _, expected = transition_matrix(LOG_P[0.3], LOG_Q)
    assert rates[:, 1].mean() == pytest.approx(expected, abs=0.01)
    assert 0.1 < rates[:, 0].mean() < 0.5


def test_a_local_move_that_never_moves_is_told_beside_healthy_proposals():
    """Its gradient is NaN in one coordinate: proposals alone would look like a good chain."""
    normal = targets.gaussian([1.0, 1.0])
    at_zero = lambda x: jnp.sqrt(x[0] - x[0])  # noqa: E731
    broken = lambda x: normal.logdensity_fn(x) + 0 * at_zero(x)  # noqa: E731
    move = sequence.as_move(
        [generalized_hmc.as_move(1, 0.3, 1.0), independence.as_move(normal)]
    )
    rates = []
    for target in (broken, normal.logdensity_fn):
        x = jax.random.normal(jax.random.key(0), (500, 2))
        ensemble = walkers.init(x, target, move.init)
        _, info = walkers.move(jax.random.key(1), ensemble, target, move.kernel)
        rates.append([float(jnp.mean(stage.acceptance_rate)) for stage in info.stages])
    (local, proposed), (healthy, _) = rates
    assert local == 0
    assert proposed > 0.99
    assert healthy > 0.9


def test_it_anneals_as_any_move():
    """From the hot lattice by proposals of the model: log Z within 4.5 errors, 1 seed."""
    path = annealing.geometric_path(HOT.logdensity_fn, COLD.logdensity_fn)
    start = draw(test_key("anneal"), LOG_P[0.1], SHAPE, 2000)
    bounds = annealing.log_partition_bounds(
        test_key("bounds"),
        start,
        path,
        HOT.log_partition_function,
        Dynamics(independence.as_move(MODEL)),
        10,
        num_replicates=8,
    )
    error = np.std(bounds.forward, ddof=1) / np.sqrt(8)
    assert abs(np.mean(bounds.forward) - COLD.log_partition_function) < 4.5 * error + 1e-3
    assert bounds.end_points.dtype == jnp.int32


def test_proposals_must_be_of_the_walkers_kind():
    with pytest.raises(ValueError, match=r"a proposal must be a Density that can be sampled"):
        independence.as_move(COLD)
    with pytest.raises(ValueError, match="got function"):
        independence.build_kernel(lambda x: x)
    init = independence.build_init(MODEL)
    for position in (jnp.ones(SHAPE), jnp.ones((3, 3), jnp.int32), (jnp.ones(SHAPE),)):
        with pytest.raises(ValueError, match="a proposal must draw positions"):
            init(position, COLD.logdensity_fn)
    with pytest.raises(ValueError, match="log_weights must have shape"):
        independence.accept_in_order(jax.random.key(0), jnp.zeros((2, 2)))
    assert independence.as_move(MODEL).is_invariant
    assert independence.build_kernel(MODEL) is independence.build_kernel(
        MODEL._replace(log_partition_function=jnp.array(0.0))
    )
