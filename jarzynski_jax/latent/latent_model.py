r"""A model with latent variables, as a mean weight over standard normal noise.

All models here have one form. Of an observation x and noise :math:`\varepsilon \sim N(0, 1)`
the encoder makes a latent, a vector or a whole path, and

.. math:: A(x, \varepsilon) = \log\frac{p(x, z)}{q(z|x)}, \quad z = z(x, \varepsilon),
   \qquad p(x) = E_\varepsilon[e^{A}]

so that -A is work, its mean is the negative evidence lower bound, and e^A is an unbiased
estimate of p(x). What else is known of a likelihood follows from A alone: the
importance-weighted bound here, brackets in :mod:`jarzynski_jax.latent.likelihood`, learning in
:mod:`jarzynski_jax.latent.variational`.

References: Kingma and Welling, *Auto-encoding variational Bayes*, 2014; Burda, Grosse and
Salakhutdinov, *Importance weighted autoencoders*, 2016.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.compiling import compiled_once
from jarzynski_jax.types import Array, Params, PRNGKey
from jarzynski_jax.weights import log_mean_exp

__all__ = [
    "LatentModel",
    "draw_log_weights",
    "evidence_lower_bound",
    "importance_weighted_bound",
    "log_normal",
    "noise_dtype",
]

#: So many observations at once; more would not fit the cache.
_BLOCK = 50


class LatentModel(NamedTuple):
    r"""What the rest of this room must know of a model with latents.

    log_weight
        ``(params, x, noise) -> A``, for one observation. Of infinite work it is ``-inf``.
    noise_shape
        Of one latent's noise.
    check
        ``data -> None``: a ValueError if data of shape ``(n, ...)`` are none of this model.
    simulate
        ``(rng_key, params) -> (x, noise)``: an observation of the model, and with it noise that
        is an exact sample of the posterior, :math:`\propto N(\varepsilon)\,e^{A}`.
    averaged
        ``(params, x, noise) -> scalar`` of the same mean as A, part of which was taken in
        closed form; None where there is no such.
    """

    log_weight: Callable[[Params, Array, Array], Array]
    noise_shape: tuple[int, ...]
    check: Callable[[Any], None]
    simulate: Callable[[PRNGKey, Params], tuple[Array, Array]]
    averaged: Callable[[Params, Array, Array], Array] | None = None


def draw_log_weights(
    rng_key: PRNGKey, model: LatentModel, params: Params, data: Array, num_samples: int
) -> Array:
    """Draw A of each observation, shape ``(n, K)``; a mean of e^A is unbiased for p(x).

    ValueError if ``num_samples`` is not positive, or the data are none of the model.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1; got {num_samples}")
    model.check(data)
    return _draw_log_weights(rng_key, model, params, jnp.asarray(data), num_samples)


@compiled_once
def _draw_log_weights(
    rng_key: PRNGKey, model: LatentModel, params: Params, data: Array, num_samples: int
) -> Array:
    dtype = noise_dtype(params, data)

    def of_one(inputs: tuple[PRNGKey, Array]) -> Array:
        key, x = inputs
        noise = jax.random.normal(key, (num_samples, *model.noise_shape), dtype)
        return jax.vmap(model.log_weight, (None, None, 0))(params, x, noise)

    keys = jax.random.split(rng_key, data.shape[0])
    return jax.lax.map(of_one, (keys, data), batch_size=_BLOCK)


def log_normal(noise: Array) -> Array:
    """Log-density of standard normal noise of any shape, a scalar."""
    return -jnp.sum(jnp.square(noise)) / 2 - noise.size / 2 * math.log(2 * math.pi)


def noise_dtype(params: Params, data: Array) -> jnp.dtype:
    """The widest of what parameters and data are, float32 at least."""
    leaves = [
        leaf for leaf in jax.tree.leaves(params) if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    is_real = jnp.issubdtype(jnp.result_type(data), jnp.floating)
    return jnp.result_type(jnp.float32, *leaves, *([data] if is_real else []))


def evidence_lower_bound(
    rng_key: PRNGKey, model: LatentModel, params: Params, data: Array, num_samples: int = 1
) -> Array:
    r"""Mean A of each observation, shape ``(n,)``: unbiased for the evidence lower bound.

    In nats; at most :math:`\log p(x)` on average, by KL(q(z|x) || p(z|x)). Latents are drawn:
    at the encoder's mean the value is no bound.
    """
    return jnp.mean(draw_log_weights(rng_key, model, params, data, num_samples), axis=1)


def importance_weighted_bound(
    rng_key: PRNGKey, model: LatentModel, params: Params, data: Array, num_samples: int
) -> Array:
    r"""Importance-weighted bound of each observation, shape ``(n,)``, in nats.

    .. math:: \log \frac1K\sum_j e^{A_j}, \qquad
              E[\cdot] \le \log p(x), \text{ growing with } K
    """
    log_weights = draw_log_weights(rng_key, model, params, data, num_samples)
    return jax.vmap(log_mean_exp)(log_weights)
