"""Objectives whose gradient is that of a loss: one update, its metrics, and when to stop."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jarzynski_jax.training.objective import Objective
from jarzynski_jax.training.stop_rules import Moment, StopRules, Trouble
from jarzynski_jax.types import Array, Params, PRNGKey

__all__ = ["DescentMetrics", "DescentState", "descend", "is_lasting", "settle", "update"]

#: So many updates in a row without a gradient are no accident.
_MIN_SKIPPED = 20


class DescentState(NamedTuple):
    """What is carried from one update to the next.

    step
        How many updates were made, int32.
    params
        Of the model.
    opt_state
        Of the optimizer.
    """

    step: Array
    params: Params
    opt_state: Any


class DescentMetrics(NamedTuple):
    """What one update saw, all scalars, of the parameters before it.

    loss
        What is descended, in nats.
    gradient_norm
        Of the gradient that was followed.
    is_skipped
        Whether the gradient was not finite, so that no update was made.
    """

    loss: Array
    gradient_norm: Array
    is_skipped: Array


class DescentSummary(NamedTuple):
    """What is remembered of a chunk of updates; plain numbers."""

    first_step: int
    last_step: int
    num_skipped: int
    loss: float


def settle(params: Params) -> Params:
    """Give every leaf a dtype of its own.

    A weak type would not survive the first update, and the second would recompile.
    """
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), params)


def update(
    optimizer: optax.GradientTransformation,
    gradient: Params,
    params: Params,
    opt_state: Any,
    is_allowed: Array | bool = True,
) -> tuple[Params, Any, Array]:
    """Update parameters, unless the gradient is not finite; and say whether it was skipped."""
    updates, new_opt_state = optimizer.update(gradient, opt_state, params)
    new_params = optax.apply_updates(params, updates)
    is_finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(gradient)]
    is_usable = jnp.all(jnp.stack(is_finite)) & is_allowed
    new_params, new_opt_state = jax.tree.map(
        lambda new, old: jnp.where(is_usable, new, old),
        (new_params, new_opt_state),
        (params, opt_state),
    )
    return new_params, new_opt_state, ~is_usable


def descend(
    loss_fn: Callable[[Params, PRNGKey, Any], tuple[Array, Any]],
    optimizer: optax.GradientTransformation,
    metrics_of: Callable[[DescentMetrics, Any], Any] = lambda metrics, seen: metrics,
    takes_data: bool = True,
) -> Objective:
    """Make an objective of a loss.

    Parameters
    ----------
    loss_fn
        ``(params, rng_key, batch) -> (loss, seen)``; the gradient is that of the loss.
    optimizer
        Any of Optax.
    metrics_of
        ``(DescentMetrics, seen) -> metrics``, with the fields of DescentMetrics and more.
    takes_data
        Whether there is a batch; it is None if not.

    Returns
    -------
    Objective
        Its ``init`` is ``(rng_key, params) -> DescentState``.
    """

    def init(rng_key: PRNGKey, params: Params) -> DescentState:
        del rng_key  # of the common signature
        params = settle(params)
        return DescentState(jnp.zeros((), jnp.int32), params, optimizer.init(params))

    def step(rng_key: PRNGKey, state: DescentState, batch: Any) -> tuple[DescentState, Any]:
        (loss, seen), gradient = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params, rng_key, batch
        )
        params, opt_state, is_skipped = update(
            optimizer, gradient, state.params, state.opt_state
        )
        metrics = DescentMetrics(loss, optax.tree.norm(gradient), is_skipped)
        return DescentState(state.step + 1, params, opt_state), metrics_of(metrics, seen)

    return Objective(init, step, _RULES, takes_data)


def is_lasting(num_skipped: int, num_steps: int) -> bool:
    """Whether all updates of a chunk were skipped, and not only a few of them."""
    return num_skipped >= max(num_steps, _MIN_SKIPPED)


def _summarize(metrics: Any, first_step: int) -> DescentSummary:
    return DescentSummary(
        first_step,
        first_step + len(metrics.loss),
        int(np.sum(metrics.is_skipped)),
        float(np.mean(metrics.loss)),
    )


def _diagnose(
    summaries: Sequence[DescentSummary], watch: None, moment: Moment
) -> list[Trouble]:
    last = summaries[-1]
    num_steps = last.last_step - last.first_step
    if not is_lasting(last.num_skipped, num_steps):
        return []
    cause = f"the gradient has not been finite for {num_steps} updates"
    advice = "Take a smaller learning rate, or see where the loss is not finite."
    return [Trouble("no gradient", last.last_step, cause, advice, is_fatal=True)]


def _merit(summaries: Sequence[DescentSummary], watch: None) -> float | None:
    losses = [summary.loss for summary in summaries]
    if not losses or not np.all(np.isfinite(losses)):
        return None
    lengths = [summary.last_step - summary.first_step for summary in summaries]
    return float(np.average(losses, weights=lengths))


_RULES = StopRules(
    summarize=_summarize,
    diagnose=_diagnose,
    merit=_merit,
    judged_by="the loss",
    describe=lambda metrics: f"loss {np.mean(metrics.loss):.4g}",
)
