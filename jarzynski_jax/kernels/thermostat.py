r"""The map of Nosé and Hoover's thermostats, with its log-determinant in closed form.

A bijection of positions, velocities and frictions: a step of
:mod:`~jarzynski_jax.kernels.nose_hoover`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.kernels.arithmetic import (
    check_positive,
    check_step_size,
    lift,
    lower,
    scalar_product,
    value_and_grad,
)
from jarzynski_jax.kernels.bijection import Bijection
from jarzynski_jax.kernels.kinetic import step
from jarzynski_jax.types import Array, ArrayTree, LogDensityFn, Scalar

__all__ = [
    "Masses",
    "Thermostatted",
    "check_masses",
    "count_degrees",
    "extended",
    "flow",
    "thermostatted_step",
]

#: :math:`Q_1, \dots, Q_M`, in units of the temperature times a time squared.
Masses: TypeAlias = Sequence[float] | Array | np.ndarray


class Thermostatted(NamedTuple):
    r"""A point of the extended phase space: x, v in its structure, :math:`\xi`, ``(M,)``."""

    position: ArrayTree
    velocity: ArrayTree
    friction: Array


def flow(
    logdensity_fn: LogDensityFn,
    step_size: Scalar,
    masses: Masses,
    num_steps: int = 1,
    degrees: int | None = None,
) -> Bijection:
    r"""Make the map of so many steps: :class:`Thermostatted` to its like, and :math:`\log|J|`.

    A move of :mod:`~jarzynski_jax.kernels.bijection` between densities of :func:`extended`;
    with a negative step it is the inverse. ``degrees`` is g, the number of velocities unless
    something is conserved: of N particles whose momentum is 0 it is less by one vector, and the
    determinant is that among such states.

    Examples
    --------
    >>> oscillator = lambda x: -jnp.sum(x**2) / 2
    >>> start = Thermostatted(jnp.array([0.7]), jnp.array([-1.2]), jnp.array([0.4 / 1.5]))
    >>> image, log_determinant = flow(oscillator, 0.01, (1.5,), num_steps=600)(start)
    >>> round(float(log_determinant), 3), round(float(image.position[0]), 3)
    (1.002, 0.834)
    """
    check_step_size(jnp.abs(step_size))
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1; got {num_steps}")

    def bijection(start: Thermostatted) -> tuple[Thermostatted, Array]:
        logdensity, gradient = value_and_grad(logdensity_fn, start.position)
        dtype = jnp.promote_types(logdensity.dtype, jnp.float32)
        weights = check_masses(masses, start.friction.shape[0], dtype)
        freedom = count_degrees(start.velocity) if degrees is None else degrees

        def one(carry: tuple, _: None) -> tuple[tuple, None]:
            point, gradient, heat = carry
            point, _value, gradient, of_step = thermostatted_step(
                point, gradient, logdensity_fn, step_size, weights, freedom
            )
            return (point, gradient, heat + of_step), None

        carry = start, gradient, jnp.zeros((), dtype)
        (image, _, heat), _ = jax.lax.scan(one, carry, length=num_steps)
        return image, heat

    return bijection


def extended(logdensity_fn: LogDensityFn, masses: Masses) -> LogDensityFn:
    r"""Log-density of the extended space, :math:`\ell(x) - |v|^2/2 - \sum_j Q_j\xi_j^2/2`."""

    def extended_fn(point: Thermostatted) -> Array:
        logdensity = logdensity_fn(point.position)
        dtype = logdensity.dtype
        weights = check_masses(masses, point.friction.shape[0], dtype)
        square = scalar_product(point.velocity, point.velocity, dtype)
        return logdensity - (square + jnp.sum(weights * point.friction**2)) / 2

    return extended_fn


def thermostatted_step(
    point: Thermostatted,
    gradient: ArrayTree,
    logdensity_fn: LogDensityFn,
    step_size: Scalar,
    masses: Array,
    degrees: int,
) -> tuple[Thermostatted, Array, ArrayTree, Array]:
    """Move by a step; return the point, its log-density and gradient, and the heat."""
    velocity, friction, heat = _thermostat(
        point.velocity, point.friction, masses, step_size / 2, degrees
    )
    half = step(velocity, gradient, step_size / 2)
    position = step(lift(point.position), half, step_size)
    logdensity, gradient = value_and_grad(logdensity_fn, position)
    velocity = step(half, gradient, step_size / 2)
    velocity, friction, of_second = _thermostat(
        velocity, friction, masses, step_size / 2, degrees
    )
    image = Thermostatted(lower(position, point.position), velocity, friction)
    return image, logdensity, gradient, heat + of_second


def _thermostat(
    velocity: ArrayTree, friction: Array, masses: Array, time: Scalar, degrees: int
) -> tuple[ArrayTree, Array, Array]:
    """Let the chain act for a time: velocities, frictions, and the log-determinant."""
    tau = jnp.asarray(time, friction.dtype)
    last = friction.shape[0] - 1
    chain = [friction[j] for j in range(last + 1)]
    twice_kinetic = scalar_product(velocity, velocity, friction.dtype)

    def push(j: int) -> Array:
        if j == 0:
            return (twice_kinetic - degrees) / masses[0]
        return (masses[j - 1] * jnp.square(chain[j - 1]) - 1) / masses[j]

    def act(j: int) -> Array:
        decay = jnp.exp(-tau / 4 * chain[j + 1])
        chain[j] = decay * (decay * chain[j] + tau / 2 * push(j))
        return -tau / 2 * chain[j + 1]

    heat = jnp.zeros_like(tau)
    chain[last] = chain[last] + tau / 2 * push(last)
    for j in reversed(range(last)):
        heat += act(j)
    scale = jnp.exp(-tau * chain[0])
    heat -= tau * degrees * chain[0]
    velocity = jax.tree.map(lambda v: scale.astype(v.dtype) * v, velocity)
    twice_kinetic = jnp.square(scale) * twice_kinetic
    for j in range(last):
        heat += act(j)
    chain[last] = chain[last] + tau / 2 * push(last)
    return velocity, jnp.stack(chain), heat


def count_degrees(velocity: ArrayTree) -> int:
    """How many velocities there are."""
    return sum(jnp.size(leaf) for leaf in jax.tree.leaves(velocity))


def check_masses(masses: Any, number: int | None, dtype: Any) -> Array:
    """Masses as an array ``(M,)``; a ValueError if of another shape or not positive."""
    values = jnp.asarray(masses, dtype)
    if values.ndim != 1 or values.shape[0] < 1 or values.shape[0] != (number or len(values)):
        wanted = "(M,), M ≥ 1," if number is None else f"({number},), as there are thermostats,"
        raise ValueError(f"masses must be of shape {wanted}; got shape {values.shape}")
    check_positive("masses of thermostats", values)
    return values
