r"""Diffusion models: noise is added by a fixed chain, and a network learns to take it away.

In the notation of denoising diffusion, :math:`x_0` is the observation and :math:`x_t` is
:math:`z_{T-t}` of :mod:`jarzynski_jax.latent.markov_autoencoder`. With :math:`\alpha_t = 1 -
\beta_t` and :math:`\bar\alpha_t` their product,

.. math:: q(x_t|x_{t-1}) = N(\sqrt{\alpha_t}\,x_{t-1}, \beta_t), \qquad
          p(x_{t-1}|x_t) = N\left(\frac{1}{\sqrt{\alpha_t}}
          \left(x_t - \frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon_\theta\right), c_t\right)

The negative bound is a sum, one term a step, each of which depends on :math:`x_t` alone:

.. math:: L = {\rm KL}(q(x_T|x_0)\,\|\,N(0,1)) + \sum_{t=2}^T
          {\rm KL}(q(x_{t-1}|x_t,x_0)\,\|\,p(x_{t-1}|x_t)) - \log p(x_0|x_1) .

Of normal data :math:`N(0, s^2)` the best variance is :math:`c_t = \beta_t v_{t-1}/v_t` with
:math:`v_t = \bar\alpha_t s^2 + 1 - \bar\alpha_t`, and the bound is tight for any T but for
:math:`{\rm KL}(N(0, v_T)\|N(0, 1))`. Another variance costs :math:`\tfrac12(c^*/c - 1 -
\log(c^*/c))` a step and dimension: little for :math:`c = \beta`, much for the posterior's.

References: Ho, Jain and Abbeel, *Denoising diffusion probabilistic models*, 2020; Bao, Li, Zhu
and Zhang, *Analytic-DPM*, 2022 (the best variances).
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jarzynski_jax.density import Density
from jarzynski_jax.latent import markov_autoencoder, outputs
from jarzynski_jax.latent.latent_model import LatentModel, log_normal, noise_dtype
from jarzynski_jax.latent.markov_autoencoder import MarkovAutoencoder, gaussian_transition
from jarzynski_jax.training import Objective
from jarzynski_jax.training.gradient_descent import descent_objective
from jarzynski_jax.types import Array, Params, PRNGKey

__all__ = [
    "Diffusion",
    "Schedule",
    "Weighting",
    "as_latent_model",
    "as_markov_autoencoder",
    "best_variances",
    "generate",
    "linear_schedule",
    "make_diffusion",
    "make_schedule",
    "noise_prediction",
    "step_costs",
]

#: ``(params, t, x_t) -> the noise in x_t``, t an integer from 1 to T.
NoiseFn: TypeAlias = Callable[[Params, Array, Array], Array]
#: All steps alike, or as the bound weighs them.
Weighting = Literal["simple", "likelihood"]


class Schedule(NamedTuple):
    r"""Entry t - 1 of each is of step t, float64 of NumPy, shape ``(T,)``.

    ``posterior`` is the variance of :math:`q(x_{t-1}|x_t, x_0)`, 0 at t = 1.
    """

    betas: np.ndarray
    alpha_bars: np.ndarray
    posterior: np.ndarray


class Diffusion(NamedTuple):
    r"""A schedule, a network that predicts the noise, and the variances :math:`c_t`.

    ``shape`` is that of an observation, any real numbers.
    """

    noise_fn: NoiseFn
    schedule: Schedule
    variances: np.ndarray
    shape: tuple[int, ...]


def make_schedule(betas: Any) -> Schedule:
    """Make a schedule of the variances of noise, shape ``(T,)``, each between 0 and 1.

    Examples
    --------
    >>> make_schedule([0.5, 0.5]).alpha_bars.tolist()
    [0.5, 0.25]
    >>> make_schedule([0.5, 1.0])
    Traceback (most recent call last):
        ...
    ValueError: every beta must be between 0 and 1; got 1.0 at step 2
    """
    betas = np.asarray(betas, np.float64)
    if betas.ndim != 1 or betas.size == 0:
        raise ValueError(f"betas must have shape (T,) with T ≥ 1; got shape {betas.shape}")
    is_wrong = ~((betas > 0) & (betas < 1))  # NaN too
    if np.any(is_wrong):
        step = int(np.argmax(is_wrong))
        raise ValueError(
            f"every beta must be between 0 and 1; got {betas[step]} at step {step + 1}"
        )
    alpha_bars = np.cumprod(1 - betas)
    before = np.concatenate([[1.0], alpha_bars[:-1]])
    return Schedule(betas, alpha_bars, (1 - before) / (1 - alpha_bars) * betas)


def linear_schedule(num_steps: int, first: float = 1e-4, last: float = 0.02) -> Schedule:
    """Variances of noise that grow by equal steps; DDPM has 1000 of them, these by default.

    Of fewer steps take a larger ``last``, or noise is left out at the end.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1; got {num_steps}")
    return make_schedule(np.linspace(first, last, num_steps))


def make_diffusion(
    noise_fn: NoiseFn,
    schedule: Schedule,
    shape: tuple[int, ...],
    variances: np.ndarray | None = None,
) -> Diffusion:
    """Put a diffusion together; the variances are the schedule's if None.

    ValueError if there is not one positive variance a step.
    """
    if not isinstance(schedule, Schedule):
        raise ValueError(
            f"schedule must come from make_schedule or linear_schedule; got "
            f"{type(schedule).__name__}"
        )
    found = schedule.betas if variances is None else np.asarray(variances, np.float64)
    if found.shape != schedule.betas.shape or not np.all((found > 0) & np.isfinite(found)):
        raise ValueError(
            f"variances must be {len(schedule.betas)} positive numbers, one a step; got shape "
            f"{found.shape}, from {found.min()} to {found.max()}"
        )
    return Diffusion(noise_fn, schedule, found, tuple(shape))


def as_markov_autoencoder(model: Diffusion) -> MarkovAutoencoder:
    """See a diffusion as a pair of chains, z from the prior to the observation."""
    num_steps = len(model.schedule.betas)

    def backward(params: Params, time: Array, z: Array) -> tuple[Array, Array]:
        del params
        beta = jnp.asarray(model.schedule.betas, z.dtype)[num_steps - 1 - time]
        return jnp.sqrt(1 - beta) * z, jnp.sqrt(beta) * jnp.ones_like(z)

    def forward(params: Params, time: Array, z: Array) -> tuple[Array, Array]:
        return _denoise(model, params, num_steps - time, z)

    def sample(rng_key: PRNGKey, num_samples: int) -> Array:
        return jax.random.normal(rng_key, (num_samples, *model.shape))

    return MarkovAutoencoder(
        Density(log_normal, 0.0, sample),
        gaussian_transition(forward),
        gaussian_transition(backward),
        num_steps,
        model.shape,
        _check(model),
    )


def as_latent_model(model: Diffusion) -> LatentModel:
    """See a diffusion as a mean weight over the noise of its paths, shape ``(T, *shape)``.

    ``averaged`` is the sum of :func:`step_costs`, each at noise of its own: it has far less
    variance.
    """
    chain = markov_autoencoder.as_latent_model(as_markov_autoencoder(model))

    def averaged(params: Params, x: Array, noise: Array) -> Array:
        return -jnp.sum(step_costs(model, params, x, noise)) - _prior_cost(model, x)

    return chain._replace(averaged=averaged)


def generate(rng_key: PRNGKey, model: Diffusion, params: Params, num_samples: int) -> Array:
    """Draw exact, independent observations of the model, shape ``(n, *shape)``."""
    chain = as_markov_autoencoder(model)

    @jax.jit
    def draw(keys: PRNGKey) -> Array:
        return jax.vmap(lambda key: markov_autoencoder.generate(key, chain, params)[1])(keys)

    return draw(jax.random.split(rng_key, num_samples))


def step_costs(model: Diffusion, params: Params, x: Array, noise: Array) -> Array:
    r"""Cost of each step of one observation, nats, shape ``(T,)``; entry t - 1 is of step t.

    :math:`x_t = \sqrt{\bar\alpha_t}\,x + \sqrt{1 - \bar\alpha_t}\,\epsilon_t`, with a noise of
    its own for each step: shape ``(T, *shape)``. The mean of their sum, with the cost of the
    prior, is the negative evidence lower bound.
    """
    steps = jnp.arange(1, len(model.schedule.betas) + 1)
    return jax.vmap(lambda t, eps: _step_cost(model, params, x, t, eps))(steps, noise)


def best_variances(
    rng_key: PRNGKey, model: Diffusion, params: Params, data: Array
) -> np.ndarray:
    r"""Find the variances :math:`c_t` with the best bound on these data, for the network as is.

    .. math:: c_t = \tilde\beta_t + \frac{\beta_t^2}{\alpha_t(1-\bar\alpha_t)}\,
              \frac1D E|\epsilon - \epsilon_\theta(x_t, t)|^2

    with :math:`\tilde\beta_t` the posterior's, one noise a datum and step. Take training data,
    and hand the result to :func:`make_diffusion`.
    """
    _check(model)(data)
    betas, alpha_bars, posterior = model.schedule
    steps = jnp.arange(1, len(betas) + 1)

    @jax.jit
    def errors(data: Array) -> Array:
        def of_step(inputs: tuple[PRNGKey, Array]) -> Array:
            key, t = inputs
            eps = jax.random.normal(key, data.shape, noise_dtype(params, data))
            errors = jax.vmap(lambda x, eps: _error(model, params, x, t, eps))(data, eps)
            return jnp.mean(errors) / math.prod(model.shape)

        return jax.lax.map(of_step, (jax.random.split(rng_key, len(betas)), steps))

    found = np.asarray(errors(jnp.asarray(data)), np.float64)
    return posterior + betas**2 / ((1 - betas) * (1 - alpha_bars)) * found


def noise_prediction(
    model: Diffusion,
    optimizer: optax.GradientTransformation,
    weighting: Weighting = "simple",
) -> Objective:
    r"""Train the network that predicts the noise, at one step t drawn for each datum.

    ``"simple"`` is the mean of :math:`|\epsilon - \epsilon_\theta(x_t, t)|^2`, summed over
    features, in which all steps count alike; ``"likelihood"`` is unbiased for the negative
    evidence lower bound, in nats. Steps are drawn evenly over a batch.

    Returns
    -------
    Objective
        ``init(rng_key, params, data)``; metrics
        :class:`~jarzynski_jax.training.gradient_descent.DescentMetrics`.

    Raises
    ------
    ValueError
        If the weighting is unknown, or data are none of the model.
    """
    if weighting not in get_args(Weighting):
        raise ValueError(f"weighting must be one of {get_args(Weighting)}; got {weighting!r}")
    check, num_steps = _check(model), len(model.schedule.betas)

    def loss_fn(rng_key: PRNGKey, batch: Array, params: Params) -> tuple[Array, tuple[()]]:
        check(batch)
        key_step, key_noise, key_order = jax.random.split(rng_key, 3)
        noise = jax.random.normal(key_noise, batch.shape, batch.dtype)
        size = batch.shape[0]
        places = (jnp.arange(size) + jax.random.uniform(key_step, (size,))) / size
        steps = jnp.clip(jnp.floor(places * num_steps).astype(jnp.int32) + 1, 1, num_steps)
        # Each datum is to see all steps, also in batches that are always in the same order.
        steps = jax.random.permutation(key_order, steps)

        def of_one(x: Array, t: Array, eps: Array) -> Array:
            if weighting == "simple":
                return _error(model, params, x, t, eps)
            cost = _step_cost(model, params, x, t, eps)
            return num_steps * cost + _prior_cost(model, x)

        return jnp.mean(jax.vmap(of_one)(batch, steps, noise)), ()

    return descent_objective(
        loss_fn,
        optimizer,
        "a diffusion learns from a batch of data; got None",
        check=lambda rng_key, params, data: check(data),
    )


def _check(model: Diffusion) -> Callable[[Any], None]:
    return partial(outputs.check_observations, outputs.gaussian(), model.shape)


def _denoise(model: Diffusion, params: Params, t: Array, x_t: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of p(x_{t-1} | x_t)."""
    betas, alpha_bars, _ = model.schedule
    dtype = x_t.dtype
    # In float64 before they are rounded, for 1 - ᾱ cancels.
    weight = jnp.asarray(betas / np.sqrt(1 - alpha_bars), dtype)[t - 1]
    factor = jnp.asarray(1 / np.sqrt(1 - betas), dtype)[t - 1]
    scale = jnp.asarray(np.sqrt(model.variances), dtype)[t - 1]
    mean = factor * (x_t - weight * model.noise_fn(params, t, x_t))
    return mean, scale * jnp.ones_like(mean)


def _diffuse(model: Diffusion, x: Array, t: Array, eps: Array) -> Array:
    alpha_bars = model.schedule.alpha_bars
    kept = jnp.asarray(np.sqrt(alpha_bars), x.dtype)[t - 1]
    return kept * x + jnp.asarray(np.sqrt(1 - alpha_bars), x.dtype)[t - 1] * eps


def _error(model: Diffusion, params: Params, x: Array, t: Array, eps: Array) -> Array:
    return jnp.sum(jnp.square(eps - model.noise_fn(params, t, _diffuse(model, x, t, eps))))


def _step_cost(model: Diffusion, params: Params, x: Array, t: Array, eps: Array) -> Array:
    r"""KL(q(x_{t-1} | x_t, x) || p(x_{t-1} | x_t)), at t = 1 -log p(x | x_1)."""
    betas, alpha_bars, posterior = model.schedule
    dtype = x.dtype
    # The two means differ by the error of the noise times β / sqrt(α (1 - ᾱ)).
    weight = betas**2 / ((1 - betas) * (1 - alpha_bars)) / (2 * model.variances)
    ratio = np.where(posterior > 0, posterior, 1) / model.variances
    constant = (ratio - 1 - np.log(ratio)) / 2
    constant[0] = np.log(2 * np.pi * model.variances[0]) / 2
    of_error = jnp.asarray(weight, dtype)[t - 1] * _error(model, params, x, t, eps)
    return of_error + x.size * jnp.asarray(constant, dtype)[t - 1]


def _prior_cost(model: Diffusion, x: Array) -> Array:
    """KL(q(x_T | x) || N(0, 1)); the variance counts too."""
    kept = model.schedule.alpha_bars[-1]
    return (kept * jnp.sum(jnp.square(x)) + x.size * (-kept - np.log1p(-kept))) / 2
