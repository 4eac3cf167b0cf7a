"""What the kernels compute alike: noise, products, checks; positions are any pytree.

Positions may be of half precision; they are then stored so, and all that is computed of them is
of single precision: three digits of a log-density would leave nothing of a weight.
"""

import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.types import Array, ArrayTree, LogDensityFn, Position, PRNGKey, Scalar

__all__ = [
    "all_finite",
    "bound_endpoint",
    "check_floating",
    "check_kind",
    "check_positive",
    "check_real",
    "check_step_size",
    "draw_noise",
    "drop_non_finite",
    "is_lost",
    "keep_finite",
    "lift",
    "lower",
    "scalar_product",
    "subtract",
    "value_and_grad",
]


def check_step_size(step_size: Scalar) -> None:
    """Raise a ``ValueError`` unless h is positive and finite, if its value is known."""
    check_positive("step_size, the time step h,", step_size)


def check_friction(friction: Scalar) -> None:
    """Raise a ``ValueError`` unless γ is positive or infinite, if its value is known."""
    if not _holds(friction, lambda values: values > 0):
        raise ValueError(f"friction must be positive, or infinite; got {friction}")


def check_positive(name: str, value: Scalar) -> None:
    """Raise a ``ValueError`` unless a value is positive and finite, if it is known."""
    if not _holds(value, lambda values: (values > 0) & (values < np.inf)):
        raise ValueError(f"{name} must be positive and finite; got {value}")


def _holds(value: Scalar, condition: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Whether a number of Python, NumPy or JAX meets a condition; one that is traced may."""
    return isinstance(value, jax.core.Tracer) or bool(np.all(condition(np.asarray(value))))


def value_and_grad(logdensity_fn: LogDensityFn, position: Position) -> tuple[Array, ArrayTree]:
    """Log-density and gradient, float32 at least; a ``ValueError`` if they make no sense."""
    check_floating(position)
    lifted = lift(position)
    shape = jax.eval_shape(logdensity_fn, lifted).shape
    if shape != ():
        raise ValueError(
            f"logdensity_fn must return a scalar for one walker; it returned shape {shape}"
        )
    logdensity, gradient = jax.value_and_grad(logdensity_fn)(lifted)
    return lift(logdensity), gradient


def lift(tree: Any) -> Any:
    """Make float32 of numbers of half precision, and leave others as they are."""

    def to_single(leaf: Array) -> Array:
        dtype = jnp.result_type(leaf)
        if not jnp.issubdtype(dtype, jnp.floating):
            return leaf
        wide = jnp.promote_types(dtype, jnp.float32)
        return leaf if wide == dtype else jnp.asarray(leaf, wide)

    return jax.tree.map(to_single, tree)


def lower(tree: Any, like: Any) -> Any:
    """Round numbers to the precision in which a position is stored."""

    def to_dtype(leaf: Array, old: Array) -> Array:
        dtype = jnp.result_type(old)
        return leaf if jnp.result_type(leaf) == dtype else jnp.asarray(leaf, dtype)

    return jax.tree.map(to_dtype, tree, like)


def subtract(left: ArrayTree, right: ArrayTree) -> ArrayTree:
    """Differences, float32 at least: of numbers of half precision without rounding."""
    return jax.tree.map(jnp.subtract, lift(left), lift(right))


def is_lost(info: Any) -> Array:
    """Whether a move lost a walker by its own step, as its info tells; any death if not."""
    found = getattr(info, "is_lost", None)
    return ~jnp.isfinite(info.log_weight_increment) if found is None else found


def check_floating(position: Position) -> None:
    """Raise a ``ValueError`` unless all leaves are of floating point."""
    for leaf in jax.tree.leaves(position):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ValueError(
                f"positions must be of floating point; got a leaf of dtype "
                f"{jnp.result_type(leaf)}"
            )


def check_real(position: Position) -> None:
    """Raise a ``ValueError`` unless all leaves are of floating point or integers.

    Kernels that need no gradient take integers too, such as spins.
    """
    for leaf in jax.tree.leaves(position):
        dtype = jnp.result_type(leaf)
        if not jnp.issubdtype(dtype, jnp.floating) and not jnp.issubdtype(dtype, jnp.integer):
            raise ValueError(
                f"positions must be of floating point or integers; got a leaf of dtype {dtype}"
            )


def check_kind(what: str, moved: Position, position: Position) -> None:
    """Raise a ``ValueError`` if integers were moved to numbers that may be no whole ones.

    They would be rounded on their way, and no weight would tell.
    """
    for new, old in zip(jax.tree.leaves(moved), jax.tree.leaves(position), strict=True):
        dtypes = jnp.result_type(new), jnp.result_type(old)
        if jnp.issubdtype(dtypes[1], jnp.integer) and dtypes[0] != dtypes[1]:
            raise ValueError(
                f"{what} must leave integers integers; it was given {dtypes[1]} and returned "
                f"{dtypes[0]}"
            )


def draw_noise(rng_key: PRNGKey, position: Position) -> Position:
    """Independent standard normal numbers for a position, float32 at least.

    In half precision they would have hardly any tails.
    """
    leaves, structure = jax.tree.flatten(lift(position))
    keys = [rng_key] if len(leaves) == 1 else list(jax.random.split(rng_key, len(leaves)))
    noise = [
        jax.random.normal(key, jnp.shape(leaf), jnp.result_type(leaf))
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, noise)


def keep_finite(proposed: Position, position: Position) -> Position:
    """Leave numbers that overflow where they were, so that no sum over walkers is poisoned.

    The walker is dead then, and may stand anywhere.
    """
    return jax.tree.map(
        lambda new, old: jnp.where(jnp.isfinite(new), new, old), proposed, position
    )


def drop_non_finite(drift: ArrayTree) -> ArrayTree:
    """Put 0 for what is not finite: a dead walker's last drift; it only has to stand still."""
    return jax.tree.map(lambda leaf: jnp.where(jnp.isfinite(leaf), leaf, 0), drift)


def bound_endpoint(log_endpoint: Array, position: Position) -> Array:
    r"""Bound an endpoint factor :math:`-\frac h4|\nabla\ell|^2` from below by -d/2 - 3.

    Its mean is :math:`\frac h4 \mathrm{tr}\,\nabla^2\ell`, which is -d/2 where steps cease to
    be stable, at a curvature of 2/h; 3 nats more are for the tails in few dimensions. Below
    that it says that a walker is thrown about, not that its position fluctuates; taken off the
    weight there, it would give all offspring to walkers of no weight. Resampling is exact for
    any function of the position.
    """
    dimension = sum(jnp.size(leaf) for leaf in jax.tree.leaves(position))
    return jnp.maximum(log_endpoint, -dimension / 2 - 3)


def all_finite(tree: ArrayTree) -> Array:
    """Whether every number of every leaf of floating point is finite; integers and keys are."""
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    floating = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    is_finite = [jnp.all(jnp.isfinite(leaf)) for leaf in floating]
    return jnp.all(jnp.stack(is_finite)) if is_finite else jnp.array(True)


def scalar_product(left: ArrayTree, right: ArrayTree, dtype: jnp.dtype) -> Array:
    """Sum of products over all leaves, accumulated in the dtype given."""
    products = jax.tree.map(
        lambda a, b: jnp.sum(a.astype(dtype) * b.astype(dtype)), left, right
    )
    return jax.tree.reduce(operator.add, products)
