r"""Autoencoders whose latent is a path: a Markov chain forward, another one backward.

Latents :math:`z_0, \dots, z_{T-1}` lead to the observation :math:`x = z_T`; the model runs
forward from the prior, inference backward from x:

.. math:: p_F = p(z_0) \prod_{s=0}^{T-1} p_\theta(z_{s+1}|z_s), \qquad
          q = \prod_{s=0}^{T-1} q_\phi(z_s|z_{s+1}), \qquad
          A = \log p_F - \log q

with the last factor, :math:`\log p_\theta(x|z_{T-1})`, without which it is no bound; T = 1 is
the autoencoder. If the backward kernels are fixed, this is a diffusion model
(:mod:`jarzynski_jax.latent.diffusion`); if the forward ones are, the paths that led to x are
inferred. The laws of the latents on the way are not fixed by the bound.

With steps of Euler and Maruyama, of drift :math:`b + \varepsilon s` forward and :math:`-b +
\varepsilon s` backward and the same noise :math:`2h\varepsilon`, the ratio of two kernels is
the increment of :mod:`jarzynski_jax.kernels.escorted` but for the densities at its ends. The
volatility must be that of both: else no path of one has a density under the other as h goes
to 0.

References: Sohl-Dickstein, Weiss, Maheswaranathan and Ganguli, *Deep unsupervised learning
using nonequilibrium thermodynamics*, 2015; Tzen and Raginsky, *Neural stochastic differential
equations: deep latent Gaussian models in the diffusion limit*, 2019.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jarzynski_jax.density import Density, check_exact
from jarzynski_jax.kernels.arithmetic import check_positive, check_step_size
from jarzynski_jax.latent.latent_model import LatentModel, log_normal
from jarzynski_jax.types import Array, Params, PRNGKey, Scalar

__all__ = [
    "MarkovAutoencoder",
    "Transition",
    "as_latent_model",
    "euler_maruyama",
    "gaussian_transition",
    "generate",
    "infer",
    "log_weight",
]

#: ``(params, time, z) -> (mean, scale)`` of the next state, a Gaussian.
Moments: TypeAlias = Callable[[Params, Array, Array], tuple[Array, Array]]


class Transition(NamedTuple):
    """One step of a chain at a time s, an integer from 0 to T - 1.

    log_prob
        ``(params, s, z, next) -> scalar``, normalised.
    sample
        ``(rng_key, params, s, z) -> next``.
    moments
        ``(params, s, z) -> (mean, scale)`` of a Gaussian; None of what is none.
    """

    log_prob: Callable[[Params, Array, Array, Array], Array]
    sample: Callable[[PRNGKey, Params, Array, Array], Array]
    moments: Moments | None = None


class MarkovAutoencoder(NamedTuple):
    r"""A chain forward and a chain backward, of the same parameters.

    prior
        Of :math:`z_0`: exact samples and log Z.
    forward
        From :math:`z_s` to :math:`z_{s+1}`.
    backward
        From :math:`z_{s+1}` to :math:`z_s`.
    num_steps
        T.
    latent_shape
        Of one state.
    check
        ``data -> None``: a ValueError if they are none of this model.
    """

    prior: Density
    forward: Transition
    backward: Transition
    num_steps: int
    latent_shape: tuple[int, ...]
    check: Callable[[Any], None]


def gaussian_transition(moments: Moments) -> Transition:
    """Make the step of a Gaussian, ``next = mean + scale * noise``.

    Examples
    --------
    >>> walk = gaussian_transition(lambda params, s, z: (z, 2.0 * jnp.ones_like(z)))
    >>> round(float(walk.log_prob((), 0, jnp.zeros(1), jnp.zeros(1))), 4)
    -1.6121
    """

    def log_prob(params: Params, time: Array, z: Array, new: Array) -> Array:
        mean, scale = moments(params, time, z)
        return log_normal((new - mean) / scale) - jnp.sum(
            jnp.log(jnp.broadcast_to(scale, mean.shape))
        )

    def sample(rng_key: PRNGKey, params: Params, time: Array, z: Array) -> Array:
        mean, scale = moments(params, time, z)
        return mean + scale * jax.random.normal(rng_key, mean.shape, mean.dtype)

    return Transition(log_prob, sample, moments)


def euler_maruyama(
    drift_fn: Callable[[Params, Array, Array], Array], step_size: Scalar, diffusion: Scalar
) -> Transition:
    r"""Make a step of :math:`dz = f\,dt + \sqrt{2\varepsilon}\,dW`, drift h f, noise 2hε.

    ``drift_fn(params, s, z)`` is f. ValueError if h or ε is not positive.
    """
    check_step_size(step_size)
    check_positive("diffusion, ε,", diffusion)

    def moments(params: Params, time: Array, z: Array) -> tuple[Array, Array]:
        h = jnp.asarray(step_size, z.dtype)
        return z + h * drift_fn(params, time, z), jnp.sqrt(2 * h * diffusion) * jnp.ones_like(z)

    return gaussian_transition(moments)


def log_weight(model: MarkovAutoencoder, params: Params, path: Array, x: Array) -> Array:
    """Weigh a path :math:`z_0, ..., z_{T-1}`, leading axis T, that was inferred from x: A."""
    _check_path(model, path)
    times = jnp.arange(model.num_steps)

    def ratio(time: Array, z: Array, new: Array) -> Array:
        forward = model.forward.log_prob(params, time, z, new)
        return forward - model.backward.log_prob(params, time, new, z)

    _, log_z = check_exact(model.prior)
    found = model.prior.logdensity_fn(path[0]) - log_z + ratio(times[-1], path[-1], x)
    if model.num_steps == 1:  # there is no step between latents, which may be none of x's shape
        return found
    return found + jnp.sum(jax.vmap(ratio)(times[:-1], path[:-1], path[1:]))


def infer(rng_key: PRNGKey, model: MarkovAutoencoder, params: Params, x: Array) -> Array:
    """Draw a path backward from one observation, leading axis T."""

    def step(z: Array, inputs: tuple[PRNGKey, Array]) -> tuple[Array, Array]:
        key, time = inputs
        z = model.backward.sample(key, params, time, z)
        return z, z

    keys, times = jax.random.split(rng_key, model.num_steps), jnp.arange(model.num_steps)
    return _backward(step, x, (keys, times))


def generate(rng_key: PRNGKey, model: MarkovAutoencoder, params: Params) -> tuple[Array, Array]:
    """Draw a path and the observation that it leads to; given that, an exact posterior path."""
    sample, _ = check_exact(model.prior)
    key_prior, key_path = jax.random.split(rng_key)
    first = sample(key_prior, 1)[0]

    def step(z: Array, inputs: tuple[PRNGKey, Array]) -> tuple[Array, Array]:
        key, time = inputs
        return model.forward.sample(key, params, time, z), z

    keys, times = jax.random.split(key_path, model.num_steps), jnp.arange(model.num_steps)
    last, path = first, first[None]
    if model.num_steps > 1:
        last, before = jax.lax.scan(step, first, (keys[:-1], times[:-1]))
        path = jnp.concatenate([before, last[None]])
    return path, model.forward.sample(keys[-1], params, times[-1], last)


def as_latent_model(model: MarkovAutoencoder) -> LatentModel:
    """See chains with Gaussian backward steps as a mean weight over the noise of those.

    The noise has the shape ``(T, *latent_shape)``. ValueError if a backward step has no
    moments, T is below 1, or the prior has no samples.
    """
    moments = model.backward.moments
    if moments is None:
        raise ValueError(
            "only Gaussian backward steps are functions of normal noise: make them with "
            "gaussian_transition, or weigh paths of infer by log_weight"
        )
    if model.num_steps < 1:
        raise ValueError(f"num_steps must be at least 1; got {model.num_steps}")
    check_exact(model.prior)
    times = jnp.arange(model.num_steps)

    def of_noise(params: Params, x: Array, noise: Array) -> Array:
        def step(z: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
            noise, time = inputs
            mean, scale = moments(params, time, z)
            z = mean + scale * noise
            return z, z

        path = _backward(step, x, (noise, times))
        return log_weight(model, params, path, x)

    def simulate(rng_key: PRNGKey, params: Params) -> tuple[Array, Array]:
        path, x = generate(rng_key, model, params)

        def standardized(time: Array, z: Array, new: Array) -> Array:
            mean, scale = moments(params, time, new)
            return (z - mean) / scale

        noise = standardized(times[-1], path[-1], x)[None]
        if model.num_steps > 1:
            before = jax.vmap(standardized)(times[:-1], path[:-1], path[1:])
            noise = jnp.concatenate([before, noise])
        return x, noise

    shape = (model.num_steps, *model.latent_shape)
    return LatentModel(of_noise, shape, model.check, simulate)


def _backward(step: Callable, x: Array, inputs: tuple[Array, Array]) -> Array:
    """Scan from the last time to the first; x may be of another shape than the latents."""
    z, _ = step(x, tuple(leaf[-1] for leaf in inputs))
    if inputs[0].shape[0] == 1:
        return z[None]
    _, path = jax.lax.scan(step, z, tuple(leaf[:-1] for leaf in inputs), reverse=True)
    return jnp.concatenate([path, z[None]])


def _check_path(model: MarkovAutoencoder, path: Array) -> None:
    expected = (model.num_steps, *model.latent_shape)
    if jnp.shape(path) != expected:
        raise ValueError(f"a path must have the shape {expected}; got {jnp.shape(path)}")
