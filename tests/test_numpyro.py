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
    """Without the Jacobian of x = exp(y) it is the posterior's mean of exp(-y) times Z."""
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
    top = numpyro.sample("top", dist.HalfNormal(1.0))
    numpyro.sample("below", dist.Uniform(0.0, top))


def _in_between():
    low = numpyro.sample("low", dist.Normal(0.0, 1.0))
    numpyro.sample("between", dist.TruncatedNormal(low, 1.0, low=low, high=low + 2.0))


def _site(name, make):
    return lambda: numpyro.sample(name, make())


def _squared():
    return dist.TransformedDistribution(dist.Gamma(2.0, 1.0), [transforms.PowerTransform(2.0)])


def _ordered():
    normal = dist.Normal(0.0, 1.0).expand([2]).to_event(1)
    return dist.TransformedDistribution(normal, transforms.OrderedTransform())


#: Independent parts of one model, with the reach of the grid and its points an axis.
PARTS = {
    "InverseGamma": (_site("a", lambda: dist.InverseGamma(2.0, 2.0)), 40, 2001),
    "HalfNormal": (_site("b", lambda: dist.HalfNormal(2.0)), 40, 2001),
    "Beta": (_site("c", lambda: dist.Beta(2.0, 0.5)), 60, 2001),
    "transformed": (_site("d", _squared), 60, 2001),
    "Dirichlet": (_site("e", lambda: dist.Dirichlet(jnp.array([2.0, 1.0, 3.0]))), 30, 201),
    "LKJCholesky": (_site("f", lambda: dist.LKJCholesky(2, 2.0)), 40, 2001),
    "ordered": (_site("g", _ordered), 12, 201),
    "ZeroSumNormal": (_site("h", lambda: dist.ZeroSumNormal(1.0, (3,))), 9, 101),
    "VonMises": (_site("i", lambda: dist.VonMises(0.5, 2.0)), 40, 2001),
    "a support by a site": (_hierarchy, 30, 301),
    "a truncation by a site": (_in_between, 30, 301),
}


@pytest.fixture(scope="module")
def parts():
    def model():
        for part, _, _ in PARTS.values():
            part()
        numpyro.factor("nothing", 0.0)

    with jax.enable_x64(True):
        # Samplers of gamma variables take long to optimize, and are used for the check alone.
        jax.config.update("jax_disable_most_optimizations", True)
        try:
            problem = from_model(model)
        finally:
            jax.config.update("jax_disable_most_optimizations", False)
        yield problem, {name: jnp.zeros(shape) for name, shape in shapes_of(problem).items()}


@pytest.mark.parametrize("name", PARTS)
def test_priors_integrate_to_one_on_unconstrained_space(x64, parts, name):
    """Each part over a grid, where the others stay at 0."""
    problem, origin = parts
    part, reach, num_points = PARTS[name]
    with handlers.seed(rng_seed=0), handlers.trace() as trace:
        part()
    own = {name: origin[name] for name in trace}

    def logdensity_fn(position):
        return problem.prior.logdensity_fn({**origin, **position})

    others = logdensity_fn(own) + potential_energy(part, (), {}, own)
    shapes = {name: leaf.shape for name, leaf in own.items()}
    log_z = log_integral(logdensity_fn, shapes, reach, num_points) - others
    assert abs(log_z) < 1e-5


def test_a_likelihood_of_one_is_exactly_one(x64, parts):
    problem, origin = parts
    assert problem.loglikelihood_fn(origin) == 0


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


def test_the_bayes_factor_of_two_coins_is_published():
    """50 heads of 100: a prior about a fair coin over a flat one."""
    difference = EVIDENCES["fair coin"][1] - EVIDENCES["flat coin"][1]
    assert np.exp(difference) == pytest.approx(4.909762, rel=1e-6)


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
    likelihood = np.exp(jax.jit(jax.vmap(problem.loglikelihood_fn))(draws))
    error = likelihood.std() / np.sqrt(likelihood.size)
    assert abs(likelihood.mean() - (1 + np.pi / 4)) < 4.5 * error


# Beside numpyro's own density.

GROUPS = np.array([0, 0, 1, 2, 2, 2])
VALUES = RNG.normal(size=6)
IS_SEEN = np.array([True, False, True, True, True, True])


def _many_things(values):
    spread = numpyro.sample("spread", dist.HalfNormal(1.0))
    centre = numpyro.sample("centre", dist.Uniform(-spread, 2.0 * spread))
    shares = numpyro.sample("shares", dist.Dirichlet(jnp.ones(3)))
    weight = numpyro.sample("weight", dist.Beta(2.0, 2.0))
    config = {"effects": LocScaleReparam(0.0), "shifted": TransformReparam()}
    with handlers.reparam(config=config):
        with numpyro.plate("groups", 3):
            effects = numpyro.sample("effects", dist.Normal(centre, spread))
        shifted = numpyro.sample(
            "shifted",
            dist.TransformedDistribution(
                dist.Gamma(2.0, 1.0), transforms.AffineTransform(1.0, 2.0)
            ),
        )
    numpyro.deterministic("largest", jnp.max(effects))
    with numpyro.plate("data", 6), handlers.mask(mask=IS_SEEN), handlers.scale(scale=0.5):
        numpyro.sample("values", dist.Normal(effects[GROUPS], shifted), obs=values)
    with handlers.mask(mask=False):
        numpyro.sample("unseen", dist.Normal(centre, 1.0), obs=1e6)
    with numpyro.plate("of one", 1):
        numpyro.sample("single", dist.Normal(weight, 1.0), obs=jnp.array([0.3]))
    numpyro.factor("more", jnp.log(shares[0]))


def _walk(values):
    def step(at, value):
        at = numpyro.sample("at", dist.Normal(at, 0.5))
        width = numpyro.sample("width", dist.Uniform(0.0, 1.0 + at**2))
        numpyro.sample("value", dist.Normal(at, width), obs=value)
        return at, None

    scan(step, numpyro.sample("start", dist.Normal(0.0, 1.0)), values)


@pytest.fixture(scope="module")
def many_things():
    with jax.enable_x64(True):
        yield from_model(_many_things, VALUES)


@pytest.fixture(scope="module")
def sites(many_things):
    """All sites of 4000 draws of the prior."""
    with jax.enable_x64(True):
        yield many_things.constrain(many_things.prior.sample(jax.random.key(BASE_SEED), 4000))


@pytest.mark.parametrize("model", [_many_things, _walk])
def test_log_densities_are_numpyros(x64, many_things, model):
    """Of the joint, and of the prior, which is the joint with the observed sites hidden."""
    problem = many_things if model is _many_things else from_model(_walk, VALUES)
    shapes = shapes_of(problem)
    noise = np.random.default_rng(BASE_SEED)
    positions = {name: noise.normal(size=(4, *shape)) for name, shape in shapes.items()}
    observed = ["values", "unseen", "single", "more", "value"]

    def theirs(position):
        joint = -potential_energy(model, (VALUES,), {}, position)
        if model is _walk:
            return joint, joint - problem.loglikelihood_fn(position)
        hidden = handlers.block(model, hide=observed)
        return joint, -potential_energy(hidden, (VALUES,), {}, position)

    def ours(position):
        prior = problem.prior.logdensity_fn(position)
        sum_of_parts = prior + problem.loglikelihood_fn(position)
        return problem.posterior.logdensity_fn(position), prior, sum_of_parts

    joint, prior = jax.jit(jax.vmap(theirs))(positions)
    of_posterior, of_prior, sum_of_parts = jax.jit(jax.vmap(ours))(positions)
    np.testing.assert_allclose(of_posterior, joint, rtol=1e-12)
    np.testing.assert_allclose(of_prior, prior, rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(sum_of_parts, joint, rtol=1e-12)


def test_prior_samples_have_the_distributions_of_the_model(sites):
    """Kolmogorov and Smirnov, p > 1e-4 each, by whatever parameters a site depends on."""
    spread, centre = sites["spread"], sites["centre"]
    uniforms = {
        "spread": stats.halfnorm.cdf(spread),
        "centre": (centre + spread) / (3 * spread),
        "shares": stats.beta.cdf(sites["shares"][:, 1], 1, 2),
        "weight": stats.beta.cdf(sites["weight"], 2, 2),
        "effects": stats.norm.cdf((sites["effects"][:, 1] - centre) / spread),
        "shifted": stats.gamma.cdf((sites["shifted"] - 1) / 2, 2),
    }
    for name, uniform in uniforms.items():
        assert stats.kstest(np.asarray(uniform), "uniform").pvalue > 1e-4, name
    np.testing.assert_array_equal(sites["largest"], sites["effects"].max(axis=1))


def test_canary_a_support_that_forgets_the_other_site_is_seen(sites):
    wrong = np.asarray((sites["centre"] + 1) / 3)
    assert stats.kstest(wrong, "uniform").pvalue < 1e-10


# What is refused.


def _with(**sites):
    """A model of these latent sites, and an observed one."""

    def model():
        for name, make in sites.items():
            numpyro.sample(name, make())
        numpyro.sample("y", dist.Normal(0.0, 1.0), obs=0.0)

    return model


def _observing(make, value):
    def model():
        numpyro.sample("x", dist.Normal(0.0, 1.0))
        numpyro.sample("y", make(), obs=value)

    return model


def _twice():
    numpyro.sample("x", dist.Normal(0.0, 1.0))
    numpyro.sample("x", dist.Normal(0.0, 1.0))


def _without_data():
    numpyro.sample("x", dist.Normal(0.0, 1.0))


def _subsampled():
    mean = numpyro.sample("x", dist.Normal(0.0, 1.0))
    with numpyro.plate("batch", 6, subsample_size=2) as index:
        numpyro.sample("y", dist.Normal(mean, 1.0), obs=VALUES[index])


def _in_part():
    numpyro.sample("y", dist.Normal(0.0, 1.0).expand([6]), obs=VALUES, obs_mask=IS_SEEN)


def _with_a_key():
    numpyro.sample("x", dist.Normal(0.0, 1.0))
    numpyro.factor("y", jax.random.normal(numpyro.prng_key()))


def _with_a_parameter():
    scale = numpyro.param("width", 1.0)
    numpyro.sample("y", dist.Normal(numpyro.sample("x", dist.Normal()), scale), obs=0.0)


def _impossible_together():
    x = numpyro.sample("x", dist.Normal(0.0, 1.0))
    numpyro.factor("above", jnp.where(x > 0, 0.0, -jnp.inf))
    numpyro.factor("below", jnp.where(x < 0, 0.0, -jnp.inf))


def _normal():
    return dist.Normal(0.0, 1.0)


NORMAL = _with(x=_normal)
REFUSED = {
    "discrete": (_with(x=lambda: dist.Poisson(2.0)), "site 'x' is latent and discrete"),
    "improper": (
        _with(x=lambda: dist.ImproperUniform(constraints.positive, (), ())),
        "site 'x' has an improper prior",
    ),
    "improper, expanded": (
        _with(x=lambda: dist.ImproperUniform(constraints.real, (), ()).expand([2]).to_event(1)),
        "site 'x' has an improper prior",
    ),
    "on a circle": (
        handlers.reparam(_with(x=lambda: dist.VonMises(0.0, 1.0)), {"x": CircularReparam()}),
        "site 'x_unwrapped' has an improper prior",
    ),
    "flat": (_with(x=lambda: dist.Uniform(-jnp.inf, jnp.inf)), "site 'x' or its prior's"),
    "masked": (_with(x=lambda: _normal().mask(False)), "site 'x' is latent and masked"),
    "in part": (_in_part, "site 'y_unobserved' is latent and masked"),
    "scaled": (handlers.scale(NORMAL, 2.0), "site 'x' is latent and scaled"),
    "Delta": (_with(x=lambda: dist.Delta(0.0)), "site 'x' has a Delta prior"),
    "on a sphere": (
        _with(x=lambda: dist.ProjectedNormal(jnp.ones(3))),
        "site 'x': no bijection onto",
    ),
    "with a value": (handlers.substitute(NORMAL, {"x": 1.0}), "site 'x' is latent and has a"),
    "seeded": (handlers.seed(NORMAL, 0), "site 'x' has a random key of its own"),
    "a parameter": (_with_a_parameter, "site 'width' is a numpyro.param"),
    "a key": (_with_a_key, "a random key of its own"),
    "a mini-batch": (_subsampled, "plate 'batch' is subsampled, 2 of 6"),
    "two of a name": (_twice, "unique names but got `x`"),
    "no data": (_without_data, "no observed site and no factor"),
    "nothing latent": (_with(), "no latent site"),
    "no function": (3, "must be a function; got int"),
    "too long": (
        _observing(lambda: _normal().expand([5]), VALUES),
        "site 'y' is observed with shape \\(6,\\)",
    ),
    "a column": (
        _observing(lambda: _normal().expand([6]), VALUES[:, None]),
        "site 'y' is observed with shape \\(6, 1\\)",
    ),
    "one for six": (
        _observing(lambda: _normal().expand([6]), 0.0),
        "site 'y' is observed with shape \\(\\)",
    ),
    "a vector too short": (
        _observing(lambda: _normal().expand([3]).to_event(1), VALUES),
        "site 'y' is observed with shape \\(6,\\)",
    ),
    "missing": (_observing(_normal, np.nan), "site 'y' has likelihood 0 at all"),
    "impossible": (
        _observing(lambda: dist.TruncatedNormal(low=0.0), -1.0),
        "site 'y' has likelihood 0 at all",
    ),
    "impossible together": (_impossible_together, "'above', 'below'\\] together is 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_evidence_is_refused_by_the_name_of_the_site(case):
    model, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        from_model(model)


def test_data_may_have_more_axes_than_their_distribution():
    from_model(_observing(_normal, VALUES))
    from_model(handlers.condition(_twice_named, {"y": VALUES[0]}))


def _twice_named():
    numpyro.sample("y", dist.Normal(numpyro.sample("x", dist.Normal(0.0, 1.0)), 1.0))
