r"""How a kernel comes to know a log-density and its gradient, and what of it outlasts a target.

A path of linear combinations, :math:`\ell_t = \sum_i c_i(t)\,\ell_i`, has the same terms at all
times. A kernel that keeps their values and gradients where the walker stands knows those of the
next target too: a step at each target then costs one gradient, and n steps at one target cost n
and not n + 1.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.kernels.arithmetic import value_and_grad
from jarzynski_jax.types import Array, ArrayTree, LogDensityFn, Position, Scalar

__all__ = ["LINEAR", "WHOLE", "Evaluated", "Evaluation", "LinearCombination"]


@dataclass(frozen=True, eq=False)
class LinearCombination:
    r"""A log-density :math:`\sum_i c_i \ell_i`; called, it is one as any other.

    A density to the power 0 is 1 with gradient 0, even where it is zero.

    Examples
    --------
    >>> float(LinearCombination((0.5, 2.0), (lambda x: -x, lambda x: -(x**2)))(jnp.array(3.0)))
    -19.5
    """

    coefficients: tuple[Scalar, ...]
    terms: tuple[LogDensityFn, ...]

    def __call__(self, x: Position) -> Array:
        """The log-density at one position."""
        parts = zip(self.coefficients, self.terms, strict=True)
        return reduce(operator.add, [_times(c, term, x) for c, term in parts])


class Evaluated(NamedTuple):
    """A log-density and its gradient at a position, and what is kept for the next target."""

    logdensity: Array
    gradient: ArrayTree
    terms: ArrayTree


class Evaluation(NamedTuple):
    """How a log-density is evaluated.

    at
        ``(logdensity_fn, position) -> Evaluated``, for one gradient.
    again
        ``(logdensity_fn, position, terms) -> Evaluated``, of a new target where ``terms`` are
        from the same position under the one before.
    cost_again
        Gradients that ``again`` takes.
    """

    at: Callable[[LogDensityFn, Position], Evaluated]
    again: Callable[[LogDensityFn, Position, ArrayTree], Evaluated]
    cost_again: int


def _at_whole(logdensity_fn: LogDensityFn, position: Position) -> Evaluated:
    return Evaluated(*value_and_grad(logdensity_fn, position), ())


def _again_whole(
    logdensity_fn: LogDensityFn, position: Position, terms: ArrayTree
) -> Evaluated:
    del terms
    return _at_whole(logdensity_fn, position)


def _at_terms(logdensity_fn: LogDensityFn, position: Position) -> Evaluated:
    terms = tuple(value_and_grad(term, position) for term in _linear(logdensity_fn).terms)
    return _combine(logdensity_fn, position, terms)


def _combine(logdensity_fn: LogDensityFn, position: Position, terms: ArrayTree) -> Evaluated:
    del position

    def weighted(c: Scalar, leaf: Array) -> Array:
        return jnp.where(c == 0, jnp.zeros_like(leaf), jnp.asarray(c, leaf.dtype) * leaf)

    parts = [
        jax.tree.map(lambda leaf, c=c: weighted(c, leaf), term)
        for c, term in zip(_linear(logdensity_fn).coefficients, terms, strict=True)
    ]
    logdensity, gradient = jax.tree.map(lambda *leaves: reduce(operator.add, leaves), *parts)
    return Evaluated(logdensity, gradient, terms)


def _linear(logdensity_fn: LogDensityFn) -> LinearCombination:
    if not isinstance(logdensity_fn, LinearCombination):
        raise ValueError(
            "a kernel that keeps terms needs log-densities that are a LinearCombination, as "
            f"those of geometric_path are; got {type(logdensity_fn).__name__}"
        )
    return logdensity_fn


#: Of any log-density: at a new target it is evaluated anew.
WHOLE = Evaluation(_at_whole, _again_whole, cost_again=1)
#: Of a :class:`LinearCombination` whose terms are the same at all targets.
LINEAR = Evaluation(_at_terms, _combine, cost_again=0)


def _times(factor: Scalar, logdensity_fn: LogDensityFn, x: Position) -> Array:
    is_off = factor == 0
    # A gradient that is NaN, where the density is zero, would be NaN times 0.
    x = jax.tree.map(lambda leaf: jnp.where(is_off, jax.lax.stop_gradient(leaf), leaf), x)
    logdensity = logdensity_fn(x)
    return jnp.where(is_off, jnp.zeros_like(logdensity), factor * logdensity)
