"""A multilayer perceptron as an energy."""

import itertools
import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from jarzynski_jax.types import Array

__all__ = ["MLP"]


class MLP(nnx.Module):
    """Multilayer perceptron from one sample to a scalar, with a last layer of zeros.

    A sample of d numbers may have any shape. The zeros make it the zero function at first, so
    that on a Gaussian base the first model is the base. The activation must be smooth: walkers
    follow its derivative.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from jarzynski_jax.energies import MLP
    >>> float(MLP(64, (128, 128), rngs=nnx.Rngs(0))(jnp.ones((8, 8))))
    0.0
    """

    def __init__(
        self,
        num_features: int,
        hidden: Sequence[int] = (128, 128),
        *,
        activation: Callable[[Array], Array] = nnx.silu,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        widths = [num_features, *hidden]
        if min(widths) < 1:
            raise ValueError(
                f"an MLP needs at least one feature and one unit a layer; "
                f"got num_features={num_features}, hidden={tuple(hidden)}"
            )
        self.num_features = num_features
        self.activation = activation
        self.hidden = nnx.List(
            [
                nnx.Linear(fan_in, fan_out, param_dtype=param_dtype, rngs=rngs)
                for fan_in, fan_out in itertools.pairwise(widths)
            ]
        )
        self.last = nnx.Linear(
            widths[-1],
            1,
            kernel_init=nnx.initializers.zeros,
            bias_init=nnx.initializers.zeros,
            # A constant in the energy cancels from the density and from every gradient.
            use_bias=False,
            param_dtype=param_dtype,
            rngs=rngs,
        )

    def __call__(self, x: Array) -> Array:
        """Energy of one sample, a scalar."""
        if math.prod(jnp.shape(x)) != self.num_features:
            raise ValueError(
                f"a sample must have {self.num_features} numbers; got shape {jnp.shape(x)}"
            )
        y = jnp.reshape(x, (-1,))
        for layer in self.hidden:
            y = self.activation(layer(y))
        return self.last(y)[0]
