r"""Targets on a bounded support, moved to an unbounded space.

Where a density ends at a wall, unadjusted walkers step over it and are lost, and log Z comes
out too low. A bijection T of an unbounded space onto the support has no wall, and changes no
log Z:

.. math:: \log\tilde\rho(y) = \log\rho(T(y)) + \log|\det \partial T/\partial y|

The bijections are numpyro's, one for each of its constraints: intervals, half-lines, the
simplex, ordered vectors, positive-definite matrices. (The extra ``numpyro``.)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.types import Array, LogDensityFn, Position

__all__ = ["Unbounded", "bijection", "log_abs_det", "unbounded"]


class Unbounded(NamedTuple):
    """A density on an unbounded space, and the way from and to the support, for one position.

    ``logdensity_fn`` includes the Jacobian; its log Z is that of the density on the support.
    ``to_support`` takes y to x, ``from_support`` takes x inside the support to y.
    """

    logdensity_fn: LogDensityFn
    to_support: Callable[[Position], Position]
    from_support: Callable[[Position], Position]


def unbounded(logdensity_fn: LogDensityFn, support: Any) -> Unbounded:
    """Move a density with a bounded support to an unbounded space.

    Of samples y, ``jax.vmap(to_support)`` makes samples x. ImportError if numpyro is not
    installed. ValueError if a leaf of the support is no constraint, or one that no bijection is
    known for.

    Parameters
    ----------
    logdensity_fn
        The unnormalised log-density of a position x in the support. On the simplex it is that
        of the first n - 1 of n shares, as a Dirichlet's is.
    support
        A constraint of ``numpyro.distributions.constraints``, or a pytree of them in the
        structure of the position: ``positive``, ``greater_than(a)``, ``interval(a, b)``,
        ``simplex``, ``real``, ...

    Examples
    --------
    >>> from numpyro.distributions import constraints
    >>> found = unbounded(lambda x: -2 * x, constraints.positive)  # x = exp(y)
    >>> float(found.logdensity_fn(jnp.array(0.0))), float(found.to_support(jnp.array(0.0)))
    (-2.0, 1.0)
    """
    constraints, _ = _numpyro()

    def is_constraint(leaf: Any) -> bool:
        return isinstance(leaf, constraints.Constraint)

    transforms = [bijection(leaf) for leaf in jax.tree.leaves(support, is_leaf=is_constraint)]
    structure: Any = jax.tree.structure(support, is_leaf=is_constraint)

    def to_support(y: Position) -> Position:
        parts = structure.flatten_up_to(y)
        return structure.unflatten(t(part) for t, part in zip(transforms, parts, strict=True))

    def from_support(x: Position) -> Position:
        parts = structure.flatten_up_to(x)
        return structure.unflatten(
            t.inv(part) for t, part in zip(transforms, parts, strict=True)
        )

    def unbounded_logdensity_fn(y: Position) -> Array:
        x = to_support(y)
        parts = zip(transforms, *map(structure.flatten_up_to, (y, x)), strict=True)
        jacobians = [log_abs_det(t, y, x) for t, y, x in parts]
        return logdensity_fn(x) + sum(jacobians)

    return Unbounded(unbounded_logdensity_fn, to_support, from_support)


def bijection(constraint: Any) -> Any:
    """Numpyro's transform of an unbounded space onto a support; ValueError if none is known."""
    constraints, biject_to = _numpyro()
    if not isinstance(constraint, constraints.Constraint):
        raise ValueError(
            "a support must be made of constraints of numpyro.distributions.constraints; "
            f"got {constraint!r}"
        )
    try:
        return biject_to(constraint)
    except NotImplementedError as error:
        raise ValueError(f"no bijection onto {constraint!r} is known to numpyro") from error


def log_abs_det(transform: Any, y: Array, x: Array) -> Array:
    """Of a transform at y, where x is its value there: one number for the whole array."""
    # Of several numbers that are each bounded numpyro gives each one's own.
    return jnp.sum(transform.log_abs_det_jacobian(y, x))


def _numpyro() -> tuple[Any, Callable[[Any], Any]]:
    try:
        from numpyro.distributions import biject_to, constraints
    except ImportError as error:
        raise ImportError(
            "targets on a bounded support need the extra 'numpyro': "
            "pip install 'jarzynski-jax[numpyro]'"
        ) from error
    return constraints, biject_to
