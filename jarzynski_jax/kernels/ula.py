r"""Unadjusted Langevin with its exact path weight.

With :math:`\rho \propto e^{\ell}`, one step of size :math:`h` from :math:`x` to :math:`x'` is

.. math:: x' = x + h \nabla\ell_{\rm old}(x) + \sqrt{2h}\,\xi, \qquad \xi \sim N(0, 1)

and changes the walker's log-weight by (thesis, eq. 3.3.1 and 3.3.2, with :math:`\ell = -U`)

.. math::
    \Delta A = \ell_{\rm new}(x') - \ell_{\rm old}(x)
        - \tfrac12 (x' - x)\cdot(\nabla\ell_{\rm new}(x') + \nabla\ell_{\rm old}(x))
        - \tfrac h4 (|\nabla\ell_{\rm new}(x')|^2 - |\nabla\ell_{\rm old}(x)|^2).

The move follows the **old** target, by which the walker was last weighed, and the weight
closes with the **new** one, the ``logdensity_fn`` of the call. So a step costs one
value-and-gradient. Then, at every step :math:`k`, for any step size and any sequence of
targets, :math:`E[f(X_k) e^{A_k}] = (Z_k/Z_0)\, E_k[f]` (Proposition 3.3.1), if the walkers
started as exact samples of the first target with :math:`A_0 = 0`.

At a fixed target :math:`\Delta A` is MALA's log acceptance ratio.

With a preconditioner C the drift is :math:`hC\nabla\ell`, the noise
:math:`\sqrt{2h}\,C^{1/2}\xi`, and :math:`|\nabla\ell|^2` becomes
:math:`\nabla\ell\cdot C\nabla\ell`.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.kernels.arithmetic import (
    bound_endpoint,
    check_step_size,
    draw_noise,
    drop_non_finite,
    keep_finite,
    lift,
    lower,
    scalar_product,
    subtract,
    value_and_grad,
)
from jarzynski_jax.kernels.binding import bind
from jarzynski_jax.kernels.move import Move, itself, keep_state
from jarzynski_jax.kernels.preconditioning import Preconditioner, apply, apply_factor
from jarzynski_jax.kernels.step_info import WeightInfo
from jarzynski_jax.types import (
    Array,
    ArrayTree,
    Kernel,
    LogDensityFn,
    Position,
    PRNGKey,
    SamplingAlgorithm,
    Scalar,
)

__all__ = [
    "ULAState",
    "as_move",
    "as_top_level_api",
    "build_kernel",
    "init",
]


class ULAState(NamedTuple):
    r"""One walker, and what its next step needs.

    logdensity, logdensity_grad
        :math:`\ell(x)` under the target by which the walker was last weighed, and its gradient.
    log_endpoint
        :math:`-\frac h4 |\nabla\ell(x)|^2`, the part of the log-weight that fluctuates with
        the position and never accumulates; at least -d/2 - 3, where walkers are thrown about
        (:func:`~jarzynski_jax.kernels.arithmetic.bound_endpoint`); 0 before the first step.
    """

    position: ArrayTree
    logdensity: Array
    logdensity_grad: ArrayTree
    log_endpoint: Array


def init(position: Position, logdensity_fn: LogDensityFn) -> ULAState:
    """Weigh one walker for the first time.

    ValueError if a leaf of the position is not of floating point, or the log-density not a
    scalar.

    Examples
    --------
    >>> state = init(jnp.array([1.0, 2.0]), lambda x: -jnp.sum(x**2) / 2)
    >>> float(state.logdensity), state.logdensity_grad.tolist()
    (-2.5, [-1.0, -2.0])
    """
    logdensity, logdensity_grad = value_and_grad(logdensity_fn, position)
    dtype = jnp.promote_types(logdensity.dtype, jnp.float32)
    return ULAState(position, logdensity, logdensity_grad, jnp.zeros((), dtype))


@cache  # one function, so that what was compiled with it is found again
def build_kernel() -> Kernel:
    """Build the kernel for one walker.

    It is ``kernel(rng_key, state, logdensity_fn, step_size, preconditioner=None)``, with
    ``logdensity_fn`` the target after the move and the step size h: drift h, noise sqrt(2h).
    The kernel raises a ValueError if h is a number that is not positive; of a negative one that
    is traced, all walkers die.

    Examples
    --------
    >>> old, new = (lambda x: -(x**2) / 2), (lambda x: -(x**2))
    >>> state = init(jnp.array(1.0), old)
    >>> state, info = build_kernel()(jax.random.key(0), state, new, 0.1)
    >>> bool(info.is_finite), bool(jnp.isclose(state.logdensity, -(state.position**2)))
    (True, True)
    """

    def kernel(
        rng_key: PRNGKey,
        state: ULAState,
        logdensity_fn: LogDensityFn,
        step_size: Scalar,
        preconditioner: Preconditioner | None = None,
    ) -> tuple[ULAState, WeightInfo]:
        check_step_size(step_size)
        proposed = _langevin_step(rng_key, state, step_size, preconditioner)
        position = keep_finite(proposed, state.position)
        logdensity, grad = value_and_grad(logdensity_fn, position)

        displacement = subtract(proposed, state.position)
        dtype = jnp.promote_types(logdensity.dtype, jnp.float32)
        quarter = jnp.asarray(step_size, dtype) / 4

        def square(gradient: ArrayTree) -> Array:
            return scalar_product(gradient, apply(preconditioner, gradient), dtype)

        work = (
            logdensity.astype(dtype)
            - state.logdensity.astype(dtype)
            - scalar_product(displacement, grad, dtype) / 2
            - scalar_product(displacement, state.logdensity_grad, dtype) / 2
        )
        log_endpoint = -quarter * square(grad)
        increment = work + log_endpoint + quarter * square(state.logdensity_grad)
        is_finite = jnp.isfinite(increment)
        bounded = jnp.where(is_finite, bound_endpoint(log_endpoint, position), 0)
        new_state = ULAState(position, logdensity, grad, bounded)
        return new_state, WeightInfo(jnp.where(is_finite, increment, -jnp.inf), is_finite)

    return kernel


def as_move(*args: Any) -> Move:
    """Make a move of the kernel and of what it takes: ``(step_size, preconditioner=None)``."""
    return Move(init, build_kernel(), args, itself, keep_state)


def as_top_level_api(
    logdensity_fn: LogDensityFn,
    step_size: Scalar,
    preconditioner: Preconditioner | None = None,
) -> SamplingAlgorithm:
    """Bind the kernel to one target, as BlackJAX's samplers are; h > 0.

    Examples
    --------
    >>> algorithm = as_top_level_api(lambda x: -jnp.sum(x**2) / 2, step_size=0.1)
    >>> state, info = algorithm.step(jax.random.key(0), algorithm.init(jnp.zeros(2)))
    >>> state.position.shape
    (2,)
    """
    return bind(init, build_kernel(), logdensity_fn, step_size, preconditioner)


def _langevin_step(
    rng_key: PRNGKey, state: ULAState, step_size: Scalar, preconditioner: Preconditioner | None
) -> Position:
    noise = apply_factor(preconditioner, draw_noise(rng_key, state.position))
    gradient = drop_non_finite(state.logdensity_grad)

    def step(x: Array, drift: Array, noise: Array) -> Array:
        h = jnp.asarray(step_size, jnp.result_type(x))
        return x + h * drift + jnp.sqrt(2 * h) * noise

    drift = apply(preconditioner, gradient)
    return lower(jax.tree.map(step, lift(state.position), drift, noise), state.position)
