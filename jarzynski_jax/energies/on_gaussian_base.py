"""Modules that sit on a Gaussian base, which is part of them and not trained."""

from flax import nnx

from jarzynski_jax.energies.gaussian_base import GaussianBase, energy
from jarzynski_jax.types import Array

__all__ = ["Fixed", "OnGaussianBase"]


class Fixed(nnx.Variable):
    """A variable that is part of the model and not trained."""


class OnGaussianBase(nnx.Module):
    r"""An energy on a Gaussian base, :math:`U_\theta(x) = U_{\rm base}(x) + f_\theta(x)`.

    The base is not trained. For an exact start the module f must be zero at first, as
    :class:`~jarzynski_jax.energies.MLP` is, or have a partition function of its own on the
    base, as :class:`~jarzynski_jax.energies.TwoModeMixture` has.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from jarzynski_jax.energies import MLP, GaussianBase, OnGaussianBase
    >>> base = GaussianBase(jnp.zeros(2), jnp.array(1.0), jnp.array(1.0))
    >>> model = OnGaussianBase(base, MLP(2, rngs=nnx.Rngs(0)))
    >>> float(model(jnp.array([1.0, 1.0])))
    1.0
    """

    def __init__(self, base: GaussianBase, correction: nnx.Module) -> None:
        self._mean = Fixed(base.mean)
        self._scale = Fixed(base.scale)
        self._inverse_scale = Fixed(base.inverse_scale)
        self.correction = correction

    @property
    def base(self) -> GaussianBase:
        """The Gaussian."""
        return GaussianBase(self._mean[...], self._scale[...], self._inverse_scale[...])

    def __call__(self, x: Array) -> Array:
        """Energy of one sample, a scalar."""
        return energy(self.base, x) + self.correction(x)
