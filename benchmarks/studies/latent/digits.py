"""The main job's digits with noise: one table of all kinds of models, in nats."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from flowjax.distributions import Normal
from flowjax.flows import masked_autoregressive_flow
from threadpoolctl import threadpool_limits

from benchmarks.studies.latent.settings import Settings
from jarzynski_jax import data as data_lib
from jarzynski_jax import latent, training
from jarzynski_jax.app import baselines, evaluate, train
from jarzynski_jax.app.defaults import make_config
from jarzynski_jax.app.run_folder import RunFolder
from jarzynski_jax.data.noise import add_noise
from jarzynski_jax.energies import functional
from jarzynski_jax.latent import diffusion, outputs, variational
from jarzynski_jax.latent.latent_model import LatentModel
from jarzynski_jax.latent.noise_predictor import NoisePredictor
from jarzynski_jax.walkers import kinetic_langevin

NOISE = 0.3
_SOURCE = data_lib.Source("digits")


def names(settings: Settings) -> list[str]:
    found = ["gaussian", "mixture", "flow", "vae", "diffusion"]
    return [*found, "energy"] if settings.with_energy else found


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    """Lower and upper bound of the cross entropy and their errors, equal where it is exact."""
    split = data_lib.load_split(_SOURCE)
    clean = split.train.reshape(len(split.train), -1)
    noisy = add_noise(split.test.reshape(len(split.test), -1), NOISE, 5, 0)
    fits: dict[str, Callable[[], dict[str, Any]]] = {
        "gaussian": lambda: _exact(baselines.gaussian_cross_entropy(clean, noisy, NOISE)),
        "mixture": lambda: _exact(_mixture(clean, noisy)),
        "flow": lambda: _exact(_flow(clean, noisy, settings)),
        "vae": lambda: _vae(clean, noisy, settings),
        "diffusion": lambda: _diffusion(clean, noisy, settings),
        "energy": _energy,
    }
    return {field: np.asarray(value) for field, value in fits[name]().items()}


def _exact(values: np.ndarray) -> dict[str, Any]:
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    row = np.array([np.mean(values), 0.0, np.mean(values), 0.0])
    return {"bounds": row, "test_error": error}


def _above(values: np.ndarray) -> dict[str, Any]:
    """Of the cross entropy an upper bound alone is known."""
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return {"bounds": np.array([np.nan, 0.0, np.mean(values), 0.0]), "test_error": error}


def _mixture(clean: np.ndarray, noisy: np.ndarray) -> np.ndarray:
    # The number that the main job chooses of many.
    return baselines.mixture_cross_entropy(clean, noisy, NOISE, (20,))[0]


def _train(
    objective: training.Objective, state: Any, clean: np.ndarray, num_updates: int
) -> Any:
    result = training.fit(
        jax.random.key(0),
        objective,
        state,
        jnp.asarray(clean),
        num_steps=num_updates,
        batch_size=128,
        noise_scale=NOISE,
    )
    return result.state.params


def _optimizer(settings: Settings) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(1e-3, settings.num_digit_updates, 0.02))


def _flow(clean: np.ndarray, noisy: np.ndarray, settings: Settings) -> np.ndarray:
    """An autoregressive flow, by maximum likelihood; its density is exact.

    It learns the data by heart in the end: of parameters after each twentieth of the updates
    those are taken that are best on training images that were held out.
    """
    num_fit = len(clean) - len(clean) // 10
    fit_part, held_out = clean[:num_fit], add_noise(clean[num_fit:], NOISE, 5, 1)
    centre = clean.mean(axis=0)
    scale = np.sqrt(clean.var(axis=0) + NOISE**2)
    flow = masked_autoregressive_flow(
        jax.random.key(0),
        base_dist=Normal(jnp.zeros(clean.shape[1])),
        flow_layers=2,
        nn_width=2 * clean.shape[1],
        nn_depth=1,
        invert=True,
    )
    params, static = eqx.partition(flow, eqx.is_inexact_array)

    def log_prob(params: Any, x: jax.Array) -> jax.Array:
        standard = (x - centre) / scale
        return eqx.combine(params, static).log_prob(standard) - jnp.sum(jnp.log(scale))

    objective = training.maximum_likelihood(log_prob, _optimizer(settings))
    state = objective.init(jax.random.key(1), params)
    of_all = jax.jit(jax.vmap(log_prob, (None, 0)))
    best = np.inf, params
    for end in np.linspace(0, settings.num_digit_updates, 21, dtype=int)[1:]:
        state = training.fit(
            jax.random.key(2),
            objective,
            state,
            jnp.asarray(fit_part),
            num_steps=int(end),
            batch_size=128,
            noise_scale=NOISE,
        ).state
        flat = held_out.reshape(-1, held_out.shape[-1])
        score = -float(np.mean(of_all(state.params, flat)))
        if score < best[0]:
            best = score, state.params
    values = [-np.asarray(of_all(best[1], noisy[:, copy])) for copy in range(noisy.shape[1])]
    return np.mean(values, axis=0)


def _bracketed(
    model: LatentModel,
    params: Any,
    x: jax.Array,
    settings: Settings,
    num_walkers: int,
    h: float,
) -> dict[str, Any]:
    """Minus the mean of log p(x), between bounds."""
    times = jnp.linspace(0, 1, settings.annealing_steps + 1)[1:]
    bounds = latent.likelihood_bounds(
        jax.random.key(3),
        model,
        params,
        x,
        times,
        num_walkers=num_walkers,
        dynamics=kinetic_langevin(h, friction=1.0),
    )
    found = latent.likelihood_bracket(bounds)
    row = [-found.upper, found.upper_error, -found.lower, found.lower_error]
    return {
        "bounds": np.array(row),
        "values": -np.asarray(bounds.forward, np.float64).mean(axis=1),
        "test_error": found.test_error,
        "doubts": np.array(found.doubts, dtype=str),
        "num_test": len(x),
    }


def _vae(clean: np.ndarray, noisy: np.ndarray, settings: Settings) -> dict[str, Any]:
    vae, params = latent.make_autoencoder(
        clean.shape[1:],
        16,
        (256, 256),
        outputs.gaussian(),
        activation=nnx.silu,
        rngs=nnx.Rngs(0),
    )
    model = latent.as_latent_model(vae)
    objective = variational.variational(model, _optimizer(settings), bound="closed_form")
    state = objective.init(jax.random.key(1), params, clean)
    params = _train(objective, state, clean, settings.num_digit_updates)
    x = jnp.asarray(noisy[: settings.num_bracketed, 0])
    found = _bracketed(model, params, x, settings, settings.annealing_walkers, 0.3)
    elbo = latent.evidence_lower_bound(
        jax.random.key(4), model, params, jnp.asarray(noisy[:, 0]), 20
    )
    found["negative_elbo"] = -np.mean(elbo)
    means, _ = jax.vmap(lambda x: vae.encode(params, x))(jnp.asarray(noisy[:, 0]))
    found["latents"] = means
    found["labels"] = data_lib.split(data_lib.load_labels("digits"), 0.15).test
    return found


def _diffusion(clean: np.ndarray, noisy: np.ndarray, settings: Settings) -> dict[str, Any]:
    num_steps = settings.num_diffusion_steps
    # Nearly all of an image is noise in the end, however many steps there are.
    schedule = diffusion.linear_schedule(num_steps, 0.1 / num_steps, min(15 / num_steps, 0.7))
    predictor = NoisePredictor(clean.shape[1:], schedule, (512, 512), rngs=nnx.Rngs(0))
    # A function of parameters, time and image, which its type does not know.
    noise_fn: Any
    noise_fn, params = functional(predictor)
    model = diffusion.make_diffusion(noise_fn, schedule, clean.shape[1:])
    # With all steps weighed alike it learns a better bound than by the bound itself, whose
    # gradient is mostly that of the first steps.
    objective = diffusion.noise_prediction(model, _optimizer(settings))
    state = objective.init(jax.random.key(1), params, clean)
    params = _train(objective, state, clean, settings.num_digit_updates)
    seen = jnp.asarray(add_noise(clean, NOISE, 1, 2)[:, 0])
    variances = diffusion.best_variances(jax.random.key(5), model, params, seen)
    of_betas = diffusion.as_latent_model(model)
    model = model._replace(variances=variances)
    chain = diffusion.as_latent_model(model)

    def bound(model: LatentModel) -> np.ndarray:
        # Each step at noise of its own, which the weights of a path cannot have.
        assert model.averaged is not None
        averaged = model._replace(log_weight=model.averaged)
        values = latent.evidence_lower_bound(
            jax.random.key(4), averaged, params, jnp.asarray(noisy[:, 0]), 10
        )
        return -np.asarray(values)

    values = bound(chain)
    found = _above(values)
    if settings.num_diffusion_bracketed > 0:
        x = jnp.asarray(noisy[: settings.num_diffusion_bracketed, 0])
        found = _of_all(_bracketed(chain, params, x, settings, 4, 0.1), values)
    found["negative_elbo"] = np.mean(values)
    found["negative_elbo_of_betas"] = np.mean(bound(of_betas))
    drawn = diffusion.generate(jax.random.key(6), model, params, 64)
    found["samples"] = np.asarray(drawn).reshape(-1, 8, 8)
    return found


def _of_all(found: dict[str, Any], negative_elbo: np.ndarray) -> dict[str, Any]:
    """Of all test images, by a control variate: brackets of some of them cost minutes.

    What the evidence lower bound leaves out differs less between images than their worth.
    """
    left_out = negative_elbo[: found["num_test"]] - found["values"]
    error = np.std(left_out, ddof=1) / np.sqrt(len(left_out))
    shift = np.mean(negative_elbo) - np.mean(negative_elbo[: found["num_test"]])
    lower, lower_error, upper, upper_error = found["bounds"]
    errors = np.hypot(error, [lower_error, upper_error])
    row = [lower + shift, errors[0], upper + shift, errors[1]]
    return {**found, **_above(negative_elbo), "bounds": np.array(row), "shift": shift}


def _energy() -> dict[str, Any]:
    """The main job itself."""
    split = data_lib.load_split(_SOURCE)
    with tempfile.TemporaryDirectory() as name, threadpool_limits(1):
        folder = RunFolder(Path(name) / "digits")
        train.start(folder, make_config(split, _SOURCE), split, overwrite=False)
        model = evaluate.finish(folder).report.model
    row = [model.lower, model.lower_error, model.upper, model.upper_error]
    return {
        "bounds": np.array(row),
        "test_error": model.test_error,
        "doubts": np.array(model.doubts, dtype=str),
    }
