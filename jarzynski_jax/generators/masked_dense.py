"""A masked dense network: the odds of each spin, given those before it.

Each site has features of its own in every layer. They depend on those of the layer before at
sites that come before it in row-major order: in the first layer without its own, whose spin is
to be predicted, in all others with it.

Reference: Germain, Gregor, Murray and Larochelle, *MADE: masked autoencoder for distribution
estimation*, ICML 2015.
"""

import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from jarzynski_jax.types import Array

__all__ = ["MaskedDense"]


class MaskedDense(nnx.Module):
    """Log-odds of spins 1 on a lattice of any shape, each given the spins before it.

    The last layer is zero at first, so that all states are equally probable. ValueError unless
    all numbers are positive.

    Parameters
    ----------
    num_features
        Of a site, in each hidden layer.
    depth
        Layers in all: of one layer the model is a logistic regression for each spin.

    Examples
    --------
    >>> net = MaskedDense((4, 4), rngs=nnx.Rngs(0))
    >>> net(jnp.ones((4, 4), jnp.int32)).shape
    (4, 4)
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        num_features: int = 4,
        depth: int = 2,
        *,
        activation: Callable[[Array], Array] = nnx.silu,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        if not shape or min(*shape, num_features, depth) < 1:
            raise ValueError(
                "a masked dense network needs a lattice of one axis at least, one feature and "
                f"one layer; got shape={shape}, num_features={num_features}, depth={depth}"
            )
        self.shape = tuple(shape)
        self.activation = activation
        self.param_dtype = param_dtype
        widths = [1, *[num_features] * (depth - 1), 1]
        num_sites = math.prod(self.shape)
        self.layers = nnx.List(
            [
                _Dense(num_sites, *sizes, number > 0, number == depth - 1, param_dtype, rngs)
                for number, sizes in enumerate(itertools.pairwise(widths))
            ]
        )

    def __call__(self, spins: Array) -> Array:
        """Log-odds of all sites of one configuration, in its shape, in one pass."""
        features = jnp.asarray(spins, self.param_dtype).reshape(-1, 1)
        for number, layer in enumerate(self.layers):
            features = layer(self._activate(features, number))
        return features.reshape(self.shape)

    def start(self) -> tuple[Array, ...]:
        """What each layer sees before there is a spin."""
        return tuple(layer.nothing() for layer in self.layers)

    def log_odds_at(
        self, seen: tuple[Array, ...], site: Array
    ) -> tuple[Array, tuple[Array, ...]]:
        """Log-odds at the site of this number, and what the layers have seen with it.

        All sites before it must have been put; it costs what one site costs in a whole pass.
        """
        seen = tuple(seen)
        for number, layer in enumerate(self.layers):
            features = layer.at(seen[number], site)
            if number + 1 < len(self.layers):
                updated = seen[number + 1].at[site].set(self._activate(features, number + 1))
                seen = (*seen[: number + 1], updated, *seen[number + 2 :])
        return features[0], seen

    def put(self, seen: tuple[Array, ...], site: Array, spin: Array) -> tuple[Array, ...]:
        """Let the first layer see the spin at this site."""
        return (seen[0].at[site].set(jnp.asarray(spin, self.param_dtype)), *seen[1:])

    def _activate(self, features: Array, number: int) -> Array:
        return features if number == 0 else self.activation(features)


class _Dense(nnx.Module):
    """One layer: its kernel is of shape (to site, from site, fan_in, fan_out)."""

    def __init__(
        self,
        num_sites: int,
        fan_in: int,
        fan_out: int,
        sees_itself: bool,
        is_last: bool,
        param_dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        self.sees_itself = sees_itself
        shape = (num_sites, num_sites, fan_in, fan_out)
        num_seen = fan_in * np.maximum(np.arange(num_sites) + sees_itself, 1)
        widths = np.zeros(num_sites) if is_last else 1 / np.sqrt(num_seen)
        scale = jnp.asarray(widths, param_dtype)[:, None, None, None]
        self.kernel = nnx.Param(scale * rngs.params.normal(shape, param_dtype))
        self.bias = nnx.Param(jnp.zeros((num_sites, fan_out), param_dtype))

    def __call__(self, x: Array) -> Array:
        """Of all sites: x has the shape (sites, fan_in)."""
        kernel = self.kernel[...]
        is_seen = np.tri(kernel.shape[0], k=0 if self.sees_itself else -1, dtype=bool)
        masked = jnp.where(is_seen[:, :, None, None], kernel, 0)
        return jnp.einsum("jc,ijcd->id", x, masked) + self.bias[...]

    def nothing(self) -> Array:
        _, num_sites, fan_in, _ = self.kernel[...].shape
        return jnp.zeros((num_sites, fan_in), self.kernel[...].dtype)

    def at(self, seen: Array, site: Array) -> Array:
        """Of one site: what comes after it is zero still, which masks it."""
        kernel = jax.lax.dynamic_index_in_dim(self.kernel[...], site, keepdims=False)
        return jnp.einsum("jc,jcd->d", seen, kernel) + self.bias[...][site]
