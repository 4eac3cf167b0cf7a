"""Autoencoders and brackets of their likelihood, against probabilistic principal components.

With linear networks everything is known in closed form (Tipping and Bishop, 1999; Lucas et al.,
2019): data of covariance S with eigenvalues l have the best noise s2 = mean(l_{H+1..D}), the
weights W = U (L - s2)^(1/2) R and the encoder N(M^-1 W^T x, s2/M_ii), M = W^T W + s2.
"""

import itertools
import math
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import latent, training
from jarzynski_jax.compiling import compiled_once
from jarzynski_jax.latent import autoencoder, networks, outputs, variational
from jarzynski_jax.walkers import kinetic_langevin

EIGENVALUES = (5.0, 2.0, 1.0)
ROTATION = 0.4


class Known(NamedTuple):
    """A linear autoencoder with its best parameters, and the covariance of its observations."""

    vae: autoencoder.Autoencoder
    params: dict
    covariance: np.ndarray
    s2: float


@cache  # one model, so that what was compiled for it is found again
def linear(num_features, latent_dim):
    return latent.make_autoencoder(
        (num_features,), latent_dim, (), outputs.gaussian(), rngs=nnx.Rngs(0)
    )


def principal_components(eigenvalues, num_kept=2, angle=0.0):
    """The closed form, in axes along the eigenvectors, its latents turned by an angle.

    There are two latents; the second is switched off if one is kept.
    """
    dimension, latent_dim, dtype = len(eigenvalues), 2, np.float32
    vae, template = linear(dimension, latent_dim)
    s2 = float(np.mean(eigenvalues[num_kept:]))
    kept = np.where(np.arange(latent_dim) < num_kept, eigenvalues[:latent_dim], s2)
    weights = np.eye(dimension, latent_dim) * np.sqrt(kept - s2)
    if angle:
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        weights = weights @ turn
    moment = weights.T @ weights + s2 * np.eye(latent_dim)
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, dtype), template)
    params["encoder"]["mean"]["kernel"] = (np.linalg.inv(moment) @ weights.T).T.astype(dtype)
    params["encoder"]["log_scale"]["bias"] = np.log(s2 / np.diag(moment)).astype(dtype) / 2
    params["decoder"]["channels"]["kernel"] = weights.T.astype(dtype)
    params["decoder"]["shared"] = np.full(1, np.log(s2) / 2, dtype)
    params = jax.tree.map(jnp.asarray, params)
    return Known(vae, params, weights @ weights.T + s2 * np.eye(dimension), s2)


def data_of(eigenvalues):
    """Points whose mean is 0 and whose covariance is exactly diag(l)."""
    axes = np.diag(np.sqrt(len(eigenvalues) * np.asarray(eigenvalues)))
    return np.concatenate([axes, -axes])


def gauss_hermite(latent_dim):
    """Nodes and weights of N(0, 1), exact for polynomials of degree 5 in each latent."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    grid = np.array(list(itertools.product(nodes, repeat=latent_dim)))
    probabilities = np.array(
        list(itertools.product(weights / weights.sum(), repeat=latent_dim))
    )
    return jnp.asarray(grid), jnp.asarray(probabilities.prod(axis=1))


def exact_bound(known, x, params=None, of="log_weight"):
    """Mean of A over the noise, and over the data."""
    params = known.params if params is None else params
    return _exact_bound(known.vae, of, params, jnp.asarray(x, jnp.float32))


@compiled_once
def _exact_bound(vae, of, params, x):
    nodes, probabilities = gauss_hermite(vae.latent_dim)
    fn = getattr(latent.as_latent_model(vae), of)
    each = jax.vmap(jax.vmap(fn, (None, None, 0)), (None, 0, None))(params, x, nodes)
    return jnp.mean(each @ probabilities)


# ---------------------------------------------------------------- closed forms


@pytest.mark.parametrize(
    ("eigenvalues", "num_kept", "bound", "rate", "variances"),
    [
        ((5, 2, 1), 1, 5.466999663939, 0.601986402163, [0.3, 1]),
        ((5, 2, 1), 2, 5.408108146111, 1.151292546497, [0.2, 0.5]),
        ((4, 3, 1, 0.5, 0.5), 2, 7.728948328755, 1.647918433022, [1 / 6, 2 / 9]),
    ],
)
def test_the_bound_of_principal_components(eigenvalues, num_kept, bound, rate, variances):
    known, x = principal_components(eigenvalues, num_kept), data_of(eigenvalues)
    for of in ("log_weight", "averaged"):
        assert abs(-exact_bound(known, x, of=of) - bound) < 1e-5
    rates = jax.jit(jax.vmap(lambda x: autoencoder.rate(known.vae, known.params, x)))(x)
    assert abs(jnp.mean(rates) - rate) < 1e-5
    _, scale = known.vae.encode(known.params, jnp.asarray(x[0]))
    assert np.allclose(np.square(scale), variances, atol=1e-6)


def test_a_diagonal_encoder_pays_for_rotated_latents():
    known = principal_components(EIGENVALUES, 2, ROTATION)
    gap = -exact_bound(known, data_of(EIGENVALUES)) - 5.408108146111
    assert abs(gap - 0.054779072453) < 1e-5


def test_scikit_learn_gives_the_same_likelihood():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 3)) @ rng.normal(size=(3, 3))
    x = x - x.mean(axis=0)
    pca = PCA(2).fit(x)
    # Its covariance has the denominator n - 1.
    known = principal_components((*pca.explained_variance_, pca.noise_variance_))
    basis = np.linalg.svd(np.cov(x.T))[0]
    assert abs(exact_bound(known, x @ basis) - pca.score(x)) < 1e-4


def test_with_the_exact_posterior_no_weight_has_spread():
    known = principal_components(EIGENVALUES, 2)
    x = data_of(EIGENVALUES).astype(np.float32)
    model, key = latent.as_latent_model(known.vae), test_key("spread")
    log_weights = latent.draw_log_weights(key, model, known.params, x, 200)
    exact = multivariate_normal(cov=known.covariance).logpdf(x)
    assert np.max(np.abs(log_weights - exact[:, None])) < 1e-4
    bound = latent.importance_weighted_bound(key, model, known.params, x, 200)
    assert np.max(np.abs(bound - exact)) < 1e-4


# ---------------------------------------------------------------- learning


def learn(first, optimizer, num_steps, **options):
    (vae, params), data = first, jnp.asarray(data_of(EIGENVALUES), jnp.float32)
    objective = variational.variational(
        latent.as_latent_model(vae), optimizer, num_samples=300, **options
    )
    state = objective.init(test_key("init"), params, data)

    @jax.jit
    def run(state):
        keys = jax.random.split(test_key("learn"), num_steps)
        return jax.lax.scan(lambda state, key: objective.step(key, state, data), state, keys)

    return run(state)[0].params


@pytest.fixture(scope="module")
def learned():
    """A linear autoencoder that was trained on data of exactly known covariance."""
    optimizer = optax.adam(optax.cosine_decay_schedule(0.03, 4000))
    return learn(linear(3, 2), optimizer, 4000)


def test_a_linear_autoencoder_learns_the_principal_components(learned):
    vae, _ = linear(3, 2)
    known = Known(vae, learned, None, None)
    assert abs(-exact_bound(known, data_of(EIGENVALUES)) - 5.408108146111) < 1e-3
    weights = np.asarray(learned["decoder"]["channels"]["kernel"])  # (H, D)
    order = np.argsort(-np.sum(weights**2, axis=1))
    assert np.allclose(np.sum(weights**2, axis=1)[order], [4, 1], atol=2e-3)
    # Along principal axes, with signs and order free: the diagonal encoder turns them there.
    assert np.allclose(np.abs(weights[order]), [[2, 0, 0], [0, 1, 0]], atol=2e-3)
    scale = vae.encode(learned, jnp.zeros(3))[1]
    assert np.allclose(np.square(scale)[order], [0.2, 0.5], atol=1e-3)
    assert abs(np.exp(2 * learned["decoder"]["shared"][0]) - 1) < 1e-3


def test_a_latent_is_switched_off_below_the_noise():
    vae, params = linear(3, 2)
    params = jax.tree.map(jnp.asarray, params)
    params["decoder"]["shared"] = jnp.full(1, math.log(3) / 2)  # l_1 > s2 = 3 > l_2
    fixed = jax.tree_util.tree_map_with_path(
        lambda path, _: "fixed" if "shared" in str(path) else "free", params
    )
    adam = optax.adam(optax.cosine_decay_schedule(0.03, 2000))
    optimizer = optax.multi_transform({"free": adam, "fixed": optax.set_to_zero()}, fixed)
    found = learn((vae, params), optimizer, 2000, bound="closed_form")
    strength = np.sort(np.sum(np.square(found["decoder"]["channels"]["kernel"]), axis=1))
    assert np.allclose(strength, [0, 2], atol=1e-2)
    means, scales = jax.vmap(lambda x: vae.encode(found, x))(data_of(EIGENVALUES))
    off = np.argmin(np.std(means, axis=0))
    assert np.allclose(scales[:, off], 1, atol=1e-2)
    assert np.allclose(means[:, off], 0, atol=1e-2)


@pytest.fixture(scope="module")
def gradients():
    """Reparameterised gradients, right, and with the mean of the encoder held; and exact."""
    known = principal_components(EIGENVALUES, 2, ROTATION)
    params = jax.tree.map(lambda leaf: leaf + 0.1, known.params)
    x = jnp.array([[1.0, -2.0, 0.5], [0.3, 0.2, 1.0]])
    vae = known.vae

    def held(params, x):
        mean, scale = known.vae.encode(params, x)
        return jax.lax.stop_gradient(mean), scale

    models = [latent.as_latent_model(of) for of in (vae, vae._replace(encode=held))]

    def estimate(key, is_faulty):
        noise = jax.random.normal(key, (1000, 2, 2))

        def loss(params):
            def of(model):
                fn = jax.vmap(jax.vmap(model.log_weight, (None, 0, 0)), (None, None, 0))
                return jnp.mean(fn(params, x, noise))

            return jax.lax.cond(is_faulty, lambda: of(models[1]), lambda: of(models[0]))

        return jax.flatten_util.ravel_pytree(jax.grad(loss)(params))[0]

    exact = jax.grad(lambda params: exact_bound(known, x, params))(params)
    return estimate, jax.flatten_util.ravel_pytree(exact)[0]


def test_gradients_are_unbiased(gradients):
    estimate, exact = gradients
    assert_unbiased(replicate("gradient", estimate, jnp.array(False)), exact)


def test_canary_a_mean_without_gradient_is_biased(gradients):
    estimate, exact = gradients
    assert_biased(replicate("gradient", estimate, jnp.array(True)), exact)


def test_two_weights_of_1_and_3():
    def log_weight(params, x, noise):
        return jnp.where(noise > 0, jnp.log(3.0), 0.0)

    model = latent.LatentModel(log_weight, (), lambda data: None, None)
    key, x = test_key("weights"), jnp.zeros((50, 1))
    bound = latent.importance_weighted_bound(key, model, (), x, 2000).mean()
    assert abs(bound - math.log(2)) < 0.01
    assert abs(latent.evidence_lower_bound(key, model, (), x, 2000).mean() - 0.549306) < 0.01


def test_the_bound_is_a_sum_over_pixels_and_a_mean_over_the_batch():
    def bound(num_pixels, size):
        vae, params = latent.make_autoencoder(
            (num_pixels,), 1, (), outputs.bernoulli(), rngs=nnx.Rngs(0)
        )
        params = jax.tree.map(jnp.zeros_like, params)
        model = latent.as_latent_model(vae)
        key, x = jax.random.key(0), jnp.ones((size, num_pixels))
        return float(latent.evidence_lower_bound(key, model, params, x).mean())

    assert bound(4, 2) == pytest.approx(-4 * math.log(2))
    assert bound(4, 4) == pytest.approx(bound(4, 2))
    assert bound(8, 2) == pytest.approx(2 * bound(4, 2))


def test_fit_learns_grey_images_binarised_anew():
    images = jax.random.uniform(test_key("grey"), (200, 1)) * jnp.ones((200, 6))
    vae, params = latent.make_autoencoder((6,), 1, (8,), outputs.bernoulli(), rngs=nnx.Rngs(0))
    objective = variational.variational(
        latent.as_latent_model(vae),
        optax.adam(0.01),
        bound="importance_weighted",
        num_samples=3,
        prepare=variational.binarize,
    )
    state = objective.init(test_key("init"), params, images)
    result = training.fit(
        test_key("fit"), objective, state, images, num_steps=600, batch_size=50
    )
    # Exactly E[(1 - u)^k u^(6-k)]: the number of ones is uniform.
    exact = np.mean([math.log(7 * math.comb(6, k)) for k in range(7)])
    reached = result.metrics.loss[-100:].mean()
    assert exact - 0.05 < reached < exact + 0.15


# ---------------------------------------------------------------- outputs

LAWS = [outputs.bernoulli(), outputs.discretized_logistic(5), outputs.beta_binomial(5)]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_laws_of_whole_numbers_are_normalised_and_sampled(law):
    channels = jnp.array([[0.3, -0.2], [-1.0, 0.5], [6.0, -30.0]])[:, : law.num_channels]
    log_p = outputs.log_probabilities(law, channels)
    assert np.allclose(np.exp(log_p).sum(axis=1), 1, atol=1e-5)
    x = jax.vmap(lambda key: law.sample(key, channels))(jax.random.split(test_key("law"), 4000))
    levels = jnp.arange(law.num_levels)
    shares = np.mean(np.asarray(x[..., None] == levels), axis=0)
    p = np.exp(np.asarray(log_p, np.float64))
    assert np.all(np.abs(shares - p) < 4.5 * np.sqrt(p * (1 - p) / 4000) + 1e-4)


def test_a_narrow_logistic_has_no_infinity():
    law = outputs.discretized_logistic(256)
    log_p = outputs.log_probabilities(law, jnp.array([[0.0, -50.0], [0.5, 2.0]]))
    assert np.all(np.isfinite(log_p))
    assert np.allclose(np.exp(log_p).sum(axis=1), 1, atol=1e-4)
    # The mean lies between 127 and 128.
    assert np.allclose(np.exp(log_p[0, 127:129]), 0.5, atol=1e-3)


# ---------------------------------------------------------------- brackets


class Run(NamedTuple):
    bracket: object
    truth: np.ndarray
    bounds: object


# Dense at both ends: where the walkers forget that those of an upper bound start together.
TIMES = jnp.sin(jnp.linspace(0, jnp.pi / 2, 2001)[1:]) ** 2
DYNAMICS = kinetic_langevin(0.25, friction=1.0)


@pytest.fixture(scope="module")
def runs():
    """Brackets of simulated data, of an encoder whose latents are turned, and of the prior.

    The prior is the encoder whose parameters are all zero: one program does for both.
    """
    known = principal_components(EIGENVALUES, 2, ROTATION)
    blind = {**known.params, "encoder": jax.tree.map(jnp.zeros_like, known.params["encoder"])}
    model = latent.as_latent_model(known.vae)

    def run(name, params, shift=0.0):
        x, exact = latent.simulate(test_key("simulate"), model, params, 50)
        bounds = latent.likelihood_bounds(
            *(test_key(name), model, params, x, TIMES),
            exact=exact + shift,
            dynamics=DYNAMICS,
            num_walkers=32,
        )
        truth = multivariate_normal(cov=known.covariance).logpdf(x)
        return Run(latent.likelihood_bracket(bounds), truth, bounds)

    return {
        "encoder": run("encoder", known.params),
        "prior": run("prior", blind),
        "wrong": run("wrong", blind, 10.0),
    }


@pytest.mark.parametrize("start", ["encoder", "prior"])
def test_the_bracket_contains_the_exact_likelihood(runs, start):
    bracket, exact = runs[start].bracket, runs[start].truth.mean()
    error = 4.5 * max(bracket.lower_error, bracket.upper_error)
    assert bracket.doubts == ()
    assert bracket.lower - 1e-3 - error < exact < bracket.upper + 1e-3 + error
    # An upper bound from one exact sample of each observation has an error of its own.
    width_error = np.hypot(bracket.lower_error, bracket.upper_error)
    assert bracket.upper - bracket.lower < 0.01 + 4.5 * width_error
    assert width_error < 0.02


def test_the_bounds_of_each_observation(runs):
    _, truth, bounds = runs["encoder"]
    assert bounds.forward.shape == (50, 2)
    assert np.max(np.abs(np.asarray(bounds.forward).mean(axis=1) - truth)) < 0.1
    for of in (bounds.forward, bounds.backward, bounds.backward_from_relaxed):
        excess = np.asarray(of).mean(axis=1) - truth
        assert abs(excess.mean()) < 4.5 * excess.std() / np.sqrt(50) + 1e-3


def test_canary_wrong_posterior_samples_are_doubted(runs):
    (doubt,) = runs["wrong"].bracket.doubts
    assert "these are not samples of the model" in doubt


# ---------------------------------------------------------------- bad input


def test_what_makes_no_model_is_refused():
    rngs, law = nnx.Rngs(0), outputs.gaussian()
    with pytest.raises(ValueError, match="latent_dim must be at least 1; got 0"):
        latent.make_autoencoder((3,), 0, (), law, rngs=rngs)
    with pytest.raises(ValueError, match="at least one unit"):
        latent.make_autoencoder((3,), 1, (0,), law, rngs=rngs)
    with pytest.raises(ValueError, match="num_levels must be at least 2"):
        outputs.beta_binomial(1)
    with pytest.raises(ValueError, match="an output is one of"):
        outputs.make_output("poisson")
    encoder = networks.GaussianEncoder((3,), 2, rngs=rngs)
    decoder = networks.Decoder((3,), 1, output=law, rngs=rngs)
    with pytest.raises(ValueError, match=r"mean and scale of shape \(1,\)"):
        latent.from_modules(encoder, decoder, law, (3,), 1)


BAD_DATA = [
    (np.full((2, 3), 0.5), "whole numbers from 0 to 1; got 0.5"),
    (np.full((2, 3), 2), "whole numbers from 0 to 1; got 2"),
    (np.full((2, 3), -1), "whole numbers from 0 to 1; got -1"),
    (np.full((2, 3), np.nan), "data must be finite; 6 of 6"),
    (np.zeros((0, 3)), "at least one sample; got none"),
    (np.zeros((2, 4)), r"shape \(n, 3\) of the model; got \(2, 4\)"),
    (np.zeros(3), "of the model"),
]


@pytest.mark.parametrize(("data", "said"), BAD_DATA)
def test_data_that_are_none_of_the_model_are_refused(data, said):
    vae, params = latent.make_autoencoder((3,), 1, (), outputs.bernoulli(), rngs=nnx.Rngs(0))
    model, key = latent.as_latent_model(vae), jax.random.key(0)
    objective = variational.variational(model, optax.sgd(0.1))
    calls = [
        lambda: objective.init(key, params, data),
        lambda: latent.evidence_lower_bound(key, model, params, data),
        lambda: latent.likelihood_bounds(key, model, params, data, jnp.ones(1)),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=said):
            call()


def test_numbers_that_make_no_sense_are_refused():
    vae, params = latent.make_autoencoder((3,), 1, (), outputs.bernoulli(), rngs=nnx.Rngs(0))
    model, key, x = latent.as_latent_model(vae), jax.random.key(0), jnp.zeros((2, 3))
    with pytest.raises(ValueError, match="num_samples must be at least 1"):
        latent.importance_weighted_bound(key, model, params, x, 0)
    with pytest.raises(ValueError, match="bound must be one of"):
        variational.variational(model, optax.sgd(0.1), bound="upper")
    with pytest.raises(ValueError, match="num_walkers must be at least 1"):
        latent.likelihood_bounds(key, model, params, x, jnp.ones(1), num_walkers=0)
    with pytest.raises(
        ValueError, match=r"one posterior sample an observation, shape \(2, 1\)"
    ):
        latent.likelihood_bounds(key, model, params, x, jnp.ones(1), exact=jnp.zeros((3, 1)))
    prior = latent.from_prior(vae)
    with pytest.raises(ValueError, match="no bound partly in closed form"):
        variational.variational(prior, optax.sgd(0.1), bound="closed_form")
    objective = variational.variational(model, optax.sgd(0.1))
    with pytest.raises(ValueError, match="needs a batch"):
        objective.step(key, objective.init(key, params, x), None)


def test_a_gradient_that_is_not_finite_is_no_update():
    vae, params = latent.make_autoencoder((3,), 1, (), outputs.gaussian(), rngs=nnx.Rngs(0))
    objective = variational.variational(latent.as_latent_model(vae), optax.sgd(0.1))
    state = objective.init(jax.random.key(0), params, jnp.zeros((2, 3)))
    step = jax.jit(objective.step)
    _, metrics = step(jax.random.key(0), state, jnp.full((2, 3), jnp.inf))
    assert bool(metrics.is_skipped)


def test_images_of_bytes_are_encoded_as_the_same_numbers():
    net = networks.GaussianEncoder((4,), 2, (8,), num_levels=256, rngs=nnx.Rngs(0))
    x = np.array([100, 128, 200, 255])
    as_bytes, as_numbers = (net(jnp.asarray(x, of)) for of in (jnp.uint8, jnp.float32))
    np.testing.assert_array_equal(as_bytes[0], as_numbers[0])
