"""Encoder and decoder as Flax modules: perceptrons, linear without hidden layers."""

import itertools
import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from flax import nnx

from jarzynski_jax.latent.outputs import Output
from jarzynski_jax.types import Array

__all__ = ["Decoder", "GaussianEncoder", "Perceptron", "check_sizes"]

#: No standard deviation of an encoder is beyond e to the ± this, as part of the model.
_LARGEST_LOG_SCALE = 10.0


class Perceptron(nnx.Module):
    """The hidden layers."""

    def __init__(
        self,
        widths: Sequence[int],
        activation: Callable[[Array], Array],
        rngs: nnx.Rngs,
    ) -> None:
        self.activation = activation
        self.layers = nnx.List(
            [nnx.Linear(*pair, rngs=rngs) for pair in itertools.pairwise(widths)]
        )

    def __call__(self, y: Array) -> Array:
        """All layers, each with its activation."""
        for layer in self.layers:
            y = self.activation(layer(y))
        return y


class GaussianEncoder(nnx.Module):
    r"""From one observation to :math:`N(\mu(x), {\rm diag}\,s(x)^2)` of its latent.

    Parameters
    ----------
    shape
        Of an observation.
    latent_dim
        H, at least 1.
    hidden
        Widths of the hidden layers; none for a linear encoder, whose log s is linear too.
    num_levels
        Whole numbers from 0 to L - 1 are seen as numbers from -1 to 1; others as they are.

    Examples
    --------
    >>> encoder = GaussianEncoder((8, 8), 2, (16,), rngs=nnx.Rngs(0))
    >>> [part.shape for part in encoder(jnp.zeros((8, 8)))]
    [(2,), (2,)]
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent_dim: int,
        hidden: Sequence[int] = (),
        *,
        num_levels: int | None = None,
        activation: Callable[[Array], Array] = nnx.relu,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(shape, latent_dim, hidden)
        self.shape, self.num_levels = tuple(shape), num_levels
        widths = [math.prod(shape), *hidden]
        self.trunk = Perceptron(widths, activation, rngs)
        self.mean = nnx.Linear(widths[-1], latent_dim, rngs=rngs)
        self.log_scale = nnx.Linear(
            widths[-1], latent_dim, kernel_init=nnx.initializers.zeros, rngs=rngs
        )

    def __call__(self, x: Array) -> tuple[Array, Array]:
        """Mean and standard deviations, both of shape ``(H,)``."""
        if jnp.shape(x) != self.shape:
            raise ValueError(
                f"an observation must have the shape {self.shape}; got {jnp.shape(x)}"
            )
        x = jnp.reshape(x, (-1,))
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))  # of bytes, 2 x would overflow
        if self.num_levels is not None:
            x = 2 * x / (self.num_levels - 1) - 1
        y = self.trunk(x)
        log_scale = jnp.clip(self.log_scale(y), -_LARGEST_LOG_SCALE, _LARGEST_LOG_SCALE)
        return self.mean(y), jnp.exp(log_scale)


class Decoder(nnx.Module):
    """From a latent to the channels of an output, of shape ``(*shape, C)``.

    Examples
    --------
    >>> from jarzynski_jax.latent import outputs
    >>> decoder = Decoder((8, 8), 2, (16,), output=outputs.gaussian(), rngs=nnx.Rngs(0))
    >>> decoder(jnp.zeros(2)).shape
    (8, 8, 2)
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent_dim: int,
        hidden: Sequence[int] = (),
        *,
        output: Output,
        activation: Callable[[Array], Array] = nnx.relu,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(shape, latent_dim, hidden)
        self.shape, self.num_channels = tuple(shape), output.num_channels
        widths = [latent_dim, *hidden]
        self.trunk = Perceptron(widths, activation, rngs)
        num_numbers = math.prod(shape) * output.num_channels
        self.channels = nnx.Linear(widths[-1], num_numbers, rngs=rngs)
        self.shared = nnx.Param(jnp.zeros(output.num_shared))

    def __call__(self, z: Array) -> Array:
        """Channels of every feature, those that are common to all of them last."""
        own = self.channels(self.trunk(z)).reshape(*self.shape, self.num_channels)
        shared = jnp.asarray(self.shared[...], own.dtype)
        return jnp.concatenate(
            [own, jnp.broadcast_to(shared, (*self.shape, *shared.shape))], -1
        )


def check_sizes(shape: Sequence[int], latent_dim: int, hidden: Sequence[int]) -> None:
    """ValueError if anything has no size."""
    if latent_dim < 1:
        raise ValueError(f"latent_dim must be at least 1; got {latent_dim}")
    if not shape or min(shape) < 1:
        raise ValueError(
            f"an observation must have at least one feature; got shape {tuple(shape)}"
        )
    if any(width < 1 for width in hidden):
        raise ValueError(f"hidden layers must have at least one unit; got {tuple(hidden)}")
