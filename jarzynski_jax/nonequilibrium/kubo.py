r"""Kubo's canonical correlator by exact diagonalisation, and a charge on a lattice in a field.

.. math::
    \langle\phi(0);\psi(t)\rangle
        = \frac1\beta\int_0^\beta d\lambda\,
            {\rm Tr}[\rho\,e^{\lambda H}\phi e^{-\lambda H}\psi(t)]
        = \sum_{nm} \phi_{nm}\psi_{mn} e^{i(E_m - E_n)t}\,
            \frac{p_n - p_m}{\beta(E_m - E_n)}

with :math:`p_n = e^{-\beta E_n}/Z`, and :math:`p_n` for the fraction where :math:`E_n = E_m`.
If an antiunitary T = UK commutes with H and
:math:`T\phi T^{-1} = \eta_\phi\phi`, then
:math:`\langle\phi(0);\psi(t)\rangle = \eta_\phi\eta_\psi\langle\phi(t);\psi(0)\rangle`.

On a lattice of L x L sites a, Peierls' phases make of a field along z, in Landau's gauge
:math:`A_y = Bx`,

.. math:: H = -\tau \sum_{r,\mu}(e^{iqA_\mu(r)} |r + \mu\rangle\langle r| + h.c.) + 4\tau + V,
    \qquad j_\alpha = i[H, r_\alpha].

The reflection R: y → -y makes T = RK commute with H if V(x, -y) = V(x, y), though the field
stays; j_x is odd under it, and j_y even.

In NumPy, complex128.
"""

from typing import Any

import numpy as np

__all__ = ["kubo_correlator", "lattice_currents", "lattice_hamiltonian", "lattice_reflection"]


def kubo_correlator(
    hamiltonian: Any, first: Any, second: Any, times: Any, beta: float = 1.0
) -> np.ndarray:
    r"""Canonical correlator of two operators, :math:`\langle\phi(0);\psi(t)\rangle`, ``(K,)``.

    Complex; its imaginary part is rounding for Hermitian operators. ValueError unless all are
    finite Hermitian matrices of one shape ``(n, n)``, and β positive and finite.

    Examples
    --------
    A spin that precesses, H = -ω σ_z/2, with two components at right angles to the field:

    >>> x, y = np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]])
    >>> field = np.diag([-0.5, 0.5])
    >>> there, back = (kubo_correlator(field, a, b, [0.7])[0].real for a, b in ((x, y), (y, x)))
    >>> bool(abs(there + back) < 1e-14 and abs(there) > 0.1)
    True
    """
    matrices = [_check_hermitian(matrix) for matrix in (hamiltonian, first, second)]
    if len({matrix.shape for matrix in matrices}) > 1:
        raise ValueError(f"operators must be of one shape; got {[m.shape for m in matrices]}")
    if not 0 < beta < np.inf:
        raise ValueError(f"beta must be positive and finite; got {beta}")
    energies, states = np.linalg.eigh(matrices[0])
    phi, psi = (states.conj().T @ matrix @ states for matrix in matrices[1:])
    weights = np.exp(-beta * (energies - energies[0]))
    weights /= weights.sum()
    gap = energies[None, :] - energies[:, None]
    # (p_n - p_m)/(β gap) = p_n (1 - e^{-β gap})/(β gap), and the limit where the gap is 0.
    product = beta * gap
    is_open = np.abs(product) > 1e-12
    safe = np.where(is_open, product, 1)
    # Of the larger weight, so that nothing overflows.
    larger = np.maximum(weights[:, None], weights[None, :])
    factor = larger * np.where(is_open, -np.expm1(-np.abs(safe)) / np.abs(safe), 1)
    table = phi * psi.T * factor
    return np.array([np.sum(table * np.exp(1j * gap * t)) for t in np.atleast_1d(times)])


def _check_hermitian(matrix: Any) -> np.ndarray:
    values = np.asarray(matrix, np.complex128)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(f"an operator must have shape (n, n); got shape {values.shape}")
    if not np.all(np.isfinite(values)):
        raise ValueError("an operator must be finite; got entries that are not")
    gap = float(np.abs(values - values.conj().T).max())
    if gap > 1e-10 * max(1.0, float(np.abs(values).max())):
        raise ValueError(f"an operator must be Hermitian; got one that is not, by {gap:.3g}")
    return values


def lattice_hamiltonian(
    length: int, field: float, hopping: float = 0.5, potential: Any = None
) -> np.ndarray:
    r"""H of one charge on an open lattice of L x L sites, shape ``(L², L²)``.

    ``field`` is qB times the area of a cell, ``hopping`` :math:`\tau = 1/(2ma^2)`; sites are at
    x and y from -(L - 1)/2 to (L - 1)/2, x in rows, and ``potential`` is V there, shape
    ``(L, L)``. ValueError if L is below 2, a number is not finite, or a potential of another
    shape.

    Examples
    --------
    >>> H, R = lattice_hamiltonian(6, 0.4), lattice_reflection(6)
    >>> bool(np.abs(R @ H.conj() @ R - H).max() < 1e-12)
    True
    """
    x, _ = _sites(length)
    values = np.zeros((length, length)) if potential is None else np.asarray(potential, float)
    if values.shape != (length, length):
        raise ValueError(
            f"a potential must have shape {(length, length)}; got shape {values.shape}"
        )
    if not np.all(np.isfinite(values)) or not np.all(np.isfinite([field, hopping])):
        raise ValueError(
            f"field, hopping and potential must be finite; got field={field}, "
            f"hopping={hopping} and a potential from {values.min()} to {values.max()}"
        )
    hamiltonian = np.diag((4 * hopping + values).ravel()).astype(complex)
    site = np.arange(length**2).reshape(length, length)
    hops = [
        (site[1:, :], site[:-1, :], np.zeros((length - 1, length))),
        (site[:, 1:], site[:, :-1], field * x[:, :-1]),
    ]
    for after, before, phase in hops:
        hamiltonian[after.ravel(), before.ravel()] -= hopping * np.exp(1j * phase.ravel())
        hamiltonian[before.ravel(), after.ravel()] -= hopping * np.exp(-1j * phase.ravel())
    return hamiltonian


def lattice_currents(hamiltonian: Any) -> tuple[np.ndarray, np.ndarray]:
    r"""Currents :math:`j_\alpha = i[H, r_\alpha]` along x and y, each ``(L², L²)``."""
    matrix = _check_hermitian(hamiltonian)
    length = round(np.sqrt(len(matrix)))
    if length**2 != len(matrix):
        raise ValueError(f"a lattice of L x L sites is wanted; got {len(matrix)} sites")
    x, y = (axis.ravel() for axis in _sites(length))
    return tuple(1j * (matrix * r[None, :] - r[:, None] * matrix) for r in (x, y))


def lattice_reflection(length: int) -> np.ndarray:
    """R: y → -y, as a matrix of shape ``(L², L²)``."""
    site = np.arange(length**2).reshape(length, length)
    return np.eye(length**2)[site[:, ::-1].ravel()]


def _sites(length: int) -> tuple[np.ndarray, np.ndarray]:
    if length < 2:
        raise ValueError(f"a lattice needs a length of at least 2; got {length}")
    axis = np.arange(length) - (length - 1) / 2
    return np.meshgrid(axis, axis, indexing="ij")
