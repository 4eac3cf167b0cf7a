r"""A drift of particles and pairs, equivariant under exchange, that need not be a gradient.

Barr, Gispen and Lamacraft, MSML 2020. Of such a drift the cost is a bound of the ground-state
energy; a variational energy it has only if it is the gradient of some :math:`\log\psi`.
"""

from collections.abc import Callable

import jax.numpy as jnp
from flax import nnx

from jarzynski_jax.quantum.molecules import Nuclei, distances
from jarzynski_jax.types import Array

__all__ = ["PairDrift"]


class PairDrift(nnx.Module):
    r"""Units of each particle and of each pair, mixed twice; a linear drift and cusps beside.

    .. math:: s_i = W r_i, \quad p_{ij} = W'(r_j - r_i), \qquad
        \text{twice: } s_i \leftarrow W_s\sigma(s_i) + \sum_{j\ne i} W_p\,\sigma(p_{ij}),
        \quad p_{ij} \leftarrow W_q\,\sigma(p_{ij})

    The last combination is 0 at first. Beside it :math:`-\omega r_i`, learned, and among
    nuclei :math:`-\sum_A Z_A \hat r_{iA} + \frac12\sum_j \hat r_{ij}`, which is not.

    Parameters
    ----------
    frequency
        The first :math:`\omega`.
    nuclei
        Whose cusps the drift meets, those between electrons too; None for a trap.
    activation
        Smooth: a drift with kinks learns worse.

    Examples
    --------
    >>> drift = PairDrift(3, 2, rngs=nnx.Rngs(0))
    >>> x = jnp.arange(6.0).reshape(3, 2)
    >>> bool(jnp.allclose(drift(x[::-1]), drift(x)[::-1]))
    True
    """

    def __init__(
        self,
        num_particles: int,
        dimension: int,
        width: int = 64,
        *,
        frequency: float = 1.0,
        nuclei: Nuclei | None = None,
        activation: Callable[[Array], Array] = nnx.tanh,
        rngs: nnx.Rngs,
    ) -> None:
        if nuclei is not None and dimension != 3:
            raise ValueError(f"nuclei are in 3 dimensions; got dimension={dimension}")
        self.shape = num_particles, dimension
        self.activation = activation
        self.positions = (
            None if nuclei is None else tuple(map(tuple, nuclei.positions.tolist()))
        )
        self.charges = None if nuclei is None else tuple(nuclei.charges.tolist())
        self.frequency = nnx.Param(jnp.asarray(frequency, jnp.float32))
        self.of_one = nnx.Linear(dimension, width, rngs=rngs)
        self.of_pair = nnx.Linear(dimension, width, rngs=rngs)
        zeros = nnx.initializers.zeros
        self.ones = nnx.List(
            [
                nnx.Linear(width, width, rngs=rngs),
                nnx.Linear(width, dimension, kernel_init=zeros, rngs=rngs),
            ]
        )
        self.pairs = nnx.List(
            [
                nnx.Linear(width, width, rngs=rngs),
                nnx.Linear(width, dimension, kernel_init=zeros, rngs=rngs),
            ]
        )
        self.between = nnx.Linear(width, width, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """V of one position, shape ``(n, d)``, in that shape."""
        if jnp.shape(x) != self.shape:
            raise ValueError(f"a position must have shape {self.shape}; got {jnp.shape(x)}")
        differences = x[None] - x[:, None]  # r_j - r_i
        is_other = ~jnp.eye(x.shape[0], dtype=bool)[:, :, None]
        single, pair = self.of_one(x), self.of_pair(differences)
        for turn in range(2):
            single, pair = self.activation(single), self.activation(pair)
            of_others = jnp.sum(jnp.where(is_other, self.pairs[turn](pair), 0), axis=1)
            single = self.ones[turn](single) + of_others
            if turn == 0:
                pair = self.between(pair)
        drift = single - self.frequency[...] * x
        if self.positions is None or self.charges is None:
            return drift
        to_nuclei = x[:, None] - jnp.asarray(self.positions, x.dtype)
        pull = jnp.asarray(self.charges, x.dtype)[:, None] * _directions(to_nuclei)
        return drift - jnp.sum(pull, axis=1) - jnp.sum(_directions(differences), axis=1) / 2


def _directions(vectors: Array) -> Array:
    """Unit vectors; 0 of a vector 0."""
    length = distances(vectors)[..., None]
    return vectors / jnp.where(length == 0, 1, length)
