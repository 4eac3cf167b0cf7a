r"""Time reversals of a spin 1/2 in a magnetic field: antiunitary operators T = UK.

Pauli's :math:`H = \frac1{2m}[(p - qA)^2 - q\,\sigma\cdot B]` is invariant at the same field if
the orbital A is (:mod:`~jarzynski_jax.nonequilibrium.time_reversal`) and the spin turns with
the field. With :math:`P = \det(A)^{-1} A^{-1}`, which is a rotation, and U one of the two
matrices of SU(2) for which :math:`U\sigma_i U^{-1} = \sum_j P_{ij}\sigma_j`,

.. math:: U_s = U\sigma_y, \qquad T\sigma_i T^{-1} = -\sum_j P_{ij}\sigma_j, \qquad
    T^2 = U_s U_s^* = -U^2.

Of the operators that permute components up to signs nine square to 1 or -1: those of
:func:`spin_reversals`.

Errata of the text this follows (thesis, Part II): the sigma matrices go to an improper triad,
and the commutators are kept because i changes its sign with it. Eq. 6.2.70 lacks the factor 2
of :math:`[\sigma_i, \sigma_j] = 2i\sum_k\epsilon_{ijk}\sigma_k`.

References: Carbone and Rondoni, *Ann. Phys.* 414 (2020) 168082, and thesis, Theorems 6.2.7 and
6.2.11.
"""

from typing import Any

import numpy as np

from jarzynski_jax.nonequilibrium.time_reversal import check_reversal

__all__ = ["SIGMA", "apply", "spin_operator", "spin_reversals", "square"]

#: :math:`\sigma_x, \sigma_y, \sigma_z`, shape ``(3, 2, 2)``.
SIGMA = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])


def spin_operator(reversal: Any) -> np.ndarray:
    r"""The unitary :math:`U_s` of the spin that goes with an orbital A, shape ``(2, 2)``.

    Up to a phase. A is orthogonal and its own inverse, else a ValueError.

    Examples
    --------
    With A = diag(1, -1, 1), in a field along z, T is complex conjugation alone:

    >>> np.abs(spin_operator(np.diag([1, -1, 1]))).round(6).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    from scipy.spatial.transform import Rotation  # slow to import, and asked for by few

    matrix = check_reversal(reversal, 3)
    rotation = np.linalg.det(matrix) * matrix.T
    x, y, z, w = Rotation.from_matrix(rotation.T).as_quat()
    unitary = w * np.eye(2) - 1j * np.einsum("i,ijk->jk", np.array([x, y, z]), SIGMA)
    return unitary @ SIGMA[1]


def apply(unitary: Any, operator: Any) -> np.ndarray:
    r"""What T = UK makes of an operator, :math:`U O^* U^\dagger`."""
    matrix = np.asarray(unitary)
    return matrix @ np.conj(operator) @ matrix.conj().T


def square(unitary: Any) -> int:
    r"""1 or -1, as :math:`T^2 = UU^*` is; 0 if it is neither, and T no reversal.

    Examples
    --------
    >>> [square(sigma) for sigma in SIGMA]
    [1, -1, 1]
    """
    matrix = np.asarray(unitary, complex)
    found = matrix @ matrix.conj()
    for sign in (1, -1):
        if np.allclose(found, sign * np.eye(len(matrix))):
            return sign
    return 0


def spin_reversals() -> dict[str, np.ndarray]:
    r"""The nine unitaries that permute the components of a spin up to signs, by what they are.

    :math:`\sigma_i`; and, for each swap of two components, of
    :math:`(\sigma_i \pm \sigma_j)/\sqrt2` and :math:`(\sigma_k \pm i)/\sqrt2` the two for
    which UK squares to 1 or -1.

    Examples
    --------
    >>> len(spin_reversals())
    9
    """
    unit, names = np.eye(2), "xyz"
    candidates = {f"sigma_{name}": sigma for name, sigma in zip(names, SIGMA, strict=True)}
    for i, j, k in ((0, 1, 2), (1, 2, 0), (0, 2, 1)):
        for sign, mark in ((1, "+"), (-1, "-")):
            swap = f"swap {names[i]}{names[j]}"
            of_sum = (SIGMA[i] + sign * SIGMA[j]) / np.sqrt(2)
            of_turn = (SIGMA[k] + sign * 1j * unit) / np.sqrt(2)
            candidates[f"{swap}: {names[i]} {mark} {names[j]}"] = of_sum
            candidates[f"{swap}: {names[k]} {mark} i"] = of_turn
    return {name: unitary for name, unitary in candidates.items() if square(unitary) != 0}
