r"""Escorted Langevin with its exact path weight: a drift that takes the density along.

Beside the score :math:`s = \nabla\ell` a velocity field b drives the walkers forward, and the
backward process against which they are weighed has -b (thesis, Proposition 4.1.1):

.. math:: x' = x + h\,(b_{\rm old} + \varepsilon s_{\rm old})(x) + \sqrt{2h\varepsilon}\,\xi

.. math::
    \Delta A = \ell_{\rm new}(x') - \ell_{\rm old}(x)
        - \tfrac{1}{2}(x' - x)\cdot\left[\tfrac1\varepsilon(b - b') + s + s'\right]
        + \tfrac h4\left[\tfrac1\varepsilon(|b|^2 - |b'|^2) + \varepsilon(|s|^2 - |s'|^2)\right]
        + \tfrac h2 (b\cdot s + b'\cdot s')

with b, s of the old target at x and b', s' of the new one at x'. If b transports the densities,
:math:`\partial_t\rho + \nabla\cdot(b\rho) = 0`, the weights stay 1 as h goes to 0, however fast
the path; at any h, and with any b, they are exact. With b = 0 and :math:`\varepsilon = 1` it is
:mod:`jarzynski_jax.kernels.ula`.

With a preconditioner C the noise has the covariance :math:`2h\varepsilon C`, the score becomes
:math:`Cs`, and b is taken as it is.

References: thesis, §4.1; Vaikuntanathan and Jarzynski, *Phys. Rev. Lett.* 100 (2008) 190601.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jarzynski_jax.kernels.arithmetic import (
    all_finite,
    bound_endpoint,
    check_positive,
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
from jarzynski_jax.kernels.move import Move
from jarzynski_jax.kernels.preconditioning import Preconditioner, apply, apply_factor, solve
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
    "EscortedState",
    "VelocityFn",
    "as_move",
    "as_top_level_api",
    "build_kernel",
    "init",
]

#: ``velocity_fn(position) -> velocity``, in the structure of the position.
VelocityFn: TypeAlias = Callable[[Position], ArrayTree]


class EscortedState(NamedTuple):
    r"""One walker, and what its next step needs: b(x), :math:`\ell(x)` and its gradient s(x).

    They are of the target by which the walker was last weighed. ``log_endpoint`` is
    :math:`-\frac{h\varepsilon}4 s\cdot Cs`, at least -d/2 - 3; 0 before the first step.
    """

    position: ArrayTree
    velocity: ArrayTree
    logdensity: Array
    logdensity_grad: ArrayTree
    log_endpoint: Array


def init(
    position: Position, logdensity_fn: LogDensityFn, velocity_fn: VelocityFn
) -> EscortedState:
    """Weigh one walker for the first time; ``velocity_fn`` is b at the start of the path.

    ValueError as of :func:`jarzynski_jax.kernels.ula.init`.
    """
    logdensity, score = value_and_grad(logdensity_fn, position)
    dtype = jnp.promote_types(logdensity.dtype, jnp.float32)
    zero = jnp.zeros((), dtype)
    return EscortedState(position, velocity_fn(lift(position)), logdensity, score, zero)


@cache  # one function, so that what was compiled with it is found again
def build_kernel() -> Kernel:
    """Build the kernel for one walker.

    It is ``kernel(rng_key, state, logdensity_fn, velocity_fn, step_size, diffusion,
    preconditioner=None)``, with ``logdensity_fn`` and ``velocity_fn`` those after the move, the
    step size h in units of the path's time, and the diffusion ε. The kernel raises a ValueError
    if a number is not positive.

    Examples
    --------
    A well that moves at the speed 1, and walkers that are taken along:

    >>> well = lambda centre: lambda x: -((x - centre) ** 2) / 2
    >>> state = init(jnp.array(0.3), well(0.0), jnp.ones_like)
    >>> key = jax.random.key(0)
    >>> state, info = build_kernel()(key, state, well(0.1), jnp.ones_like, 0.1, 1.0)
    >>> bool(info.is_finite)
    True
    """

    def kernel(
        rng_key: PRNGKey,
        state: EscortedState,
        logdensity_fn: LogDensityFn,
        velocity_fn: VelocityFn,
        step_size: Scalar,
        diffusion: Scalar,
        preconditioner: Preconditioner | None = None,
    ) -> tuple[EscortedState, WeightInfo]:
        check_step_size(step_size)
        check_positive("diffusion, ε,", diffusion)
        proposed = _escorted_step(rng_key, state, step_size, diffusion, preconditioner)
        position = keep_finite(proposed, state.position)
        logdensity, score = value_and_grad(logdensity_fn, position)
        velocity = velocity_fn(lift(position))

        dtype = jnp.promote_types(logdensity.dtype, jnp.float32)
        h, epsilon = jnp.asarray(step_size, dtype), jnp.asarray(diffusion, dtype)
        displacement = subtract(proposed, state.position)
        forces = solve(preconditioner, state.velocity), solve(preconditioner, velocity)
        gap = jax.tree.map(jnp.subtract, *forces)

        def dot(left: ArrayTree, right: ArrayTree) -> Array:
            return scalar_product(left, right, dtype)

        def square(score: ArrayTree) -> Array:
            return dot(score, apply(preconditioner, score))

        log_endpoint = -h * epsilon / 4 * square(score)
        increment = (
            logdensity.astype(dtype)
            - state.logdensity.astype(dtype)
            - dot(displacement, gap) / (2 * epsilon)
            - (dot(displacement, state.logdensity_grad) + dot(displacement, score)) / 2
            + h / (4 * epsilon) * (dot(state.velocity, forces[0]) - dot(velocity, forces[1]))
            + log_endpoint
            + h * epsilon / 4 * square(state.logdensity_grad)
            + h / 2 * (dot(state.velocity, state.logdensity_grad) + dot(velocity, score))
        )
        is_finite = jnp.isfinite(increment) & all_finite(proposed)
        bounded = jnp.where(is_finite, bound_endpoint(log_endpoint, position), 0)
        new_state = EscortedState(position, velocity, logdensity, score, bounded)
        return new_state, WeightInfo(jnp.where(is_finite, increment, -jnp.inf), is_finite)

    return kernel


def as_move(
    velocity_fn: VelocityFn,
    step_size: Scalar,
    diffusion: Scalar,
    preconditioner: Preconditioner | None = None,
) -> Move:
    """Make a move of the kernel; its reverse has the drift -b."""
    start = partial(init, velocity_fn=velocity_fn)
    args = velocity_fn, step_size, diffusion, preconditioner
    return Move(start, build_kernel(), args, _with_drift_turned)


def _with_drift_turned(move: Move) -> Move:
    velocity_fn, *others = move.args
    return as_move(partial(_negative, velocity_fn), *others)


def _negative(velocity_fn: VelocityFn, position: Position) -> ArrayTree:
    return jax.tree.map(jnp.negative, velocity_fn(position))


def as_top_level_api(
    logdensity_fn: LogDensityFn,
    velocity_fn: VelocityFn,
    step_size: Scalar,
    diffusion: Scalar,
    preconditioner: Preconditioner | None = None,
) -> SamplingAlgorithm:
    """Bind the kernel to one target, as BlackJAX's samplers are.

    At a fixed target b should transport the density into itself, or be zero.
    """
    start = partial(init, velocity_fn=velocity_fn)
    args = (velocity_fn, step_size, diffusion, preconditioner)
    return bind(start, build_kernel(), logdensity_fn, *args)


def _escorted_step(
    rng_key: PRNGKey,
    state: EscortedState,
    step_size: Scalar,
    diffusion: Scalar,
    preconditioner: Preconditioner | None,
) -> Position:
    noise = apply_factor(preconditioner, draw_noise(rng_key, state.position))
    score, velocity = drop_non_finite((state.logdensity_grad, state.velocity))

    def step(x: Array, velocity: Array, score: Array, noise: Array) -> Array:
        dtype = jnp.result_type(x)
        h, epsilon = jnp.asarray(step_size, dtype), jnp.asarray(diffusion, dtype)
        return x + h * (velocity + epsilon * score) + jnp.sqrt(2 * h * epsilon) * noise

    score = apply(preconditioner, score)
    moved = jax.tree.map(step, lift(state.position), velocity, score, noise)
    return lower(moved, state.position)
