r"""Reversals of polynomial fields and potentials, decided exactly.

A polynomial is a dictionary of its terms, exponents to coefficient: ``{(2, 0, 0): 1, (0, 2, 0):
1}`` is :math:`x^2 + y^2`. A signed permutation takes each term to a term, so that with
coefficients that are integers or fractions nothing is rounded.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Polynomial", "is_compatible"]

#: Exponents of the coordinates to the coefficient.
Polynomial: TypeAlias = Mapping[tuple[int, ...], "int | float | Fraction"]


def is_compatible(
    reversals: Any,
    field: Sequence[Polynomial] | None = None,
    potential: Polynomial | None = None,
) -> np.ndarray:
    r"""Whether :math:`\det(A) A B(Ax) = -B(x)` and :math:`\Phi(Ax) = \Phi(x)`; bool, ``(n,)``.

    ``reversals`` are signed permutations, shape ``(n, d, d)``; the field has d components, or
    in the plane one, that along z; None for none. ValueError if a matrix is no signed
    permutation, exponents are not one a coordinate, or a coefficient is not finite.

    Examples
    --------
    The field z (1 + x), and a trap that is not round:

    >>> from jarzynski_jax.nonequilibrium.time_reversal import reversals
    >>> field = ({}, {}, {(0, 0, 0): 1, (1, 0, 0): 1})
    >>> int(is_compatible(reversals(3), field).sum())
    2
    >>> int(is_compatible(reversals(3), None, {(2, 0, 0): 1, (0, 2, 0): 2}).sum())
    8
    """
    matrices = np.asarray(reversals)
    if matrices.ndim != 3 or not all(_is_signed_permutation(matrix) for matrix in matrices):
        raise ValueError(
            "reversals must be signed permutations, of shape (n, d, d); got shape "
            f"{matrices.shape}"
        )
    dimension = matrices.shape[-1]
    if field is not None and len(field) != (1 if dimension == 2 else dimension):
        raise ValueError(
            f"a field in {dimension} dimensions has {1 if dimension == 2 else dimension} "
            f"components; got {len(field)}"
        )
    holds = np.ones(len(matrices), bool)
    for index, matrix in enumerate(matrices):
        if field is not None:
            holds[index] &= _turns(matrix, field)
        if potential is not None:
            holds[index] &= _clean(_compose(potential, matrix)) == _clean(potential)
    return holds


def _turns(matrix: np.ndarray, field: Sequence[Polynomial]) -> bool:
    sign = round(np.linalg.det(matrix))
    images = [_compose(component, matrix) for component in field]
    if len(field) == 1:
        return _clean(_times(sign, images[0])) == _clean(_times(-1, field[0]))
    for row, component in zip(matrix, field, strict=True):
        source = int(np.flatnonzero(row)[0])
        turned = _times(sign * int(row[source]), images[source])
        if _clean(turned) != _clean(_times(-1, component)):
            return False
    return True


def _compose(polynomial: Polynomial, matrix: np.ndarray) -> dict[tuple[int, ...], Any]:
    """The polynomial at A x, whose coordinate i is s_i x_{p(i)}."""
    sources = [int(np.flatnonzero(row)[0]) for row in matrix]
    signs = [int(row[source]) for row, source in zip(matrix, sources, strict=True)]
    composed: dict[tuple[int, ...], Any] = {}
    for exponents, coefficient in polynomial.items():
        if len(exponents) != len(matrix):
            raise ValueError(
                f"a term must have {len(matrix)} exponents, one a coordinate; got {exponents}"
            )
        # Integers and fractions are, and may be too large for a float.
        if isinstance(coefficient, float | np.floating) and not np.isfinite(coefficient):
            raise ValueError(
                f"coefficients must be finite; got {coefficient} of the term {exponents}"
            )
        new = [0] * len(matrix)
        for source, exponent in zip(sources, exponents, strict=True):
            new[source] += exponent
        odd = sum(exponent for sign, exponent in zip(signs, exponents, strict=True) if sign < 0)
        term = tuple(new)
        composed[term] = composed.get(term, 0) + (-1) ** odd * coefficient
    return composed


def _times(factor: int, polynomial: Polynomial) -> dict[tuple[int, ...], Any]:
    return {exponents: factor * value for exponents, value in polynomial.items()}


def _clean(polynomial: Polynomial) -> dict[tuple[int, ...], Any]:
    return {exponents: value for exponents, value in polynomial.items() if value != 0}


def _is_signed_permutation(matrix: np.ndarray) -> bool:
    is_square = matrix.shape[0] == matrix.shape[1]
    one_each = all(np.all(np.sum(matrix != 0, axis=axis) == 1) for axis in (0, 1))
    return bool(is_square and one_each and np.all(np.abs(matrix[matrix != 0]) == 1))
