r"""Continuous flows against linear fields, whose densities and scores are known in closed form.

z' = A z from N(0, 1): z_t is N(0, Σ_t), Σ_t = e^{At} e^{Aᵀt}, and its score -Σ_t^{-1} z_t. The
velocity on a torus is tried against its Jacobian.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.scipy.linalg import expm
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import generators, interpolants, targets, training
from jarzynski_jax.density import Density
from jarzynski_jax.generators import (
    ContinuousFlow,
    Flow,
    check_flow,
    step_doubts,
    with_divergence,
)
from jarzynski_jax.generators.divergence import estimated_divergence, rademacher

A = jnp.array([[0.3, 0.8], [-0.4, -0.5]])
LINEAR = with_divergence(lambda matrix, t, x: matrix @ x)
BASE = targets.gaussian([1.0, 1.0])
FLOW = ContinuousFlow(BASE, LINEAR, num_steps=10)
COVARIANCE = expm(A) @ expm(A).T
PRECISION = jnp.linalg.inv(COVARIANCE)
LOG_DET_A = float(jnp.trace(A))
# The density of the flow at A, not normalised.
AT_END = Density(lambda x: -x @ PRECISION @ x / 2)
SGD = optax.sgd(1.0)


@pytest.fixture(scope="module")
def drawn():
    draw = jax.jit(lambda key: FLOW.sample_with_score(key, A, 50))
    return draw(test_key("drawn"))


def test_a_linear_field_gives_the_gaussian_and_its_score(drawn):
    x, log_q, score = drawn
    np.testing.assert_allclose(score, -x @ PRECISION, atol=2e-5)
    exact = -jnp.sum(x @ PRECISION * x, axis=1) / 2 - math.log(2 * math.pi) - LOG_DET_A
    np.testing.assert_allclose(log_q, exact, atol=2e-5)
    of_data = jax.jit(jax.vmap(FLOW.logdensity, (None, 0)))(A, x)
    np.testing.assert_allclose(of_data, exact, atol=2e-5)
    z, log_det = jax.jit(FLOW.inverse_fn)(A, x[0])
    np.testing.assert_allclose(expm(A) @ z, x[0], atol=2e-5)
    np.testing.assert_allclose(log_det, -LOG_DET_A, atol=1e-5)


def test_shrinking_by_e_costs_one_nat_a_dimension():
    _, log_det = FLOW.forward_fn(-jnp.eye(2), jnp.ones(2))
    np.testing.assert_allclose(log_det, -2, rtol=1e-6)


def gradients(key, fraction, gradient):
    """By the path, of one sample, at a fraction of A."""
    flow = FLOW._replace(gradient=gradient)
    objective = training.path_gradient(flow.sample_with_score, AT_END, SGD, 1)
    params = fraction * A
    return params - objective.step(key, objective.init(key, params), None)[0].params


@pytest.fixture(scope="module")
def path_gradients():
    keys = jax.random.split(test_key("paths"), 16)
    return {
        (fraction, gradient): jax.jit(
            jax.vmap(lambda key, f=fraction, g=gradient: gradients(key, f, g))
        )(keys)
        for fraction in (0.5, 1.0)
        for gradient in ("checkpoint", "adjoint")
    }


@pytest.mark.parametrize("gradient", ["checkpoint", "adjoint"])
def test_the_path_gradient_vanishes_for_each_sample_at_the_target(path_gradients, gradient):
    np.testing.assert_allclose(path_gradients[1.0, gradient], 0, atol=2e-5)
    assert float(jnp.min(jnp.max(jnp.abs(path_gradients[0.5, gradient]), (1, 2)))) > 1e-3


def test_the_adjoint_is_the_gradient_of_the_steps_but_for_their_error(path_gradients):
    by_steps, by_adjoint = (path_gradients[0.5, name] for name in ("checkpoint", "adjoint"))
    np.testing.assert_allclose(by_adjoint, by_steps, atol=2e-4)
    assert not np.array_equal(by_adjoint, by_steps)


def mean_gradients(key):
    """By total, path and Hutchinson's total gradient, at half of A, of 200 samples."""
    params = A / 2
    probed = FLOW._replace(num_probes=1)
    found = []
    for objective in (
        training.reverse_kl(FLOW.sample_and_logdensity, AT_END, SGD, 200),
        training.path_gradient(FLOW.sample_with_score, AT_END, SGD, 200),
        training.reverse_kl(probed.sample_and_logdensity, AT_END, SGD, 200),
    ):
        state, _ = objective.step(key, objective.init(key, params), None)
        found.append(params - state.params)
    return jnp.stack(found)


def exact_divergence(matrix):
    """Of the Gaussian of e^M from AT_END, up to a constant."""
    factor = expm(matrix)
    return jnp.trace(PRECISION @ factor @ factor.T) / 2 - jnp.trace(matrix)


def test_total_path_and_probed_gradients_have_one_mean():
    found = replicate("gradients", mean_gradients)
    exact = jax.grad(exact_divergence)(A / 2)
    for row in range(3):
        assert_unbiased(found[:, row], np.asarray(exact))
    assert_biased(found[:, 0] + np.linalg.inv(np.eye(2)) * 0.2, np.asarray(exact))
    spread = np.std(found, axis=0)
    assert np.all(spread[1] < 0.8 * spread[0])


# ---------------------------------------------------------------- divergences


def test_each_probe_gives_two_or_six_and_their_mean_is_four():
    matrix = jnp.array([[1.0, 2.0], [0.0, 3.0]])
    probes = rademacher(test_key("probes"), 400, jnp.ones(2))

    def one(e):
        return estimated_divergence(lambda x: matrix @ x, jnp.ones(2), e[None])[1]

    each = jax.vmap(one)(probes)
    assert set(each.tolist()) == {2.0, 6.0}
    _, mean = estimated_divergence(lambda x: matrix @ x, jnp.ones(2), probes)
    assert float(mean) == pytest.approx(4, abs=0.5)  # five standard errors
    assert float(mean) == pytest.approx(float(jnp.mean(each)), rel=1e-5)


L = 4


def lattice_params(key, size=0.3):
    params = generators.init_lattice_velocity(key, L, 5, 4, 6, 2)
    noise = size * jax.random.normal(key, params.weights.shape)
    return params._replace(weights=noise)


def test_the_velocity_on_a_torus_has_its_divergence_and_symmetries():
    params = lattice_params(jax.random.key(0))
    x = jax.random.normal(test_key("field"), (L, L))
    velocity = jax.jit(lambda x: generators.lattice_velocity(params, 0.3, x))
    found, of_velocity = velocity(x)
    jacobian = jax.jacfwd(lambda x: velocity(x.reshape(L, L))[0].ravel())(x.ravel())
    np.testing.assert_allclose(of_velocity, jnp.trace(jacobian), rtol=1e-4)
    assert float(jnp.max(jnp.abs(found))) > 0.05
    for symmetry in (
        lambda x: jnp.roll(x, 1, 0),
        lambda x: jnp.roll(x, 2, 1),
        lambda x: x.T,
        lambda x: x[::-1],
        jnp.rot90,
        lambda x: -x,
    ):
        np.testing.assert_allclose(velocity(symmetry(x))[0], symmetry(found), atol=1e-5)


def field_base(rng_key, num_samples):
    return jax.random.normal(rng_key, (num_samples, L, L))


FIELDS = Density(
    lambda x: -jnp.sum(x**2) / 2 - L**2 * math.log(2 * math.pi) / 2, 0.0, field_base
)
ON_TORUS = ContinuousFlow(FIELDS, generators.lattice_velocity, num_steps=12)


def test_a_lattice_flow_is_checked_and_its_score_is_that_of_the_inverse():
    params = lattice_params(jax.random.key(1), 0.15)
    jitted = Flow(FIELDS, jax.jit(ON_TORUS.forward_fn), jax.jit(ON_TORUS.inverse_fn))
    check_flow(jax.random.key(2), jitted, params, num_samples=4, tolerance=1e-3)
    key = test_key("scores")
    along = jax.jit(lambda key: ON_TORUS.sample_with_score(key, params, 4))(key)
    by_inverse = jax.jit(lambda key: ON_TORUS.flow.sample_with_score(key, params, 4))(key)
    for one, other in zip(along, by_inverse, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)


def mean_weight(key, params, fault):
    """E[e^A] of a narrow Gaussian by the flow; faults: no, or twice the, log-determinant."""
    keys = jax.random.split(key, 400)

    def log_weight(key):
        z = FLOW.base.sample(key, 1)[0]
        x, log_det = FLOW.forward_fn(params, z)
        log_q = FLOW.base.logdensity_fn(z) - FLOW.base.log_partition_function
        log_q -= jnp.array([1, 0, 2])[fault] * log_det
        return -jnp.sum(x**2) - log_q - math.log(math.pi)

    return jnp.mean(jnp.exp(jax.vmap(log_weight)(keys)))


def test_weights_are_unbiased_at_random_parameters():
    params = jnp.array([[0.5, 0.3], [-0.2, 0.3]])
    found = [replicate("weights", mean_weight, params, fault) for fault in range(3)]
    assert_unbiased(found[0], 1)
    assert_biased(found[1], 1)
    assert_biased(found[2], 1)


# ---------------------------------------------------------------- steps that are too long


def test_few_steps_are_doubted_and_many_are_not():
    stiff = jnp.diag(jnp.array([-4.0, 2.0]))
    narrow = targets.gaussian([math.exp(-8.0), math.exp(4.0)])
    few = step_doubts(jax.random.key(0), FLOW._replace(num_steps=3), stiff, narrow)
    assert "forward and back, 3 steps miss by" in few.doubts[0]
    assert "take more steps" in str(few)
    many = step_doubts(jax.random.key(0), FLOW._replace(num_steps=100), stiff, narrow)
    assert many.doubts == ()
    with pytest.raises(ValueError, match=r"miss by up to .* of a continuous flow, take more"):
        check_flow(jax.random.key(0), FLOW._replace(num_steps=3), stiff)


REFUSED = {
    "density by probes": (
        lambda: FLOW._replace(num_probes=2).density(A),
        "a density needs the exact divergence.*num_probes=2",
    ),
    "steps": (
        lambda: FLOW._replace(num_steps=0).forward_fn(A, jnp.ones(2)),
        "num_steps must be at least 1; got 0",
    ),
    "gradient": (
        lambda: FLOW._replace(gradient="backsolve").sample_with_score(jax.random.key(0), A, 2),
        r"gradient must be one of \('checkpoint', 'adjoint'\); got 'backsolve'",
    ),
    "no square": (
        lambda: generators.lattice_velocity(
            lattice_params(jax.random.key(0)), 0.0, jnp.ones((4, 8))
        ),
        r"shape \(L, L\); got \(4, 8\)",
    ),
    "another length": (
        lambda: generators.lattice_velocity(
            lattice_params(jax.random.key(0)), 0.0, jnp.ones((8, 8))
        ),
        "has 15 orbits of displacements; the parameters are for 6",
    ),
    "no length": (
        lambda: generators.init_lattice_velocity(jax.random.key(0), 0),
        "all sizes must be at least 1",
    ),
    "log-densities": (
        lambda: interpolants.transport_by_ode(
            jnp.ones((3, 2)), jnp.zeros(2), lambda t, x: x, jnp.linspace(0, 1, 3)
        ),
        r"logdensities must have shape \(3,\), one a sample; got \(2,\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused(case):
    call, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        call()


# ---------------------------------------------------------------- an interpolant's ODE


def test_log_densities_along_the_ode_are_those_of_the_gaussian():
    """From N(0, 1) to N(0, e²) each way: the log-likelihood of data has a gradient, too."""
    times = jnp.linspace(0, 1, 41)

    def log_likelihood(rate, x):
        z, change = interpolants.transport_by_ode(
            x, jnp.zeros(x.shape[0]), lambda t, x: rate * x, times[::-1]
        )
        return jax.scipy.stats.norm.logpdf(z).sum(1) - change

    x = jnp.array([[1.0, -2.0], [0.3, 4.0]])
    exact = jax.scipy.stats.norm.logpdf(x, scale=math.e).sum(1)
    np.testing.assert_allclose(jax.jit(log_likelihood)(1.0, x), exact, atol=2e-3)
    slope = jax.jit(jax.grad(lambda rate: jnp.sum(log_likelihood(rate, x))))(1.0)
    expected = jnp.sum(x**2) * math.exp(-2) - 4  # d/dr of -x²e^(-2r)/2 - r
    np.testing.assert_allclose(slope, expected, atol=2e-2)


def test_there_is_a_probe_at_least():
    flow = ContinuousFlow(
        targets.gaussian([1.0]), with_divergence(lambda a, t, x: a * x), 4, num_probes=0
    )
    with pytest.raises(ValueError, match="num_probes must be at least 1; got 0"):
        flow.sample_and_logdensity(jax.random.key(0), 1.0)
