"""Autoregressive models of spins: they sum to one, look back alone, and draw what they say.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from ising_states import energies, exact_log_z, frequencies, states
from scipy.special import logsumexp
from scipy.stats import chi2
from zscore import BASE_SEED, assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import free_energy, training
from jarzynski_jax.density import Density, draw
from jarzynski_jax.generators import MaskedConvolutions, MaskedDense, autoregressive
from jarzynski_jax.kernels import independence
from jarzynski_jax.targets import lattice

SHAPE = (3, 3)
NETS = {
    "convolutions": lambda shape, **options: MaskedConvolutions(
        shape, 3, 3, 1, rngs=nnx.Rngs(0), **options
    ),
    "dense": lambda shape, **options: MaskedDense(shape, 2, 3, rngs=nnx.Rngs(0), **options),
}


def shaken(params, size=0.8):
    """Parameters with noise, so that no layer is zero and nothing is symmetric."""
    leaves, structure = jax.tree.flatten(params)
    rng = np.random.default_rng(5)
    noise = [size * rng.normal(size=leaf.shape) for leaf in leaves]
    return jax.tree.unflatten(
        structure,
        [leaf + jnp.asarray(of, leaf.dtype) for leaf, of in zip(leaves, noise, strict=True)],
    )


@cache
def model_of(name, is_symmetric, shape=SHAPE):
    model, params = autoregressive(NETS[name](shape), is_symmetric)
    return model, shaken(params)


def log_q_of_all(model, params, shape=SHAPE):
    found = jax.jit(jax.vmap(model.logdensity_fn, (None, 0)))(
        params, jnp.asarray(states(shape))
    )
    return np.asarray(found, np.float64)


CASES = [(name, symmetric) for name in NETS for symmetric in (False, True)]


@pytest.mark.parametrize(("name", "is_symmetric"), CASES)
def test_the_density_sums_to_one(name, is_symmetric):
    """Over all 512 states; and it is far from uniform, and symmetric if it is to be."""
    log_q = log_q_of_all(*model_of(name, is_symmetric))
    assert logsumexp(log_q) == pytest.approx(0, abs=2e-6)
    assert np.std(log_q) > 1
    is_even = np.allclose(log_q, log_q[::-1], atol=1e-5)
    assert is_even == is_symmetric


@pytest.mark.parametrize(("name", "is_symmetric"), CASES)
def test_samples_come_with_their_density(name, is_symmetric):
    """Log q of one pass is that of another; χ² of all states beyond 1e-4 of its law, 1 seed."""
    model, params = model_of(name, is_symmetric)
    density = model.density(params)
    spins, log_q = draw(test_key(name), density, 20_000)
    assert spins.shape == (20_000, *SHAPE)
    assert spins.dtype == jnp.int32
    assert set(np.unique(spins)) == {-1, 1}
    again = jax.vmap(density.logdensity_fn)(spins)
    np.testing.assert_allclose(log_q, again, atol=2e-5)
    np.testing.assert_array_equal(spins[:5], density.sample(test_key(name), 20_000)[:5])
    expected = np.exp(log_q_of_all(model, params))
    found = np.asarray(frequencies(spins), np.float64)
    is_common = expected > 5 / 20_000
    found = np.append(found[is_common], found[~is_common].sum())
    expected = np.append(expected[is_common], max(expected[~is_common].sum(), 1e-9))
    statistic = 20_000 * np.sum((found - expected) ** 2 / expected)
    assert statistic < chi2.isf(1e-4, len(expected) - 1)


@pytest.mark.parametrize("name", NETS)
def test_a_conditional_sees_what_comes_before_alone(name, x64):
    """Bit for bit: spins at a site and after it do not move its odds; those before do."""
    net = NETS[name]((3, 4), param_dtype=jnp.float64)
    graphdef, params = nnx.split(net, nnx.Param)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), params)
    odds = jax.jit(jax.vmap(lambda spins: nnx.merge(graphdef, params)(spins).reshape(-1)))
    spins = np.where(rng.uniform(size=(12, 12)) < 0.5, 1, -1)
    others = np.where(np.arange(12) >= np.arange(12)[:, None], -1, 1) * spins
    before, after = (odds(jnp.asarray(of.reshape(-1, 3, 4))) for of in (spins, others))
    np.testing.assert_array_equal(np.diagonal(before), np.diagonal(after))
    is_later = np.triu(np.ones((12, 12), bool), 1)
    assert np.mean(before[is_later] != after[is_later]) > 0.5
    first = np.where(np.arange(12) == 0, -1, 1) * spins
    moved = np.asarray(odds(jnp.asarray(first.reshape(-1, 3, 4)))) != np.asarray(before)
    assert moved[:, 1].all()
    assert not moved[:, 0].any()


def test_canary_a_first_layer_that_sees_its_own_site():
    """It would not sum to one."""
    net = NETS["convolutions"](SHAPE)
    first = net.layers[0]
    first.num_taps += 1
    first.kernel = nnx.Param(jnp.ones((first.num_taps, 3)))
    model, params = autoregressive(net)
    assert abs(logsumexp(log_q_of_all(model, shaken(params)))) > 1e-3


# ---------------------------------------------------------------- cost


def operations(jaxpr):
    """Multiplications in products of matrices, those of a loop as often as it runs."""
    total = 0
    for eqn in jaxpr.eqns:
        leaves = [getattr(of, "jaxpr", of) for of in jax.tree.leaves(eqn.params)]
        inner = [of for of in leaves if hasattr(of, "eqns")]
        times = eqn.params.get("length", 1) if eqn.primitive.name == "scan" else 1
        total += times * sum(operations(of) for of in inner)
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            sizes = [eqn.invars[0].aval.shape[axis] for axis in contracted]
            total += int(np.prod(sizes)) * int(np.prod(eqn.outvars[0].aval.shape))
    return total


@pytest.mark.parametrize("name", NETS)
def test_drawing_costs_one_pass(name):
    """And not one for each of 36 sites."""
    model, params = autoregressive(NETS[name]((6, 6)))
    one_pass = jax.make_jaxpr(model.logdensity_fn)(params, jnp.ones((6, 6), jnp.int32))
    drawing = jax.make_jaxpr(lambda key: model.sample_with_logdensity(key, params, 1))(
        jax.random.key(0)
    )
    assert operations(one_pass.jaxpr) > 1000
    assert operations(drawing.jaxpr) == operations(one_pass.jaxpr)


# ---------------------------------------------------------------- the open chain, exactly

NUM_SITES, COUPLING = 7, 0.6


def open_chain(x):
    return COUPLING * jnp.sum(x[1:] * x[:-1])


@pytest.fixture(scope="module")
def exact_chain():
    """One layer that sees the spin before: log-odds 2 β s."""
    model, params = autoregressive(MaskedDense((NUM_SITES,), depth=1, rngs=nnx.Rngs(0)))
    kernel = np.zeros((NUM_SITES, NUM_SITES, 1, 1))
    kernel[np.arange(1, NUM_SITES), np.arange(NUM_SITES - 1)] = 2 * COUPLING
    params = {
        "layers": {
            0: {"bias": jnp.zeros((NUM_SITES, 1)), "kernel": jnp.asarray(kernel, jnp.float32)}
        }
    }
    return model.density(params)


def test_every_weight_of_the_exact_model_is_z(exact_chain):
    """Z = 2 (2 cosh β)^(N-1); every proposal is accepted, and none is a burden."""
    spins, log_q = jax.jit(lambda key: draw(key, exact_chain, 500))(test_key("chain"))
    log_weights = jax.vmap(open_chain)(spins.astype(jnp.float32)) - log_q
    log_z = np.log(2) + (NUM_SITES - 1) * np.log(2 * np.cosh(COUPLING))
    np.testing.assert_allclose(log_weights, log_z, rtol=2e-6)
    found = free_energy.importance_estimate(log_weights)
    assert float(found.effective_sample_size) == pytest.approx(1, abs=1e-6)
    chain = independence.as_top_level_api(lambda x: open_chain(x * 1.0), exact_chain)
    _, info = jax.jit(lambda key: chain.step(key, chain.init(spins[0])))(jax.random.key(0))
    assert float(info.acceptance_rate) == pytest.approx(1, abs=1e-5)


# ---------------------------------------------------------------- REINFORCE


def gradient_objective(model, target, num_samples):
    """An update by gradient descent of rate one: the parameters move by the gradient."""
    return training.reinforce(
        model.sample, model.logdensity_fn, target, optax.sgd(1.0), num_samples
    )


def test_the_gradient_is_unbiased():
    """Against the exact one over all 16 states; the mean of all as baseline would halve it."""
    model, params = model_of("dense", False, (2, 2))
    target = lattice.ising((2, 2), 0.3)

    def loss(params):
        log_q = jax.vmap(model.logdensity_fn, (None, 0))(params, jnp.asarray(states((2, 2))))
        return jnp.sum(jnp.exp(log_q) * (log_q + 0.3 * jnp.asarray(energies((2, 2)))))

    exact, _ = jax.flatten_util.ravel_pytree(jax.grad(loss)(params))
    objective = gradient_objective(model, target, 2)
    state = objective.init(None, params)

    def estimates(key):
        def one(key):
            moved, metrics = objective.step(key, state, None)
            difference = jax.tree.map(lambda old, new: old - new, params, moved.params)
            return jax.flatten_util.ravel_pytree(difference)[0], metrics.loss

        gradients, losses = jax.vmap(one)(jax.random.split(key, 2000))
        return gradients.mean(0), losses.mean()

    gradients, losses = replicate("gradient", estimates)
    assert_unbiased(gradients, np.asarray(exact))
    assert_unbiased(losses[:, None], np.asarray(loss(params))[None])
    assert_biased(gradients / 2, np.asarray(exact))


@pytest.fixture(scope="module")
def trained():
    """A symmetric model of 3x3 spins, annealed to β = 0.4 in 300 updates."""
    target = lattice.ising(SHAPE, 0.4)
    model, params = autoregressive(NETS["convolutions"](SHAPE), is_symmetric=True)
    objective = training.reinforce(
        model.sample,
        model.logdensity_fn,
        target,
        optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.02)),
        200,
        power=lambda update: 1 - 0.97**update,
    )
    state = objective.init(jax.random.key(0), params)
    key = jax.random.key(BASE_SEED)
    return model, objective, state, training.fit(key, objective, state, num_steps=300), key


def test_training_comes_near(trained):
    """The loss is -log Z and a small KL divergence above it, and log Z within 4.5 errors."""
    model, _, _, result, _ = trained
    log_q = log_q_of_all(model, result.state.params)
    log_p = -0.4 * energies(SHAPE)
    loss = np.sum(np.exp(log_q) * (log_q - log_p))
    exact = exact_log_z(SHAPE, 0.4)
    divergence = loss + exact
    assert 0 < divergence < 0.15
    late = result.metrics.loss[-20:]
    assert late.mean() == pytest.approx(loss, abs=0.1)
    np.testing.assert_allclose(result.metrics.power, 1 - 0.97 ** np.arange(300), atol=1e-5)
    spins, log_q = model.sample_with_logdensity(test_key("nis"), result.state.params, 20_000)
    log_weights = -0.4 * -jax.vmap(lattice.bond_sum)(spins.astype(jnp.float32)) - log_q
    found = free_energy.importance_estimate(log_weights)
    value, error = found.log_partition_function
    assert abs(value - exact) < 4.5 * error
    assert float(-jnp.mean(log_weights)) + exact > 0  # the raw free energy is above the truth
    assert found.doubts == ()


def test_canary_uncorrected_samples_are_not_the_targets(trained):
    """Their mean energy is off by more than 4.5 errors; weighted it is not."""
    model, _, _, result, _ = trained
    rough = jax.tree.map(lambda leaf: 0.9 * leaf, result.state.params)
    spins, log_q = model.sample_with_logdensity(test_key("raw"), rough, 20_000)
    energy = -jax.vmap(lattice.bond_sum)(spins.astype(jnp.float32))
    exact = lattice.ising_thermodynamics(SHAPE, 0.4).energy
    raw_error = jnp.std(energy) / np.sqrt(20_000)
    assert abs(jnp.mean(energy) - exact) > 4.5 * raw_error
    value, error = free_energy.observable(-0.4 * energy - log_q, energy)
    assert abs(value - exact) < 4.5 * error


def test_a_run_goes_on_bit_for_bit(trained):
    _, objective, state, result, key = trained
    half = training.fit(key, objective, state, num_steps=130)
    whole = training.fit(key, objective, half.state, num_steps=300)
    for one, other in zip(
        jax.tree.leaves(result.state.params), jax.tree.leaves(whole.state.params), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("shape", [(1,), (2,), (1, 2)])
def test_the_smallest_lattices_train(shape):
    """In a field of one half: q(s) = σ(s), and the loss is -N log(2 cosh ½)."""
    net = (
        MaskedDense(shape, rngs=nnx.Rngs(0)) if len(shape) == 1 else NETS["convolutions"](shape)
    )
    model, params = autoregressive(net)
    target = Density(lambda x: 0.5 * jnp.sum(x))
    objective = training.reinforce(
        model.sample, model.logdensity_fn, target, optax.adam(0.05), 51
    )
    state = objective.init(None, params)
    result = training.fit(jax.random.key(BASE_SEED), objective, state, num_steps=100)
    exact = -np.prod(shape) * np.log(2 * np.cosh(0.5))
    assert result.metrics.loss[-20:].mean() == pytest.approx(exact, abs=0.02)


def test_a_density_that_is_not_finite_skips_the_update():
    model, params = model_of("dense", False, (2, 2))
    objective = gradient_objective(model, Density(lambda x: jnp.nan * jnp.sum(x)), 10)
    start = objective.init(None, params)
    state, metrics = jax.jit(objective.step)(jax.random.key(0), start, None)
    assert bool(metrics.is_skipped)
    for old, new in zip(jax.tree.leaves(params), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_array_equal(old, new)


# ---------------------------------------------------------------- what it is given


@pytest.mark.parametrize(
    "build",
    [
        lambda: MaskedConvolutions((4,), rngs=nnx.Rngs(0)),
        lambda: MaskedConvolutions((4, 4), depth=0, rngs=nnx.Rngs(0)),
        lambda: MaskedConvolutions((4, 0), rngs=nnx.Rngs(0)),
        lambda: MaskedDense((), rngs=nnx.Rngs(0)),
        lambda: MaskedDense((4, 4), num_features=0, rngs=nnx.Rngs(0)),
        lambda: autoregressive(nnx.Linear(2, 2, rngs=nnx.Rngs(0))),
        lambda: autoregressive(lambda x: x),
    ],
)
def test_bad_networks(build):
    with pytest.raises(ValueError, match=r"need|is made of"):
        build()


def test_a_network_with_dropout_is_refused_until_it_is_switched_off():
    net = MaskedDense(SHAPE, activation=nnx.Dropout(0.5, rngs=nnx.Rngs(1)), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="must be the same function at every call"):
        autoregressive(net)
    net.eval()
    model, params = autoregressive(net)
    assert float(model.logdensity_fn(params, jnp.ones(SHAPE, jnp.int32))) == pytest.approx(
        -9 * np.log(2), rel=1e-6
    )


def test_bad_spins():
    model, params = model_of("dense", False)
    for spins, message in (
        (jnp.ones((2, 3), jnp.int32), "spins must have shape"),
        (jnp.zeros(SHAPE), "spins must be 1 or -1"),
        (jnp.ones(SHAPE, complex), "integers or of floating point"),
    ):
        with pytest.raises(ValueError, match=message):
            model.logdensity_fn(params, spins)
    hidden = jax.jit(model.logdensity_fn)(params, 0.5 * jnp.ones(SHAPE))
    assert float(hidden) == -np.inf


def test_bad_objectives():
    model, params = model_of("dense", False)
    target = lattice.ising(SHAPE, 0.1)
    arguments = [model.sample, model.logdensity_fn, target, optax.sgd(1.0), 10]
    for position, value, message in (
        (0, None, "sample must be a function"),
        (1, 3.0, "logdensity_fn must be a function"),
        (2, target.logdensity_fn, "must be a Density"),
        (4, 1, "at least 2"),
    ):
        bad = [*arguments]
        bad[position] = value
        with pytest.raises(ValueError, match=message):
            training.reinforce(*bad)
    objective = training.reinforce(*arguments)
    with pytest.raises(ValueError, match="no data"):
        objective.step(jax.random.key(0), objective.init(None, params), jnp.ones(3))


def test_parameters_of_half_precision_are_stored_so_alone():
    """One spin of log-odds -6: bfloat16's own uniform numbers come in steps of 1/128."""
    net = MaskedDense((1,), 1, 1, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    model, params = autoregressive(net)
    params = jax.tree.map(lambda leaf: jnp.full_like(leaf, -6), params)
    spins, log_q = model.sample_with_logdensity(test_key("half"), params, 40_000)
    stated = jax.vmap(lambda x: model.logdensity_fn(params, x))(spins)
    np.testing.assert_allclose(log_q, stated, rtol=1e-6)
    up = np.exp(float(model.logdensity_fn(params, jnp.ones(1, jnp.int32))))
    deviation = np.sqrt(up * (1 - up) / 40_000)
    assert abs(float(jnp.mean(spins == 1)) - up) < 4.5 * deviation
