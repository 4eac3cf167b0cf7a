"""NumPyro models: evidences against closed forms, priors that integrate to 1, what is refused.

Evidences in one to three dimensions are by quadrature of the posterior on unconstrained space,
in float64. That of a regression with an unknown variance is by ``annealing.estimate``: |z| < 3
for three seeds. Canaries leave the Jacobian, or a constant, out of it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax.scipy.special import logsumexp
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from numpyro.distributions import constraints, transforms
from numpyro.infer.reparam import CircularReparam, LocScaleReparam, TransformReparam
from numpyro.infer.util import potential_energy
from scipy import special, stats
from zscore import BASE_SEED

from jarzynski_jax import annealing
from jarzynski_jax.interop.numpyro import from_model, posterior_draws
from jarzynski_jax.weights import log_mean_exp

RNG = np.random.default_rng(0)
NUM_DATA, DIMENSION = 20, 5
DESIGN = RNG.normal(size=(NUM_DATA, DIMENSION))
OUTCOME = DESIGN @ RNG.normal(size=DIMENSION) + 0.5 * RNG.normal(size=NUM_DATA)
SHAPE, RATE = 3.0, 2.0


def regression(design, outcome=None):
    """Conjugate: coefficients by a variance that is itself unknown."""
    variance = numpyro.sample("variance", dist.InverseGamma(SHAPE, RATE))
    scale = numpyro.deterministic("scale", jnp.sqrt(variance))
    with numpyro.plate("columns", design.shape[1]):
        slopes = numpyro.sample("slopes", dist.Normal(0.0, scale))
    with numpyro.plate("data", design.shape[0]):
        numpyro.sample("outcome", dist.Normal(design @ slopes, scale), obs=outcome)


# Student's t: of 2a degrees of freedom, with the covariance of the outcomes at variance b/a.
LOG_EVIDENCE = stats.multivariate_t(
    np.zeros(NUM_DATA), RATE / SHAPE * (np.eye(NUM_DATA) + DESIGN @ DESIGN.T), 2 * SHAPE
).logpdf(OUTCOME)


@pytest.fixture(scope="module")
def problem():
    return from_model(regression, DESIGN, outcome=OUTCOME)


@pytest.fixture(scope="module")
def found(problem):
    return [
        annealing.estimate(
            jax.random.key(1000 * BASE_SEED + seed),
            problem.prior,
            path=problem.path,
            num_gradients=300_000,
        )
        for seed in range(3)
    ]


def test_the_evidence_of_a_regression_is_exact_within_its_error(found):
    for one in found:
        z = (one.log_partition_function - LOG_EVIDENCE) / one.standard_error
        assert abs(z) < 3
        assert one.standard_error < 0.1
        assert one.doubts == ()


def test_canary_without_the_jacobian_or_a_constant_the_evidence_is_off(found):
    """Of x = exp(y) the Jacobian is y: without, Z is the posterior's mean of exp(-y) smaller."""
    for one in found:
        logs = one.log_weights - one.samples["variance"]
        without = one.log_partition_function + log_mean_exp(logs)
        without -= log_mean_exp(one.log_weights)
        constant = one.log_partition_function + np.log(2 * np.pi) / 2
        for wrong in (without, constant):
            assert abs((wrong - LOG_EVIDENCE) / one.standard_error) > 5


def test_draws_are_of_the_posterior_and_of_all_sites(problem, found):
    """The slopes' mean is the ridge estimate: |z| < 4.5, by the draws of three seeds."""
    mean = np.linalg.solve(DESIGN.T @ DESIGN + np.eye(DIMENSION), DESIGN.T @ OUTCOME)
    draws = [
        posterior_draws(jax.random.key(seed), problem, one.samples, one.log_weights)
        for seed, one in enumerate(found)
    ]
    for of in draws:
        assert {name: leaf.shape for name, leaf in of.items()} == {
            "variance": (1, 512),
            "scale": (1, 512),
            "slopes": (1, 512, DIMENSION),
        }
        np.testing.assert_allclose(of["scale"] ** 2, of["variance"], rtol=1e-5)
    slopes = np.concatenate([of["slopes"][0] for of in draws])
    # Families of walkers are few: each replicate of 64 counts for a tenth of that.
    error = slopes.std(axis=0) / np.sqrt(slopes.shape[0] / 10)
    assert np.all(np.abs(slopes.mean(axis=0) - mean) < 4.5 * error)
    few = posterior_draws(
        jax.random.key(0), problem, found[0].samples, found[0].log_weights, num_draws=7
    )
    assert few["slopes"].shape == (1, 7, DIMENSION)


def test_draws_that_cannot_be_made_are_refused(problem, found):
    with pytest.raises(ValueError, match="one a position; got 3"):
        posterior_draws(jax.random.key(0), problem, found[0].samples, jnp.zeros(3))
    with pytest.raises(ValueError, match="all weights are 0"):
        posterior_draws(jax.random.key(0), problem, found[0].samples, jnp.full(512, -jnp.inf))


def test_arviz_reads_the_draws(problem, found):
    arviz = pytest.importorskip("arviz")
    draws = posterior_draws(jax.random.key(0), problem, found[0].samples, found[0].log_weights)
    is_old = int(arviz.__version__.split(".")[0]) < 1
    data = arviz.from_dict(posterior=draws) if is_old else arviz.from_dict({"posterior": draws})
    assert data.posterior["slopes"].shape == (1, 512, DIMENSION)


def test_positions_have_any_leading_axes_and_are_checked(problem):
    positions = problem.prior.sample(jax.random.key(0), 6)
    flat = problem.constrain(positions)
    cut = problem.constrain(jax.tree.map(lambda x: x.reshape(2, 3, *x.shape[1:]), positions))
    one = problem.constrain(jax.tree.map(lambda x: x[0], positions))
    np.testing.assert_array_equal(cut["slopes"].reshape(6, -1), flat["slopes"])
    np.testing.assert_allclose(one["variance"], flat["variance"][0], rtol=1e-6)
    with pytest.raises(ValueError, match="dict of \\['slopes', 'variance'\\]"):
        problem.constrain({"slopes": positions["slopes"]})
    with pytest.raises(ValueError, match="site 'slopes' has unconstrained shape"):
        problem.constrain({**positions, "slopes": positions["slopes"][:, :4]})


def test_its_functions_stay_the_same_so_that_a_second_call_compiles_nothing(
    problem, found, recompilations
):
    with recompilations() as count:
        annealing.estimate(
            jax.random.key(7), problem.prior, path=problem.path, num_gradients=300_000
        )
        assert count() == 0


# Quadrature.


def log_integral(logdensity_fn, shapes, reach, num_points):
    """By the trapezium rule on a cube, which converges fast where a function decays at ends."""
    names, sizes = list(shapes), [int(np.prod(shape)) for shape in shapes.values()]
    axis = jnp.linspace(-reach, reach, num_points)
    grid = jnp.stack(jnp.meshgrid(*[axis] * sum(sizes), indexing="ij"), -1)

    def at(x):
        parts = jnp.split(x, np.cumsum(sizes)[:-1])
        return logdensity_fn(
            {name: part.reshape(shapes[name]) for name, part in zip(names, parts, strict=True)}
        )

    values = jax.jit(jax.vmap(at))(grid.reshape(-1, sum(sizes)))
    return float(logsumexp(values)) + sum(sizes) * np.log(2 * reach / (num_points - 1))


def shapes_of(problem):
    found = jax.eval_shape(lambda key: problem.prior.sample(key, 1), jax.random.key(0))
    return {name: leaf.shape[1:] for name, leaf in found.items()}


def _hierarchy():
    """A support that depends on another site."""
    top = numpyro.sample("x", dist.HalfNormal(1.0))
    numpyro.sample("y", dist.Uniform(0.0, top))


def _in_between():
    low = numpyro.sample("x", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.TruncatedNormal(0.0, 1.0, low=low, high=low + 2.0))


PRIORS = {
    "InverseGamma": (lambda: dist.InverseGamma(2.0, 2.0), 40, 2001),
    "HalfNormal": (lambda: dist.HalfNormal(2.0), 40, 2001),
    "Beta": (lambda: dist.Beta(2.0, 0.5), 60, 2001),
    "transformed": (
        lambda: dist.TransformedDistribution(
            dist.Gamma(2.0, 1.0), [transforms.PowerTransform(2.0)]
        ),
        60,
        2001,
    ),
    "Dirichlet": (lambda: dist.Dirichlet(jnp.array([2.0, 1.0, 3.0])), 40, 401),
    "LKJCholesky": (lambda: dist.LKJCholesky(3, 2.0), 9, 91),
    "ordered": (
        lambda: dist.TransformedDistribution(
            dist.Normal(0.0, 1.0).expand([2]).to_event(1), transforms.OrderedTransform()
        ),
        9,
        301,
    ),
    "ZeroSumNormal": (lambda: dist.ZeroSumNormal(1.0, (3,)), 9, 301),
    "Wishart": (lambda: dist.Wishart(4.0, scale_matrix=jnp.eye(2)), 12, 121),
    "VonMises": (lambda: dist.VonMises(0.5, 2.0), 40, 2001),
    "a support by a site": (_hierarchy, 40, 801),
    "a truncation by a site": (_in_between, 40, 801),
}


@pytest.mark.parametrize("name", PRIORS)
def test_priors_integrate_to_one_on_unconstrained_space(x64, name):
    made, reach, num_points = PRIORS[name]

    def model():
        if name.startswith("a "):
            made()
        else:
            numpyro.sample("x", made())
        numpyro.factor("nothing", 0.0)

    problem = from_model(model)
    shapes = shapes_of(problem)
    log_z = log_integral(problem.prior.logdensity_fn, shapes, reach, num_points)
    assert abs(log_z) < 1e-5
    # A likelihood of 1 is exactly 1.
    draws = problem.prior.sample(jax.random.key(0), 10)
    assert np.all(jax.vmap(problem.loglikelihood_fn)(draws) == 0)


HEADS = np.repeat([1, 0], 50)
COUNTS = np.array([2, 0, 3, 5, 1])


def _coin(a):
    def model():
        bias = numpyro.sample("bias", dist.Beta(a, a))
        with numpyro.plate("tosses", 100):
            numpyro.sample("heads", dist.Bernoulli(bias), obs=HEADS)

    return model


def _counts():
    rate = numpyro.sample("rate", dist.Gamma(2.0, 0.5))
    numpyro.sample("counts", dist.Poisson(rate), obs=COUNTS)


def _gamma_poisson():
    shape, rate = 2 + COUNTS.sum(), 0.5 + COUNTS.size
    log_z = special.gammaln(shape) - special.gammaln(2) + 2 * np.log(0.5)
    return log_z - shape * np.log(rate) - special.gammaln(COUNTS + 1).sum()


EVIDENCES = {
    "flat coin": (_coin(1.0), special.betaln(51, 51) - special.betaln(1, 1), -71.398962169),
    "fair coin": (_coin(30.0), special.betaln(80, 80) - special.betaln(30, 30), -69.807736667),
    "counts": (_counts, _gamma_poisson(), _gamma_poisson()),
}


@pytest.mark.parametrize("name", EVIDENCES)
def test_conjugate_evidences_are_exact(x64, name):
    model, exact, published = EVIDENCES[name]
    problem = from_model(model)
    log_z = log_integral(problem.posterior.logdensity_fn, shapes_of(problem), 30, 4001)
    np.testing.assert_allclose(log_z, exact, rtol=1e-9)
    np.testing.assert_allclose(exact, published, rtol=1e-9)


def test_canary_without_the_jacobian_a_conjugate_evidence_is_off(x64):
    problem = from_model(_coin(1.0))

    def without(position):
        x = problem.constrain(position)["bias"]
        return problem.posterior.logdensity_fn(position) - jnp.log(x) - jnp.log1p(-x)

    log_z = log_integral(without, {"bias": ()}, 30, 4001)
    assert abs(log_z - EVIDENCES["flat coin"][1]) > 1


def test_a_disc_in_a_square(x64):
    """Likelihood 10 inside the unit circle, 1 outside: |z| < 4.5 of the prior's mean of it."""

    def model():
        x = numpyro.sample("x", dist.Uniform(-3.0, 3.0).expand([2]))
        numpyro.factor("disc", jnp.where(jnp.sum(x**2) < 1, jnp.log(10.0), 0.0))

    problem = from_model(model)
    draws = problem.prior.sample(jax.random.key(BASE_SEED), 20_000)
    likelihood = np.exp(jax.vmap(problem.loglikelihood_fn)(draws))
    error = likelihood.std() / np.sqrt(likelihood.size)
    assert abs(likelihood.mean() - (1 + np.pi / 4)) < 4.5 * error
