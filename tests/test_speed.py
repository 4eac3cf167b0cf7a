"""What is timed beside each other does the same; how long it takes is no matter here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks.speed import brackets, growth, imaginary_time
from benchmarks.speed.__main__ import room_groups
from benchmarks.speed.timing import Case, compare, run_by_turns
from jarzynski_jax import latent
from jarzynski_jax.latent import outputs
from jarzynski_jax.targets.lattice import bond_sum


@pytest.fixture(scope="module")
def groups():
    return list(room_groups(quick=True))


def cases_of(groups, start):
    return {n: case for g in groups if g.name.startswith(start) for n, case in g.cases.items()}


def run(case):
    return jax.jit(case.fn)(*case.args)


def test_cases_are_run_by_turns_and_a_state_is_carried():
    counting = Case(lambda n: n + 1, (jnp.zeros(()),), is_carried=True)
    at_rest = Case(lambda n: 2 * n, (jnp.ones(3),), num_steps=4)
    found = run_by_turns({"counting": counting, "at rest": at_rest}, 3)
    assert [len(repeats.milliseconds) for repeats in found.values()] == [3, 3]
    timing = compare({"at rest": at_rest}, 3)["at rest"]
    assert timing.low <= timing.median <= timing.high


def test_what_a_run_holds_grows_with_its_walkers_and_hardly_with_its_steps():
    small, wide, long = (
        growth.measure(growth.Size(*size), 1).num_bytes
        for size in ((1000, 8, 2), (4000, 8, 2), (1000, 8, 64))
    )
    position = 4 * 8 * 1000
    assert small > 2 * position  # before and after
    assert 3.5 * small < wide < 4.5 * small
    assert small < long < small + position


def test_every_group_has_its_baseline_and_every_row_its_name(groups):
    assert all(group.baseline in group.cases for group in groups)
    rows = [(group.name, name) for group in groups for name in group.cases]
    assert len(set(rows)) == len(rows)


def test_sweeps_are_of_the_same_law(groups):
    cases = cases_of(groups, "sweep")
    (start,) = cases["textbook, in one array"].args

    def z_score(one, other):
        """Of the sum over bonds, by 50 independent chains of each."""
        sums = [jax.vmap(bond_sum)(jnp.asarray(x, jnp.float32)) for x in (one, other)]
        means, variances = zip(*((np.mean(x), np.var(x, ddof=1)) for x in sums), strict=True)
        return (means[0] - means[1]) / np.sqrt(sum(variances) / len(one))

    swept, plain = run(cases["weighted"]).position, run(cases["textbook, in one array"])
    assert set(np.unique(plain)) == {-1, 1}
    assert abs(z_score(swept, plain)) < 4
    assert abs(z_score(swept, start)) > 4  # the canary: no sweep


def test_a_step_of_imaginary_time_evaluates_what_is_evaluated_by_hand(groups):
    cases = cases_of(groups, "imaginary time")
    state = run(cases["weighted"]).state
    evaluate = jax.jit(lambda x: imaginary_time.evaluate_by_hand(*imaginary_time.helium(), x))
    drift, energy = evaluate(state.position)
    np.testing.assert_allclose(state.drift, drift, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(state.energy, energy, rtol=1e-3, atol=1e-3)
    x, drift, energy = run(cases["without weights, in one array"])
    np.testing.assert_allclose(evaluate(x)[1], energy, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(evaluate(x)[0], drift, rtol=1e-4, atol=1e-4)


def test_a_layer_moves_and_weighs_as_flowjax_maps(groups):
    cases = cases_of(groups, "layer")
    moved = run(cases["weighted"])
    image, log_det = run(cases["flowjax's map with log-determinant"])
    np.testing.assert_allclose(moved.position, image, rtol=1e-5, atol=1e-5)
    start = cases["weighted"].args[0].state.logdensity
    increment = moved.state.logdensity - start + log_det
    np.testing.assert_allclose(moved.log_weights, increment, rtol=1e-4, atol=1e-4)
    log_q = [run(cases[name]) for name in ("density", "flowjax's log_prob")]
    np.testing.assert_allclose(*log_q, rtol=1e-4, atol=1e-4)


def test_a_log_joint_is_what_a_bracket_is_of():
    # As large as the groups', so that what makes it is compiled once.
    shape, latent_dim = (brackets.QUICK.length,) * 2, brackets.QUICK.latent_dim
    vae, params = latent.make_autoencoder(
        shape, latent_dim, (brackets.QUICK.width,), outputs.bernoulli(), rngs=nnx.Rngs(0)
    )
    x, noise = jnp.eye(shape[0]), jnp.linspace(-1.2, 0.3, latent_dim)
    mean, scale = vae.encode(params, x)
    log_joint = brackets.log_joint_of(vae)(params, x, mean + scale * noise)
    log_q = jnp.sum(jax.scipy.stats.norm.logpdf(noise) - jnp.log(scale))
    log_weight = latent.as_latent_model(vae).log_weight(params, x, noise)
    np.testing.assert_allclose(log_joint - log_q, log_weight, rtol=1e-5)


def test_a_dense_product_is_the_velocity_of_the_convolution(groups):
    both = [group.cases for group in groups if group.name.startswith("velocity")]
    if not both:
        pytest.skip("bijx 1.3 does not import with jax 0.12")
    alone, with_gradients = both
    one, other = map(run, alone.values())
    for ours, theirs in zip(one, other, strict=True):
        scale = float(np.max(np.abs(theirs)))
        assert scale > 0  # else nothing is compared
        np.testing.assert_allclose(ours / scale, theirs / scale, atol=1e-4)
    # By the fields; what is of the parameters is in another order.
    ((_, (_, ours)), (_, (_, theirs))) = map(run, with_gradients.values())
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * float(np.max(np.abs(theirs))))


def test_a_bracket_takes_as_many_evaluations_as_are_timed_alone(groups):
    """By shapes: compiling the bracket takes ten times as long as this."""
    cases = cases_of(groups, "bracket")
    images, walkers = brackets.QUICK.num_images, brackets.QUICK.num_walkers
    bounds = jax.eval_shape(cases["bracket"].fn, *cases["bracket"].args)
    alone = cases["gradients alone, in one array"]
    _, values = jax.eval_shape(alone.fn, *alone.args)
    assert [of.shape for of in bounds] == [(images, 2)] * 2
    assert values.shape[1:] == (images, 2 * walkers)
    assert alone.num_steps == cases["bracket"].num_steps == values.shape[0] * images
