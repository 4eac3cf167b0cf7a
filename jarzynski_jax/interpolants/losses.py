"""Regressions that teach a velocity and a score, and one from the other."""

import jax
import jax.numpy as jnp

from jarzynski_jax.interpolants.interpolant import Draw, FieldFn, Interpolant
from jarzynski_jax.types import Array

__all__ = [
    "score_loss",
    "velocity_from_score",
    "velocity_loss",
]


def velocity_loss(velocity_fn: FieldFn, points: Draw) -> Array:
    r"""Loss whose minimum is the velocity, eq. 2.2.52; not a square, so it may be negative.

    .. math:: E\left[\tfrac12|\hat b(t, X_t)|^2 - \dot X_t\cdot\hat b(t, X_t)\right]

    The field, a Flax network, say, is for one point.

    Examples
    --------
    >>> from jarzynski_jax.interpolants import draw, linear_interpolant
    >>> x0, x1 = jnp.zeros((5, 2)), jnp.ones((5, 2))
    >>> points = draw(jax.random.key(0), linear_interpolant(), x0, x1)
    >>> float(velocity_loss(lambda t, x: jnp.zeros_like(x), points))
    0.0
    """

    def of_one(t: Array, x: Array, velocity: Array) -> Array:
        guess = velocity_fn(t, x)
        return jnp.vdot(guess, guess) / 2 - jnp.vdot(velocity, guess)

    return jnp.mean(jax.vmap(of_one)(points.time, points.position, points.velocity))


def score_loss(score_fn: FieldFn, interpolant: Interpolant, points: Draw) -> Array:
    r"""Loss whose minimum is the score, eq. 2.2.53; not a square, so it may be negative.

    .. math:: E\left[\tfrac12|\hat s(t, X_t)|^2 + \gamma(t)^{-1} z\cdot\hat s(t, X_t)\right]
    """

    def of_one(t: Array, x: Array, noise: Array) -> Array:
        guess = score_fn(t, x)
        return jnp.vdot(guess, guess) / 2 + jnp.vdot(noise, guess) / interpolant.noise(t)

    return jnp.mean(jax.vmap(of_one)(points.time, points.position, points.noise))


def velocity_from_score(interpolant: Interpolant, score_fn: FieldFn) -> FieldFn:
    r"""Make the velocity of a score-based model, so that the score alone is to be learnt.

    With :math:`\alpha = 0`, else a ValueError, from :math:`E[z | x] = -\gamma s` and
    :math:`E[X_1 | x] = (x + \gamma^2 s)/\beta`,

    .. math:: b = \frac{\dot\beta}\beta (x + \gamma^2 s) - \gamma\dot\gamma s

    where :math:`\beta(t) > 0`: begin shortly after t = 0.

    Examples
    --------
    Of N(0, 1) data all densities are N(0, 1), and nothing moves:

    >>> import jax.numpy as jnp
    >>> from jarzynski_jax.interpolants import variance_preserving_interpolant
    >>> model = variance_preserving_interpolant()
    >>> velocity_fn = velocity_from_score(model, lambda t, x: -x)
    >>> bool(jnp.allclose(velocity_fn(jnp.array(0.3), jnp.ones(2)), 0, atol=1e-6))
    True
    """
    with jax.ensure_compile_time_eval():
        if float(interpolant.base(jnp.array(0.5))) != 0:
            raise ValueError("a velocity follows from the score alone only if α is 0")

    def velocity_fn(t: Array, x: Array) -> Array:
        one = jnp.ones_like(t)
        beta, beta_dot = jax.jvp(interpolant.data, (t,), (one,))
        gamma, gamma_dot = jax.jvp(interpolant.noise, (t,), (one,))
        score = score_fn(t, x)
        return beta_dot / beta * (x + jnp.square(gamma) * score) - gamma * gamma_dot * score

    return velocity_fn
