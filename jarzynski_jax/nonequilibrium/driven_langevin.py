r"""Langevin with any force, weighed against itself: its log-weight is minus entropy production.

.. math:: x' = x + h f(x) + \sqrt{2h}\,\xi

The backward process has the same force, so that what a move adds to the log-weight is

.. math::
    \Delta A = \ell_{\rm new}(x') - \ell_{\rm old}(x) + \log\frac{K(x' \to x)}{K(x \to x')}
    = \ell_{\rm new}(x') - \ell_{\rm old}(x) - \tfrac12 (x' - x)\cdot(f + f')
        - \tfrac h4 (|f'|^2 - |f|^2),

with f at x and f' at x'. The last two terms are the heat that the walker takes up, in units of
the temperature. From samples of :math:`e^{\ell_0}`, normalised, to any normalised
:math:`e^{\ell_1}` the entropy production of system and bath together is :math:`\Sigma = -A`: by
the integral theorem :math:`E[e^{-\Sigma}] = 1`, whatever the densities, and at any step size.
With :math:`f = \nabla\ell` of a target at rest it is :mod:`~jarzynski_jax.kernels.ula`, whose
walkers produce what the integrator's error makes of nothing. With a force that is no gradient
they produce entropy for ever. (Against -b for b, as :mod:`~jarzynski_jax.kernels.escorted` has
it, they would not: that backward process is driven too.)

References: Seifert, *Phys. Rev. Lett.* 95 (2005) 040602; Sivak, Chodera and Crooks, *Phys. Rev.
X* 3 (2013) 011007.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jarzynski_jax.kernels.arithmetic import (
    all_finite,
    check_floating,
    check_step_size,
    draw_noise,
    drop_non_finite,
    keep_finite,
    lift,
    lower,
    scalar_product,
    subtract,
)
from jarzynski_jax.kernels.move import Move, itself
from jarzynski_jax.kernels.step_info import HeatInfo
from jarzynski_jax.types import (
    Array,
    ArrayTree,
    Kernel,
    LogDensityFn,
    Position,
    PRNGKey,
    Scalar,
)

__all__ = ["DrivenState", "ForceFn", "as_move", "build_kernel", "init"]

#: ``force_fn(position) -> force``, in the structure of the position.
ForceFn: TypeAlias = Callable[[Position], ArrayTree]


class DrivenState(NamedTuple):
    """One walker: its position, the force there, and the log-density that weighed it last."""

    position: ArrayTree
    force: ArrayTree
    logdensity: Array
    log_endpoint: Array


def init(position: Position, logdensity_fn: LogDensityFn, force_fn: ForceFn) -> DrivenState:
    """Weigh one walker for the first time.

    ValueError if a leaf is not of floating point, or the force is of another shape.
    """
    check_floating(position)
    lifted = lift(position)
    logdensity = lift(jnp.asarray(logdensity_fn(lifted)))
    force = force_fn(lifted)
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (lifted, force)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"a force must be in the shape of the position, {shapes[0]}; got {shapes[1]}"
        )
    return DrivenState(position, force, logdensity, jnp.zeros((), logdensity.dtype))


@cache  # one function, so that what was compiled with it is found again
def build_kernel() -> Kernel:
    """Build the kernel for one walker, ``kernel(rng_key, state, logdensity_fn, force, h)``.

    ``logdensity_fn`` is that by which the walker is weighed after the move, and the force is a
    function of the position. The kernel raises a ValueError if h is not positive.

    Examples
    --------
    >>> steady = lambda x: -jnp.sum(x**2) / 2
    >>> turning = lambda x: -x + jnp.array([x[1], -x[0]])
    >>> state = init(jnp.ones(2), steady, turning)
    >>> _, info = build_kernel()(jax.random.key(0), state, steady, turning, 0.01)
    >>> bool(info.is_finite)
    True
    """

    def kernel(
        rng_key: PRNGKey,
        state: DrivenState,
        logdensity_fn: LogDensityFn,
        force_fn: ForceFn,
        step_size: Scalar,
    ) -> tuple[DrivenState, HeatInfo]:
        check_step_size(step_size)
        noise = draw_noise(rng_key, state.position)

        def step(x: Array, force: Array, noise: Array) -> Array:
            h = jnp.asarray(step_size, jnp.result_type(x))
            return x + h * force + jnp.sqrt(2 * h) * noise

        force = drop_non_finite(state.force)
        proposed = jax.tree.map(step, lift(state.position), force, noise)
        proposed = lower(proposed, state.position)
        new_state = init(keep_finite(proposed, state.position), logdensity_fn, force_fn)
        dtype = state.log_endpoint.dtype
        displacement = subtract(proposed, state.position)
        both = jax.tree.map(jnp.add, new_state.force, state.force)
        gained = jax.tree.map(jnp.subtract, new_state.force, state.force)
        quarter = jnp.asarray(step_size, dtype) / 4
        heat = -scalar_product(displacement, both, dtype) / 2
        heat -= quarter * scalar_product(gained, both, dtype)
        increment = new_state.logdensity - state.logdensity + heat
        is_finite = jnp.isfinite(increment) & all_finite(proposed)
        increment = jnp.where(is_finite, increment, -jnp.inf)
        return new_state, HeatInfo(increment, is_finite, heat)

    return kernel


def as_move(force_fn: ForceFn, step_size: Scalar) -> Move:
    """Make a move of the kernel; its reverse has the same force."""
    return Move(partial(init, force_fn=force_fn), build_kernel(), (force_fn, step_size), itself)
