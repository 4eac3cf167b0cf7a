r"""Nosé and Hoover's thermostat, a chain of them, as a move with an exact weight.

No noise: the velocities' friction is itself a variable. With unit masses and temperature,
g velocities v and a chain of M thermostats of masses :math:`Q_j`,

.. math::
    \dot x = v, \quad \dot v = \nabla\ell(x) - \xi_1 v, \quad
    Q_1\dot\xi_1 = |v|^2 - g - Q_1\xi_1\xi_2, \quad
    Q_j\dot\xi_j = Q_{j-1}\xi_{j-1}^2 - 1 - Q_j\xi_j\xi_{j+1},

leaves :math:`e^{\ell(x) - |v|^2/2 - \sum_j Q_j\xi_j^2/2}` invariant. A step of size h is the
symmetric splitting thermostat h/2, kick h/2, drift h, kick h/2, thermostat h/2, each of them
solved exactly but for the chain's inner splitting, and a bijection whose log-determinant is

.. math:: \log|J| = -h\,(g\,\xi_1 + \xi_2 + \dots + \xi_M)

with each :math:`\xi` where the splitting uses it: no automatic differentiation. It is the heat
that the walker takes up, in units of the temperature. The log-weight changes by

.. math::
    \Delta A = \ell_{\rm new}(x') - \ell_{\rm old}(x) - \tfrac12|v'|^2 + \tfrac12|v|^2
        - \tfrac12\sum_j Q_j (\xi_j'^2 - \xi_j^2) + \log|J|,

minus the change of the energy that the flow conserves, with the thermostats' own: at a target
at rest all of it is the error of the integrator, and weights are exact at any h. The step is
undone by itself with v and :math:`\xi` reversed and the targets exchanged.

Only walkers that start with velocities and thermostats drawn from their Gaussians, as the
first step does, are sure to sample the target. One trajectory is not: a single thermostat on an
oscillator never leaves its torus.

Erratum of Sadeghi's note on Boltzmann generators: its eq. 17 has the determinant inverted; its
eq. 25 is right, :math:`\log|J| = -g\,(\eta(t) - \eta(0))` with :math:`\dot\eta = \xi_1`.

References: Hoover, *Phys. Rev. A* 31 (1985) 1695; Martyna, Klein and Tuckerman, *J. Chem.
Phys.* 97 (1992) 2635; Martyna, Tuckerman, Tobias and Klein, *Mol. Phys.* 87 (1996) 1117.
"""

from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.kernels.arithmetic import (
    all_finite,
    bound_endpoint,
    check_step_size,
    draw_noise,
    drop_non_finite,
    keep_finite,
    lift,
    lower,
    scalar_product,
    value_and_grad,
)
from jarzynski_jax.kernels.binding import bind
from jarzynski_jax.kernels.kinetic import difference_of_squares
from jarzynski_jax.kernels.move import Move, itself
from jarzynski_jax.kernels.step_info import HeatInfo
from jarzynski_jax.kernels.thermostat import (
    Masses,
    Thermostatted,
    check_masses,
    count_degrees,
    extended,
    flow,
    thermostatted_step,
)
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
    "Masses",
    "NoseHooverState",
    "Thermostatted",
    "as_move",
    "as_top_level_api",
    "build_kernel",
    "extended",
    "flow",
    "init",
]


class NoseHooverState(NamedTuple):
    r"""One walker, and what its next step needs.

    velocity, friction
        v and :math:`\xi`; drawn by the first step.
    is_at_rest
        Whether they were not drawn yet.
    logdensity, logdensity_grad
        :math:`\ell(x)` under the target by which the walker was last weighed, and its gradient.
    log_endpoint
        :math:`-\frac{h^2}8 |\nabla\ell|^2`, at least -d/2 - 3; 0 before the first step.
    """

    position: ArrayTree
    velocity: ArrayTree
    friction: Array
    is_at_rest: Array
    logdensity: Array
    logdensity_grad: ArrayTree
    log_endpoint: Array


def init(
    position: Position, logdensity_fn: LogDensityFn, num_thermostats: int
) -> NoseHooverState:
    """Weigh one walker for the first time.

    ValueError as of :func:`jarzynski_jax.kernels.ula.init`, or if there is no thermostat.
    """
    if num_thermostats < 1:
        raise ValueError(f"num_thermostats must be at least 1; got {num_thermostats}")
    logdensity, gradient = value_and_grad(logdensity_fn, position)
    dtype = jnp.promote_types(logdensity.dtype, jnp.float32)
    return NoseHooverState(
        position,
        jax.tree.map(jnp.zeros_like, lift(position)),
        jnp.zeros(num_thermostats, dtype),
        jnp.array(True),
        logdensity,
        gradient,
        jnp.zeros((), dtype),
    )


@cache  # one function, so that what was compiled with it is found again
def build_kernel() -> Kernel:
    """Build the kernel for one walker, ``kernel(rng_key, state, logdensity_fn, h, masses)``.

    ``logdensity_fn`` is the target after the move, ``masses`` those of as many thermostats as
    the state has, shape ``(M,)``. The key is used by the first step alone. The kernel raises a
    ValueError if a number is not positive, or the masses are of another shape.

    Examples
    --------
    >>> well = lambda x: -jnp.sum(x**2) / 2
    >>> state = init(jnp.ones(2), well, num_thermostats=2)
    >>> _, info = build_kernel()(jax.random.key(0), state, well, 0.01, (1.0, 1.0))
    >>> bool(abs(info.log_weight_increment) < 1e-3)  # the integrator's error
    True
    """

    def kernel(
        rng_key: PRNGKey,
        state: NoseHooverState,
        logdensity_fn: LogDensityFn,
        step_size: Scalar,
        masses: Masses,
    ) -> tuple[NoseHooverState, HeatInfo]:
        check_step_size(step_size)
        dtype = state.log_endpoint.dtype
        weights = check_masses(masses, state.friction.shape[0], dtype)
        before = _drawn_if_at_rest(rng_key, state, weights)
        degrees = count_degrees(before.velocity)
        gradient = drop_non_finite(state.logdensity_grad)
        after, logdensity, grad, heat = thermostatted_step(
            before, gradient, logdensity_fn, step_size, weights, degrees
        )
        proposed = lower(after.position, state.position)
        kinetic = difference_of_squares(after.velocity, before.velocity, dtype)
        kinetic += jnp.sum(weights * (after.friction**2 - before.friction**2))
        increment = logdensity.astype(dtype) - state.logdensity.astype(dtype)
        increment += heat - kinetic / 2
        is_finite = jnp.isfinite(increment) & all_finite(proposed)
        square = scalar_product(grad, grad, dtype)
        log_endpoint = -jnp.square(jnp.asarray(step_size, dtype)) / 8 * square
        position = keep_finite(proposed, state.position)
        new_state = NoseHooverState(
            position,
            keep_finite(after.velocity, before.velocity),
            keep_finite(after.friction, before.friction),
            jnp.array(False),
            logdensity,
            grad,
            jnp.where(is_finite, bound_endpoint(log_endpoint, position), 0),
        )
        increment = jnp.where(is_finite, increment, -jnp.inf)
        return new_state, HeatInfo(increment, is_finite, heat)

    return kernel


def as_move(step_size: Scalar, masses: Masses) -> Move:
    """Make a move of the kernel; with a chain of as many thermostats as there are masses."""
    number = check_masses(masses, None, jnp.float32).shape[0]
    start = partial(init, num_thermostats=number)
    return Move(start, build_kernel(), (step_size, masses), itself)


def as_top_level_api(
    logdensity_fn: LogDensityFn, step_size: Scalar, masses: Masses
) -> SamplingAlgorithm:
    """Bind the kernel to one target, as BlackJAX's samplers are."""
    move = as_move(step_size, masses)
    return bind(move.init, move.kernel, logdensity_fn, *move.args)


def _drawn_if_at_rest(rng_key: PRNGKey, state: NoseHooverState, masses: Array) -> Thermostatted:
    key_velocity, key_friction = jax.random.split(rng_key)
    drawn = (
        draw_noise(key_velocity, state.velocity),
        draw_noise(key_friction, state.friction) / jnp.sqrt(masses),
    )
    velocity, friction = jax.tree.map(
        lambda new, old: jnp.where(state.is_at_rest, new, old),
        drawn,
        (state.velocity, state.friction),
    )
    return Thermostatted(state.position, velocity, friction)
