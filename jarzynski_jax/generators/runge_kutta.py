r"""The classical Runge-Kutta method at fixed steps, with a gradient in either of two ways.

Steps are those of one ``lax.scan``. Its gradient is exact for what was computed, at the memory
of one state a step (what is in between is computed again); or it is the adjoint's, an ODE of
its own solved backwards, at the memory of one state, right up to the error of the steps:

.. math:: \dot y = F_\theta(t, y), \quad \dot a = -(\partial_y F)^T a, \quad
          \frac{dL}{d\theta} = \int a^T\,\partial_\theta F\,dt.

Reference: Chen, Rubanova, Bettencourt and Duvenaud, *Neural ordinary differential equations*,
NeurIPS 2018.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from jarzynski_jax.types import Array, Params, Scalar

__all__ = ["GRADIENTS", "RateFn", "check_gradient", "integrate"]

#: ``(params, t, y) -> dy/dt``, in the form of y, a pytree.
RateFn: TypeAlias = Callable[[Params, Array, Any], Any]
GRADIENTS = ("checkpoint", "adjoint")


def check_gradient(gradient: str) -> None:
    """Check the name of a gradient; else a ValueError."""
    if gradient not in GRADIENTS:
        raise ValueError(f"gradient must be one of {GRADIENTS}; got {gradient!r}")


def integrate(
    rate_fn: RateFn,
    params: Params,
    state: Any,
    start: Scalar,
    end: Scalar,
    num_steps: int,
    gradient: str = "checkpoint",
) -> Any:
    """Solve the ODE from one time to another, later or earlier; error of fourth order.

    With the adjoint the rate may hold no traced values but its arguments, and the state should
    be that of a whole batch: under ``jax.vmap`` each sample would have a gradient of its own.

    Examples
    --------
    >>> end = integrate(lambda rate, t, y: rate * y, 1.0, jnp.ones(()), 0.0, 1.0, 10)
    >>> round(float(end), 4)
    2.7183
    """
    check_gradient(gradient)
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1; got {num_steps}")
    solve = _solve if gradient == "checkpoint" else _solve_with_adjoint
    dtype = jnp.result_type(*jax.tree.leaves(state))
    ends = jnp.asarray(start, dtype), jnp.asarray(end, dtype)
    return solve(rate_fn, num_steps, params, state, *ends)


def _solve(
    rate_fn: RateFn, num_steps: int, params: Params, state: Any, start: Array, end: Array
) -> Any:
    step_size = (end - start) / num_steps

    @jax.checkpoint
    def step(state: Any, number: Array) -> tuple[Any, None]:
        t = start + number * step_size
        return _step(partial(rate_fn, params), t, state, step_size), None

    return jax.lax.scan(step, state, jnp.arange(num_steps))[0]


def _step(rate: Callable[[Array, Any], Any], t: Array, y: Any, h: Array) -> Any:
    def moved(slope: Any, share: float) -> Any:
        return jax.tree.map(lambda y, s: y + share * h * s, y, slope)

    first = rate(t, y)
    second = rate(t + h / 2, moved(first, 0.5))
    third = rate(t + h / 2, moved(second, 0.5))
    fourth = rate(t + h, moved(third, 1.0))
    return jax.tree.map(
        lambda y, a, b, c, d: y + h / 6 * (a + 2 * b + 2 * c + d),
        *(y, first, second, third, fourth),
    )


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _solve_with_adjoint(
    rate_fn: RateFn, num_steps: int, params: Params, state: Any, start: Array, end: Array
) -> Any:
    return _solve(rate_fn, num_steps, params, state, start, end)


def _solve_forward(
    rate_fn: RateFn, num_steps: int, params: Params, state: Any, start: Array, end: Array
) -> tuple[Any, Any]:
    final = _solve(rate_fn, num_steps, params, state, start, end)
    return final, (params, final, start, end)


def _solve_backward(rate_fn: RateFn, num_steps: int, kept: Any, cotangent: Any) -> tuple:
    params, final, start, end = kept

    def rate(params: Params, t: Array, whole: Any) -> Any:
        y, a, _ = whole
        slope, pull_back = jax.vjp(lambda params, y: rate_fn(params, t, y), params, y)
        of_params, of_y = pull_back(a)
        minus = partial(jax.tree.map, jnp.negative)
        return slope, minus(of_y), minus(of_params)

    nothing = jax.tree.map(jnp.zeros_like, params)
    _, of_state, of_params = _solve(
        rate, num_steps, params, (final, cotangent, nothing), end, start
    )
    # The times of a flow are fixed.
    return of_params, of_state, jnp.zeros_like(start), jnp.zeros_like(end)


_solve_with_adjoint.defvjp(_solve_forward, _solve_backward)
