r"""A normalizing flow: a base that is known, pushed forward by an invertible map.

.. math:: x = T_\theta(z), \quad z \sim q_0, \qquad
    \log q_\theta(x) = \log q_0(z) - \log|\det \partial T_\theta/\partial z|

One sign throughout: a map returns its image and :math:`+\log|\det|` of its own Jacobian, the
inverse that of the inverse. The adapters of :mod:`jarzynski_jax.interop` bring flows of other
libraries to this form.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jarzynski_jax.checks import check_known
from jarzynski_jax.density import Density, check_density, check_exact
from jarzynski_jax.kernels import bijection
from jarzynski_jax.kernels.arithmetic import all_finite
from jarzynski_jax.kernels.move import Move
from jarzynski_jax.types import Array, Params, Position, PRNGKey

__all__ = ["Flow", "MapFn", "RoundTrip", "check_base", "check_flow", "round_trip"]

#: ``(params, x) -> (y, log|det ∂y/∂x|)``, for one position.
MapFn: TypeAlias = Callable[[Params, Position], tuple[Position, Array]]


class Flow(NamedTuple):
    """A base and a map with its inverse, pure functions of parameters, for one position.

    base
        Normalised (log Z is 0), with exact samples; it is not trained.
    forward_fn
        ``(params, z) -> (x, log|det ∂x/∂z|)``; as the layer of a stochastic flow, too.
    inverse_fn
        ``(params, x) -> (z, log|det ∂z/∂x|)``.

    Examples
    --------
    >>> from jarzynski_jax import targets
    >>> scale = lambda log_scale, z: (jnp.exp(log_scale) * z, jnp.sum(log_scale))
    >>> flow = Flow(targets.gaussian([1.0]), scale, lambda s, x: scale(-s, x))
    >>> model = flow.density(jnp.array([0.7]))
    >>> x = model.sample(jax.random.key(0), 1000)
    >>> bool(abs(jnp.std(x) - 2.0) < 0.2)
    True
    """

    base: Density
    forward_fn: MapFn
    inverse_fn: MapFn

    def sample_and_logdensity(self, rng_key: PRNGKey, params: Params) -> tuple[Position, Array]:
        """One sample and log q there, differentiable; what objectives without data take."""
        sample, log_z = check_exact(self.base)
        z = jax.tree.map(lambda leaf: leaf[0], sample(rng_key, 1))
        x, log_det = self.forward_fn(params, z)
        return x, self.base.logdensity_fn(z) - log_z - log_det

    def logdensity(self, params: Params, x: Position) -> Array:
        """Log q at one position, differentiable; what objectives with data take.

        Minus infinity where the inverse overflows, as far from what the flow was trained on.
        """
        _, log_z = check_exact(self.base)
        z, log_det = self.inverse_fn(params, x)
        log_q = self.base.logdensity_fn(z) - log_z + log_det
        # No number of the base comes here: the density is 0, where the sum may be NaN.
        is_out_of_reach = all_finite((params, x)) & ~all_finite(z)
        return jnp.where(is_out_of_reach, -jnp.inf, log_q)

    def density(self, params: Params) -> Density:
        """The flow at these parameters: normalised, with exact samples."""
        sample, _ = check_exact(self.base)

        def draw(rng_key: PRNGKey, num_samples: int) -> Position:
            z = sample(rng_key, num_samples)
            return jax.vmap(self.forward_fn, (None, 0))(params, z)[0]

        return Density(Partial(self.logdensity, params), 0.0, draw, self.base.dimension)

    def move(self, params: Params) -> Move:
        """The map as a move of walkers, with its reverse."""
        return bijection.as_move(
            Partial(self.forward_fn, params), Partial(self.inverse_fn, params)
        )

    def sample_with_score(
        self, rng_key: PRNGKey, params: Params, num_samples: int
    ) -> tuple[Position, Array, Position]:
        r"""Samples, log q and the score :math:`\partial\log q/\partial x`, by the inverse.

        Leading axis n. Only the samples depend on the parameters: log q and score are those of
        parameters held fixed, which is what path gradients are made of.
        """
        sample, _ = check_exact(self.base)
        z = sample(rng_key, num_samples)
        x, _ = jax.vmap(self.forward_fn, (None, 0))(params, z)
        frozen = jax.lax.stop_gradient(params)
        log_q_and_score = jax.value_and_grad(self.logdensity, argnums=1)
        log_q, score = jax.vmap(log_q_and_score, (None, 0))(frozen, jax.lax.stop_gradient(x))
        return x, log_q, score


class RoundTrip(NamedTuple):
    """How far forward and back miss where they began, of each of n samples.

    position
        The largest deviation of a coordinate, over one plus its size.
    log_determinant
        The sum of both log-determinants, nats.
    """

    position: Array
    log_determinant: Array


def round_trip(flow: Any, params: Params, base_positions: Position) -> RoundTrip:
    """Send samples of the base forward and back; leading axis n.

    Examples
    --------
    >>> from jarzynski_jax import targets
    >>> scale = lambda s, z: (s * z, jnp.log(s))
    >>> flow = Flow(targets.gaussian([1.0]), scale, lambda s, x: scale(1 / s, x))
    >>> missed = round_trip(flow, 2.0, jnp.ones((3, 1)))
    >>> missed.position.tolist(), missed.log_determinant.tolist()
    ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0])
    """

    def one(z: Position) -> RoundTrip:
        x, forward = flow.forward_fn(params, z)
        back, backward = flow.inverse_fn(params, x)
        deviations = jax.tree.map(
            lambda a, b: jnp.max(jnp.abs(a - b) / (1 + jnp.abs(a))), z, back
        )
        worst = jnp.max(jnp.stack(jax.tree.leaves(deviations)))
        return RoundTrip(worst, forward + backward)

    return jax.vmap(one)(base_positions)


def check_base(base: Any) -> None:
    """Check that this is a density with exact samples and a known log Z; else ValueError."""
    check_density("the base of a flow", base)
    check_exact(base)


def check_flow(
    rng_key: PRNGKey,
    flow: Any,
    params: Params,
    *,
    num_samples: int = 64,
    tolerance: float | None = None,
) -> RoundTrip:
    r"""Check a flow of vectors or arrays once, before it is used; ValueError if it is wrong.

    What is tried: shapes; the round trip of samples of the base; and at one of them the
    log-determinant against :func:`jax.numpy.linalg.slogdet` of the whole Jacobian, and the
    score of ``sample_with_score`` against the gradient of log q. It looks at
    values, so a ValueError inside ``jax.jit`` or ``jax.vmap`` too.

    Parameters
    ----------
    flow
        A :class:`Flow`, or a :class:`~jarzynski_jax.generators.ContinuousFlow`.
    tolerance
        Of positions, relative, and of log-determinants, nats per coordinate; as given, the
        square root of the precision.

    Examples
    --------
    >>> from jarzynski_jax import targets
    >>> faulty = lambda s, z: (s * z, jnp.log(s))  # of two coordinates, each scaled
    >>> flow = Flow(targets.gaussian([1.0, 1.0]), faulty, lambda s, x: faulty(1 / s, x))
    >>> check_flow(jax.random.key(0), flow, 2.0)
    Traceback (most recent call last):
        ...
    ValueError: the forward map says log|det| = 0.693147 where its Jacobian has 1.38629
    """
    check_known("generators.check_flow", params)
    check_base(flow.base)
    sample, _ = check_exact(flow.base)
    z = sample(rng_key, num_samples)
    one = jax.tree.map(lambda leaf: leaf[0], z)
    if not isinstance(one, jax.Array):
        raise ValueError(
            f"a flow is checked on arrays; the base gives {jax.tree.structure(one)}"
        )
    _check_shapes(flow, params, one)
    if tolerance is None:
        tolerance = float(jnp.finfo(one.dtype).eps) ** 0.5
    _check_round_trip(missed := round_trip(flow, params, z), tolerance, one.size)
    for name, map_fn, point in (
        ("forward", flow.forward_fn, one),
        ("inverse", flow.inverse_fn, flow.forward_fn(params, one)[0]),
    ):
        said = float(map_fn(params, point)[1])
        exact = float(_jacobian_log_det(map_fn, params, point))
        if not abs(said - exact) <= tolerance * one.size * (1 + abs(exact)):
            raise ValueError(
                f"the {name} map says log|det| = {said:.6g} where its Jacobian has {exact:.6g}"
            )
    _check_score(rng_key, flow, params, tolerance)
    return missed


def _check_score(rng_key: PRNGKey, flow: Any, params: Params, tolerance: float) -> None:
    """Of one sample: a layer whose mask is the wrong way round has right samples all the same.

    An integrator's step is in it, of a continuous flow, so a hundredth of its size is allowed.
    """
    x, _, score = flow.sample_with_score(rng_key, params, 1)
    exact = jax.grad(flow.logdensity, argnums=1)(params, x[0])
    gap, size = (float(jnp.max(jnp.abs(of))) for of in (score[0] - exact, exact))
    if not gap <= max(tolerance, 0.01) * (1 + size):
        raise ValueError(
            f"the score of sample_with_score is {gap:.3g} away from the gradient of log q, of "
            f"size {size:.3g}: of a layered flow see that is_active tells what a layer changes"
        )


def _check_shapes(flow: Any, params: Params, z: Array) -> None:
    for name, map_fn in (("forward", flow.forward_fn), ("inverse", flow.inverse_fn)):
        try:
            image, log_det = jax.eval_shape(map_fn, params, z)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"the {name} map of the flow does not take a position of the base, of shape "
                f"{z.shape}: {error}"
            ) from error
        if jnp.shape(image) != z.shape or jnp.shape(log_det) != ():
            raise ValueError(
                f"the {name} map must take a position of shape {z.shape} to one of that shape "
                f"and one log-determinant; it returns shapes {jnp.shape(image)} and "
                f"{jnp.shape(log_det)}"
            )


def _check_round_trip(missed: RoundTrip, tolerance: float, size: int) -> None:
    position = float(jnp.max(missed.position))
    log_det = float(jnp.max(jnp.abs(missed.log_determinant)))
    if not (position <= tolerance and log_det <= tolerance * size):
        raise ValueError(
            f"the inverse does not undo the map: forward and back, {missed.position.shape[0]} "
            f"samples of the base miss by up to {position:.2g} in a coordinate and "
            f"{log_det:.2g} nats in log|det|, beyond {tolerance:.2g} and "
            f"{tolerance * size:.2g}; of a continuous flow, take more steps"
        )


def _jacobian_log_det(map_fn: MapFn, params: Params, x: Array) -> Array:
    def flat(entries: Array) -> Array:
        return map_fn(params, entries.reshape(x.shape))[0].ravel()

    return jnp.linalg.slogdet(jax.jacfwd(flat)(x.ravel()))[1]
