r"""Energies of a few bosons in a trap, in a basis of correlated Gaussians.

In orthonormal coordinates y of the motion of N particles among themselves, N - 1 vectors of the
plane, and with :math:`\alpha_{ij} > 0`,

.. math:: \chi = \mathcal S \exp\Big(-\tfrac12\sum_{i<j}\alpha_{ij} r_{ij}^2\Big)
               = \mathcal S \exp(-\tfrac12 y\cdot Ay)

is symmetrised over all N! orders. All integrals of the trap and of a repulsion that is a
Gaussian of the distance have closed forms, so the lowest eigenvalue is an upper bound of the
energy, and sinks to it as functions are added: the short range of the repulsion, for which a
basis of oscillators converges slowly, is in the exponents. The centre of mass is at rest in its
own ground state, of energy 1. Suzuki and Varga, *Stochastic Variational Approach to
Quantum-Mechanical Few-Body Problems*, 1998.
"""

from functools import cache
from itertools import permutations
from typing import NamedTuple

import numpy as np

#: How many functions of N particles: the second half lowers no energy by more than 2e-4.
NUM_FUNCTIONS = {2: 40, 3: 100, 4: 400}
#: Eigenvalues of the overlap, relative to the largest, below which directions are rounding.
_LEAST_OVERLAP = 1e-12


class Matrices(NamedTuple):
    """Of K functions, ``(K, K)``: overlap, particles in the trap, their repulsion for g = 1."""

    overlap: np.ndarray
    trap: np.ndarray
    repulsion: np.ndarray


@cache
def matrices(
    num_particles: int, num_functions: int, width: float = 0.5, seed: int = 0
) -> Matrices:
    """Integrals of K functions, the first of which is the ground state without repulsion."""
    first, second = np.triu_indices(num_particles, 1)
    # Rows that are orthogonal to the centre of mass, and r_i - r_j = w_ij . y.
    relative = np.linalg.svd(np.ones((1, num_particles)))[2][1:]
    apart = (relative[:, first] - relative[:, second]).T
    exponents = _exponents(num_particles, num_functions, seed)

    def forms(exponents: np.ndarray) -> np.ndarray:
        return np.einsum("kp,pa,pb->kab", exponents, apart, apart)

    row, column = np.triu_indices(num_functions)
    left = forms(exponents)
    scale = np.sqrt(np.linalg.det(2 * left))
    pair_of = np.zeros((num_particles, num_particles), int)
    pair_of[first, second] = pair_of[second, first] = np.arange(len(first))
    found = np.zeros((3, len(row)))
    for order in map(list, permutations(range(num_particles))):
        right = forms(exponents[:, pair_of[order][:, order][first, second]])
        inverse = np.linalg.inv(left[row] + right[column])
        overlap = scale[row] * scale[column] * np.linalg.det(inverse)
        # tr A C⁻¹ B with B = C - A, of the two directions of the plane; tr C⁻¹ of the trap.
        moved = inverse @ left[row]
        kinetic = np.trace(left[row] - left[row] @ moved, axis1=1, axis2=2)
        trap = np.trace(inverse, axis1=1, axis2=2)
        squares = np.sum((inverse @ apart.T) * apart.T, axis=1)
        repulsion = np.sum(1 / (1 + 2 / width**2 * squares), axis=1) / (np.pi * width**2)
        found += overlap * np.stack([np.ones_like(trap), kinetic + trap, repulsion])
    whole = np.zeros((3, num_functions, num_functions))
    whole[:, row, column] = whole[:, column, row] = found
    return Matrices(*whole)


def _exponents(num_particles: int, num_functions: int, seed: int) -> np.ndarray:
    """Of the trap, 1/N of each pair, about half of the pairs drawn closer, by any amount."""
    rng = np.random.default_rng(seed)
    shape = num_functions, num_particles * (num_particles - 1) // 2
    closer = np.exp(rng.uniform(np.log(0.05), np.log(12), shape)) * (rng.random(shape) < 0.45)
    frequency = np.exp(rng.uniform(np.log(0.8), np.log(1.1), (num_functions, 1)))
    frequency[0], closer[0] = 1, 0
    return frequency / num_particles + closer


def lowest_energy(basis: Matrices, repulsion: float) -> float:
    """An upper bound of the energy for g, the centre of mass included."""
    overlap, trap, of_repulsion = basis
    scale = np.sqrt(np.diag(overlap))
    values, vectors = np.linalg.eigh(overlap / np.outer(scale, scale))
    is_kept = values > _LEAST_OVERLAP * values[-1]
    directions = vectors[:, is_kept] / np.sqrt(values[is_kept]) / scale[:, None]
    projected = directions.T @ (trap + repulsion * of_repulsion) @ directions
    return 1 + float(np.linalg.eigvalsh(projected)[0])


def boson_energy(num_particles: int, repulsion: float) -> tuple[float, float]:
    """The energy for g, and by how much it sank with the second half of the functions."""
    num = NUM_FUNCTIONS[num_particles]
    basis = matrices(num_particles, num)
    half = Matrices(*(of[: num // 2, : num // 2] for of in basis))
    energy = lowest_energy(basis, repulsion)
    return energy, lowest_energy(half, repulsion) - energy
