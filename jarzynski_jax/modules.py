"""Modules of Flax NNX as functions: one that changes when it is called is refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flax import nnx

__all__ = ["unchanged"]


#: All but what is trained.
_FIXED = nnx.Not(nnx.Param)


@contextmanager
def unchanged(name: str, module: Any, watched: Any = _FIXED) -> Iterator[None]:
    """Look at a module before and after a call: else it is random, or has a memory.

    ``watched`` filters the variables that are looked at. ValueError if one of them has changed.
    """
    before = _values(module, watched)
    yield
    after = _values(module, watched)
    changed = [path for path, value in after.items() if before.get(path) is not value]
    if changed:
        names = ", ".join(".".join(map(str, path)) for path in changed[:3])
        raise ValueError(
            f"{name} must be the same function at every call, and this module changes "
            f"{names} when it is called, as dropout, batch statistics and other random layers "
            "do. Call module.eval() before, or build it without them"
        )


def _values(module: Any, watched: Any) -> dict[tuple, Any]:
    """By path."""
    state: Any = nnx.state(module, watched)
    return {path: variable.get_value() for path, variable in nnx.to_flat_state(state)}
