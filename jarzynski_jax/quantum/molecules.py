r"""Electrons among nuclei at rest, in atomic units, without spin.

The ground state of :math:`H` is positive, symmetric under exchange: that of one electron, or of
two in a singlet. Of more electrons it is not the one that Pauli's principle allows, but a lower
one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jarzynski_jax.kernels.arithmetic import check_positive
from jarzynski_jax.quantum.hamiltonian import Hamiltonian, check_all_positive
from jarzynski_jax.quantum.models import pair_differences
from jarzynski_jax.types import Array

__all__ = ["Nuclei", "atom", "distances", "hydrogen_molecule", "molecule", "nuclei_of"]


class Nuclei(NamedTuple):
    """Positions, shape ``(M, 3)``, in bohr, and charges Z, shape ``(M,)``; NumPy arrays."""

    positions: np.ndarray
    charges: np.ndarray

    @property
    def repulsion(self) -> float:
        """Energy of the nuclei among themselves, in hartree."""
        first, second = np.triu_indices(len(self.charges), 1)
        gaps = np.linalg.norm(self.positions[first] - self.positions[second], axis=-1)
        return float(np.sum(self.charges[first] * self.charges[second] / gaps))


def nuclei_of(
    positions: Sequence[Sequence[float]] | Array, charges: Sequence[float] | Array
) -> Nuclei:
    """Check nuclei: ValueError if a charge is not positive, or two of them coincide.

    Examples
    --------
    >>> nuclei_of([[0, 0, -0.7], [0, 0, 0.7]], [1, 1]).repulsion
    0.7142857142857143
    """
    where = np.asarray(positions, np.float64)
    charge = np.asarray(charges, np.float64)
    if where.ndim != 2 or where.shape[1] != 3 or charge.shape != where.shape[:1]:
        raise ValueError(
            "nuclei must have positions of shape (M, 3) and charges of shape (M,); got "
            f"{where.shape} and {charge.shape}"
        )
    check_all_positive("charges of nuclei", charge)
    first, second = np.triu_indices(len(charge), 1)
    gaps = np.linalg.norm(where[first] - where[second], axis=-1)
    if not np.all(gaps > 0):  # NaN is not
        pair = int(np.argmin(gaps > 0))
        raise ValueError(
            f"nuclei must be at different, finite positions; {first[pair]} and {second[pair]} "
            f"are both at {where[first[pair]].tolist()}"
        )
    return Nuclei(where, charge)


def distances(differences: Array) -> Array:
    """Lengths of vectors on the last axis; of a vector 0 the derivatives are 0, not NaN."""
    squares = jnp.sum(jnp.square(differences), axis=-1)
    is_zero = squares == 0
    return jnp.where(is_zero, 0, jnp.sqrt(jnp.where(is_zero, 1, squares)))


def _inverse_distances(differences: Array) -> Array:
    """1/r; infinite at r = 0, with derivatives 0: a sum over walkers is not poisoned."""
    squares = jnp.sum(jnp.square(differences), axis=-1)
    is_zero = squares == 0
    return jnp.where(is_zero, jnp.inf, 1 / jnp.sqrt(jnp.where(is_zero, 1, squares)))


def molecule(nuclei: Nuclei, num_electrons: int) -> Hamiltonian:
    r"""Electrons at :math:`r_i` among nuclei of charges :math:`Z_A` at :math:`R_A`.

    .. math:: V = -\sum_{iA}\frac{Z_A}{|r_i - R_A|} + \sum_{i<j}\frac1{|r_i - r_j|}
              + \sum_{A<B}\frac{Z_A Z_B}{|R_A - R_B|}

    the repulsion of the nuclei included. Positions have shape ``(n, 3)``. Nuclei are from
    :func:`nuclei_of`; a lone electron at a lone nucleus has :math:`E_0 = -Z^2/2`.

    Examples
    --------
    >>> hydrogen = molecule(nuclei_of([[0, 0, 0]], [1]), 1)
    >>> float(hydrogen.potential_fn(jnp.array([[0.0, 0.0, 2.0]]))), hydrogen.ground_energy
    (-0.5, -0.5)
    """
    if not isinstance(nuclei, Nuclei):
        raise ValueError(
            f"nuclei must be what nuclei_of(positions, charges) returns; got "
            f"{type(nuclei).__name__}"
        )
    if num_electrons < 1:
        raise ValueError(f"num_electrons must be at least 1; got {num_electrons}")

    def potential(x: Array) -> Array:
        at, charges = (
            jnp.asarray(nuclei.positions, x.dtype),
            jnp.asarray(nuclei.charges, x.dtype),
        )
        attraction = jnp.sum(charges * _inverse_distances(x[:, None] - at))
        return jnp.sum(_inverse_distances(pair_differences(x))) - attraction + nuclei.repulsion

    is_hydrogenic = num_electrons == 1 and len(nuclei.charges) == 1
    charge, centre = nuclei.charges[0], nuclei.positions[0]

    def log_ground_state(x: Array) -> Array:
        return -charge * jnp.sum(distances(x - jnp.asarray(centre, x.dtype)))

    return Hamiltonian(
        potential,
        (num_electrons, 3),
        ground_energy=-(float(charge) ** 2) / 2 if is_hydrogenic else None,
        log_ground_state=log_ground_state if is_hydrogenic else None,
        is_unbounded=True,
    )


def atom(charge: float, num_electrons: int) -> Hamiltonian:
    """One nucleus at the origin: ``atom(1, 1)`` is hydrogen, ``atom(2, 2)`` helium.

    Examples
    --------
    >>> atom(2.0, 1).ground_energy
    -2.0
    """
    return molecule(nuclei_of([[0.0, 0.0, 0.0]], [charge]), num_electrons)


def hydrogen_molecule(distance: float = 1.401) -> tuple[Hamiltonian, Nuclei]:
    """Two electrons and two protons on the z axis, R bohr apart; and where the protons are.

    Examples
    --------
    >>> hydrogen_molecule(2.0)[1].repulsion
    0.5
    """
    check_positive("distance, R,", distance)
    protons = nuclei_of([[0, 0, -distance / 2], [0, 0, distance / 2]], [1, 1])
    return molecule(protons, 2), protons
