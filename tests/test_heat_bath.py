"""Heat bath of spins, against enumeration and against Kaufman's solution.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ising_states import common, draw, frequencies, index_of, states
from scipy.special import logsumexp
from zscore import BASE_SEED, assert_biased, assert_unbiased, replicate

from jarzynski_jax import walkers
from jarzynski_jax.annealing import anneal, estimate, geometric_path, work
from jarzynski_jax.free_energy import estimate as compare
from jarzynski_jax.kernels import generalized_hmc, heat_bath, sequence, ula
from jarzynski_jax.kernels.density_state import without_endpoint
from jarzynski_jax.kernels.invariant import InvariantInfo
from jarzynski_jax.targets import lattice
from jarzynski_jax.walkers import Dynamics

SHAPE = (2, 4)
#: A glass: couplings and fields of either sign, of a site each; nothing is symmetric.
COUPLINGS = jnp.asarray(np.random.default_rng(0).normal(size=(2, *SHAPE)) / 2, jnp.float32)
FIELDS = jnp.asarray(np.random.default_rng(1).normal(size=SHAPE) / 2, jnp.float32)


def glass(strength):
    def logdensity_fn(x):
        bonds = sum(
            jnp.sum(COUPLINGS[axis] * x * jnp.roll(x, -1, axis)) for axis in range(x.ndim)
        )
        return strength * (bonds + jnp.sum(FIELDS * x))

    return logdensity_fn


STRENGTHS = (0.2, 0.5, 0.8, 1.0)
_ALL = np.asarray(jax.vmap(glass(1.0))(jnp.asarray(states(SHAPE), jnp.float32)), np.float64)
#: Log-densities of all states, and log Z.
EXACT = {strength: (strength * _ALL, logsumexp(strength * _ALL)) for strength in STRENGTHS}


# ---------------------------------------------------------------- exact weights along a path

FAULTS = ("none", "both colours at once", "half of the log-odds", "weighed after the move")


def written_out(fault):
    """The sweep site by site, in a few lines, with a fault; traced."""

    def kernel(key, state, logdensity_fn):
        spins, uniform = state.position, jax.random.uniform(key, SHAPE)
        is_odd = jnp.indices(SHAPE).sum(0) % 2 == 1
        factor = jnp.where(fault == 2, 1.0, 2.0)

        def half(spins, fields, is_drawn):
            drawn = jnp.where(uniform < jax.nn.sigmoid(factor * fields), 1.0, -1.0)
            return jnp.where(is_drawn, drawn, spins)

        before = jax.grad(logdensity_fn)(spins)
        moved = half(spins, before, ~is_odd)
        after = jax.grad(logdensity_fn)(moved)
        moved = half(moved, jnp.where(fault == 1, before, after), is_odd)
        weighed = jnp.where(fault == 3, logdensity_fn(moved), logdensity_fn(spins))
        increment = weighed - state.logdensity
        info = InvariantInfo(increment, jnp.isfinite(increment), 0.0)
        return without_endpoint(moved, logdensity_fn(moved)), info

    return kernel


def weighted_frequencies(key, kernel, num_walkers=4000):
    """Of all states, from the weakest glass to the strongest: Z/Z₀ of them in all."""
    key_start, *keys = jax.random.split(key, len(STRENGTHS))
    start = draw(key_start, EXACT[STRENGTHS[0]][0], SHAPE, num_walkers)
    if kernel is not None:
        start = start.astype(jnp.float32)
    ensemble = walkers.init(start, glass(STRENGTHS[0]), heat_bath.init)
    for key, strength in zip(keys, STRENGTHS[1:], strict=True):
        moves = heat_bath.build_kernel() if kernel is None else kernel
        ensemble, _ = walkers.move(key, ensemble, glass(strength), moves)
    return frequencies(ensemble.position, jnp.exp(ensemble.log_weights))


def expected_frequencies():
    return np.exp(EXACT[1.0][0] - EXACT[0.2][1])


def test_weights_are_exact_along_a_path():
    """Of all 256 states at once, on a path that has no symmetry."""
    found = replicate("heat bath", lambda key: weighted_frequencies(key, None))
    assert_unbiased(*common(found, expected_frequencies()))


@pytest.fixture(scope="module")
def with_fault():
    def run(key, fault):
        return weighted_frequencies(key, written_out(fault))

    return lambda fault: replicate("heat bath written out", run, fault)


def test_so_are_those_of_the_sweep_written_out(with_fault):
    assert_unbiased(*common(with_fault(0), expected_frequencies()))


@pytest.mark.parametrize("fault", [1, 2, 3], ids=FAULTS[1:])
def test_canaries_faults_are_caught(with_fault, fault):
    assert_biased(*common(with_fault(fault), expected_frequencies()))


@pytest.mark.parametrize("colour", [0, 1])
def test_a_target_at_rest_stays(colour):
    """From exact samples; the increments are 0, and the cache is right."""
    found, rest = replicate("at rest", stay, jnp.asarray(colour))
    assert_unbiased(*common(found, np.exp(EXACT[1.0][0] - EXACT[1.0][1])))
    assert np.max(rest) < 1e-5


def stay(key, colour):
    key_start, key_move = jax.random.split(key)
    target, kernel = glass(1.0), heat_bath.build_kernel()
    start = draw(key_start, EXACT[1.0][0], SHAPE, 4000)
    ensemble = walkers.init(start, target, heat_bath.init)
    ensemble, _ = walkers.move(key_move, ensemble, target, kernel, colour)
    cached = ensemble.state.logdensity - jax.vmap(target)(ensemble.position)
    rest = jnp.max(jnp.abs(ensemble.log_weights)) + jnp.max(jnp.abs(cached))
    return frequencies(ensemble.position), rest


def test_a_sweep_is_the_product_of_two_conditionals():
    """From one state, the whole distribution after a sweep, for either order of colours."""
    logdensities, _ = EXACT[1.0]
    numbers = np.arange(256)
    even = np.indices(SHAPE).sum(0).reshape(-1) % 2 == 0
    mask = int(np.sum(2 ** np.arange(8)[even]))
    for colour, drawn_first in ((0, mask), (1, 255 - mask)):
        kept = numbers & ~drawn_first & 255
        first = np.where(kept == (37 & ~drawn_first & 255), np.exp(logdensities), 0)
        first /= first.sum()
        law = np.zeros(256)
        for state in numbers[first > 0]:
            second = np.where(
                (numbers & drawn_first) == (state & drawn_first), np.exp(logdensities), 0
            )
            law += first[state] * second / second.sum()
        found = replicate("one sweep", sweep_from_37, jnp.asarray(colour))
        assert_unbiased(*common(found, law))


def sweep_from_37(key, colour):
    target, kernel = glass(1.0), heat_bath.build_kernel()
    state = heat_bath.init(jnp.asarray(states(SHAPE)[37], jnp.int32), target)
    keys = jax.random.split(key, 4000)
    moved, _ = jax.vmap(lambda key: kernel(key, state, target, colour))(keys)
    return frequencies(moved.position)


def test_the_reverse_has_the_colours_in_the_other_order():
    move = heat_bath.as_move()
    assert move.is_invariant
    assert move.args == (0,)
    assert move.reverse(move).args == (1,)
    assert move.reverse(move).reverse(move).args == (0,)


def test_work_both_ways_agrees_with_enumeration():
    """BAR within 4.5 of its errors, of 1 seed: ΔF from the weakest glass to the strongest."""
    keys = jax.random.split(jax.random.key(BASE_SEED), 3)
    ends = [draw(keys[i], EXACT[of][0], SHAPE, 4000) for i, of in enumerate((0.2, 1.0))]
    path = geometric_path(glass(0.2), glass(1.0))
    found = work(keys[2], *ends, path, jnp.linspace(0, 1, 9)[1:], Dynamics(heat_bath.as_move()))
    bar = compare(*found).bar
    delta = EXACT[0.2][1] - EXACT[1.0][1]
    assert abs(float(bar.value) - delta) < 4.5 * float(bar.standard_error)


# ---------------------------------------------------------------- Ising, against Kaufman

LENGTH, BETA = 8, 0.44


@pytest.fixture(scope="module")
def annealed():
    base, target = (lattice.ising((LENGTH, LENGTH), beta) for beta in (0.0, BETA))
    path = geometric_path(base.logdensity_fn, target.logdensity_fn)
    dynamics = Dynamics(heat_bath.as_move())

    def run(seed):
        key_start, key = jax.random.split(jax.random.key(10 * BASE_SEED + seed))
        spins = base.sample(key_start, 1024)
        log_z = base.log_partition_function
        start = walkers.init(spins, path(0.0), dynamics.kernel_init, log_z)
        return anneal(key, start, path, jnp.linspace(0, 1, 401)[1:], dynamics)[0]

    return [run(seed) for seed in (0, 1, 2)]


def log_z_scores(annealed, beta):
    exact = lattice.ising_thermodynamics((LENGTH, LENGTH), beta).log_partition_function
    return [
        float(walkers.log_partition_function(of) - exact)
        / float(walkers.log_partition_function_error(of))
        for of in annealed
    ]


def test_annealed_from_infinite_temperature_log_z_is_kaufmans(annealed):
    """Within 3 errors for each of three seeds, and the errors are small."""
    assert np.all(np.abs(log_z_scores(annealed, BETA)) < 3)
    errors = [float(walkers.log_partition_function_error(of)) for of in annealed]
    assert max(errors) < 0.05


def test_canary_another_temperature_is_caught(annealed):
    """A hundredth more of it: log Z is 0.4 higher."""
    assert not np.all(np.abs(log_z_scores(annealed, BETA * 1.01)) < 3)


def test_the_weighted_energy_is_kaufmans(annealed):
    """The mean over three seeds, within 4 of its errors by their spread and 1 % of it."""
    exact = lattice.ising_thermodynamics((LENGTH, LENGTH), BETA).energy
    found = []
    for of in annealed:
        shares = np.exp(np.asarray(of.log_weights, np.float64))
        sums = np.asarray(jax.vmap(lattice.bond_sum)(of.position.astype(jnp.float32)))
        found.append(-np.sum(shares * sums) / np.sum(shares))
    error = np.std(found, ddof=1) / np.sqrt(3)
    assert abs(np.mean(found) - exact) < 4 * error + 0.01 * abs(exact)
    assert all(of.position.dtype == jnp.int32 for of in annealed)


# ---------------------------------------------------------------- what it is given


def test_a_sequence_of_sweeps_is_a_move():
    move = sequence.as_move([heat_bath.as_move(), heat_bath.as_move()])
    target = glass(1.0)
    state = move.init(jnp.ones(SHAPE, jnp.int32), glass(0.5))
    state, info = jax.jit(partial(move.kernel, logdensity_fn=target))(jax.random.key(0), state)
    expected = float(target(jnp.ones(SHAPE)) - glass(0.5)(jnp.ones(SHAPE)))
    assert float(info.log_weight_increment) == pytest.approx(expected, rel=1e-5)
    assert int(index_of(state.position)) < 256


@pytest.mark.parametrize("of", [jnp.int8, jnp.int32, jnp.bfloat16, jnp.float32])
def test_spins_keep_their_dtype(of):
    state = heat_bath.init(jnp.ones(SHAPE, of), glass(1.0))
    kernel = jax.jit(partial(heat_bath.build_kernel(), logdensity_fn=glass(1.0)))
    moved, info = kernel(jax.random.key(3), state)
    assert moved.position.dtype == of
    assert info.log_weight_increment.dtype == moved.logdensity.dtype == jnp.float32
    assert set(np.unique(np.asarray(moved.position, np.float32))) <= {-1.0, 1.0}


def test_a_walker_of_weight_zero_is_dead_and_not_lost():
    state = heat_bath.init(jnp.ones(SHAPE, jnp.int32), glass(1.0))
    state, info = heat_bath.build_kernel()(
        jax.random.key(0), state, lambda x: jnp.where(jnp.sum(x) > 7, -jnp.inf, 0.0)
    )
    assert float(info.log_weight_increment) == -np.inf
    assert not bool(info.is_lost)


@pytest.mark.parametrize(
    ("spins", "message"),
    [
        (jnp.ones((3, 4), jnp.int32), "even lengths"),
        (jnp.zeros((2, 4), jnp.int32), "spins must be 1 or -1"),
        (jnp.ones((2, 4), jnp.complex64), "integers or of floating point"),
        (jnp.ones((2, 4), bool), "integers or of floating point"),
        ({"a": jnp.ones((2, 4))}, "spins must be one array"),
        (jnp.ones(()), "spins must be one array"),
    ],
)
def test_bad_input(spins, message):
    with pytest.raises(ValueError, match=message):
        heat_bath.init(spins, jnp.sum)


def test_kernels_with_gradients_refuse_spins():
    model = lattice.ising((4, 4), 0.3)
    for init in (ula.init, generalized_hmc.init):
        with pytest.raises(ValueError, match="floating point"):
            init(jnp.ones((4, 4), jnp.int32), model.logdensity_fn)
    with pytest.raises(ValueError, match="floating point"):
        estimate(jax.random.key(0), lattice.ising((4, 4), 0.0), model, num_gradients=100_000)
