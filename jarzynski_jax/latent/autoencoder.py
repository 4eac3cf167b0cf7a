r"""The variational autoencoder: a Gaussian encoder, a decoder, a standard normal prior.

.. math:: A = \log p(z) + \log p(x|z) - \log q(z|x), \quad z = \mu(x) + s(x)\,\varepsilon

or, with the rate in closed form and the same mean,

.. math:: \log p(x|z) - \tfrac12 \sum_i (s_i^2 + \mu_i^2 - 1 - \log s_i^2) .

At the optimum A has less variance, because its parts cancel: with the exact posterior it is
:math:`\log p(x)` for every ε. With linear networks and Gaussian outputs the model is
probabilistic principal component analysis.

References: Kingma and Welling, 2014; Tipping and Bishop, *Probabilistic principal component
analysis*, 1999; Lucas, Tucker, Grosse and Norouzi, *Don't blame the ELBO!*, 2019.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jarzynski_jax.compiling import compiled_once
from jarzynski_jax.energies.functional import functional
from jarzynski_jax.latent.latent_model import LatentModel
from jarzynski_jax.latent.networks import Decoder, GaussianEncoder
from jarzynski_jax.latent.outputs import Output, check_observations
from jarzynski_jax.types import Array, Params, PRNGKey

__all__ = [
    "Autoencoder",
    "as_latent_model",
    "from_modules",
    "from_prior",
    "make_autoencoder",
    "rate",
    "sample",
]


class Autoencoder(NamedTuple):
    """Two pure functions of the same parameters, for one observation and one latent.

    encode
        ``(params, x) -> (mean, scale)`` of the latent, shapes ``(H,)``.
    decode
        ``(params, z) -> channels`` of the output, shape ``(*shape, C)``.
    output
        The law of x given its channels.
    shape
        Of an observation.
    latent_dim
        H.
    """

    encode: Callable[[Params, Array], tuple[Array, Array]]
    decode: Callable[[Params, Array], Array]
    output: Output
    shape: tuple[int, ...]
    latent_dim: int


def make_autoencoder(
    shape: Sequence[int],
    latent_dim: int,
    hidden: Sequence[int],
    output: Output,
    *,
    activation: Callable[[Array], Array] = nnx.relu,
    rngs: nnx.Rngs,
) -> tuple[Autoencoder, Params]:
    """Make an autoencoder of multilayer perceptrons, the decoder's layers in reverse order.

    ValueError if a size is not positive.

    Examples
    --------
    >>> from jarzynski_jax.latent import outputs
    >>> output, rngs = outputs.bernoulli(), nnx.Rngs(0)
    >>> model, params = make_autoencoder((8, 8), 2, (16,), output, rngs=rngs)
    >>> sample(jax.random.key(0), model, params, 5).shape
    (5, 8, 8)
    """
    encoder = GaussianEncoder(
        shape,
        latent_dim,
        hidden,
        num_levels=output.num_levels,
        activation=activation,
        rngs=rngs,
    )
    decoder = Decoder(
        shape, latent_dim, hidden[::-1], output=output, activation=activation, rngs=rngs
    )
    return from_modules(encoder, decoder, output, shape, latent_dim)


def from_modules(
    encoder: nnx.Module,
    decoder: nnx.Module,
    output: Output,
    shape: Sequence[int],
    latent_dim: int,
) -> tuple[Autoencoder, Params]:
    """Make an autoencoder of two modules, which take one observation, and one latent.

    ``encoder(x)`` is a mean and positive standard deviations, of shape ``(H,)`` both;
    ``decoder(z)`` are channels of shape ``(*shape, C)``, where the output wants C of them. A
    ValueError says so if they are not.
    """
    # They are no energies, but functions of parameters and of one sample all the same.
    encode_fn, encoder_params = functional(encoder)
    decode_fn, decoder_params = functional(decoder)
    model = Autoencoder(
        partial(_encode, encode_fn),
        partial(_decode, decode_fn),
        output,
        tuple(shape),
        latent_dim,
    )
    params = {"encoder": encoder_params, "decoder": decoder_params}
    dtype = jax.tree.leaves(encoder_params)[0].dtype
    found = jax.eval_shape(model.encode, params, jax.ShapeDtypeStruct(tuple(shape), dtype))
    num_channels = output.num_channels + output.num_shared
    channels = jax.eval_shape(model.decode, params, jax.ShapeDtypeStruct((latent_dim,), dtype))
    if [part.shape for part in found] != [(latent_dim,)] * 2:
        raise ValueError(
            f"an encoder must return mean and scale of shape ({latent_dim},); got shapes "
            f"{[part.shape for part in found]}"
        )
    if channels.shape != (*shape, num_channels):
        raise ValueError(
            f"a decoder of {output.name} must return channels of shape "
            f"{(*shape, num_channels)}; got {channels.shape}"
        )
    return model, params


def _encode(encode_fn: Any, params: Params, x: Array) -> tuple[Array, Array]:
    return encode_fn(params["encoder"], x)


def _decode(decode_fn: Any, params: Params, z: Array) -> Array:
    return decode_fn(params["decoder"], z)


def as_latent_model(model: Autoencoder) -> LatentModel:
    """See an autoencoder as a mean weight over noise, from its encoder."""

    def latent(params: Params, x: Array, noise: Array) -> tuple[Array, Array]:
        mean, scale = model.encode(params, x)
        return mean + scale * noise, scale

    def log_weight(params: Params, x: Array, noise: Array) -> Array:
        z, scale = latent(params, x, noise)
        log_ratio = jnp.sum(jnp.square(noise) - jnp.square(z)) / 2 + jnp.sum(jnp.log(scale))
        return log_ratio + _log_likelihood(model, params, x, z)

    def averaged(params: Params, x: Array, noise: Array) -> Array:
        z, _ = latent(params, x, noise)
        return _log_likelihood(model, params, x, z) - rate(model, params, x)

    def simulate(rng_key: PRNGKey, params: Params) -> tuple[Array, Array]:
        z, x = _draw(rng_key, model, params)
        mean, scale = model.encode(params, x)
        return x, (z - mean) / scale

    return _latent_model(model, log_weight, simulate, averaged)


def from_prior(model: Autoencoder) -> LatentModel:
    """See an autoencoder as a mean weight over noise, from its prior: A = log p(x|z), z = ε.

    What its encoder does not find, the prior covers: far more steps or samples for the same
    bounds, and none of them rests on the encoder.
    """

    def log_weight(params: Params, x: Array, noise: Array) -> Array:
        return _log_likelihood(model, params, x, noise)

    def simulate(rng_key: PRNGKey, params: Params) -> tuple[Array, Array]:
        z, x = _draw(rng_key, model, params)
        return x, z

    return _latent_model(model, log_weight, simulate, None)


def _latent_model(
    model: Autoencoder, log_weight: Any, simulate: Any, averaged: Any
) -> LatentModel:
    check = partial(check_observations, model.output, model.shape)
    return LatentModel(log_weight, (model.latent_dim,), check, simulate, averaged)


def _log_likelihood(model: Autoencoder, params: Params, x: Array, z: Array) -> Array:
    # The sum over features, not their mean, which would be another bound.
    return jnp.sum(model.output.log_prob(model.decode(params, z), x))


def _draw(rng_key: PRNGKey, model: Autoencoder, params: Params) -> tuple[Array, Array]:
    key_latent, key_output = jax.random.split(rng_key)
    dtype = jax.tree.leaves(params)[0].dtype
    z = jax.random.normal(key_latent, (model.latent_dim,), dtype)
    return z, model.output.sample(key_output, model.decode(params, z))


def rate(model: Autoencoder, params: Params, x: Array) -> Array:
    r"""KL(q(z|x) || p(z)) of one observation, in nats and in closed form.

    .. math:: \tfrac12 \sum_i (s_i^2 + \mu_i^2 - 1 - \log s_i^2)
    """
    mean, scale = model.encode(params, x)
    return jnp.sum(jnp.square(scale) + jnp.square(mean) - 1 - 2 * jnp.log(scale)) / 2


def sample(rng_key: PRNGKey, model: Autoencoder, params: Params, num_samples: int) -> Array:
    """Draw exact, independent observations of the model, shape ``(n, *shape)``."""
    return _sample(jax.random.split(rng_key, num_samples), model, params)


@compiled_once
def _sample(keys: Array, model: Autoencoder, params: Params) -> Array:
    return jax.vmap(lambda key: _draw(key, model, params)[1])(keys)
