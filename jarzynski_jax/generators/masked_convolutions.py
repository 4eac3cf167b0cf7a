"""Masked convolutions: the odds of each spin of a lattice, given those before it.

Sites are in row-major order. A layer sees a window of the rows above and of its own row up to
its own site: the first layer without that site, whose spin it is to predict, all others with
it. Beyond the edges there are zeros: the lattice's periodic boundaries are left to be learned.

Reference: van den Oord, Kalchbrenner and Kavukcuoglu, *Pixel recurrent neural networks*,
ICML 2016; Wu, Wang and Zhang, *Phys. Rev. Lett.* 122 (2019) 080602.
"""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from jarzynski_jax.types import Array

__all__ = ["MaskedConvolutions"]


class MaskedConvolutions(nnx.Module):
    """Log-odds of spins 1 on a lattice of two axes, each given the spins before it.

    The last layer is zero at first, so that all states are equally probable. The kernels hold
    the weights of what a site may see, and nothing that would have to be masked. ValueError
    unless the lattice has two axes and all numbers are positive.

    Parameters
    ----------
    depth
        Layers in all.
    half_width
        Rows above, and columns to either side, that a layer sees.

    Examples
    --------
    >>> net = MaskedConvolutions((4, 4), rngs=nnx.Rngs(0))
    >>> net(jnp.ones((4, 4), jnp.int32)).shape
    (4, 4)
    """

    def __init__(
        self,
        shape: tuple[int, int],
        num_features: int = 32,
        depth: int = 3,
        half_width: int = 3,
        *,
        activation: Callable[[Array], Array] = nnx.silu,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        if len(shape) != 2 or min(*shape, num_features, depth, half_width) < 1:
            raise ValueError(
                "masked convolutions need a lattice of two axes, and at least one feature, one "
                f"layer and a half width of one; got shape={shape}, "
                f"num_features={num_features}, depth={depth}, half_width={half_width}"
            )
        self.shape = (shape[0], shape[1])
        self.activation = activation
        self.param_dtype = param_dtype
        widths = [1, *[num_features] * (depth - 1), 1]
        self.layers = nnx.List(
            [
                _Convolution(
                    *sizes, half_width, number > 0, number == depth - 1, param_dtype, rngs
                )
                for number, sizes in enumerate(itertools.pairwise(widths))
            ]
        )

    def __call__(self, spins: Array) -> Array:
        """Log-odds of all sites of one configuration, in its shape, in one pass."""
        features = jnp.asarray(spins, self.param_dtype)[..., None]
        for number, layer in enumerate(self.layers):
            features = layer(self._activate(features, number))
        return features[..., 0]

    def start(self) -> tuple[Array, ...]:
        """What each layer sees before there is a spin."""
        return tuple(layer.nothing(self.shape) for layer in self.layers)

    def log_odds_at(
        self, seen: tuple[Array, ...], site: Array
    ) -> tuple[Array, tuple[Array, ...]]:
        """Log-odds at the site of this number, and what the layers have seen with it.

        All sites before it must have been put; it costs what one site costs in a whole pass.
        """
        seen = tuple(seen)
        row, column = jnp.unravel_index(site, self.shape)
        for number, layer in enumerate(self.layers):
            features = layer.at(seen[number], row, column)
            if number + 1 < len(self.layers):
                following = self.layers[number + 1]
                features = self._activate(features, number + 1)
                updated = following.put(seen[number + 1], row, column, features)
                seen = (*seen[: number + 1], updated, *seen[number + 2 :])
        return features[0], seen

    def put(self, seen: tuple[Array, ...], site: Array, spin: Array) -> tuple[Array, ...]:
        """Let the first layer see the spin at this site."""
        row, column = jnp.unravel_index(site, self.shape)
        spin = jnp.asarray(spin, self.param_dtype)[None]
        return (self.layers[0].put(seen[0], row, column, spin), *seen[1:])

    def _activate(self, features: Array, number: int) -> Array:
        return features if number == 0 else self.activation(features)


class _Convolution(nnx.Module):
    """One layer: a window of a site's past, times a kernel of as many taps."""

    def __init__(
        self,
        fan_in: int,
        fan_out: int,
        half_width: int,
        sees_itself: bool,
        is_last: bool,
        param_dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        self.half_width = half_width
        side = 2 * half_width + 1
        # Window of rows above and the own one; what of it comes before, in row-major order.
        self.num_taps = half_width * side + half_width + sees_itself
        shape = (self.num_taps * fan_in, fan_out)
        scale = 0.0 if is_last else 1 / np.sqrt(shape[0])
        self.kernel = nnx.Param(scale * rngs.params.normal(shape, param_dtype))
        self.bias = nnx.Param(jnp.zeros(fan_out, param_dtype))
        self.fan_in = fan_in

    def __call__(self, x: Array) -> Array:
        """Of all sites: x has the shape (L, M, fan_in)."""
        length, width, _ = x.shape
        half = self.half_width
        padded = jnp.pad(x, ((half, 0), (half, half), (0, 0)))
        taps = [
            padded[row : row + length, column : column + width]
            for row, column in self._offsets()
        ]
        return jnp.concatenate(taps, axis=-1) @ self.kernel[...] + self.bias[...]

    def nothing(self, shape: tuple[int, int]) -> Array:
        half = self.half_width
        dtype = self.kernel[...].dtype
        return jnp.zeros((shape[0] + half, shape[1] + 2 * half, self.fan_in), dtype)

    def at(self, padded: Array, row: Array, column: Array) -> Array:
        """Of one site, with what has been put so far."""
        half = self.half_width
        size = (half + 1, 2 * half + 1, self.fan_in)
        window = jax.lax.dynamic_slice(padded, (row, column, 0), size)
        past = window.reshape(-1, self.fan_in)[: self.num_taps].reshape(-1)
        return past @ self.kernel[...] + self.bias[...]

    def put(self, padded: Array, row: Array, column: Array, features: Array) -> Array:
        half = self.half_width
        start = (row + half, column + half, 0)
        return jax.lax.dynamic_update_slice(padded, features[None, None], start)

    def _offsets(self) -> list[tuple[int, int]]:
        side = 2 * self.half_width + 1
        return [divmod(number, side) for number in range(self.num_taps)]
