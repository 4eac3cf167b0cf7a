"""Chains out of equilibrium: exact values, fluctuation theorems, counts and their doubts.

Statistical tests: z-scores of ensembles of 4000 paths, or over 200 trajectories, below 4.5.
"""

import itertools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jarzynski_jax import free_energy
from jarzynski_jax.nonequilibrium import (
    counts,
    fluctuation,
    markov_chains,
    rare_transitions,
)

SEED = int(os.environ.get("JARZYNSKI_TEST_SEED", "0"))
pytestmark = pytest.mark.usefixtures("x64")


def ring(size, forward, back):
    matrix = (1 - forward - back) * np.eye(size)
    matrix += forward * np.roll(np.eye(size), 1, axis=1)
    return jnp.asarray(matrix + back * np.roll(np.eye(size), -1, axis=1))


UNEVEN = [[0.2, 0.7, 0.1], [0.1, 0.3, 0.6], [0.8, 0.15, 0.05]]


@pytest.mark.parametrize(
    ("size", "forward", "back", "sigma", "second", "tau"),
    [
        (3, 0.7, 0.1, 1.167546089433, 0.556776436283, 1.707675087144),
        (3, 0.8, 0.1, 1.455609079176, 0.7, 2.803673252057),
        (3, 0.9, 0.05, 2.456815994212, 0.85, 6.153129380622),
        (3, 0.6, 0.2, 0.439444915467, 0.4, 1.091356667937),
        (6, 0.98, 0.01, 4.447418454310, None, 49.8839),
        (6, 0.96, 0.02, 3.638928950, None, 24.8933),
    ],
)
def test_rings(size, forward, back, sigma, second, tau):
    matrix = ring(size, forward, back)
    found = markov_chains.entropy_production(matrix)
    np.testing.assert_allclose(found, (forward - back) * np.log(forward / back), rtol=1e-12)
    np.testing.assert_allclose(found, sigma, rtol=2e-10)
    np.testing.assert_allclose(markov_chains.relaxation_time(matrix), tau, rtol=2e-6)
    if second is not None:
        np.testing.assert_allclose(
            markov_chains.relaxation_time(matrix), -1 / np.log(second), rtol=1e-10
        )
    np.testing.assert_allclose(markov_chains.stationary_distribution(matrix), 1 / size)


def test_a_chain_of_uneven_law():
    matrix = jnp.array(UNEVEN)
    law = markov_chains.stationary_distribution(matrix)
    np.testing.assert_allclose(
        law, [0.329512893983, 0.389684813754, 0.280802292264], atol=1e-12
    )
    current = markov_chains.currents(matrix)
    edges = [current[0, 1], current[1, 2], current[2, 0]]
    np.testing.assert_allclose(edges, 0.191690544413, atol=1e-12)
    affinity = markov_chains.cycle_affinity(matrix, jnp.arange(3))
    np.testing.assert_allclose(affinity, 5.411646051855, atol=1e-11)
    sigma = markov_chains.entropy_production(matrix)
    np.testing.assert_allclose([sigma, edges[0] * affinity], 1.037361377848, atol=1e-11)
    np.testing.assert_allclose(
        markov_chains.relaxation_time(matrix), 1.638296930434, atol=1e-11
    )
    around = markov_chains.affinities(matrix)
    np.testing.assert_allclose(around[0, 1] + around[1, 2] + around[2, 0], affinity)
    backwards = markov_chains.time_reversal(matrix)
    np.testing.assert_allclose(markov_chains.stationary_distribution(backwards), law)
    np.testing.assert_allclose(markov_chains.currents(backwards), -current, atol=1e-15)


def test_reversibility_is_of_flows_and_not_of_the_matrix():
    # Doubly stochastic and irreversible; not symmetric and reversible; a symmetric walk.
    turning = ring(3, 0.7, 0.3)
    np.testing.assert_allclose(
        markov_chains.entropy_production(turning), 0.338919144155, atol=1e-12
    )
    np.testing.assert_allclose(markov_chains.entropy_rate(turning), 0.610864302055, atol=1e-12)
    law = jnp.array([0.2, 0.3, 0.5])
    metropolis = jnp.minimum(1, law[None] / law[:, None]) / 3
    metropolis = metropolis.at[jnp.diag_indices(3)].set(0)
    metropolis = metropolis + jnp.diag(1 - metropolis.sum(axis=1))
    assert not jnp.allclose(metropolis, metropolis.T)
    assert abs(float(markov_chains.entropy_production(metropolis))) < 1e-15
    assert float(markov_chains.entropy_production(ring(4, 0.5, 0.5))) == 0


def test_a_step_with_no_way_back_is_infinite_and_not_nan():
    one_way = jnp.array([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [1.0, 0.0, 0.0]])
    assert jnp.isposinf(markov_chains.entropy_production(one_way))
    forces = markov_chains.affinities(one_way)
    assert jnp.isposinf(forces[1, 2])
    assert jnp.isneginf(forces[2, 1])
    assert not jnp.any(jnp.isnan(forces))
    assert jnp.isposinf(jax.jit(markov_chains.entropy_production)(one_way))


def test_a_periodic_chain_has_a_law_and_never_forgets():
    swap = jnp.array([[0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_allclose(markov_chains.stationary_distribution(swap), 0.5)
    assert jnp.isposinf(markov_chains.relaxation_time(swap))
    assert float(markov_chains.relaxation_time(jnp.full((3, 3), 1 / 3))) < 0.05


def test_gradients_pass_through_the_stationary_law():
    def sigma(logits):
        return markov_chains.entropy_production(jax.nn.softmax(logits))

    logits = jnp.log(jnp.array(UNEVEN))
    gradient = jax.grad(sigma)(logits)
    step = 1e-6 * jnp.array([[1.0, -2.0, 0.5], [0.3, 1.0, 2.0], [-1.0, 0.2, 0.4]])
    difference = (sigma(logits + step) - sigma(logits - step)) / 2
    np.testing.assert_allclose(jnp.sum(gradient * step), difference, rtol=1e-6)


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.eye(2), r"irreducible.*2 classes.*\[0\] and \[1\]"),
        (
            [[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5]],
            "irreducible",
        ),
        ([[1.0, 0.0], [0.5, 0.5]], "irreducible"),
        ([[0.5, 0.6], [0.5, 0.5]], "row 0 sums to 1.1"),
        ([[1.5, -0.5], [0.5, 0.5]], "not negative; got values from -0.5"),
        ([[np.nan, 0.5], [0.5, 0.5]], "finite"),
        ([[0.5, 0.5]], r"shape \(m, m\).*\(1, 2\)"),
    ],
)
def test_what_is_no_chain_is_refused(matrix, words):
    for function in (markov_chains.stationary_distribution, markov_chains.entropy_production):
        with pytest.raises(ValueError, match=words):
            function(jnp.array(matrix))


def random_chain(seed, size):
    return np.random.default_rng(seed).dirichlet(np.ones(size), size)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_seen_coarsely_produces_less(seed):
    matrix = random_chain(seed, 6)
    whole = markov_chains.entropy_production(matrix)
    groups = jnp.array([0, 0, 1, 1, 2, 3])
    coarse = markov_chains.coarse_grain(matrix, groups)
    assert markov_chains.entropy_production(coarse) <= whole
    np.testing.assert_allclose(coarse.sum(axis=1), 1)
    alone = markov_chains.coarse_grain(matrix, jnp.arange(6))
    np.testing.assert_allclose(alone, matrix)


def test_groups_with_gaps_are_refused():
    with pytest.raises(ValueError, match="without gaps; got \\[0, 2\\]"):
        markov_chains.coarse_grain(random_chain(0, 3), jnp.array([0, 2, 2]))


# ---------------------------------------------------------------- fluctuation theorems


def all_paths(num_states, num_steps):
    return jnp.array(list(itertools.product(range(num_states), repeat=num_steps + 1)))


def probabilities(paths, law, matrices):
    steps = jnp.arange(matrices.shape[0])
    return law[paths[:, 0]] * jnp.prod(matrices[steps, paths[:, :-1], paths[:, 1:]], axis=1)


@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_the_integral_theorem_by_enumeration(num_steps):
    matrix = jnp.array(UNEVEN)
    law = markov_chains.stationary_distribution(matrix)
    matrices, paths = jnp.stack([matrix] * num_steps), all_paths(3, num_steps)
    production = fluctuation.path_entropy_production(paths, law, matrices, law)
    probability = probabilities(paths, law, matrices)
    np.testing.assert_allclose(probability @ jnp.exp(-production), 1, rtol=1e-12)
    sigma = markov_chains.entropy_production(matrix)
    np.testing.assert_allclose(probability @ production, num_steps * sigma, rtol=1e-12)
    # The detailed theorem, path by path.
    reversed_paths = paths[:, ::-1]
    of_reversed = fluctuation.path_entropy_production(reversed_paths, law, matrices, law)
    np.testing.assert_allclose(of_reversed, -production, atol=1e-12)
    ratio = jnp.log(probability / probabilities(reversed_paths, law, matrices))
    np.testing.assert_allclose(ratio, production, atol=1e-12)


# In NumPy, for they are made before float64 is switched on.
DRIVEN = np.stack([random_chain(seed, 4) for seed in range(10, 14)])
FIRST, LAST = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("kind", ["total", "adjoint"])
def test_driven_chains_by_enumeration_and_by_walkers(kind):
    reverse = None
    if kind == "adjoint":
        reverse = jnp.stack([markov_chains.time_reversal(matrix) for matrix in DRIVEN])
    paths = all_paths(4, 4)
    production = fluctuation.path_entropy_production(paths, FIRST, DRIVEN, LAST, reverse)
    probability = probabilities(paths, FIRST, DRIVEN)
    np.testing.assert_allclose(probability @ jnp.exp(-production), 1, rtol=1e-12)

    work = fluctuation.sample_entropy_production(
        jax.random.key(SEED), FIRST, DRIVEN, LAST, 4000, reverse
    )
    found = free_energy.estimate(*work)
    assert found.doubts == ()
    for estimate in (found.bar, found.forward, found.reverse, found.crossing):
        assert abs(estimate.value) < 4.5 * estimate.standard_error
    assert abs(found.slope.value - 1) < 4.5 * found.slope.standard_error
    error = jnp.std(work.forward) / jnp.sqrt(4000)
    assert abs(jnp.mean(work.forward) - probability @ production) < 4.5 * error


def test_canary_against_the_wrong_process_the_theorem_fails():
    """Reverse runs that are not turned round: the matrices in the forward order."""
    forward = fluctuation.sample_entropy_production(
        jax.random.key(SEED), FIRST, DRIVEN, LAST, 4000
    ).forward
    wrong = fluctuation.sample_paths(jax.random.key(SEED + 1), LAST, DRIVEN, 4000)
    reverse = -fluctuation.path_entropy_production(wrong[:, ::-1], FIRST, DRIVEN, LAST)
    bar = free_energy.estimate(forward, reverse).bar
    assert abs(bar.value) > 4.5 * bar.standard_error


def test_paths_of_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"paths of 4 steps must have shape \(..., 5\)"):
        fluctuation.path_entropy_production(jnp.zeros((3, 4), int), FIRST, DRIVEN, LAST)
    with pytest.raises(ValueError, match="sum to 1"):
        fluctuation.sample_paths(jax.random.key(0), 2 * FIRST, DRIVEN, 2)
    with pytest.raises(ValueError, match=r"shapes \(4,\) and \(4, 4\)"):
        fluctuation.sample_paths(jax.random.key(0), FIRST, DRIVEN[0], 2)


# ---------------------------------------------------------------- rare transitions


def test_by_logarithms_it_is_the_same(dtype):
    logs = jnp.log(jnp.asarray(random_chain(3, 5), dtype))
    law = jnp.exp(rare_transitions.log_stationary_distribution(logs))
    matrix = jnp.exp(logs)
    tolerance = 1e-5 if dtype == jnp.float32 else 1e-13
    np.testing.assert_allclose(
        law, markov_chains.stationary_distribution(matrix), rtol=tolerance
    )
    sigma = rare_transitions.entropy_production(logs)
    np.testing.assert_allclose(sigma, markov_chains.entropy_production(matrix), rtol=tolerance)
    assert sigma.dtype == dtype


def test_a_ring_with_steps_back_of_no_floating_point_number():
    logs = jnp.full((3, 3), -1000.0)
    logs = logs.at[jnp.arange(3), (jnp.arange(3) + 1) % 3].set(0.0)
    np.testing.assert_allclose(rare_transitions.entropy_production(logs), 1000, rtol=1e-12)
    # A state that is hardly ever visited makes nothing infinite.
    rare = jnp.array([[0.0, -900.0, -2000.0], [-900.0, 0.0, -2.0], [-1.0, -0.5, -900.0]])
    rare = jax.nn.log_softmax(rare, axis=1)
    assert jnp.isfinite(rare_transitions.entropy_production(rare))
    with pytest.raises(ValueError, match=r"\(m, m\)"):
        rare_transitions.entropy_production(jnp.zeros(3))


# ---------------------------------------------------------------- counts


@pytest.fixture(scope="module")
def counted():
    """Counts of 200 trajectories of 10 000 steps, of a reversible chain and of a ring."""
    with jax.enable_x64(True):
        # Symmetric: two independent cycles of five edges on four states.
        reversible = jnp.array(
            [
                [0.4, 0.2, 0.2, 0.2],
                [0.2, 0.5, 0.3, 0.0],
                [0.2, 0.3, 0.3, 0.2],
                [0.2, 0, 0.2, 0.6],
            ]
        )
        turning = ring(4, 0.5, 0.3)

        def count(matrix, key):
            law = markov_chains.stationary_distribution(matrix)
            steps = jnp.broadcast_to(matrix, (10_000, 4, 4))
            paths = fluctuation.sample_paths(key, law, steps, 200)
            return np.asarray(jax.vmap(lambda path: counts.count_transitions(path, 4))(paths))

        keys = jax.random.split(jax.random.key(SEED + 3))
        return count(reversible, keys[0]), count(turning, keys[1])


def test_a_reversible_chain_shows_what_chance_gives(counted):
    found = [counts.entropy_production(of_one) for of_one in counted[0]]
    assert all(one.doubts == () for one in found)
    assert found[0].reversible_mean == pytest.approx(2 * 2 / 10_000)
    excess = np.array([(one.value - one.reversible_mean) for one in found])
    deviation = found[0].reversible_deviation
    assert abs(excess.mean()) < 4.5 * deviation / np.sqrt(200)
    assert 0.7 < excess.std() / deviation < 1.3


def test_counts_of_a_ring_give_its_entropy_production(counted):
    values = np.array([counts.entropy_production(one).value for one in counted[1]])
    expected = 0.2 * np.log(0.5 / 0.3)
    assert abs(values.mean() - expected) < 4.5 * values.std() / np.sqrt(200) + 2e-4
    matrix = counts.transition_matrix(counted[1].sum(axis=0))
    np.testing.assert_allclose(matrix, ring(4, 0.5, 0.3), atol=0.005)


def test_an_empty_edge_is_a_doubt():
    found = counts.entropy_production(np.array([[0, 60, 40], [40, 0, 60], [60, 0, 40]]))
    assert np.isfinite(found.value)
    assert "1 of 3 edges was seen in one direction alone" in found.doubts[0]
    assert "one direction alone" in str(found)
    few = counts.entropy_production(np.array([[0, 60, 3], [40, 0, 60], [60, 40, 40]]))
    assert "fewer than 5" in few.doubts[0]
    lost = counts.entropy_production(np.array([[5, 9, 0], [9, 5, 0], [0, 0, 0]]))
    assert "1 of 3 states were never visited" in lost.doubts[0]


def test_a_steady_state_from_counts_has_no_infinities(counted, x64):
    turning = np.asarray(counted[1].sum(axis=0))
    found = counts.steady_state(turning)
    assert found.doubts == ()
    matrix = counts.transition_matrix(turning)
    # The ends of 200 trajectories are missing, so that the counts are nearly steady flows.
    np.testing.assert_allclose(found.currents, markov_chains.currents(matrix), atol=1e-5)
    np.testing.assert_allclose(found.affinities, markov_chains.affinities(matrix), atol=1e-3)
    assert found.relaxation_time == pytest.approx(float(markov_chains.relaxation_time(matrix)))
    sigma = counts.entropy_production(turning).value
    assert np.sum(found.currents * found.affinities) / 2 == pytest.approx(sigma)
    missing = np.array([[0, 60, 40], [40, 0, 60], [60, 0, 40]])
    assert jnp.isinf(markov_chains.affinities(counts.transition_matrix(missing))).any()
    found = counts.steady_state(missing)
    assert not jnp.isinf(found.affinities).any()
    np.testing.assert_array_equal(jnp.argwhere(jnp.isnan(found.affinities)), [[1, 2], [2, 1]])
    assert "one direction alone" in found.doubts[0]
    lost = counts.steady_state(np.array([[5, 9, 0], [9, 5, 0], [0, 0, 0]]))
    assert "1 of 3 states were never visited" in lost.doubts[0]
    assert lost.relaxation_time == pytest.approx(-1 / np.log(4 / 14))
    left = counts.steady_state(np.array([[5, 9], [0, 0]]))
    assert np.isnan(left.relaxation_time)
    assert any("did not come back" in doubt for doubt in left.doubts)


def test_counts_that_are_none_are_refused():
    with pytest.raises(ValueError, match="state 1 was never left"):
        counts.transition_matrix(np.array([[1, 1], [0, 0]]))
    with pytest.raises(ValueError, match="not negative"):
        counts.entropy_production(np.array([[1, -1], [0, 0]]))
    with pytest.raises(ValueError, match="not negative"):
        counts.steady_state(np.array([[1, -1], [0, 0]]))
    with pytest.raises(ValueError, match="not known inside"):
        jax.jit(counts.transition_matrix)(np.ones((2, 2)))
    with pytest.raises(ValueError, match="integers"):
        counts.count_transitions(jnp.array([0.0, 1.0]), 2)
    assert int(counts.count_transitions(jnp.array([0, -1, 1, 5, 0, 1]), 2).sum()) == 1


def test_the_smallest_entry_of_a_law_is_as_accurate_as_the_largest():
    """Birth and death: π_n ∝ (up/down)^n, to 5e-12 in single precision, and reversible."""
    size, up, down = 10, 0.05, 0.9
    matrix = up * np.eye(size, k=1) + down * np.eye(size, k=-1)
    matrix += np.diag(1 - matrix.sum(axis=1))
    exact = (up / down) ** np.arange(size)
    law = markov_chains.stationary_distribution(jnp.asarray(matrix, jnp.float32))
    np.testing.assert_allclose(law, exact / exact.sum(), rtol=1e-4)
    assert float(markov_chains.entropy_production(jnp.asarray(matrix, jnp.float32))) < 1e-6


def test_negative_states_are_none():
    ring = jnp.array([[0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.7, 0.1, 0.2]])
    law = jnp.ones(3) / 3
    paths = jnp.array([[0, 1, -1], [0, 1, 3]])
    assert bool(
        jnp.all(
            jnp.isnan(
                fluctuation.path_entropy_production(paths, law, jnp.stack([ring] * 2), law)
            )
        )
    )
    assert bool(jnp.isnan(markov_chains.cycle_affinity(ring, jnp.array([0, 1, -1]))))


def test_probabilities_in_place_of_their_logs_are_told():
    ring = jnp.array([[0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.7, 0.1, 0.2]])
    with pytest.raises(ValueError, match="logs of probabilities"):
        rare_transitions.entropy_production(ring)


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.eye(2), r"irreducible.*2 classes.*\[0\] and \[1\]"),
        ([[1.0, 0.0], [0.5, 0.5]], "irreducible"),
        ([[0.5, 0.5], [0.5, 0.4]], r"row 1, .*sums to 0\.9"),
        ([[0.5, np.nan], [0.5, 0.5]], "logs of probabilities"),
    ],
)
def test_logs_of_what_is_no_chain_are_refused(matrix, words):
    logs = jnp.log(jnp.array(matrix))
    for function in (
        rare_transitions.log_stationary_distribution,
        rare_transitions.entropy_production,
    ):
        with pytest.raises(ValueError, match=words):
            function(logs)
    # Traced, they cannot be looked at.
    jax.eval_shape(rare_transitions.entropy_production, logs)
