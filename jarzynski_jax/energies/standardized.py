"""A network that sees samples of mean zero and of variance one."""

import jax.numpy as jnp
from flax import nnx

from jarzynski_jax.energies.gaussian_base import GaussianBase, mean_variance
from jarzynski_jax.energies.on_gaussian_base import Fixed
from jarzynski_jax.types import Array

__all__ = ["Standardized"]


class Standardized(nnx.Module):
    r"""A module of standardized samples, :math:`x \mapsto f_\theta((x - m) / s)`.

    Here m is the mean of a Gaussian and :math:`s^2` its variance, averaged over coordinates.
    What samples have in common drives all hidden units alike and is of no use to them; on
    images, most of which is background, it is most of what they see, and the model learns much
    more slowly.

    The density is of x as it was: nothing is to be added to log Z.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from jarzynski_jax.energies import MLP, GaussianBase, OnGaussianBase, Standardized
    >>> base = GaussianBase(jnp.ones(2), jnp.array(0.5), jnp.array(2.0))
    >>> model = OnGaussianBase(base, Standardized(base, MLP(2, rngs=nnx.Rngs(0))))
    >>> float(model(jnp.ones(2)))
    0.0
    """

    def __init__(self, base: GaussianBase, module: nnx.Module) -> None:
        self._mean = Fixed(base.mean)
        self._inverse_scale = Fixed(1 / jnp.sqrt(mean_variance(base)))
        self.module = module

    def __call__(self, x: Array) -> Array:
        """Energy of one sample, a scalar."""
        if jnp.shape(x) != self._mean.shape:
            raise ValueError(
                f"a sample must have the shape of the base, {self._mean.shape}; "
                f"got {jnp.shape(x)}"
            )
        return self.module((x - self._mean[...]) * self._inverse_scale[...])
