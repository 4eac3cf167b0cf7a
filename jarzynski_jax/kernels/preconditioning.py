r"""Preconditioners: how far and in which directions a kernel steps.

A positive-definite matrix C, best the target's covariance, turns the drift
:math:`h\nabla\ell` into :math:`hC\nabla\ell` and the noise :math:`\sqrt{2h}\,\xi` into
:math:`\sqrt{2h}\,C^{1/2}\xi`. It is what BlackJAX calls an inverse mass matrix. It enters the
weights, which are exact for any C that does not depend on the position.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jarzynski_jax.types import Array, ArrayTree

__all__ = [
    "Preconditioner",
    "apply",
    "apply_factor",
    "apply_transposed_factor",
    "preconditioner",
    "solve",
]


class Preconditioner(NamedTuple):
    r"""C, of shape ``(d, d)`` or its diagonal ``(d,)``, and L with :math:`C = LL^\top`."""

    matrix: Array
    factor: Array


def preconditioner(matrix: Array) -> Preconditioner:
    """Factorise a preconditioner C, in units of a covariance, once.

    It is a diagonal of shape ``(d,)``, positive, or symmetric and positive definite of shape
    ``(d, d)``, else, if its value is known, a ValueError; d numbers in a position, in the order
    of ``ravel_pytree``.

    Examples
    --------
    >>> preconditioner(jnp.array([4.0, 9.0])).factor.tolist()
    [2.0, 3.0]
    """
    matrix = jnp.asarray(matrix)
    if matrix.ndim == 1:
        factor = jnp.sqrt(matrix)
    elif matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]:
        factor = jnp.linalg.cholesky(matrix)
    else:
        raise ValueError(
            "a preconditioner must have shape (d,), a diagonal, or (d, d); "
            f"got shape {matrix.shape}"
        )
    if not isinstance(factor, jax.core.Tracer):
        diagonal = factor if factor.ndim == 1 else jnp.diagonal(factor)
        if not bool(jnp.all(diagonal > 0)):
            raise ValueError("a preconditioner must be positive definite and finite")
        if factor.ndim == 2 and not bool(jnp.allclose(matrix, matrix.T, rtol=1e-4, atol=0)):
            raise ValueError("a preconditioner must be symmetric")
    # The weights need the very matrix whose factor colours the noise.
    return Preconditioner(matrix if factor.ndim == 1 else factor @ factor.T, factor)


def apply(preconditioner: Preconditioner | None, vector: ArrayTree) -> ArrayTree:
    """Multiply a pytree of d numbers by C, in its dtypes; do nothing without one.

    Examples
    --------
    >>> apply(preconditioner(jnp.array([4.0, 9.0])), jnp.ones(2)).tolist()
    [4.0, 9.0]
    """
    return vector if preconditioner is None else _multiply(preconditioner.matrix, vector)


def apply_factor(preconditioner: Preconditioner | None, vector: ArrayTree) -> ArrayTree:
    """Multiply by L, so that noise gets the covariance C; do nothing without one.

    Examples
    --------
    >>> apply_factor(preconditioner(jnp.array([4.0, 9.0])), jnp.ones(2)).tolist()
    [2.0, 3.0]
    """
    return vector if preconditioner is None else _multiply(preconditioner.factor, vector)


def apply_transposed_factor(
    preconditioner: Preconditioner | None, vector: ArrayTree
) -> ArrayTree:
    """Multiply by the transpose of L; do nothing without one.

    Examples
    --------
    >>> pre = preconditioner(jnp.array([[4.0, 2.0], [2.0, 10.0]]))  # L = [[2, 0], [1, 3]]
    >>> apply_transposed_factor(pre, jnp.ones(2)).tolist()
    [3.0, 3.0]
    """
    return vector if preconditioner is None else _multiply(preconditioner.factor.T, vector)


def solve(preconditioner: Preconditioner | None, vector: ArrayTree) -> ArrayTree:
    """Multiply by the inverse of C; do nothing without one.

    Examples
    --------
    >>> solve(preconditioner(jnp.array([4.0, 16.0])), jnp.ones(2)).tolist()
    [0.25, 0.0625]
    """
    if preconditioner is None:
        return vector
    flat, unravel = _flatten(preconditioner.matrix, vector)
    factor = preconditioner.factor.astype(flat.dtype)
    if factor.ndim == 1:
        return unravel(flat / jnp.square(factor))
    return unravel(jax.scipy.linalg.cho_solve((factor, True), flat))


def _multiply(matrix: Array, vector: ArrayTree) -> ArrayTree:
    flat, unravel = _flatten(matrix, vector)
    matrix = matrix.astype(flat.dtype)
    return unravel(matrix * flat if matrix.ndim == 1 else matrix @ flat)


def _flatten(matrix: Array, vector: ArrayTree) -> tuple[Array, Callable[[Array], ArrayTree]]:
    flat, unravel = ravel_pytree(vector)
    if flat.shape[0] != matrix.shape[0]:
        raise ValueError(
            f"the preconditioner is for {matrix.shape[0]} numbers, the position has "
            f"{flat.shape[0]}"
        )
    return flat, unravel
