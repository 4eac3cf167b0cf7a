"""How one walker moves, as one value, with what other rooms must know of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jarzynski_jax.checks import check_kernel, check_kernel_init
from jarzynski_jax.types import Kernel, KernelInit

__all__ = ["Move", "check_move", "itself", "keep_state"]


class Move(NamedTuple):
    """How one walker moves; each file of kernels has its ``as_move``.

    init
        ``(position, logdensity_fn) -> state``.
    kernel
        ``(rng_key, state, logdensity_fn, *args) -> (state, info)``, whose info has the
        ``log_weight_increment``.
    args
        What else the kernel takes, the same along a whole path; what changes from step to step
        comes behind it, as ``step_args``.
    reverse
        ``move -> move`` of the process turned round in time, to which the increment belongs:
        :func:`itself` for a kernel that undoes its own moves; None where there is none.
    reject
        ``(state, info) -> state``, to which a walker returns whose move was rejected: then the
        move can be Metropolis-adjusted. None where its increment is not a ratio of acceptance.
    is_invariant
        Whether the kernel leaves its target invariant, so that at a target at rest its
        increments are 0.
    is_differentiable
        Whether where it ends is a smooth function of the target: not where it accepts and
        rejects, or draws what is discrete.
    """

    init: KernelInit
    kernel: Kernel
    args: tuple[Any, ...] = ()
    reverse: "Callable[[Move], Move] | None" = None
    reject: Callable[[Any, Any], Any] | None = None
    is_invariant: bool = False
    is_differentiable: bool = True


def itself(move: Move) -> Move:
    """The reverse of a move that undoes itself."""
    return move


def keep_state(state: Any, info: Any) -> Any:
    """Where a walker returns whose rejected move leaves no trace."""
    del info
    return state


def check_move(move: Any) -> None:
    """Check that this is a move, of a kernel and its ``init``; else a ValueError.

    Examples
    --------
    >>> from jarzynski_jax.kernels import ula
    >>> check_move(ula.as_move(0.1))
    >>> check_move(ula.build_kernel())
    Traceback (most recent call last):
        ...
    ValueError: a move must be a Move, such as ula.as_move(step_size); got function
    """
    if not isinstance(move, Move):
        check_kernel(move)
        raise ValueError(
            f"a move must be a Move, such as ula.as_move(step_size); got {type(move).__name__}"
        )
    check_kernel_init(move.init)
    check_kernel(move.kernel)
