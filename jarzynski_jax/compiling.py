"""Compile a whole computation once, and not at every call that stands outside ``jax.jit``.

Functions such as an annealing run take functions as arguments: paths, kernels, densities.
Called bare they would be compiled anew each time, for seconds, where running takes
milliseconds.
"""

import itertools
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar

import jax
import numpy as np

__all__ = ["compiled_once"]

Result = TypeVar("Result")


class _Static:
    """All that is not an array: functions by identity, numbers of Python by value."""

    def __init__(self, leaves: list[Any], structure: Any) -> None:
        self.leaves, self.structure = tuple(leaves), structure
        self._key = (structure, tuple((type(leaf), leaf) for leaf in leaves))

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Static) and self._key == other._key


def compiled_once(fn: Callable[..., Result]) -> Callable[..., Result]:
    """Make a function compile at its first call with the same functions, shapes and numbers.

    Arrays of NumPy and JAX are traced, all else is part of the program; arguments go by
    position, and functions may be leaves of them. Inside another transformation, or with an
    argument that cannot be hashed, the function is called as it is. As with ``jax.jit``,
    functions among the arguments must be pure: they are looked at once, and a variable of
    Python that one of them reads must not change afterwards.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> times = []
    >>> @compiled_once
    ... def double(x):
    ...     times.append(0)  # when it is traced
    ...     return 2 * x
    >>> [float(double(jnp.array(1.0))) for _ in range(3)], len(times)
    ([2.0, 2.0, 2.0], 1)
    """

    @partial(jax.jit, static_argnums=0)
    def run(static: _Static, arrays: list[Any]) -> Result:
        remaining = iter(arrays)
        leaves = [next(remaining) if leaf is _ARRAY else leaf for leaf in static.leaves]
        return fn(*jax.tree.unflatten(static.structure, leaves))

    @wraps(fn)
    def call(*args: Any) -> Result:
        leaves, structure = jax.tree.flatten(args)
        is_array = [isinstance(leaf, jax.Array | np.ndarray | np.generic) for leaf in leaves]
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return fn(*args)
        arrays = list(itertools.compress(leaves, is_array))
        static = _Static(
            [_ARRAY if of else leaf for of, leaf in zip(is_array, leaves, strict=True)],
            structure,
        )
        try:
            hash(static)
        except TypeError:
            return fn(*args)
        return run(static, arrays)

    return call


#: Stands where an array was.
_ARRAY = object()
