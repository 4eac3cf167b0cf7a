"""Machines of two kernels: gradients against enumeration, currents, likelihood, training.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import training
from jarzynski_jax.latent import bernoulli_mixture, cycle_machine, cycle_report, latent_cycles
from jarzynski_jax.latent.cycle_machine import Machine, Trajectory
from jarzynski_jax.nonequilibrium import markov_chains

D, L = 4, 3
DATA = jnp.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 1, 1, 0]], jnp.float32)


def random_machine(seed=0, dtype=None, num_hidden=L):
    rng = np.random.default_rng(seed)
    shapes = (D, num_hidden), (D,), (num_hidden, D), (num_hidden,)
    return Machine(*(jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes))


def laws(machine, kind):
    """All of it, and both stationary laws."""
    every = cycle_machine.enumerate_machine(machine, kind)
    hidden = markov_chains.stationary_distribution(every.decoder @ every.encoder)
    return every, hidden, hidden @ every.decoder


def log_likelihood(machine, kind):
    _, _, visible = laws(machine, kind)
    index = (DATA @ 2 ** jnp.arange(D)[::-1]).astype(int)
    return jnp.mean(jnp.log(visible[index]))


def frozen_log_likelihood(machine, kind):
    """Its derivatives are those of the last two steps: the law of x' is held."""
    every, _, visible = laws(machine, kind)
    held = jax.lax.stop_gradient(visible)
    index = (DATA @ 2 ** jnp.arange(D)[::-1]).astype(int)
    return jnp.mean(jnp.log((held @ every.encoder @ every.decoder)[index]))


@pytest.mark.parametrize("kind", ["one-hot", "independent"])
def test_gradient_of_the_last_two_steps_by_enumeration_and_by_samples(kind):
    with jax.enable_x64(True):
        exact = jax.grad(frozen_log_likelihood)(random_machine(), kind)
        whole = jax.grad(log_likelihood)(random_machine(), kind)
        flat = np.concatenate([leaf.ravel() for leaf in exact])
        other = np.concatenate([leaf.ravel() for leaf in whole])
    # They differ, and point nearly the same way.
    cosine = flat @ other / np.linalg.norm(flat) / np.linalg.norm(other)
    assert 0.9 < cosine < 0.99999
    machine = random_machine(dtype=jnp.float32)

    def run(key, is_wrong):
        trajectory = cycle_machine.run(key, machine, DATA[0], 3000, kind)
        # A fault: x' of the step after.
        late = jnp.roll(trajectory.visible, -1, axis=0)
        visible = jnp.where(is_wrong, late, trajectory.visible)
        seen = Trajectory(visible, trajectory.hidden, trajectory.last)
        _, gradient = latent_cycles.last_two_steps_gradient(
            machine, DATA, seen, jnp.zeros(D), kind
        )
        return jnp.concatenate([leaf.ravel() for leaf in gradient])

    assert_unbiased(replicate(f"gradient {kind}", run, jnp.array(False)), flat)
    assert_biased(replicate(f"gradient {kind}", run, jnp.array(True)), flat)


def test_centring_changes_coordinates_and_weights_are_shares():
    machine = random_machine(dtype=jnp.float32)
    trajectory = cycle_machine.run(test_key("centre"), machine, DATA[0], 50)
    centre = jnp.mean(DATA, axis=0)
    args = DATA, trajectory
    value, plain = latent_cycles.last_two_steps_gradient(machine, *args, jnp.zeros(D))
    _, centred = latent_cycles.last_two_steps_gradient(machine, *args, centre)
    expected = plain.encoder_weights - plain.encoder_bias[:, None] * centre
    np.testing.assert_allclose(centred.encoder_weights, expected, atol=1e-6)
    first, _ = latent_cycles.last_two_steps_gradient(
        machine, *args, centre, data_weights=jnp.array([1.0, 0, 0, 0])
    )
    alone, _ = latent_cycles.last_two_steps_gradient(machine, DATA[:1], trajectory, centre)
    np.testing.assert_allclose(first, alone, rtol=1e-6)
    assert value.shape == ()


def test_canary_normalised_sigmoids_are_not_what_the_gradient_is_of():
    """Drawn by them, z has another law than the softmax that the gradient takes off."""
    machine = random_machine(dtype=jnp.float32)

    def run(key):
        def step(visible, key):
            keys = jax.random.split(key)
            logits = visible @ machine.encoder_weights.T + machine.encoder_bias
            unit = jax.random.categorical(keys[0], jax.nn.log_sigmoid(logits))
            hidden = jax.nn.one_hot(unit, L)
            p = jax.nn.sigmoid(cycle_machine.visible_logits(machine, hidden))
            drawn = jax.random.bernoulli(keys[1], p).astype(jnp.float32)
            return drawn, (visible, hidden)

        last, seen = jax.lax.scan(step, DATA[0], jax.random.split(key, 3000))
        _, gradient = latent_cycles.last_two_steps_gradient(
            machine, DATA, Trajectory(*seen, last), jnp.zeros(D)
        )
        return jnp.concatenate([leaf.ravel() for leaf in gradient])

    with jax.enable_x64(True):
        exact = jax.grad(frozen_log_likelihood)(random_machine(), "one-hot")
        flat = np.concatenate([leaf.ravel() for leaf in exact])
    assert_biased(replicate("sigmoids", run), flat)


@pytest.mark.parametrize("kind", ["one-hot", "independent"])
def test_with_the_exact_laws_the_formula_is_that_gradient_to_rounding(x64, kind):
    machine = random_machine()
    every, _, visible = laws(machine, kind)
    shape = every.encoder.shape
    pairs = Trajectory(
        jnp.repeat(every.visible, shape[1], axis=0), jnp.tile(every.hidden, (shape[0], 1)), None
    )
    of_pairs = (visible[:, None] * every.encoder).ravel()
    data = DATA.astype(float)
    args = machine, data, pairs, jnp.zeros(D), kind, None
    value, found = latent_cycles.last_two_steps_gradient(*args, of_pairs)
    exact = jax.grad(frozen_log_likelihood)(machine, kind)
    np.testing.assert_allclose(value, log_likelihood(machine, kind), atol=1e-13)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), found, exact)
    # Not by chance: with a law that is not the steady one it is another.
    _, other = latent_cycles.last_two_steps_gradient(*args, (every.encoder / 16).ravel())
    assert optax.tree.norm(jax.tree.map(jnp.subtract, other, exact)) > 0.01


def test_at_the_maximum_both_gradients_vanish_for_one_hot_units(x64):
    """Of a law near one that a machine has, and that none has: no logit becomes infinite."""
    _, _, law = laws(random_machine(3), "one-hot")
    shares = 0.95 * law + 0.05 * np.random.default_rng(3).dirichlet(np.full(16, 5.0))
    start, back = jax.flatten_util.ravel_pytree(random_machine())

    def loss(flat, is_frozen):
        every, _, visible = laws(back(flat), "one-hot")
        held = jax.lax.stop_gradient(visible) @ every.encoder @ every.decoder
        return -shares @ jnp.log(jnp.where(is_frozen, held, visible))

    slope = jax.jit(jax.value_and_grad(loss))
    found = scipy.optimize.minimize(
        lambda flat: [np.asarray(of, np.float64) for of in slope(flat, False)],
        start,
        jac=True,
        method="BFGS",
        options={"gtol": 1e-9, "maxiter": 5000},
    )
    whole, frozen = (
        np.linalg.norm(slope(found.x, is_frozen)[1]) for is_frozen in (False, True)
    )
    assert np.abs(found.x).max() < 20
    assert found.fun > scipy.stats.entropy(shares) + 1e-5
    assert max(whole, frozen) < 1e-6
    # On the way there they were not the same.
    first = [slope(start, is_frozen)[1] for is_frozen in (False, True)]
    assert np.linalg.norm(first[0] - first[1]) > 1e-2 * np.linalg.norm(first[0])


def test_biases_move_the_law_of_one_hot_units_anywhere_and_not_of_independent_ones(x64):
    """What a maximum needs for both to vanish; never there if 2^L - 1 > L(D + 1)."""

    def rank(num_visible, num_hidden, kind, names):
        rng = np.random.default_rng(0)
        shapes = (num_visible, num_hidden), (num_visible,), (num_hidden, num_visible)
        machine = Machine(*(jnp.asarray(rng.normal(size=of)) for of in (*shapes, num_hidden)))

        @jax.jit
        @jax.jacobian
        def slopes(encoder):
            every = cycle_machine.enumerate_machine(machine._replace(**encoder), kind)
            return markov_chains.stationary_distribution(every.decoder @ every.encoder)

        found = slopes({name: getattr(machine, name) for name in names})
        table = np.concatenate([of.reshape(of.shape[0], -1) for of in found.values()], axis=1)
        return np.linalg.matrix_rank(table, tol=1e-9)

    assert rank(2, 4, "one-hot", ("encoder_bias",)) == 3  # of 3
    assert rank(1, 3, "independent", ("encoder_weights", "encoder_bias")) == 6  # of 7


def test_currents_of_a_machine_and_of_its_hidden_chain(x64):
    machine = random_machine()
    every, hidden, visible = laws(machine, "one-hot")
    matrix = every.decoder @ every.encoder
    sigma = markov_chains.entropy_production(matrix)
    # With the visible state between kept, more is produced.
    flow = hidden[:, None, None] * every.decoder[:, :, None] * every.encoder[None]
    kept = jnp.sum(flow * (jnp.log(flow) - jnp.log(flow.transpose(2, 1, 0))))
    assert 0 < sigma <= kept
    other = every.encoder @ every.decoder
    np.testing.assert_allclose(visible @ other, visible, atol=1e-14)


@pytest.mark.parametrize("num_hidden", [2, 3, 4])
def test_likelihood_current_and_production_have_the_derivatives_of_differences(x64, num_hidden):
    machine = random_machine(num_hidden=num_hidden)
    rng = np.random.default_rng(1)
    along = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), machine)
    index = (DATA @ 2 ** jnp.arange(D)[::-1]).astype(int)

    @jax.jit
    def seen(shift):
        moved = jax.tree.map(lambda leaf, slope: leaf + shift * slope, machine, along)
        every, _, visible = laws(moved, "one-hot")
        matrix = every.decoder @ every.encoder
        log_p = jnp.log(visible[index])
        current = markov_chains.currents(matrix)[0, 1]
        return jnp.stack([*log_p, current, markov_chains.entropy_production(matrix)])

    step = 1e-5
    expected = (seen(step) - seen(-step)) / (2 * step)
    found = jax.jacfwd(seen)(0.0)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(jax.jit(jax.jacrev(seen))(0.0), found, rtol=1e-9, atol=1e-13)
    if num_hidden == 2:  # nothing can circulate between two states, whatever the parameters
        np.testing.assert_allclose(seen(0.0)[-2:], 0, atol=1e-15)
        np.testing.assert_allclose(found[-2:], 0, atol=1e-14)
    else:
        assert bool(jnp.all(jnp.abs(found[-2:]) > 1e-4))
        assert seen(0.0)[-1] > 1e-4


@pytest.mark.parametrize("kind", ["one-hot", "independent"])
def test_the_report_is_that_of_the_enumerated_machine(kind):
    machine = random_machine(dtype=jnp.float32)
    every, hidden, _ = laws(machine, kind)
    matrix = every.decoder @ every.encoder

    def run(key):
        return jnp.exp(cycle_machine.log_hidden_transitions(key, machine, 300, kind)).ravel()

    assert_unbiased(replicate(f"M {kind}", run), np.asarray(matrix).ravel())
    report = jax.jit(cycle_report.report, static_argnums=(3, 4))
    found = report(test_key("report"), machine, DATA, 20_000, kind)
    np.testing.assert_allclose(jnp.exp(found.log_law), hidden, atol=0.01)
    sigma = markov_chains.entropy_production(matrix)
    np.testing.assert_allclose(found.entropy_production, sigma, rtol=0.1)
    np.testing.assert_allclose(found.persistence, jnp.trace(matrix) / len(matrix), atol=0.01)
    tau = markov_chains.relaxation_time(matrix)
    np.testing.assert_allclose(found.relaxation_time, tau, rtol=0.1)
    expected = log_likelihood(machine, kind)
    np.testing.assert_allclose(found.log_likelihood, expected, atol=0.02)


def test_the_reversible_rival_is_as_likely_and_produces_nothing(x64):
    machine = random_machine()
    _, hidden, _ = laws(machine, "one-hot")
    rival = cycle_machine.reversible_rival(machine, jnp.log(hidden))
    every, law, _ = laws(rival, "one-hot")
    matrix = every.decoder @ every.encoder
    assert abs(float(markov_chains.entropy_production(matrix))) < 1e-14
    np.testing.assert_allclose(jnp.trace(matrix) / L, 1 / L, atol=1e-14)
    np.testing.assert_allclose(law, hidden, atol=1e-14)
    np.testing.assert_allclose(
        log_likelihood(rival, "one-hot"), log_likelihood(machine, "one-hot"), atol=1e-13
    )
    # Compiled as a whole, many at once.
    report = jax.jit(
        lambda key, m, law: cycle_report.report(
            key, cycle_machine.reversible_rival(m, law), DATA, 300
        )
    )
    found = report(test_key("rival"), machine, jnp.log(hidden))
    assert abs(float(found.entropy_production)) < 1e-14
    np.testing.assert_allclose(found.persistence, 1 / L, atol=1e-14)


# ---------------------------------------------------------------- training


@pytest.fixture(scope="module")
def digits():
    """Three patterns of 12 units with some noise."""
    rng = np.random.default_rng(0)
    patterns = np.kron(np.eye(3), np.ones(4))
    data = patterns[rng.integers(3, size=600)]
    return jnp.asarray(np.where(rng.random(data.shape) < 0.05, 1 - data, data), jnp.float32)


def test_machines_learn_side_by_side_below_the_ceiling_of_em(digits):
    objective = latent_cycles.latent_cycles(
        optax.rmsprop(0.05, eps=1e-2), 24, num_data=lambda step: 10 + step // 50
    )
    many = training.replicate(objective, 4)
    keys = jax.random.split(test_key("machines"), 4)
    machines = jax.vmap(lambda key: cycle_machine.start_from_data(key, digits, 3))(keys)
    state = many.init(test_key("init"), machines, digits)
    run = {"num_steps": 400, "batch_size": 80, "chunk_size": 100}
    result = training.fit(test_key("fit"), many, state, digits, **run)
    assert bool(jnp.all(result.state.params.decoder_bias == 0))
    report = jax.vmap(lambda key, m: cycle_report.report(key, m, digits, 500))
    found = report(keys, result.state.params).log_likelihood
    mixtures, _ = jax.vmap(
        lambda key: bernoulli_mixture.expectation_maximization(key, digits, 3, 50)
    )(keys)
    ceiling = max(
        float(bernoulli_mixture.log_likelihood(jax.tree.map(lambda leaf: leaf[i], mixtures), x))
        for i, x in enumerate([digits] * 4)
    )
    assert jnp.max(found) < ceiling + 0.02
    assert jnp.max(found) > ceiling - 0.5
    alone = float(jnp.mean(jnp.sum(jnp.log(jnp.abs(digits + digits.mean(0) - 1)), axis=1)))
    assert ceiling > alone + 1
    # Going on is bit for bit what an uninterrupted run gives.
    half = training.fit(test_key("fit"), many, state, digits, **{**run, "num_steps": 200})
    rest = training.fit(test_key("fit"), many, half.state, digits, **run)
    jax.tree.map(np.testing.assert_array_equal, rest.state, result.state)


def test_independent_units_learn(digits):
    """Two of them have four states, enough for three patterns."""
    optimizer = optax.rmsprop(0.05, eps=0.1, eps_in_sqrt=False)
    objective = latent_cycles.latent_cycles(optimizer, 24, "independent")
    machine = cycle_machine.start_from_data(test_key("two"), digits, 2)
    state = objective.init(test_key("init"), machine, digits)
    result = training.fit(
        test_key("fit"), objective, state, digits, num_steps=600, batch_size=40, chunk_size=100
    )
    report = jax.jit(cycle_report.report, static_argnums=(3, 4))
    before, after = (
        report(test_key("report"), of, digits, 500, "independent").log_likelihood
        for of in (machine, result.state.params)
    )
    alone = float(jnp.mean(jnp.sum(jnp.log(jnp.abs(digits + digits.mean(0) - 1)), axis=1)))
    assert after > before + 1
    assert after > alone + 1
    # The noise alone, and which of the patterns it is: no model does better.
    noise = 12 * (0.05 * np.log(0.05) + 0.95 * np.log(0.95))
    assert after < noise - np.log(3) + 0.2


def test_em_never_falls(digits):
    _, trace = bernoulli_mixture.expectation_maximization(test_key("em"), digits, 3, 40)
    assert float(jnp.min(jnp.diff(trace))) > -1e-4
    mixture, _ = bernoulli_mixture.expectation_maximization(test_key("em"), digits, 3, 40)
    shares = bernoulli_mixture.responsibilities(mixture, digits)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)


def test_shares_of_classes():
    law = jnp.array([0.2, 0.3, 0.5])
    shares = cycle_report.class_shares(law, jnp.array([0, 1, 1]), 3)
    np.testing.assert_allclose(shares, [0.2, 0.8, 0.0])
    third = jnp.full(3, 1 / 3)
    assert jnp.isposinf(cycle_report.class_divergence(third, shares))
    np.testing.assert_allclose(cycle_report.class_divergence(law, law), 0, atol=1e-7)
    for classes in ([0, -1, 1], [0, 1, 3]):
        with pytest.raises(ValueError, match="classes must be between 0 and 2"):
            cycle_report.class_shares(law, jnp.array(classes), 3)
        traced = jax.jit(cycle_report.class_shares, static_argnums=2)
        assert jnp.isnan(traced(law, jnp.array(classes), 3)).all()
    with pytest.raises(ValueError, match=r"one shape \(L,\); got \(3,\) and \(2,\)"):
        cycle_report.class_shares(law, jnp.array([0, 1]), 3)
    with pytest.raises(ValueError, match="must be integers"):
        cycle_report.class_shares(law, law, 3)


def test_an_update_on_grey_data_is_skipped_and_training_on_them_stopped(digits):
    grey = digits.at[:, 0].set(0.3)
    objective = latent_cycles.latent_cycles(optax.sgd(0.1), 4)
    machine = cycle_machine.start_from_data(jax.random.key(0), digits, 3)
    state = objective.init(jax.random.key(0), machine, digits)
    key = jax.random.key(1)
    run = {"num_steps": 10, "batch_size": 20, "chunk_size": 10}
    for data, is_wrong in ((digits, False), (grey, True)):
        result = training.fit(key, objective, state, data, **run)
        assert np.all(np.isnan(result.metrics.loss) == is_wrong)
        assert np.all(result.metrics.is_skipped == is_wrong)
        learned = result.state.params.decoder_weights
        assert bool(jnp.array_equal(learned, machine.decoder_weights)) == is_wrong
    with pytest.raises(training.TrainingDiverged, match="data must be 0 or 1; got values"):
        training.fit(key, objective, state, grey, **{**run, "num_steps": 40})
    with pytest.raises(ValueError, match="data must be 0 or 1"):
        objective.step(key, state, grey[:20])
    trajectory = cycle_machine.run(key, machine, digits[0], 4)
    with pytest.raises(ValueError, match="data must be 0 or 1"):
        latent_cycles.last_two_steps_gradient(machine, grey, trajectory, jnp.zeros(12))


def test_what_makes_no_sense_is_refused(digits):
    grey = digits.at[0, 0].set(0.3)
    objective = latent_cycles.latent_cycles(optax.sgd(0.1), 4)
    with pytest.raises(ValueError, match="data must be 0 or 1"):
        cycle_machine.start_from_data(jax.random.key(0), grey, 3)
    machine = cycle_machine.start_from_data(jax.random.key(0), digits, 3)
    with pytest.raises(ValueError, match="data must be 0 or 1"):
        objective.init(jax.random.key(0), machine, grey)
    with pytest.raises(ValueError, match="data must be 0 or 1"):
        bernoulli_mixture.expectation_maximization(jax.random.key(0), grey, 3, 2)
    with pytest.raises(ValueError, match="12 visible units; got data of 5"):
        objective.init(jax.random.key(0), machine, digits[:, :5])
    with pytest.raises(ValueError, match="'one-hot' or 'independent'; got 'softmax'"):
        latent_cycles.latent_cycles(optax.sgd(0.1), 4, "softmax")
    with pytest.raises(ValueError, match="num_steps must be at least 1"):
        latent_cycles.latent_cycles(optax.sgd(0.1), 0)
    with pytest.raises(ValueError, match="more than 65536 states"):
        cycle_machine.all_states(20)
    many = training.replicate(objective, 3)
    three = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), machine)
    state = many.init(jax.random.key(0), three, digits)
    with pytest.raises(ValueError, match="a batch must divide into 3"):
        many.step(jax.random.key(0), state, digits[:10])
    with pytest.raises(ValueError, match="leading axis"):
        many.init(jax.random.key(0), machine, digits)
