"""Descent of a loss by an optimizer, as objectives without walkers share it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from jarzynski_jax.kernels.arithmetic import all_finite
from jarzynski_jax.training.objective import Objective
from jarzynski_jax.types import Array, Params, PRNGKey

__all__ = [
    "DescentMetrics",
    "DescentState",
    "descend",
    "descent_objective",
    "start",
    "strong_types",
    "update",
    "with_gradient_of",
]

#: ``(rng_key, batch, params) -> (loss, seen)``; the batch is None of what takes no data.
LossFn: TypeAlias = Callable[[PRNGKey, Any, Params], tuple[Array, Any]]


class DescentState(NamedTuple):
    """The number of updates made, int32; the parameters; the state of their optimizer."""

    step: Array
    params: Params
    opt_state: Any


class DescentMetrics(NamedTuple):
    """What one update saw, by the parameters before it.

    loss
        In nats, of the batch.
    gradient_norm
        Of the gradient of the loss.
    is_skipped
        Whether loss or gradient was not finite, or what they would have led to, so that no
        update was made.
    """

    loss: Array
    gradient_norm: Array
    is_skipped: Array


def strong_types(params: Params) -> Params:
    """Make arrays of parameters: a weak type would not survive the first update."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), params)


def start(params: Params, optimizer: optax.GradientTransformation) -> DescentState:
    """Start an optimizer at these parameters.

    Raises
    ------
    ValueError
        If a parameter is no floating-point number: it has no gradient.
    """
    params = strong_types(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(
                f"parameters must be floating-point numbers; {jax.tree_util.keystr(path)} has "
                f"the dtype {leaf.dtype}: leave it out of what is trained (equinox.partition)"
            )
    return DescentState(jnp.zeros((), jnp.int32), params, optimizer.init(params))


def descend(
    state: DescentState,
    loss_fn: Callable[[Params], tuple[Array, Any]],
    optimizer: optax.GradientTransformation,
) -> tuple[DescentState, DescentMetrics, Any]:
    """Update the parameters once, unless the loss or its gradient is not finite.

    Parameters
    ----------
    state
        From :func:`start`.
    loss_fn
        ``params -> (loss, seen)``, of a batch.
    optimizer
        Any of Optax.

    Returns
    -------
    tuple[DescentState, DescentMetrics, Any]
        And what the loss saw besides.

    Examples
    --------
    >>> import jax.numpy as jnp, optax
    >>> optimizer = optax.sgd(0.5)
    >>> state = start(jnp.array(3.0), optimizer)
    >>> state, metrics, _ = descend(state, lambda x: (x**2, ()), optimizer)
    >>> float(state.params), float(metrics.loss)
    (0.0, 9.0)
    """
    (loss, seen), gradient = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    params, opt_state, is_skipped = update(
        optimizer, gradient, state.params, state.opt_state, jnp.isfinite(loss)
    )
    metrics = DescentMetrics(loss, optax.tree.norm(gradient), is_skipped)
    return DescentState(state.step + 1, params, opt_state), metrics, seen


def _metrics_alone(metrics: DescentMetrics, seen: Any) -> DescentMetrics:
    del seen
    return metrics


def _check_nothing(rng_key: PRNGKey, params: Params, *args: Any) -> None:
    pass


def descent_objective(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    wrong_batch: str,
    sum_up: Callable[[DescentMetrics, Any], Any] = _metrics_alone,
    *,
    takes_data: bool = True,
    check: Callable[..., None] = _check_nothing,
) -> Objective:
    """Make the objective that descends a loss, ``init(rng_key, params, ...)``.

    ``wrong_batch`` is what the ValueError says of a batch that is missing, or should not be
    there; ``sum_up`` makes metrics of those of the descent and of what the loss saw besides;
    ``check`` looks at what ``init`` is given, which it does not keep but for the parameters.
    """

    def init(rng_key: PRNGKey, params: Params, *args: Any) -> DescentState:
        check(rng_key, params, *args)
        return start(params, optimizer)

    def step(rng_key: PRNGKey, state: DescentState, batch: Any) -> tuple[DescentState, Any]:
        if takes_data == (batch is None):
            raise ValueError(wrong_batch)
        state, metrics, seen = descend(state, partial(loss_fn, rng_key, batch), optimizer)
        return state, sum_up(metrics, seen)

    return Objective(init, step, takes_data)


def with_gradient_of(value: Array, surrogate: Array) -> Array:
    """Return a number that has the gradient of another one, however large that is."""
    return jax.lax.stop_gradient(value) + (surrogate - jax.lax.stop_gradient(surrogate))


def update(
    optimizer: optax.GradientTransformation,
    gradient: Params,
    params: Params,
    opt_state: Any,
    is_usable: Array,
) -> tuple[Params, Any, Array]:
    """Update the parameters, unless the gradient is not usable, or anything not finite.

    A gradient may be finite and its square not: the optimizer's mean of it would stay infinite,
    and the parameter where it is, for ever.

    Returns
    -------
    tuple[Params, Any, Array]
        Parameters, state of the optimizer, and whether the update was skipped.
    """
    updates, new_opt_state = optimizer.update(gradient, opt_state, params)
    new_params = optax.apply_updates(params, updates)
    is_usable &= all_finite(gradient) & all_finite(new_params)
    # What was infinite before, by the optimizer's own design, may stay so.
    is_usable &= all_finite(new_opt_state) | ~all_finite(opt_state)
    taken = jax.tree.map(
        lambda new, old: jnp.where(is_usable, new, old),
        (new_params, new_opt_state),
        (params, opt_state),
    )
    return *taken, ~is_usable
