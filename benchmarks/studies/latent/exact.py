"""What is known in closed form: linear autoencoders, diffusions of normal data, a mixture."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from scipy.special import logsumexp

from benchmarks.studies.latent.settings import Settings
from jarzynski_jax import latent
from jarzynski_jax.latent import (
    autoencoder,
    bits_back,
    diffusion,
    latent_codec,
    outputs,
    variational,
)
from jarzynski_jax.latent.entropy_coder import BitStack
from jarzynski_jax.walkers import kinetic_langevin

EIGENVALUES = (5.0, 2.0, 1.0)
SPREADS = (0.1, 0.5, 1.0, 2.0)


def names() -> list[str]:
    return ["linear", "normal", "mixture_code"]


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    fits = {"linear": _linear, "normal": _normal, "mixture_code": _mixture_code}
    return {field: np.asarray(value) for field, value in fits[name](settings).items()}


def _linear(settings: Settings) -> dict[str, Any]:
    """Probabilistic principal components, of data whose covariance is exactly diagonal."""
    axes = np.diag(np.sqrt(3 * np.asarray(EIGENVALUES)))
    data = jnp.asarray(np.concatenate([axes, -axes]), jnp.float32)
    vae, params = latent.make_autoencoder((3,), 2, (), outputs.gaussian(), rngs=nnx.Rngs(0))
    model = latent.as_latent_model(vae)
    optimizer = optax.adam(optax.cosine_decay_schedule(0.03, settings.num_linear_updates))
    objective = variational.variational(model, optimizer, num_samples=300)
    first = objective.init(jax.random.key(0), params, data)
    keys = jax.random.split(jax.random.key(1), settings.num_linear_updates)
    train = jax.jit(
        lambda first: jax.lax.scan(
            lambda state, key: objective.step(key, state, data), first, keys
        )
    )
    params = train(first)[0].params
    strengths = np.sum(np.square(params["decoder"]["channels"]["kernel"]), axis=1)
    order = np.argsort(-strengths)
    _, scale = vae.encode(params, jnp.zeros(3))
    bound = latent.evidence_lower_bound(jax.random.key(2), model, params, data, 20000)
    rates = jax.vmap(partial(autoencoder.rate, vae, params))(data)
    weights = np.asarray(params["decoder"]["channels"]["kernel"], np.float64)
    covariance = weights.T @ weights + math.exp(2 * params["decoder"]["shared"][0]) * np.eye(3)
    # A fresh set of observations, of this model itself.
    x, exact = latent.simulate(jax.random.key(3), model, params, 50)
    bounds = latent.likelihood_bounds(
        *(jax.random.key(4), model, params, x, jnp.linspace(0, 1, 201)[1:]),
        exact=exact,
        num_walkers=64,
        dynamics=kinetic_langevin(0.25, friction=1.0),
    )
    bracket = latent.likelihood_bracket(bounds)
    centred = np.asarray(x - params["decoder"]["channels"]["bias"], np.float64)
    square = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(covariance), centred)
    constant = np.linalg.slogdet(2 * math.pi * covariance)[1]
    return {
        "negative_elbo": -np.mean(bound),
        "rate": np.mean(rates),
        "strengths": strengths[order],
        "variances": np.square(scale)[order],
        "bracket": [bracket.lower, bracket.lower_error, bracket.upper, bracket.upper_error],
        "truth": -np.mean(square + constant) / 2,
    }


def _normal(settings: Settings) -> dict[str, Any]:
    """Excess of the bound over the entropy: DDPM's 1000 steps, the exact noise, N(0, s^2)."""
    del settings
    schedule = diffusion.linear_schedule(1000)
    kept = schedule.alpha_bars
    before = np.concatenate([[1.0], kept[:-1]])
    # Three nodes are exact for squares.
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    weights = weights / weights.sum()
    found: dict[str, list[float]] = {"best": [], "betas": [], "posterior": []}
    with jax.enable_x64(True):
        for spread in SPREADS:
            v = kept * spread**2 + 1 - kept
            v_before = before * spread**2 + 1 - before
            factor = np.sqrt(1 - kept) / v

            def noise_fn(params: Any, t: Any, x: Any, factor: np.ndarray = factor) -> Any:
                return jnp.asarray(factor)[t - 1] * x

            best = schedule.betas * v_before / v
            posterior = np.where(schedule.posterior > 0, schedule.posterior, best)
            choices = {"best": best, "betas": schedule.betas, "posterior": posterior}
            for name, variances in choices.items():
                model = diffusion.make_diffusion(noise_fn, schedule, (1,), variances)
                averaged = diffusion.as_latent_model(model).averaged
                assert averaged is not None
                cost = sum(
                    weight_x
                    * weight_e
                    * float(averaged((), jnp.full(1, spread * x), jnp.full((1000, 1), e)))
                    for x, weight_x in zip(nodes, weights, strict=True)
                    for e, weight_e in zip(nodes, weights, strict=True)
                )
                entropy = math.log(2 * math.pi * math.e * spread**2) / 2
                prior = (v[-1] - 1 - math.log(v[-1])) / 2
                found[name].append(-cost - entropy - prior)
    return {**found, "spreads": SPREADS}


def _mixture_code(settings: Settings) -> dict[str, Any]:
    """Bits back with the exact posterior of a mixture of four products of coins."""
    del settings
    rng = np.random.default_rng(0)
    shares, odds = rng.dirichlet(np.ones(4) * 5), rng.uniform(0.05, 0.95, (4, 30))
    components = rng.choice(4, 400, p=shares)
    images = (rng.random((400, 30)) < odds[components]).astype(np.int64)

    def log_joint(image: np.ndarray) -> np.ndarray:
        return np.log(shares) + np.log(np.where(image, odds, 1 - odds)).sum(axis=1)

    def posterior(image: np.ndarray) -> np.ndarray:
        log_p = log_joint(image)
        return np.exp(log_p - logsumexp(log_p))[None]

    def likelihood(symbols: np.ndarray) -> np.ndarray:
        of = odds[symbols[0]]
        return np.stack([1 - of, of], axis=1)

    codec = latent_codec.Codec(
        posterior, likelihood, shares[None], (30,), 1, lambda images: None
    )
    coded = bits_back.encode(codec, images, num_seed_words=50)
    exact = -sum(logsumexp(log_joint(image)) for image in images) / math.log(2)
    # Without bits back the latent is drawn anew, and its bits are lost.
    stack = BitStack(np.arange(50, dtype=np.uint32))
    for image in images:
        drawn = rng.choice(4, 1, p=posterior(image)[0])
        stack.push(image, likelihood(drawn))
        stack.push(drawn, codec.prior)
    entropies = [-np.sum(q * np.log2(q)) for q in map(posterior, images)]
    return {
        "bits": coded.num_bits,
        "exact": exact,
        "is_lossless": np.array_equal(bits_back.decode(codec, coded), images),
        "lost": stack.num_bits - 1600 - coded.num_bits,
        "entropy": np.sum(entropies),
    }
