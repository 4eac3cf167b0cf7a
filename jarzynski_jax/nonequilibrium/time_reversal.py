r"""Time reversals in a magnetic field: which there are, and which a system is compatible with.

A reversal is :math:`M(x, p) = (A x, -A p)` with A orthogonal and its own inverse, and equations
of motion are invariant if :math:`M S^t = S^{-t} M`. In a field it need not be turned for that:
at the same B, for charges alike,

.. math:: \det(A)\, A\, B(A x) = -B(x), \qquad \Phi(A x) = \Phi(x).

Angular momentum becomes :math:`-\det(A) A L`: the term of the field in the Hamiltonian has to
stay as it is. (It is not -L of every reversal, as is sometimes said: A = diag(1, -1, 1)
leaves :math:`L_z` unchanged.)

Of these A the signed permutations can be listed: in three dimensions 20. The others form
families: two circles of them go with a uniform field along whatever axis, even where none of
the 20 do.

References: Carbone and Rondoni, *Ann. Phys.* 414 (2020) 168082; Bonella, Ciccotti and Rondoni,
*EPL* 108 (2014) 60004; thesis, Part II (Theorem 6.2.10 has one of the two circles).
"""

from collections.abc import Callable, Iterator
from math import factorial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.kernels.bijection import Bijection
from jarzynski_jax.kernels.magnetic import Charges
from jarzynski_jax.types import Array

__all__ = [
    "antisymmetric_reversals",
    "check_reversal",
    "count_antisymmetric_reversals",
    "count_reversals",
    "is_compatible",
    "reversals",
    "reverse_angular_momentum",
    "trajectory_error",
    "uniform_field_reversals",
]


def count_reversals(dimension: int) -> int:
    r"""Signed permutations that are their own inverse, with d = M.

    .. math:: \sum_r \frac{M!\,2^{M-2r}}{(M-2r)!\,r!}

    Examples
    --------
    >>> [count_reversals(dimension) for dimension in (2, 3, 4, 6)]
    [6, 20, 76, 1384]
    """
    return sum(
        factorial(dimension)
        * 2 ** (dimension - 2 * r)
        // (factorial(dimension - 2 * r) * factorial(r))
        for r in range(dimension // 2 + 1)
    )


def count_antisymmetric_reversals(dimension: int) -> int:
    """Signed permutations whose square is -1: M!/(M/2)!, and none in odd dimensions.

    Examples
    --------
    >>> [count_antisymmetric_reversals(dimension) for dimension in (2, 3, 4, 6)]
    [2, 0, 12, 120]
    """
    return 0 if dimension % 2 else factorial(dimension) // factorial(dimension // 2)


def reversals(dimension: int) -> np.ndarray:
    """All A that are signed permutations and their own inverse, int64, shape ``(n, d, d)``.

    Diagonal ones come first. Of N particles of equal charges and masses take d = 3N.

    Examples
    --------
    >>> found = reversals(3)
    >>> len(found), int(sum(np.array_equal(a, np.diag(np.diag(a))) for a in found))
    (20, 8)
    """
    matrices = list(_signed(dimension, 1, allows_fixed=True))
    return np.stack(sorted(matrices, key=lambda a: int(np.sum(a != np.diag(np.diag(a))))))


def antisymmetric_reversals(dimension: int) -> np.ndarray:
    """All signed permutations with A² = -1, which quantum mechanics allows besides; even d."""
    matrices = list(_signed(dimension, -1, allows_fixed=False))
    return np.stack(matrices) if matrices else np.zeros((0, dimension, dimension), int)


def _signed(dimension: int, square: int, allows_fixed: bool) -> Iterator[np.ndarray]:
    """Pairings of the axes, some left alone, with a sign for each axis or pair."""
    if dimension < 1:
        raise ValueError(f"dimension must be at least 1; got {dimension}")

    def fill(matrix: np.ndarray, free: list[int]) -> Iterator[np.ndarray]:
        if not free:
            yield matrix
            return
        first, others = free[0], free[1:]
        for sign in (1, -1):
            if allows_fixed:
                taken = matrix.copy()
                taken[first, first] = sign
                yield from fill(taken, others)
            for partner in others:
                taken = matrix.copy()
                taken[first, partner], taken[partner, first] = sign, square * sign
                yield from fill(taken, [axis for axis in others if axis != partner])

    yield from fill(np.zeros((dimension, dimension), int), list(range(dimension)))


def check_reversal(reversal: Any, dimension: int) -> np.ndarray:
    """Check that this is an orthogonal matrix that is its own inverse; float64."""
    matrix = np.asarray(reversal, np.float64)
    unit = np.eye(dimension)
    if matrix.shape != unit.shape or not (
        np.allclose(matrix @ matrix, unit) and np.allclose(matrix @ matrix.T, unit)
    ):
        raise ValueError(
            f"a reversal must be an orthogonal matrix of shape ({dimension}, {dimension}) that "
            f"is its own inverse; got {matrix.tolist()}"
        )
    return matrix


def uniform_field_reversals(field: Any, angle: float) -> np.ndarray:
    r"""Take one of each of the two circles that go with a uniform field, shape ``(2, 3, 3)``.

    With a unit vector u at right angles to the field, at an angle: :math:`2uu^\top - 1`, the
    turn by half a circle about u, and :math:`1 - 2uu^\top`, the mirror across u.

    Examples
    --------
    Of the 20 none goes with this field:

    >>> field, points = np.array([1.0, 2.0, 3.0]), np.zeros((1, 3))
    >>> bool(np.any(is_compatible(reversals(3), points, lambda x: field)))
    False
    >>> is_compatible(uniform_field_reversals(field, 0.3), points, lambda x: field).tolist()
    [True, True]
    """
    field = np.asarray(field, np.float64)
    if field.shape != (3,) or not np.all(np.isfinite(field)) or not np.any(field):
        raise ValueError(f"a field must be a finite vector of 3, and not 0; got {field}")
    along = field / np.linalg.norm(field)
    across = np.cross(along, np.eye(3)[np.argmin(np.abs(along))])
    across /= np.linalg.norm(across)
    u = np.cos(angle) * across + np.sin(angle) * np.cross(along, across)
    half_turn = 2 * np.outer(u, u) - np.eye(3)
    return np.stack([half_turn, -half_turn])


def reverse_angular_momentum(reversal: Any, angular_momentum: Any) -> np.ndarray:
    r"""Angular momentum after a reversal, :math:`-\det(A)\, A\, L`."""
    matrix = check_reversal(reversal, 3)
    return -np.linalg.det(matrix) * matrix @ np.asarray(angular_momentum, np.float64)


def is_compatible(
    reversals: Any,
    points: Any,
    field_fn: Callable[[Array], Array] | None = None,
    potential_fn: Callable[[Array], Array] | None = None,
) -> np.ndarray:
    r"""Whether reversals are compatible with field and potential at points; bool, ``(n,)``.

    Differences count that are above the square root of the precision, relative to the largest
    value seen. Points at random find every incompatibility of smooth fields; of polynomials
    :mod:`~jarzynski_jax.nonequilibrium.polynomial_fields` decides exactly.

    Parameters
    ----------
    reversals
        Shape ``(n, d, d)``, d 2 or 3, each orthogonal and its own inverse.
    points
        Shape ``(m, d)``, or ``(m, N, d)`` of N charges alike.
    field_fn
        Of one charge's position, shape ``(d,)``: B, a vector for d = 3, its component along z
        for d = 2. None for no field.
    potential_fn
        Of one point as they are given; a scalar. None for no potential.

    Raises
    ------
    ValueError
        If a shape is wrong, a reversal is none, or a field or potential is not finite at a
        point or an image of one.

    Examples
    --------
    A field along z, everywhere the same: 8 of the 20.

    >>> points = np.random.default_rng(0).normal(size=(20, 3))
    >>> found = is_compatible(reversals(3), points, lambda x: jnp.array([0.0, 0.0, 1.0]))
    >>> int(found.sum())
    8
    """
    points = np.asarray(points, np.float64)
    dimension = points.shape[-1] if points.ndim else 0
    if points.ndim < 2 or dimension not in (2, 3):
        raise ValueError(
            "points must have shape (m, d) or (m, N, d) with d 2 or 3; got shape "
            f"{points.shape}"
        )
    matrices = np.stack([check_reversal(matrix, dimension) for matrix in np.asarray(reversals)])
    images = np.einsum("nij,...j->n...i", matrices, points)
    holds = np.ones(len(matrices), bool)
    if field_fn is not None:
        singles = (-1, dimension)
        here = _field_at(field_fn, points.reshape(singles))
        there = _field_at(field_fn, images.reshape(singles)).reshape(len(matrices), *here.shape)
        signs = np.linalg.det(matrices)
        if dimension == 3:
            there = np.einsum("n,nij,nmj->nmi", signs, matrices, there)
        else:
            there = signs[:, None] * there
        holds &= _all_small(there + here, here)
    if potential_fn is not None:
        here = _values(potential_fn, points, "a potential", ())
        rest = points.shape[1:]
        there = _values(potential_fn, images.reshape(-1, *rest), "a potential", ())
        there = there.reshape(len(matrices), -1)
        holds &= _all_small(there - here, here)
    return holds


def _field_at(field_fn: Callable[[Array], Array], points: np.ndarray) -> np.ndarray:
    shape = (3,) if points.shape[-1] == 3 else ()
    return _values(field_fn, points, "a magnetic field", shape)


def _values(
    fn: Callable[[Array], Array], points: np.ndarray, name: str, shape: tuple[int, ...]
) -> np.ndarray:
    found = jax.vmap(lambda x: jnp.asarray(fn(x)))(jnp.asarray(points))
    if found.shape[1:] != shape:
        raise ValueError(
            f"{name} at a point of shape {points.shape[1:]} must have shape {shape}; got "
            f"{found.shape[1:]}"
        )
    values = np.asarray(found, np.float64)
    if not np.all(np.isfinite(values)):
        index = int(np.argmin(np.isfinite(values).reshape(len(values), -1).all(axis=1)))
        raise ValueError(
            f"{name} must be finite; at {points[index].tolist()} it is {values[index]}"
        )
    return values


def _all_small(gaps: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Whether all gaps are within the square root of the precision of what is compared."""
    eps = float(jnp.finfo(jnp.zeros(0).dtype).eps)
    largest = np.abs(gaps).reshape(len(gaps), -1).max(axis=1)
    return largest <= np.sqrt(eps) * max(float(np.abs(scale).max()), 1e-30)


def trajectory_error(reversal: Any, flow: Bijection, charges: Charges) -> Array:
    r"""How far :math:`M S^t M S^t` is from doing nothing, the largest error of a coordinate.

    For a flow that is symmetric, such as that of :func:`jarzynski_jax.kernels.magnetic.flow`,
    it is rounding if and only if A is compatible with the field and the potential.

    Examples
    --------
    >>> from jarzynski_jax.kernels import magnetic
    >>> start = magnetic.Charges(jnp.array([0.3, -0.1]), jnp.array([1.0, 0.5]))
    >>> flow = magnetic.flow(lambda x: -jnp.sum(x**2) / 2, 0.1, 1.0, num_steps=50)
    >>> bool(trajectory_error(np.diag([1, -1]), flow, start) < 1e-5)
    True
    >>> bool(trajectory_error(np.eye(2), flow, start) > 0.1)
    True
    """
    matrix = check_reversal(reversal, charges.position.shape[-1])
    image = _reversed(matrix, flow(_reversed(matrix, flow(charges)[0]))[0])
    gaps = jax.tree.map(lambda a, b: jnp.max(jnp.abs(a - b)), image, charges)
    return jnp.maximum(*gaps)


def _reversed(matrix: np.ndarray, charges: Charges) -> Charges:
    turn = jnp.asarray(matrix.T, charges.position.dtype)
    return Charges(charges.position @ turn, -charges.velocity @ turn)
