"""Latents that are paths: enumeration, normal data, bridges, flows without noise."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy.stats import norm
from zscore import test_key

from jarzynski_jax import latent, training
from jarzynski_jax.density import Density
from jarzynski_jax.energies import functional
from jarzynski_jax.free_energy import exponential_average
from jarzynski_jax.kernels import escorted
from jarzynski_jax.latent import diffusion, markov_autoencoder, outputs
from jarzynski_jax.latent.markov_autoencoder import (
    MarkovAutoencoder,
    Transition,
    euler_maruyama,
    gaussian_transition,
)
from jarzynski_jax.latent.noise_predictor import NoisePredictor


def accept(data):
    del data


def normal(mean, scale, shape=(1,)):
    def logdensity_fn(z):
        return jnp.sum(jax.scipy.stats.norm.logpdf(z, mean, scale))

    def sample(rng_key, num_samples):
        return mean + scale * jax.random.normal(rng_key, (num_samples, *shape))

    return Density(logdensity_fn, 0.0, sample)


# ---------------------------------------------------------------- finite chains

NUM_STATES, NUM_STEPS = 4, 3


def table_transition(name):
    def log_prob(params, time, z, new):
        return params[name][time, z, new]

    def sample(rng_key, params, time, z):
        return jax.random.categorical(rng_key, params[name][time, z])

    return Transition(log_prob, sample)


@pytest.fixture(scope="module")
def finite():
    """A chain of four states with random kernels, and the exact p(x) by its matrices."""
    rng = np.random.default_rng(0)
    tables = {
        name: np.log(rng.dirichlet(np.ones(NUM_STATES) * 2, (NUM_STEPS, NUM_STATES)))
        for name in ("forward", "backward")
    }
    first = rng.dirichlet(np.ones(NUM_STATES))
    law = first
    for table in tables["forward"]:
        law = law @ np.exp(table)
    prior = Density(
        lambda z: jnp.log(jnp.asarray(first, jnp.float32))[z],
        0.0,
        lambda key, n: jax.random.categorical(key, jnp.log(jnp.asarray(first)), shape=(n,)),
    )
    chains = table_transition("forward"), table_transition("backward")
    model = MarkovAutoencoder(prior, *chains, NUM_STEPS, (), accept)
    return model, jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tables), law


def test_the_weights_of_all_paths_add_up_to_the_likelihood(finite):
    model, params, law = finite
    paths = jnp.array(list(itertools.product(range(NUM_STATES), repeat=NUM_STEPS)))
    weigh = jax.jit(
        jax.vmap(
            jax.vmap(
                lambda path, x: markov_autoencoder.log_weight(model, params, path, x), (0, None)
            ),
            (None, 0),
        )
    )
    log_weights = np.asarray(weigh(paths, jnp.arange(NUM_STATES)), np.float64)
    backward = np.asarray(params["backward"], np.float64)
    for x in range(NUM_STATES):
        states = np.concatenate([paths, np.full((len(paths), 1), x)], axis=1)
        log_q = sum(backward[s, states[:, s + 1], states[:, s]] for s in range(NUM_STEPS))
        assert np.sum(np.exp(log_q)) == pytest.approx(1)
        assert np.sum(np.exp(log_q + log_weights[x])) == pytest.approx(law[x], rel=1e-5)
        assert np.sum(np.exp(log_q) * log_weights[x]) < np.log(law[x])


def test_the_mean_weight_of_inferred_paths_is_the_likelihood(finite):
    model, params, law = finite

    @jax.jit
    def weigh(key, x):
        path = markov_autoencoder.infer(key, model, params, x)
        return markov_autoencoder.log_weight(model, params, path, x)

    keys = jax.random.split(test_key("infer"), 20000)
    log_weights = jax.vmap(weigh, (0, None))(keys, jnp.array(2))
    found = exponential_average(-log_weights)
    assert abs(-found.value - np.log(law[2])) < 4.5 * found.standard_error
    assert found.standard_error < 0.05


def test_generated_observations_have_the_law_of_the_matrices(finite):
    model, params, law = finite
    draw = jax.vmap(lambda key: markov_autoencoder.generate(key, model, params)[1])
    x = np.asarray(draw(jax.random.split(test_key("generate"), 20000)))
    shares = np.bincount(x, minlength=NUM_STATES) / len(x)
    assert np.all(np.abs(shares - law) < 4.5 * np.sqrt(law * (1 - law) / len(x)))


# ---------------------------------------------------------------- one step


@pytest.fixture(scope="module")
def one_step():
    """An autoencoder as a chain of one step, and both weights of the same noise."""
    vae, params = latent.make_autoencoder((3,), 2, (4,), outputs.gaussian(), rngs=nnx.Rngs(0))

    def log_prob(params, time, z, new):
        return jnp.sum(vae.output.log_prob(vae.decode(params, z), new))

    def sample(rng_key, params, time, z):
        return vae.output.sample(rng_key, vae.decode(params, z))

    chain = MarkovAutoencoder(
        normal(0.0, 1.0, (2,)),
        Transition(log_prob, sample),
        gaussian_transition(lambda params, time, x: vae.encode(params, x)),
        1,
        (2,),
        accept,
    )
    noise, x = jax.random.normal(test_key("noise"), (20, 2)), jnp.array([1.0, -2.0, 0.3])
    model = latent.as_latent_model(vae)
    weigh = jax.jit(jax.vmap(lambda noise: model.log_weight(params, x, noise)))
    return chain, params, x, noise, weigh(noise)


def test_a_chain_of_one_step_is_the_autoencoder(one_step):
    chain, params, x, noise, expected = one_step
    model = markov_autoencoder.as_latent_model(chain)
    found = jax.jit(jax.vmap(lambda noise: model.log_weight(params, x, noise)))(noise[:, None])
    assert np.allclose(found, expected, atol=1e-4)


def test_canary_without_the_last_factor_it_is_not(one_step):
    chain, params, x, noise, expected = one_step

    def dropped(params, time, z, new):
        return 0.0

    forward = chain.forward._replace(log_prob=dropped)
    model = markov_autoencoder.as_latent_model(chain._replace(forward=forward))
    found = jax.jit(jax.vmap(lambda noise: model.log_weight(params, x, noise)))(noise[:, None])
    assert np.max(np.abs(found - expected)) > 1


# ---------------------------------------------------------------- stochastic dynamics


def test_the_ratio_of_two_kernels_is_the_escorted_increment():
    h, epsilon = 0.07, 0.4

    def logdensity(z):
        return -jnp.sum(z**4) / 4 + z[0] * z[1]

    def velocity(z):
        return jnp.array([z[1] - 1, jnp.sin(z[0])])

    score = jax.grad(logdensity)
    forward = euler_maruyama(lambda params, s, z: velocity(z) + epsilon * score(z), h, epsilon)
    backward = euler_maruyama(
        lambda params, s, z: -velocity(z) + epsilon * score(z), h, epsilon
    )
    state = escorted.init(jnp.array([0.3, -0.8]), logdensity, velocity)
    kernel = escorted.build_kernel()
    new, info = kernel(test_key("step"), state, logdensity, velocity, h, epsilon)
    x, y = state.position, new.position
    ratio = backward.log_prob((), 0, y, x) - forward.log_prob((), 0, x, y)
    ends = logdensity(y) - logdensity(x)
    assert float(info.log_weight_increment - ends) == pytest.approx(float(ratio), abs=2e-5)


def ornstein_uhlenbeck(params, s, z):
    return 0.8 * z, 0.6 * jnp.ones_like(z)


def test_a_stationary_process_is_inferred_by_itself():
    """It is reversible: the same kernel backward, and A is the log-density of x exactly."""
    step = gaussian_transition(ornstein_uhlenbeck)
    chain = MarkovAutoencoder(normal(0.0, 1.0), step, step, 12, (1,), accept)
    model = markov_autoencoder.as_latent_model(chain)
    x = jnp.linspace(-3, 3, 5)[:, None]
    log_weights = latent.draw_log_weights(test_key("ou"), model, (), x, 20)
    assert np.allclose(log_weights, norm.logpdf(x), atol=2e-5)


def test_brownian_paths_are_inferred_by_the_bridge():
    """From a point a: backward mean a + t/(t + 1) (z - a), variance 2hε t/(t + 1)."""
    start, variance, num_steps = 0.7, 0.3, 9

    def bridge(params, s, z):
        # z_s is where the path is after s + 1 steps from a.
        share = (s + 1) / (s + 2)
        return start + share * (z - start), jnp.sqrt(share * variance) * jnp.ones_like(z)

    forward = euler_maruyama(lambda params, s, z: jnp.zeros_like(z), variance, 0.5)
    chain = MarkovAutoencoder(
        normal(start, math.sqrt(variance)),
        forward,
        gaussian_transition(bridge),
        num_steps,
        (1,),
        accept,
    )
    model = markov_autoencoder.as_latent_model(chain)
    x = jnp.linspace(-3, 3, 5)[:, None]
    log_weights = latent.draw_log_weights(test_key("bridge"), model, (), x, 20)
    exact = norm.logpdf(x, start, math.sqrt((num_steps + 1) * variance))
    assert np.allclose(log_weights, exact, atol=2e-5)


# ---------------------------------------------------------------- diffusion of normal data

SPREADS = np.array([0.1, 0.5, 1.0, 2.0])
#: Excess of the bound with c = β and 1000 steps of DDPM, and with the posterior's variance.
EXCESS = {
    "best": [0, 0, 0, 0],
    "betas": [1.958786e-2, 1.09226e-3, 0, 8.5311e-4],
    "posterior": [0.392, 0.456, 0.465, 0.470],
}


@pytest.fixture(scope="module")
def normal_diffusion():
    """Of N(0, s^2): the schedule, the exact noise, and the best variances, by s."""
    schedule = diffusion.linear_schedule(1000)
    before = np.concatenate([[1.0], schedule.alpha_bars[:-1]])

    def v(spread, kept):
        return kept * spread**2 + 1 - kept

    found = {}
    for spread in SPREADS:
        after = v(spread, schedule.alpha_bars)
        factor = np.sqrt(1 - schedule.alpha_bars) / after
        best = schedule.betas * v(spread, before) / after
        found[spread] = factor, best
    return schedule, found


@pytest.fixture(scope="module")
def of_normal_data(normal_diffusion):
    """A function (spread, variances) -> excess of the bound, compiled once, in float64."""
    schedule, found = normal_diffusion
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    weights = weights / weights.sum()
    products = np.outer(weights, weights)

    def excess(spread, variances):
        factor = found[spread][0]
        with jax.enable_x64(True):

            def noise_fn(params, t, x):
                return params[t - 1] * x

            model = diffusion.make_diffusion(noise_fn, schedule, (1,), variances)
            averaged = diffusion.as_latent_model(model).averaged
            grid = jnp.asarray(nodes)
            values = jax.vmap(
                jax.vmap(
                    lambda x, eps: averaged(
                        jnp.asarray(factor), jnp.full(1, spread * x), jnp.full((1000, 1), eps)
                    ),
                    (None, 0),
                ),
                (0, None),
            )(grid, grid)
        after = schedule.alpha_bars[-1] * spread**2 + 1 - schedule.alpha_bars[-1]
        entropy = math.log(2 * math.pi * math.e * spread**2) / 2
        return (
            -np.sum(products * np.asarray(values)) - entropy - (after - 1 - math.log(after)) / 2
        )

    return excess


@pytest.mark.parametrize("choice", EXCESS)
def test_the_bound_of_normal_data(normal_diffusion, of_normal_data, choice):
    schedule, found = normal_diffusion
    for spread, expected in zip(SPREADS, EXCESS[choice], strict=True):
        best = found[spread][1]
        posterior = np.where(schedule.posterior > 0, schedule.posterior, best)
        variances = {"best": best, "betas": schedule.betas, "posterior": posterior}[choice]
        tolerance = 5e-4 if choice == "posterior" else 1e-6
        assert of_normal_data(spread, variances) == pytest.approx(expected, abs=tolerance)


@pytest.fixture(scope="module")
def ten_steps():
    """Of N(0, 4), ten steps: exact noise and variances, as one latent model."""
    schedule = diffusion.make_schedule(np.linspace(0.05, 0.6, 10))
    before = np.concatenate([[1.0], schedule.alpha_bars[:-1]])
    after = 4 * schedule.alpha_bars + 1 - schedule.alpha_bars
    factor = jnp.asarray(np.sqrt(1 - schedule.alpha_bars) / after, jnp.float32)
    best = schedule.betas * (4 * before + 1 - before) / after
    model = diffusion.make_diffusion(
        lambda params, t, x: factor[t - 1] * x, schedule, (2,), best
    )
    return model, best


def test_the_best_variances_are_found(ten_steps):
    model, best = ten_steps
    data = 2 * jax.random.normal(test_key("data"), (20000, 2))
    found = diffusion.best_variances(
        test_key("variances"), model._replace(variances=model.schedule.betas), (), data
    )
    # A mean of squares of 40 000 errors.
    assert np.allclose(found, best, rtol=4.5 * math.sqrt(2 / 40000))


def test_weights_of_paths_and_the_sum_over_steps_have_the_same_mean(ten_steps):
    model, _ = ten_steps
    chain = diffusion.as_latent_model(model._replace(variances=model.schedule.betas))
    x, key = jnp.array([[1.0, -2.0]]), test_key("paths")
    by_path = np.asarray(latent.draw_log_weights(key, chain, (), x, 20000))[0]
    by_step = np.asarray(
        latent.draw_log_weights(key, chain._replace(log_weight=chain.averaged), (), x, 20000)
    )[0]
    error = math.hypot(by_path.std(), by_step.std()) / math.sqrt(20000)
    assert abs(by_path.mean() - by_step.mean()) < 4.5 * error
    assert error < 0.02
    # Jarzynski's average of the same paths is the likelihood of the chain, nearly that of data.
    found = exponential_average(-jnp.asarray(by_path))
    assert by_path.mean() < -float(found.value)


def test_the_bracket_of_a_diffusion(ten_steps):
    model, _ = ten_steps
    chain = diffusion.as_latent_model(model._replace(variances=model.schedule.betas))
    x, exact = latent.simulate(test_key("simulate"), chain, (), 20)
    times = jnp.arange(1, 41) / 40
    bounds = latent.likelihood_bounds(test_key("bounds"), chain, (), x, times, exact=exact)
    found = latent.likelihood_bracket(bounds)
    assert found.doubts == ()
    elbo = latent.evidence_lower_bound(test_key("elbo"), chain, (), x, 500).mean()
    assert elbo < found.lower < found.upper + 4.5 * (found.lower_error + found.upper_error)
    assert found.upper - found.lower < 0.1


def test_a_network_that_was_not_trained_is_right_for_standard_normal_data():
    """E[eps | x_t] = sqrt(1 - abar_t) x_t, at each step t of its own."""
    schedule = diffusion.linear_schedule(20, 0.01, 0.4)
    predictor = NoisePredictor((2,), schedule, (32,), rngs=nnx.Rngs(0))
    x = jnp.array([0.3, -2.0])
    for t in (1, 7, 20):
        expected = np.sqrt(1 - schedule.alpha_bars[t - 1]) * x
        np.testing.assert_allclose(predictor(jnp.array(t), x), expected, rtol=1e-6)


def test_noise_prediction_learns():
    """The optimum of the simple loss of N(0, s^2) is s^2 abar/v a feature, averaged over t."""
    schedule = diffusion.linear_schedule(20, 0.01, 0.4)
    predictor = NoisePredictor((2,), schedule, (32,), rngs=nnx.Rngs(0))
    noise_fn, params = functional(predictor)
    model = diffusion.make_diffusion(noise_fn, schedule, (2,))
    data = 2 * jax.random.normal(test_key("data"), (2000, 2))
    kept = schedule.alpha_bars
    best = 2 * np.mean(4 * kept / (4 * kept + 1 - kept))
    objective = diffusion.noise_prediction(model, optax.adam(5e-3))
    state = objective.init(test_key("init"), params, data)
    result = training.fit(
        test_key("fit"), objective, state, data, num_steps=1000, batch_size=200
    )
    assert best - 0.03 < result.metrics.loss[-200:].mean() < best + 0.08
    # By the likelihood the same network is a bound on the entropy.
    likely = diffusion.noise_prediction(model, optax.adam(1e-3), "likelihood")
    keys = jax.random.split(test_key("step"), 50)
    _, metrics = jax.jit(jax.vmap(likely.step, (0, None, None)))(keys, result.state, data)
    error = np.hypot(np.std(metrics.loss) / 50**0.5, (2 / 2 / 2000) ** 0.5)  # noise, data
    entropy = np.log(2 * np.pi * np.e) + 2 * np.log(2)
    assert entropy - 4.5 * error < metrics.loss.mean() < entropy + 0.2


# ---------------------------------------------------------------- the flow without noise


def shear(z):
    """A bijection of the plane, and its inverse."""
    return jnp.array([z[0], jnp.exp(jnp.sin(z[0])) * z[1] + z[0] ** 2 / 2])


def unshear(x):
    return jnp.array([x[0], (x[1] - x[0] ** 2 / 2) * jnp.exp(-jnp.sin(x[0]))])


def flow_bound(to_latent, to_data, is_right, x, scale, nodes):
    """Bound of the autoencoder z = f(x) + s noise, x = g(z) + s J noise; J = 1 if wrong."""
    jacobian = jax.jacfwd(to_data)

    def of_noise(x, noise):
        z = to_latent(x) + scale * noise
        # The covariance of the decoder belongs to the latent that the encoder means.
        factor = jnp.where(is_right, jacobian(z), jnp.eye(2))
        away = jnp.linalg.solve(factor, x - to_data(z)) / scale
        log_x = -jnp.sum(away**2) / 2 - jnp.linalg.slogdet(factor)[1]
        return log_x + jnp.sum(noise**2) / 2 + jnp.sum(jax.scipy.stats.norm.logpdf(z))

    return jnp.mean(jax.vmap(jax.vmap(of_noise, (None, 0)), (0, None))(x, nodes))


def log_likelihood(to_latent, x):
    def of_one(x):
        log_det = jnp.linalg.slogdet(jax.jacfwd(to_latent)(x))[1]
        return jnp.sum(jax.scipy.stats.norm.logpdf(to_latent(x))) + log_det

    return jnp.mean(jax.vmap(of_one)(x))


@pytest.fixture(scope="module")
def linear_flow():
    """Excess of -ELBO over the flow's, with the right covariance and with a scalar one."""
    matrix = jnp.array([[1.3, 0.4], [-0.2, 0.7]])
    inverse = jnp.linalg.inv(matrix)
    # Of variance 1 and mean 0 exactly.
    nodes = math.sqrt(2) * jnp.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    x = jax.random.normal(test_key("x"), (50, 2))

    @jax.jit
    def excess(scale, is_right):
        maps = (lambda x: matrix @ x), (lambda z: inverse @ z)
        bound = flow_bound(*maps, is_right, x, scale, nodes)
        return log_likelihood(maps[0], x) - bound

    return excess, np.asarray(inverse, np.float64)


@pytest.mark.parametrize("scale", [1.0, 0.1, 0.01])
def test_a_linear_flow_costs_half_its_noise(linear_flow, scale):
    excess, jacobian = linear_flow
    assert float(excess(scale, True)) == pytest.approx(scale**2, abs=2e-5)  # D s^2/2, D = 2
    gram = jacobian.T @ jacobian
    gap = (np.trace(gram) - 2 - np.linalg.slogdet(gram)[1]) / 2
    assert gap > 0.1
    assert float(excess(scale, False)) == pytest.approx(scale**2 + gap, abs=2e-4)


def test_a_bent_flow_is_the_limit_without_noise(x64):
    x = jax.random.normal(test_key("x"), (20, 2), jnp.float64)
    nodes = jax.random.normal(test_key("nodes"), (100, 2), jnp.float64)
    nodes = jnp.concatenate([nodes, -nodes])  # so that what is odd in the noise cancels

    @jax.jit
    def excess(scale):
        bound = flow_bound(unshear, shear, True, x, scale, nodes)
        return (log_likelihood(unshear, x) - bound) / scale**2

    coarse, fine, finest = (float(excess(scale)) for scale in (0.04, 0.02, 0.01))
    assert abs(finest - fine) < abs(fine - coarse) / 3 + 1e-6
    assert abs(finest) < 100


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("beta", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_a_schedule_outside_of_0_to_1_is_refused(beta):
    with pytest.raises(ValueError, match=r"between 0 and 1; got .* at step 2"):
        diffusion.make_schedule([0.1, beta])


def test_what_is_no_diffusion_is_refused():
    def noise_fn(params, t, x):
        return x

    with pytest.raises(ValueError, match="num_steps must be at least 1"):
        diffusion.linear_schedule(0)
    with pytest.raises(ValueError, match=r"shape \(T,\) with T ≥ 1"):
        diffusion.make_schedule([])
    with pytest.raises(ValueError, match="schedule must come from"):
        diffusion.make_diffusion(noise_fn, [0.1], (2,))
    schedule = diffusion.linear_schedule(5)
    with pytest.raises(ValueError, match="5 positive numbers"):
        diffusion.make_diffusion(noise_fn, schedule, (2,), np.zeros(5))
    model = diffusion.make_diffusion(noise_fn, schedule, (2,))
    with pytest.raises(ValueError, match="weighting must be one of"):
        diffusion.noise_prediction(model, optax.sgd(0.1), "uniform")
    objective = diffusion.noise_prediction(model, optax.sgd(0.1))
    for data, said in (
        (jnp.zeros((3, 4)), "of the model"),
        (jnp.full((3, 2), jnp.nan), "finite"),
    ):
        with pytest.raises(ValueError, match=said):
            objective.init(jax.random.key(0), {"a": jnp.zeros(1)}, data)
    with pytest.raises(ValueError, match="a path must have the shape"):
        markov_autoencoder.log_weight(
            diffusion.as_markov_autoencoder(model), (), jnp.zeros((4, 2)), jnp.zeros(2)
        )


def test_a_backward_step_that_is_not_gaussian_has_no_noise(finite):
    with pytest.raises(ValueError, match="only Gaussian backward steps"):
        markov_autoencoder.as_latent_model(finite[0])


def test_every_datum_sees_every_step():
    """So the mean loss of a batch does not depend on the order in which its data stand."""
    schedule = diffusion.linear_schedule(20, 0.01, 0.4)
    predictor = NoisePredictor((1,), schedule, (8,), rngs=nnx.Rngs(0))
    noise_fn, params = functional(predictor)
    model = diffusion.make_diffusion(noise_fn, schedule, (1,))
    objective = diffusion.noise_prediction(model, optax.sgd(0.1), "likelihood")
    batch = jnp.linspace(-3, 1, 4)[:, None]
    state = objective.init(test_key("init"), params, batch)
    losses = jax.jit(jax.vmap(lambda key, x: objective.step(key, state, x)[1].loss, (0, None)))
    keys = jax.random.split(test_key("order"), 8000)
    one, other = losses(keys[:4000], batch), losses(keys[4000:], batch[::-1])
    error = np.hypot(np.std(one), np.std(other)) / 4000**0.5
    assert abs(np.mean(one) - np.mean(other)) < 4.5 * error
