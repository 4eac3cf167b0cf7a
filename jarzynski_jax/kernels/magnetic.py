r"""Kinetic Langevin of charges in a magnetic field, with its exact path weight.

Between the kicks of :mod:`~jarzynski_jax.kernels.kinetic` velocities are turned about the field
where the charge stands halfway, exactly, by the angle :math:`\omega h`, with
:math:`\omega = qB/m` and unit masses and temperature:

.. math::
    v_{1/2} &= v_1 + \tfrac h2 \nabla\ell_{\rm old}(x), \quad
    y = x + \tfrac h2 v_{1/2}, \quad w = R(\omega(y) h)\, v_{1/2}, \quad
    x' = y + \tfrac h2 w, \quad v_2 = w + \tfrac h2 \nabla\ell_{\rm new}(x'),

with :math:`\dot v = v \times \omega`: a positive charge in a field along +z turns clockwise, as
seen from +z. The turn does no work and preserves volume, so the weight is that of ``kinetic``
word for word, and exact for any field:

.. math:: \Delta A = \ell_{\rm new}(x') - \tfrac12|v_2|^2 - \ell_{\rm old}(x) + \tfrac12|v_1|^2.

With velocities reversed the step is undone in the field -B, not in B. So the reverse of this
move has the field -B; or, at the same field, what a mirror A makes of it, if the field has one
for which :math:`\det(A)\,A\,B(Ax) = -B(x)` and :math:`\ell(Ax) = \ell(x)`: the reverse runs
start from the mirror images. (Which A do: ``nonequilibrium.time_reversal``.)

References: Bonella, Ciccotti and Rondoni, *EPL* 108 (2014) 60004; Carbone and Rondoni, *Ann.
Phys.* 414 (2020) 168082; Bussi and Parrinello, *Phys. Rev. E* 75 (2007) 056707.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.kernels import kinetic
from jarzynski_jax.kernels.arithmetic import (
    check_floating,
    check_friction,
    check_step_size,
    value_and_grad,
)
from jarzynski_jax.kernels.bijection import Bijection
from jarzynski_jax.kernels.binding import bind
from jarzynski_jax.kernels.kinetic import KineticInfo, KineticState, split_step
from jarzynski_jax.kernels.move import Move
from jarzynski_jax.types import (
    Array,
    Kernel,
    LogDensityFn,
    PRNGKey,
    SamplingAlgorithm,
    Scalar,
)

__all__ = [
    "Charges",
    "Field",
    "as_move",
    "as_top_level_api",
    "build_kernel",
    "flow",
    "init",
]

#: :math:`\omega = qB/m`, the same everywhere or a function of the positions.
Field: TypeAlias = Array | float | Callable[[Array], Array]


class Charges(NamedTuple):
    """Where charges are and how they move, for one walker, both of shape ``(..., d)``."""

    position: Array
    velocity: Array


def init(position: Array, logdensity_fn: LogDensityFn) -> KineticState:
    """Weigh one walker for the first time; its velocity is drawn by its first step.

    The position is of one charge or of several, shape ``(..., d)``, d 2 or 3, else a
    ValueError.
    """
    _check_position(position)
    return kinetic.init(position, logdensity_fn)


@cache  # one function, so that what was compiled with it is found again
def build_kernel() -> Kernel:
    r"""Build the kernel for one walker.

    It is ``kernel(rng_key, state, logdensity_fn, step_size, friction, field)``, as of
    :mod:`~jarzynski_jax.kernels.kinetic`. ``field`` is :math:`\omega = qB/m`, a rate in units
    of 1/h, or a function of the positions, shape ``(..., d)``, that returns it: in the plane
    its component along z, one number for all or one a charge; in three dimensions a vector for
    all, ``(3,)``, or one a charge, ``(..., 3)``. The kernel raises a ValueError if the field is
    of another shape or not finite, or a number is not positive; where a field is not finite on
    the way, the walker dies.

    Examples
    --------
    >>> well = lambda x: -jnp.sum(x**2) / 2
    >>> state = init(jnp.ones(3), well)
    >>> field = jnp.array([0.0, 0.0, 2.0])
    >>> state, info = build_kernel()(jax.random.key(0), state, well, 0.1, 1.0, field)
    >>> bool(info.is_finite)
    True
    """

    def kernel(
        rng_key: PRNGKey,
        state: KineticState,
        logdensity_fn: LogDensityFn,
        step_size: Scalar,
        friction: Scalar,
        field: Field,
    ) -> tuple[KineticState, KineticInfo]:
        _check_field(field)

        def drift(position: Any, velocity: Any) -> tuple[Any, Any]:
            return _drift(Charges(position, velocity), field, step_size)

        return split_step(rng_key, state, logdensity_fn, step_size, friction, drift)

    return kernel


def as_move(step_size: Scalar, friction: Scalar, field: Field, reversal: Any = None) -> Move:
    """Make a move of the kernel; its reverse has the field -B or, with a mirror, the same.

    ``reversal`` is A, an orthogonal matrix of shape ``(d, d)`` that is its own inverse, else a
    ValueError; field and log-densities must be compatible with it, which is not checked here.
    ValueError at once, too, for numbers that the kernel would refuse.
    """
    check_step_size(step_size)
    check_friction(friction)
    _check_field(field)
    if reversal is None:
        turned = partial(_with_field_turned, step_size, friction, field)
    else:
        _check_reversal(reversal)
        turned = partial(_with_images, np.asarray(reversal))
    return Move(init, build_kernel(), (step_size, friction, field), turned)


def flow(
    logdensity_fn: LogDensityFn, step_size: Scalar, field: Field, num_steps: int = 1
) -> Bijection:
    r"""Make the map of the splitting without noise: :class:`Charges` to charges, volume kept.

    Symmetric: with velocities reversed the field -B undoes it, to rounding; and so do the
    reversals ``(x, v) -> (A x, -A v)`` at the same field that are compatible with it. With a
    negative step it is the inverse. ValueError as of :func:`build_kernel`; where a field that
    is a function is not finite on the way, NaN shows in the image, for no weight can tell.

    Examples
    --------
    >>> free, start = (lambda x: 0.0 * x[0]), Charges(jnp.zeros(2), jnp.array([1.0, 0.0]))
    >>> image, _ = flow(free, 0.1, jnp.pi / 2, num_steps=10)(start)
    >>> bool(jnp.allclose(image.velocity, jnp.array([0.0, -1.0]), atol=1e-6))  # clockwise
    True
    """
    check_step_size(jnp.abs(step_size))
    _check_field(field)
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1; got {num_steps}")

    def step(carry: tuple[Charges, Array], _: None) -> tuple[tuple[Charges, Array], None]:
        charges, force = carry
        half = charges.velocity + step_size / 2 * force
        position, half = _drift(Charges(charges.position, half), field, step_size)
        force = _force(logdensity_fn, position)[1]
        return (Charges(position, half + step_size / 2 * force), force), None

    def bijection(charges: Charges) -> tuple[Charges, Array]:
        _check_position(charges.position)
        logdensity, force = _force(logdensity_fn, charges.position)
        (image, _), _ = jax.lax.scan(step, (charges, force), length=num_steps)
        return image, jnp.zeros((), logdensity.dtype)

    return bijection


def _force(logdensity_fn: LogDensityFn, position: Array) -> tuple[Array, Array]:
    force: Any
    logdensity, force = value_and_grad(logdensity_fn, position)
    return logdensity, force


def as_top_level_api(
    logdensity_fn: LogDensityFn, step_size: Scalar, friction: Scalar, field: Field
) -> SamplingAlgorithm:
    """Bind the kernel to one target, as BlackJAX's samplers are; h > 0 and γ > 0."""
    return bind(init, build_kernel(), logdensity_fn, step_size, friction, field)


def _drift(charges: Charges, field: Field, step_size: Scalar) -> tuple[Array, Array]:
    """Half a drift, the turn about the field there, half a drift."""
    h = jnp.asarray(step_size, jnp.result_type(charges.velocity))
    middle = charges.position + h / 2 * charges.velocity
    omega = jnp.asarray(field(middle) if callable(field) else field, h.dtype)
    velocity = _turn(charges.velocity, omega, h)
    return middle + h / 2 * velocity, velocity


def _turn(velocity: Array, omega: Array, h: Array) -> Array:
    r"""Solve :math:`\dot v = v \times \omega` over a time h, exactly."""
    dimension = velocity.shape[-1]
    allowed = {(3,), velocity.shape} if dimension == 3 else {(), velocity.shape[:-1]}
    if omega.shape not in allowed:
        raise ValueError(
            f"a field for positions of shape {velocity.shape} must have the shape "
            f"{' or '.join(map(str, sorted(allowed)))}; got {omega.shape}"
        )
    if dimension == 2:
        cos, sin = jnp.cos(omega * h), jnp.sin(omega * h)
        x, y = velocity[..., 0], velocity[..., 1]
        return jnp.stack([cos * x + sin * y, cos * y - sin * x], axis=-1)
    # Rodrigues' formula, without a division by a field that may be 0.
    angle = h * jnp.linalg.norm(omega, axis=-1, keepdims=True)
    along = jnp.sum(omega * velocity, axis=-1, keepdims=True)
    return (
        jnp.cos(angle) * velocity
        + h * jnp.sinc(angle / jnp.pi) * jnp.cross(velocity, omega)
        + jnp.square(h * jnp.sinc(angle / (2 * jnp.pi))) / 2 * along * omega
    )


def _check_position(position: Any) -> None:
    shape = getattr(position, "shape", None)
    if shape is None or len(shape) < 1 or shape[-1] not in (2, 3):
        raise ValueError(
            "charges move in 2 or 3 dimensions: a position must be an array of shape (..., 2) "
            f"or (..., 3); got {type(position).__name__ if shape is None else shape}"
        )
    check_floating(position)


def _check_field(field: Any) -> None:
    """As far as it is known before a position is."""
    if callable(field) or isinstance(field, jax.core.Tracer):
        return
    if not np.all(np.isfinite(np.asarray(field))):
        raise ValueError(f"a magnetic field must be finite; got {field}")


def _check_reversal(reversal: Any) -> None:
    matrix = np.asarray(reversal, np.float64)
    is_square = matrix.shape in ((2, 2), (3, 3))
    unit = np.eye(len(matrix)) if is_square else matrix
    if not is_square or not (
        np.allclose(matrix @ matrix, unit) and np.allclose(matrix @ matrix.T, unit)
    ):
        raise ValueError(
            "a reversal must be an orthogonal matrix of shape (2, 2) or (3, 3) that is its own "
            f"inverse; got {matrix.tolist()}"
        )


def _with_field_turned(step_size: Scalar, friction: Scalar, field: Field, move: Move) -> Move:
    del move
    turned = partial(_negative, field) if callable(field) else -jnp.asarray(field)
    return as_move(step_size, friction, turned)


def _negative(field: Callable[[Array], Array], position: Array) -> Array:
    return -field(position)


def _with_images(reversal: np.ndarray, move: Move) -> Move:
    """The same move at the same field, of walkers that start from their mirror images."""
    back = partial(_unchanged, move)
    return move._replace(init=partial(_init_at_image, reversal), reverse=back)


def _unchanged(move: Move, reverse: Move) -> Move:
    del reverse
    return move


def _init_at_image(
    reversal: np.ndarray, position: Array, logdensity_fn: LogDensityFn
) -> KineticState:
    return init(position @ jnp.asarray(reversal.T, position.dtype), logdensity_fn)
