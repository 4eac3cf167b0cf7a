"""How parameters learn, as one value: two pure functions, and what their loop must know."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jarzynski_jax.training.stop_rules import NO_RULES, StopRules

__all__ = ["Objective", "check_objective"]


class Objective(NamedTuple):
    """How parameters learn; :func:`~jarzynski_jax.training.fit` runs any.

    init
        ``(rng_key, params, ...) -> state``, a NamedTuple with the number of updates made,
        ``step``, and the ``params``. What else it takes belongs to the objective.
    step
        ``(rng_key, state, batch) -> (state, metrics)``: one update by a mini-batch, shape
        ``(B, ...)``, or by None; metrics are a NamedTuple of scalars. To be jitted, or scanned.
    stop_rules
        How its metrics are read while it runs; by default they are only written.
    takes_data
        Whether it learns from data.
    """

    init: Callable[..., Any]
    step: Callable[..., tuple[Any, Any]]
    stop_rules: StopRules = NO_RULES
    takes_data: bool = True


def check_objective(objective: Any) -> None:
    """Check that this is an objective.

    Raises
    ------
    ValueError
        If it is something else.

    Examples
    --------
    >>> check_objective(lambda params, x: 0.0)
    Traceback (most recent call last):
        ...
    ValueError: an objective must be an Objective, such as training.jarzynski(energy_fn, \
optimizer, dynamics); got function
    """
    if not isinstance(objective, Objective):
        raise ValueError(
            "an objective must be an Objective, such as training.jarzynski(energy_fn, "
            f"optimizer, dynamics); got {type(objective).__name__}"
        )
