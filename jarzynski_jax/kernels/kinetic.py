r"""Kinetic (underdamped) Langevin with its exact path weight, momenta included.

The target is extended by velocities, :math:`e^{\ell(x)} N(v; 0, 1)`, and one step of size h
with friction :math:`\gamma` is the splitting OBABO (BAOAB and others are not offered). Two O
steps in a row are one, so the second of a step is made together with the first of the next:
with :math:`c = e^{-\gamma h}`,

.. math::
    v_1 &= c v + \sqrt{1 - c^2}\,\xi \\
    v_{1/2} &= v_1 + \tfrac h2 \nabla\ell_{\rm old}(x), \quad x' = x + h v_{1/2}, \quad
    v_2 = v_{1/2} + \tfrac h2 \nabla\ell_{\rm new}(x')

The O step has detailed balance with :math:`N(v; 0, 1)` and changes no weight. The second line
preserves volume and is undone by itself, with velocities reversed and the targets exchanged. So
the log-weight changes by minus the change of energy over it,

.. math:: \Delta A = \ell_{\rm new}(x') - \tfrac12|v_2|^2 - \ell_{\rm old}(x) + \tfrac12|v_1|^2.

One value-and-gradient a step. With infinite friction it is unadjusted Langevin with the step
size :math:`h^2/2`, weights included. The endpoint factor is
:math:`-\frac{h^2}8 |\nabla\ell(x)|^2`: for a Gaussian the second line conserves
:math:`\frac12|v|^2 + U - \frac{h^2}8|\nabla U|^2` exactly.

With a preconditioner C velocities are :math:`C^{1/2}` times unit ones: x' moves by
:math:`hC^{1/2}v` and v by :math:`\frac h2 C^{\top/2}\nabla\ell`, a mass matrix :math:`C^{-1}`.

References: Bussi and Parrinello, *Phys. Rev. E* 75 (2007) 056707; Sivak, Chodera and Crooks,
*Phys. Rev. X* 3 (2013) 011007; thesis, Remark 4.1.2.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.kernels.arithmetic import (
    all_finite,
    bound_endpoint,
    check_friction,
    check_step_size,
    draw_noise,
    drop_non_finite,
    keep_finite,
    lift,
    lower,
    scalar_product,
)
from jarzynski_jax.kernels.binding import bind
from jarzynski_jax.kernels.evaluation import WHOLE, Evaluation
from jarzynski_jax.kernels.move import Move, itself
from jarzynski_jax.kernels.preconditioning import (
    Preconditioner,
    apply_factor,
    apply_transposed_factor,
)
from jarzynski_jax.types import (
    Array,
    ArrayTree,
    Kernel,
    KernelInit,
    LogDensityFn,
    Position,
    PRNGKey,
    SamplingAlgorithm,
    Scalar,
)

__all__ = [
    "KineticInfo",
    "KineticState",
    "as_move",
    "as_top_level_api",
    "build_init",
    "build_kernel",
    "difference_of_squares",
    "init",
    "split_step",
    "step",
]


class KineticState(NamedTuple):
    r"""One walker, and what its next step needs.

    velocity
        :math:`v_2` of the last step, in the structure of the position, of unit variance at
        equilibrium.
    is_at_rest
        Whether no velocity was drawn yet; the first step draws it afresh.
    logdensity, logdensity_grad
        :math:`\ell(x)` under the target by which the walker was last weighed, and its gradient.
    log_endpoint
        :math:`-\frac{h^2}8 \nabla\ell\cdot C\nabla\ell`, at least -d/2 - 3; 0 before
        the first step.
    terms
        What the evaluation keeps for the next target; nothing where densities are whole.
    """

    position: ArrayTree
    velocity: ArrayTree
    is_at_rest: Array
    logdensity: Array
    logdensity_grad: ArrayTree
    log_endpoint: Array
    terms: ArrayTree = ()


class KineticInfo(NamedTuple):
    r"""What one step did: :math:`\Delta A`, ``-inf`` where anything is not finite, never NaN.

    A walker whose increment is not finite is dead: its weight is 0. ``drawn_velocity`` is
    :math:`v_1`, with which the walker set out.
    """

    log_weight_increment: Array
    is_finite: Array
    drawn_velocity: ArrayTree

    @property
    def is_lost(self) -> Array:
        """Whether it died by its own move: walkers that come back are missing."""
        return ~self.is_finite


@cache
def build_init(evaluation: Evaluation) -> KernelInit:
    """Build an ``init`` that keeps what the evaluation keeps."""

    def init(position: Position, logdensity_fn: LogDensityFn) -> KineticState:
        """Weigh one walker for the first time; its velocity is drawn by its first step.

        ValueError as of :func:`jarzynski_jax.kernels.ula.init`.
        """
        logdensity, gradient, terms = evaluation.at(logdensity_fn, position)
        dtype = jnp.promote_types(logdensity.dtype, jnp.float32)
        velocity = jax.tree.map(jnp.zeros_like, lift(position))
        zero = jnp.zeros((), dtype)
        return KineticState(
            position, velocity, jnp.array(True), logdensity, gradient, zero, terms
        )

    return init


init = build_init(WHOLE)


def build_kernel(evaluation: Evaluation = WHOLE) -> Kernel:
    """Build the kernel for one walker, which evaluates densities as is said.

    It is ``kernel(rng_key, state, logdensity_fn, step_size, friction, preconditioner=None)``,
    with ``logdensity_fn`` the target after the move, the step size h in units of the square
    root of a variance, and the friction γ, a rate in units of 1/h. The kernel raises a
    ValueError if a number is not positive; of a negative one that is traced, all walkers die at
    their second step.

    Examples
    --------
    >>> old, new = (lambda x: -(x**2) / 2), (lambda x: -(x**2))
    >>> state = init(jnp.array(1.0), old)
    >>> state, info = build_kernel()(jax.random.key(0), state, new, 0.3, 1.0)
    >>> bool(info.is_finite), bool(state.is_at_rest)
    (True, False)
    """
    return _kernel_by(evaluation)


@cache  # one function, so that what was compiled with it is found again
def _kernel_by(evaluation: Evaluation) -> Kernel:
    def kernel(
        rng_key: PRNGKey,
        state: KineticState,
        logdensity_fn: LogDensityFn,
        step_size: Scalar,
        friction: Scalar,
        preconditioner: Preconditioner | None = None,
    ) -> tuple[KineticState, KineticInfo]:
        def drift(position: Position, velocity: ArrayTree) -> tuple[Position, ArrayTree]:
            displacement = apply_factor(preconditioner, velocity)
            return step(position, displacement, step_size), velocity

        return split_step(
            rng_key,
            state,
            logdensity_fn,
            step_size,
            friction,
            drift,
            preconditioner,
            evaluation,
        )

    return kernel


def split_step(
    rng_key: PRNGKey,
    state: KineticState,
    logdensity_fn: LogDensityFn,
    step_size: Scalar,
    friction: Scalar,
    drift: Callable[[Any, Any], tuple[Any, Any]],
    preconditioner: Preconditioner | None = None,
    evaluation: Evaluation = WHOLE,
) -> tuple[KineticState, KineticInfo]:
    """Make a step of the splitting with any drift between the two kicks.

    ``drift`` is ``(position, velocity) -> (position, velocity)``; it must preserve volume and
    kinetic energy, and be undone by itself when velocities (and fields) are reversed: then the
    weight is that of the text at the top.
    """
    check_step_size(step_size)
    check_friction(friction)
    # The O at the end of the last step and the one at the start of this are one. A velocity
    # that was never drawn must not be kept: all of it is drawn now.
    damping = jnp.exp(-jnp.asarray(friction) * step_size)
    damping = jnp.where(state.is_at_rest, 0, damping)
    before = _refresh(rng_key, state.velocity, damping)

    gradient = drop_non_finite(state.logdensity_grad)
    half = step(before, apply_transposed_factor(preconditioner, gradient), step_size / 2)
    moved, half = drift(lift(state.position), half)
    proposed = lower(moved, state.position)
    position = keep_finite(proposed, state.position)
    logdensity, grad, terms = evaluation.at(logdensity_fn, position)
    force = apply_transposed_factor(preconditioner, grad)
    after = step(half, force, step_size / 2)

    dtype = jnp.promote_types(logdensity.dtype, jnp.float32)
    increment = (
        logdensity.astype(dtype)
        - state.logdensity.astype(dtype)
        - difference_of_squares(after, before, dtype) / 2
    )
    is_finite = jnp.isfinite(increment) & all_finite(proposed)
    log_endpoint = -jnp.square(jnp.asarray(step_size, dtype)) / 8
    log_endpoint = log_endpoint * scalar_product(force, force, dtype)
    velocity = keep_finite(after, before)
    new_state = KineticState(
        position,
        velocity,
        jnp.array(False),
        logdensity,
        grad,
        jnp.where(is_finite, bound_endpoint(log_endpoint, position), 0),
        terms,
    )
    increment = jnp.where(is_finite, increment, -jnp.inf)
    return new_state, KineticInfo(increment, is_finite, before)


def as_move(*args: Any, evaluation: Evaluation = WHOLE) -> Move:
    """Make a move of the kernel; it takes ``(step_size, friction, preconditioner=None)``."""
    return Move(build_init(evaluation), build_kernel(evaluation), args, itself, turn_round)


def turn_round(state: KineticState, info: KineticInfo) -> KineticState:
    """Send a walker whose move is rejected back the way it came, with the velocity -v₁."""
    back = jax.tree.map(jnp.negative, info.drawn_velocity)
    return state._replace(velocity=back, is_at_rest=jnp.array(False))


def as_top_level_api(
    logdensity_fn: LogDensityFn,
    step_size: Scalar,
    friction: Scalar,
    preconditioner: Preconditioner | None = None,
) -> SamplingAlgorithm:
    """Bind the kernel to one target, as BlackJAX's samplers are; h > 0 and γ > 0."""
    args = (step_size, friction, preconditioner)
    return bind(init, build_kernel(), logdensity_fn, *args)


def difference_of_squares(left: ArrayTree, right: ArrayTree, dtype: jnp.dtype) -> Array:
    """Difference of the squares of two norms as (a - b)·(a + b): nothing large cancels."""
    difference = jax.tree.map(jnp.subtract, left, right)
    return scalar_product(difference, jax.tree.map(jnp.add, left, right), dtype)


def step(x: ArrayTree, rate: ArrayTree, step_size: Scalar) -> ArrayTree:
    """Take x + h times a rate, leaf by leaf."""
    return jax.tree.map(
        lambda x, rate: x + jnp.asarray(step_size, jnp.result_type(x)) * rate, x, rate
    )


def _refresh(rng_key: PRNGKey, velocity: ArrayTree, damping: Array) -> ArrayTree:
    """The O step, v → c v + sqrt(1 - c²) ξ, exact for the velocities' Gaussian."""

    def refresh(v: Array, noise: Array) -> Array:
        c = damping.astype(v.dtype)
        return c * v + jnp.sqrt(1 - jnp.square(c)) * noise

    return jax.tree.map(refresh, velocity, draw_noise(rng_key, velocity))
