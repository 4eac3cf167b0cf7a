"""Convolutional networks as energies of images: the two of the thesis, and a residual one."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from jarzynski_jax.types import Array

__all__ = [
    "ConvNet",
    "Convolution",
    "ResidualNetwork",
    "thesis_cifar_layers",
    "thesis_mnist_layers",
]


class Convolution(NamedTuple):
    """One convolution: channels out, width of the square kernel, stride, zeros at each edge."""

    num_features: int
    kernel_size: int
    stride: int
    padding: int


def thesis_mnist_layers(num_features: int = 32) -> tuple[Convolution, ...]:
    """Four convolutions of stride 2, for 28x28 images to 2x2 (thesis, §4.3.2).

    The second has ``num_features`` channels, the others 1/2, 2 and 2 times as many. With a
    hidden layer of ``2 * num_features`` units and the last one they are six layers, of 77
    thousand parameters with 32 features.

    Examples
    --------
    >>> [layer.num_features for layer in thesis_mnist_layers(32)]
    [16, 32, 64, 64]
    """
    return (
        Convolution(num_features // 2, 5, 2, 4),
        Convolution(num_features, 3, 2, 1),
        Convolution(2 * num_features, 3, 2, 1),
        Convolution(2 * num_features, 3, 2, 1),
    )


def thesis_cifar_layers(num_features: int = 128) -> tuple[Convolution, ...]:
    """Four convolutions for 32x32 images to 4x4 (thesis, §4.3.3).

    The first has ``num_features`` channels, each further one twice as many. The last layer over
    them is a convolution of kernel 4 there: the same as a linear one. Reference: Nijkamp, Hill,
    Zhu and Wu, NeurIPS 2019.

    Examples
    --------
    >>> [layer.num_features for layer in thesis_cifar_layers(64)]
    [64, 128, 256, 512]
    """
    return (
        Convolution(num_features, 3, 1, 1),
        Convolution(2 * num_features, 4, 2, 1),
        Convolution(4 * num_features, 4, 2, 1),
        Convolution(8 * num_features, 4, 2, 1),
    )


class ConvNet(nnx.Module):
    """Convolutions, then hidden layers, then a last layer of zeros: one image to a scalar.

    The zeros make it the zero function at first, so that on a Gaussian base the first model
    is the base. The activation must be smooth: walkers follow its derivative. ValueError if the
    shape is neither ``(height, width)`` nor ``(height, width, channels)``, or a convolution is
    larger than what it gets.

    Examples
    --------
    The thesis' network for MNIST:

    >>> from jarzynski_jax.energies import ConvNet, functional, thesis_mnist_layers
    >>> net = ConvNet((28, 28), thesis_mnist_layers(), (64,), rngs=nnx.Rngs(0))
    >>> energy_fn, params = functional(net)
    >>> sum(leaf.size for leaf in jax.tree.leaves(params))
    76992
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        convolutions: Sequence[Convolution],
        hidden: Sequence[int] = (),
        *,
        activation: Callable[[Array], Array] = nnx.silu,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        height, width, channels = _image_shape(shape)
        self.shape = shape
        self.activation = activation
        layers: list[nnx.Module] = []
        for features, kernel_size, stride, padding in convolutions:
            if min(height, width) + 2 * padding < kernel_size:
                raise ValueError(
                    f"a convolution of width {kernel_size} does not fit into "
                    f"{height}x{width} with {padding} zeros at each edge; images are {shape}"
                )
            layer = Convolution(features, kernel_size, stride, padding)
            layers.append(_Conv(channels, layer, param_dtype=param_dtype, rngs=rngs))
            height, width = (
                (size + 2 * padding - kernel_size) // stride + 1 for size in (height, width)
            )
            channels = features
        self.convolutions = nnx.List(layers)
        widths = [height * width * channels, *hidden]
        self.hidden = nnx.List(
            [
                nnx.Linear(fan_in, fan_out, param_dtype=param_dtype, rngs=rngs)
                for fan_in, fan_out in zip(widths, hidden, strict=False)
            ]
        )
        self.last = _zero_layer(widths[-1], param_dtype, rngs)

    def __call__(self, x: Array) -> Array:
        """Energy of one image, a scalar."""
        y = _with_channels(x, self.shape)
        for convolution in self.convolutions:
            y = self.activation(convolution(y))
        y = y.reshape(-1)
        for layer in self.hidden:
            y = self.activation(layer(y))
        return self.last(y)[0]


class ResidualNetwork(nnx.Module):
    r"""Stages of residual blocks, each at half the size and twice the channels of the last.

    A block is :math:`y + C_2\,\varphi(C_1\,\varphi(y))` with convolutions of kernel 3, the
    second of them zero at first, and φ smooth; between stages the image is averaged over 2x2
    pixels. There is no normalisation over walkers, which would tie their energies to one
    another. The last layer is zero at first. ValueError if the image, of a shape as of
    :class:`ConvNet`, is too small to be halved so often.

    Parameters
    ----------
    is_checkpointed
        Whether the gradient computes a block's inner values again instead of keeping them:
        less memory for a third more arithmetic.

    Examples
    --------
    >>> from jarzynski_jax.energies import ResidualNetwork
    >>> net = ResidualNetwork((32, 32, 3), 8, rngs=nnx.Rngs(0))
    >>> float(net(jnp.ones((32, 32, 3))))
    0.0
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        num_features: int = 128,
        num_stages: int = 3,
        num_blocks: int = 2,
        *,
        is_checkpointed: bool = False,
        activation: Callable[[Array], Array] = nnx.silu,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        height, width, channels = _image_shape(shape)
        if num_stages < 1:
            raise ValueError(f"num_stages must be at least 1; got {num_stages}")
        if min(height, width) < 2 ** (num_stages - 1):
            raise ValueError(f"{num_stages} stages need images larger than {height}x{width}")
        self.shape = shape
        self.is_checkpointed = is_checkpointed
        self.activation = activation
        widths = [num_features * 2**stage for stage in range(num_stages)]

        def convolution(fan_in: int, fan_out: int, size: int, **options: Any) -> nnx.Conv:
            layer = Convolution(fan_out, size, 1, size // 2)
            return _Conv(fan_in, layer, param_dtype=param_dtype, rngs=rngs, **options)

        self.enter = convolution(channels, num_features, 3)
        self.widen = nnx.List(
            [convolution(before, 2 * before, 1) for before in widths[:-1]],
        )
        zeros = nnx.initializers.zeros
        self.stages = nnx.List(
            [
                nnx.List(
                    [
                        _ResidualBlock(
                            convolution(features, features, 3),
                            convolution(features, features, 3, kernel_init=zeros),
                            activation,
                        )
                        for _ in range(num_blocks)
                    ]
                )
                for features in widths
            ]
        )
        self.last = _zero_layer(widths[-1], param_dtype, rngs)

    def __call__(self, x: Array) -> Array:
        """Energy of one image, a scalar."""
        apply: Any = nnx.remat(_call) if self.is_checkpointed else _call
        y = self.enter(_with_channels(x, self.shape))
        for number, blocks in enumerate(self.stages):
            if number > 0:
                y = nnx.avg_pool(self.widen[number - 1](y), (2, 2), (2, 2))
            for block in blocks:
                y = apply(block, y)
        return self.last(jnp.mean(self.activation(y), axis=(0, 1)))[0]


class _Conv(nnx.Conv):
    """Flax's convolution, of one image.

    On a CPU as a product with patches of the image: there XLA takes twenty times longer for the
    gradients of convolutions in a loop, as a scan over updates is one
    (https://github.com/jax-ml/jax/issues/12868).
    """

    def __init__(self, fan_in: int, layer: Convolution, **options: Any) -> None:
        size = layer.kernel_size
        super().__init__(
            fan_in,
            layer.num_features,
            (size, size),
            strides=layer.stride,
            padding=layer.padding,
            **options,
        )
        self.layer = layer

    def __call__(self, inputs: Array) -> Array:  # type: ignore[override]
        if jax.default_backend() != "cpu":
            return super().__call__(inputs)
        num_features, size, stride, padding = self.layer
        padded = jnp.pad(inputs, ((padding, padding), (padding, padding), (0, 0)))
        ends = [length - size + 1 for length in padded.shape[:2]]
        patches = [
            padded[row : row + ends[0] : stride, column : column + ends[1] : stride]
            for row in range(size)
            for column in range(size)
        ]
        kernel = self.kernel[...].reshape(-1, num_features)
        product = jnp.concatenate(patches, axis=-1) @ kernel
        return product if self.bias is None else product + self.bias[...]


class _ResidualBlock(nnx.Module):
    def __init__(
        self, first: nnx.Conv, second: nnx.Conv, activation: Callable[[Array], Array]
    ) -> None:
        self.first = first
        self.second = second
        self.activation = activation

    def __call__(self, y: Array) -> Array:
        return y + self.second(self.activation(self.first(self.activation(y))))


def _call(module: _ResidualBlock, y: Array) -> Array:
    return module(y)


def _zero_layer(fan_in: int, param_dtype: DTypeLike, rngs: nnx.Rngs) -> nnx.Linear:
    # Without a bias: a constant in the energy cancels from the density and every gradient.
    zeros = nnx.initializers.zeros
    return nnx.Linear(
        fan_in, 1, use_bias=False, kernel_init=zeros, param_dtype=param_dtype, rngs=rngs
    )


def _image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise ValueError(
            f"an image must have shape (height, width) or (height, width, channels); "
            f"got {shape}"
        )
    height, width, channels = (*shape, 1)[:3]
    return height, width, channels


def _with_channels(x: Array, shape: tuple[int, ...]) -> Array:
    if jnp.shape(x) != tuple(shape):
        raise ValueError(f"an image must have shape {shape}; got {jnp.shape(x)}")
    return x if len(shape) == 3 else x[..., None]
