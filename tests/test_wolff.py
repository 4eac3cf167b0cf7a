"""Cluster flips of spins, against enumeration of states and of bonds.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore.
"""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ising_states import common, draw, energies, exact_log_z, frequencies, index_of, states
from scipy.special import logsumexp
from zscore import BASE_SEED, assert_biased, assert_unbiased, replicate

from jarzynski_jax import walkers
from jarzynski_jax.annealing import anneal, geometric_path
from jarzynski_jax.kernels import wolff
from jarzynski_jax.targets import lattice
from jarzynski_jax.walkers import Dynamics

KINDS = {"Wolff": False, "Swendsen and Wang": True}
BETA = 0.44

# ---------------------------------------------------------------- one move, by all its bonds

SHAPE, START = (2, 3), 1


def neighbours(site):
    """Of a site its number, and those of the sites ahead of it along each axis."""
    i, j = site
    of = [site, ((i + 1) % SHAPE[0], j), (i, (j + 1) % SHAPE[1])]
    return [a * SHAPE[1] + b for a, b in of]


def bonds_of(spins, coupling):
    """Pairs of sites and the probability of a bond between them, each bond once."""
    for site in np.ndindex(SHAPE):
        here, *ahead = neighbours(site)
        for there in ahead:
            alike = spins[here] * spins[there] > 0
            yield here, there, 1 - np.exp(-2 * coupling) if alike else 0.0


def clusters(active):
    """Sets of sites, by merging."""
    found = [{site} for site in range(6)]
    for here, there in active:
        joined = [of for of in found if here in of or there in of]
        found = [of for of in found if of not in joined] + [set().union(*joined)]
    return found


def law_of_one_move(coupling, all_clusters):
    """Of the 64 states, from one: a sum over all sets of bonds, and over all flips."""
    spins = np.where((START >> np.arange(6)) & 1, 1, -1)
    pairs = [bond for bond in bonds_of(spins, coupling) if bond[2] > 0]
    law = np.zeros(64)
    for chosen in product((False, True), repeat=len(pairs)):
        weight = np.prod(
            [p if on else 1 - p for (_, _, p), on in zip(pairs, chosen, strict=True)]
        )
        active = [(a, b) for (a, b, _), on in zip(pairs, chosen, strict=True) if on]
        found = clusters(active)
        if all_clusters:
            for flips in product((False, True), repeat=len(found)):
                bits = sum(2**i for of, on in zip(found, flips, strict=True) if on for i in of)
                law[START ^ bits] += weight / 2 ** len(found)
        else:
            for of in found:
                law[START ^ sum(2**i for i in of)] += weight * len(of) / 6
    return law


@pytest.mark.parametrize("kind", KINDS)
def test_one_move_is_a_sum_over_bonds(kind):
    model = lattice.ising(SHAPE, 0.3)

    def run(key):
        spins = jnp.asarray(states(SHAPE)[START], jnp.int32)
        state = wolff.init(spins, model.logdensity_fn)
        kernel = wolff.build_kernel(KINDS[kind])
        keys = jax.random.split(key, 4000)
        moved, _ = jax.vmap(lambda key: kernel(key, state, model.logdensity_fn))(keys)
        return frequencies(moved.position)

    law = law_of_one_move(0.3, KINDS[kind])
    assert law.sum() == pytest.approx(1)
    assert_unbiased(*common(replicate(f"one move {kind}", run), law))


# ---------------------------------------------------------------- the whole distribution


def statistics(spins):
    """How often each energy with each |M|, and each of the commonest states, is met."""
    weights = frequencies(spins)
    return jnp.concatenate([CLASSES @ weights, weights[COMMONEST]])


EXACT = np.exp(-BETA * energies((4, 4)) - exact_log_z((4, 4), BETA))
_KEYS = 100 * energies((4, 4)) + np.abs(states((4, 4)).astype(int).sum((1, 2)))
_SHARES = {key: EXACT[key == _KEYS].sum() for key in np.unique(_KEYS)}
CLASSES = jnp.asarray([key == _KEYS for key, share in _SHARES.items() if share > 1e-3], float)
COMMONEST = np.argsort(-EXACT)[:66]
EXPECTED = np.concatenate([np.asarray(CLASSES, float) @ EXACT, EXACT[COMMONEST]])
NUM_WALKERS, NUM_MOVES = 2000, 2


def run_written_out(key, fault, all_clusters):
    """Of exact samples of 4x4, moved without acceptance; 0: right, 1: half of the bonds."""
    key_start, *keys = jax.random.split(key, NUM_MOVES + 1)
    model = lattice.ising((4, 4), BETA)
    spins = draw(key_start, jnp.log(EXACT), (4, 4), NUM_WALKERS).astype(jnp.float32)

    def move(key, spins):
        key_bonds, key_flip = jax.random.split(key)
        coupling = wolff.mean_coupling(model.logdensity_fn, spins)
        coupling = jnp.where(fault == 1, coupling / 2, coupling)
        labels = wolff.label_clusters(wolff.draw_bonds(key_bonds, spins, coupling))
        is_flipped = wolff.choose_clusters(key_flip, labels, all_clusters)
        return jnp.where(is_flipped, -spins, spins)

    for key in keys:
        spins = jax.vmap(move)(jax.random.split(key, NUM_WALKERS), spins)
    return statistics(spins)


def run_kernel(key, all_clusters):
    """Of exact samples of 4x4, moved by the kernel; also what was accepted."""
    key_start, *keys = jax.random.split(key, NUM_MOVES + 1)
    model = lattice.ising((4, 4), BETA)
    spins = draw(key_start, jnp.log(EXACT), (4, 4), NUM_WALKERS)
    ensemble = walkers.init(spins, model.logdensity_fn, wolff.init)
    kernel = wolff.build_kernel(all_clusters)
    for key in keys:
        ensemble, info = walkers.move(key, ensemble, model.logdensity_fn, kernel)
    cached = ensemble.state.logdensity - jax.vmap(model.logdensity_fn)(ensemble.position)
    rest = jnp.max(jnp.abs(ensemble.log_weights)) + jnp.max(jnp.abs(cached))
    return statistics(ensemble.position), rest, jnp.min(info.mcmc_info.acceptance_rate)


@pytest.mark.parametrize("kind", KINDS)
def test_the_ising_model_stays(kind):
    """Energies with |M| and 66 states of 4x4; all is accepted, nothing is weighed."""
    found, rest, accepted = replicate(f"stays {kind}", lambda key: run_kernel(key, KINDS[kind]))
    assert_unbiased(found, EXPECTED)
    assert np.max(rest) < 1e-4
    assert np.min(accepted) > 1 - 1e-4


def test_canary_too_few_bonds_are_caught():
    run = jax.tree_util.Partial(run_written_out, all_clusters=True)
    assert_unbiased(replicate("written out", run, 0), EXPECTED)
    assert_biased(replicate("written out", run, 1), EXPECTED)


def test_labels_are_those_of_merging():
    """Of random bonds, few and many, on tori with lengths of 2 and of odd numbers."""
    rng = np.random.default_rng(0)
    label = jax.jit(wolff.label_clusters)
    for shape, density in product([(2, 3), (5, 7)], [0.1, 0.4, 0.5, 0.9]):
        bonds = rng.random((2, *shape)) < density
        parent = np.arange(np.prod(shape)).reshape(shape)
        for _ in range(parent.size):  # by brute force
            for axis in (0, 1):
                least = np.minimum(parent, np.roll(parent, -1, axis))
                parent = np.where(bonds[axis], least, parent)
                back = np.roll(np.where(bonds[axis], least, parent.size), 1, axis)
                parent = np.minimum(parent, back)
        np.testing.assert_array_equal(label(jnp.asarray(bonds)), parent)


# ---------------------------------------------------------------- along a path, other targets


def test_a_field_is_accepted_or_rejected():
    """A target that is not symmetric, of antiferromagnetic bonds too, is left invariant."""
    shape = (2, 4)
    fields = jnp.asarray(np.random.default_rng(1).normal(size=shape) / 2, jnp.float32)
    all_states = jnp.asarray(states(shape), jnp.float32)

    def run(key, coupling):
        def target(x):
            return coupling * lattice.bond_sum(x) + jnp.sum(fields * x)

        key_start, key_first, key_second = jax.random.split(key, 3)
        start = draw(key_start, jax.vmap(target)(all_states), shape, 4000)
        ensemble = walkers.init(start, target, wolff.init)
        for key, all_clusters in ((key_first, False), (key_second, True)):
            kernel = wolff.build_kernel(all_clusters)
            ensemble, _ = walkers.move(key, ensemble, target, kernel)
        return frequencies(ensemble.position)

    def exact(coupling):
        found = coupling * np.asarray(-energies(shape)) + np.sum(
            states(shape) * np.asarray(fields, np.float64), axis=(1, 2)
        )
        return np.exp(found - logsumexp(found))

    for coupling in (0.3, -0.3):
        found = replicate(f"field {coupling}", run, coupling)
        assert_unbiased(*common(found, exact(coupling)))
        assert_biased(*common(found, exact(0.9 * coupling)))


def test_annealed_log_z_is_kaufmans():
    """From infinite temperature, within 3 errors for each of three seeds; a canary beside."""
    base, target = (lattice.ising((6, 6), beta) for beta in (0.0, BETA))
    path = geometric_path(base.logdensity_fn, target.logdensity_fn)
    dynamics = Dynamics(wolff.as_move(all_clusters=True))
    scores = {}
    for seed in (0, 1, 2):
        key_start, key = jax.random.split(jax.random.key(10 * BASE_SEED + seed))
        spins, log_z = base.sample(key_start, 512), base.log_partition_function
        start = walkers.init(spins, path(0.0), dynamics.kernel_init, log_z)
        end, _ = anneal(key, start, path, jnp.linspace(0, 1, 101)[1:], dynamics)
        for beta in (BETA, 1.02 * BETA):
            exact = lattice.ising((6, 6), beta).log_partition_function
            error = walkers.log_partition_function_error(end)
            scores[seed, beta] = float((walkers.log_partition_function(end) - exact) / error)
        assert float(error) < 0.1
    assert all(abs(scores[seed, BETA]) < 3 for seed in (0, 1, 2))
    assert any(abs(scores[seed, 1.02 * BETA]) > 3 for seed in (0, 1, 2))


@pytest.mark.parametrize("of", [jnp.int8, jnp.float32])
def test_spins_keep_their_dtype(of):
    model = lattice.ising((3, 3), 0.4)
    state = wolff.init(jnp.ones((3, 3), of), model.logdensity_fn)
    kernel = jax.jit(partial(wolff.build_kernel(), logdensity_fn=model.logdensity_fn))
    moved, info = kernel(jax.random.key(0), state)
    assert moved.position.dtype == of
    assert float(info.mcmc_info.acceptance_rate) == pytest.approx(1)
    assert 0 < float(info.mcmc_info.flipped_share) <= 1
    assert int(index_of(moved.position)) < 512


@pytest.mark.parametrize(
    ("spins", "message"),
    [
        (jnp.zeros((2, 4), jnp.int32), "spins must be 1 or -1"),
        (jnp.ones((2, 4), jnp.complex64), "integers or of floating point"),
        ([1, -1], "spins must be one array"),
    ],
)
def test_bad_input(spins, message):
    with pytest.raises(ValueError, match=message):
        wolff.init(spins, jnp.sum)
