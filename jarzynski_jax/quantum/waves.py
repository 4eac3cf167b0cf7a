r"""Wave functions that are positive, symmetric under exchange, and have the cusps of Coulomb.

Where an electron meets a nucleus of charge Z, or another electron, the local energy is bounded
only if

.. math:: \partial_r\log\psi = -Z, \qquad \partial_r\log\psi = +\tfrac12

there (Kato, *Comm. Pure Appl. Math.* 10 (1957) 151; of two electrons in a singlet).
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.scipy.special import logsumexp

from jarzynski_jax.quantum.models import pair_differences
from jarzynski_jax.quantum.molecules import Nuclei, distances
from jarzynski_jax.types import Array, LogDensityFn

__all__ = ["CuspedWave", "TrapWave", "exponential_wave"]


def exponential_wave(nuclei: Nuclei, exponent: float, correlation: float = 0.0) -> LogDensityFn:
    r"""Electrons in sums of exponentials, of one each, and their correlation.

    .. math:: \psi = \prod_i\sum_A e^{-\zeta r_{iA}} \prod_{i<j} e^{b r_{ij}}

    With one nucleus of charge Z, :math:`\zeta = Z` and :math:`b = \frac12` have the cusps.

    Examples
    --------
    >>> from jarzynski_jax.quantum.molecules import nuclei_of
    >>> wave = exponential_wave(nuclei_of([[0, 0, 0]], [2]), 2.0, 0.5)
    >>> float(wave(jnp.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])))
    -3.0
    """

    def log_wave(x: Array) -> Array:
        to_nuclei = distances(x[:, None] - jnp.asarray(nuclei.positions, x.dtype))
        apart = jnp.sum(distances(pair_differences(x)))
        return jnp.sum(logsumexp(-exponent * to_nuclei, axis=-1)) + correlation * apart

    return log_wave


class _Set(nnx.Module):
    """A function of a set: units of each member, added up, and units of the sum; 0 at first."""

    def __init__(
        self,
        num_features: int,
        width: int,
        activation: Callable[[Array], Array],
        rngs: nnx.Rngs,
    ) -> None:
        self.activation = activation
        self.first = nnx.Linear(num_features, width, rngs=rngs)
        self.second = nnx.Linear(width, width, rngs=rngs)
        self.third = nnx.Linear(width, width, rngs=rngs)
        self.last = nnx.Linear(
            width, 1, use_bias=False, kernel_init=nnx.initializers.zeros, rngs=rngs
        )

    def __call__(self, members: Array) -> Array:
        units = self.activation(self.second(self.activation(self.first(members))))
        return self.last(self.activation(self.third(jnp.sum(units, axis=0))))[0]


class CuspedWave(nnx.Module):
    r""":math:`\log\psi` of electrons among nuclei, with a network and exact cusps.

    .. math:: \log\psi = -\sum_{iA}\frac{Z_A r_{iA}}{1 + r_{iA}/a}
        + \sum_i\log\sum_A e^{-\alpha s_{iA}} + \sum_{i<j}\frac{r_{ij}/2}{1 + r_{ij}/b} + f

    with :math:`s = \sqrt{1 + r^2}`, smooth at the nucleus, so that the first and the third sum
    have the cusps whatever is learned: :math:`\alpha, a, b` and the network f of the set of
    ordered pairs of electrons (of electrons, if there is one), in their :math:`\log s` to all
    nuclei and to each other. Symmetric under exchange of electrons; f is 0 at first.

    Examples
    --------
    >>> from jarzynski_jax.quantum.molecules import nuclei_of
    >>> wave = CuspedWave(nuclei_of([[0, 0, 0]], [2]), 2, rngs=nnx.Rngs(0))
    >>> x = jnp.array([[0.0, 0.1, 1.0], [0.3, 0.0, -1.0]])
    >>> bool(jnp.allclose(wave(x), wave(x[::-1])))
    True
    """

    def __init__(
        self,
        nuclei: Nuclei,
        num_electrons: int,
        width: int = 32,
        *,
        activation: Callable[[Array], Array] = nnx.silu,
        rngs: nnx.Rngs,
    ) -> None:
        self.positions = tuple(map(tuple, nuclei.positions.tolist()))
        self.charges = tuple(nuclei.charges.tolist())
        self.num_electrons = num_electrons
        # Logarithms, so that the lengths stay positive.
        self.log_decay = nnx.Param(jnp.zeros(()))
        self.log_ranges = nnx.Param(jnp.zeros(2))
        num_nuclei = len(self.charges)
        of_pairs = 2 * num_nuclei + 1 if num_electrons > 1 else num_nuclei
        self.network = _Set(of_pairs, width, activation, rngs)

    def __call__(self, x: Array) -> Array:
        """Log ψ of one position, shape ``(n, 3)``, a scalar."""
        if jnp.shape(x) != (self.num_electrons, 3):
            raise ValueError(
                f"a position must have shape {(self.num_electrons, 3)}; got {jnp.shape(x)}"
            )
        range_of_nuclei, range_of_pairs = jnp.exp(self.log_ranges[...])
        near = distances(x[:, None] - jnp.asarray(self.positions, x.dtype))
        apart = distances(pair_differences(x))
        smooth = jnp.sqrt(1 + near**2)
        pull = jnp.asarray(self.charges, x.dtype) * near / (1 + near / range_of_nuclei)
        push = apart / (1 + apart / range_of_pairs) / 2
        envelope = jnp.sum(logsumexp(-jnp.exp(self.log_decay[...]) * smooth, axis=-1))
        members = _ordered_pairs(jnp.log(smooth), jnp.log(1 + apart**2))
        return envelope - jnp.sum(pull) + jnp.sum(push) + self.network(members)


class TrapWave(nnx.Module):
    r""":math:`\log\psi` of particles in a trap, with a network; symmetric, and under rotations.

    .. math:: \log\psi = -\frac\omega2\sum_i r_i^2 + f

    with f a network of the set of ordered pairs (of particles, if there is one), in
    :math:`\log(1 + r_i^2)`, :math:`\log(1 + r_j^2)` and
    :math:`\log(1 + r_{ij}^2/s^2)`; f is 0 at first.

    Parameters
    ----------
    length
        s, at which distance particles begin to feel each other.

    Examples
    --------
    >>> float(TrapWave(2, 2, rngs=nnx.Rngs(0))(jnp.ones((2, 2))))
    -2.0
    """

    def __init__(
        self,
        num_particles: int,
        dimension: int,
        width: int = 32,
        *,
        length: float = 0.5,
        activation: Callable[[Array], Array] = nnx.silu,
        rngs: nnx.Rngs,
    ) -> None:
        self.shape = num_particles, dimension
        self.length = length
        self.log_frequency = nnx.Param(jnp.zeros(()))
        self.network = _Set(3 if num_particles > 1 else 1, width, activation, rngs)

    def __call__(self, x: Array) -> Array:
        """Log ψ of one position, shape ``(n, d)``, a scalar."""
        if jnp.shape(x) != self.shape:
            raise ValueError(f"a position must have shape {self.shape}; got {jnp.shape(x)}")
        squares = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
        apart = jnp.sum(jnp.square(pair_differences(x) / self.length), axis=-1)
        members = _ordered_pairs(jnp.log1p(squares), jnp.log1p(apart))
        return -jnp.exp(self.log_frequency[...]) * jnp.sum(squares) / 2 + self.network(members)


def _ordered_pairs(of_each: Array, of_pairs: Array) -> Array:
    """Features of all pairs (i, j) and (j, i), or of the one particle that there is."""
    if of_each.shape[0] == 1:
        return of_each
    first, second = np.triu_indices(of_each.shape[0], 1)
    one, other, both = of_each[first], of_each[second], of_pairs[:, None]
    return jnp.concatenate(
        [jnp.concatenate([one, other, both], -1), jnp.concatenate([other, one, both], -1)]
    )
