r"""A continuous normalizing flow: samples of a base carried along by a velocity.

.. math:: \dot z = f_\theta(t, z), \qquad \frac{d}{dt}\log q = -\nabla\cdot f, \qquad
    \frac{d}{dt} g = -(\partial f)^T g - \nabla(\nabla\cdot f), \quad
    g = \frac{\partial\log q(z_t)}{\partial z_t}

from time 0 to 1 by the classical Runge-Kutta method. The third is the score along the path, so
that path gradients need neither the inverse nor the gradient of the divergence in θ.

Log q is that of the continuous map, not of the steps taken: the weights carry an error of
fourth order in the step. :func:`step_doubts` tells whether it matters.

References: Chen et al., NeurIPS 2018; Grathwohl et al., ICLR 2019 (Hutchinson); Vaitl, Nicoli,
Nakajima and Kessel, ICML 2022 (the score along the path).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jarzynski_jax.density import Density, check_exact
from jarzynski_jax.generators.divergence import divergence, estimated_divergence, rademacher
from jarzynski_jax.generators.flow import Flow
from jarzynski_jax.generators.runge_kutta import integrate
from jarzynski_jax.types import Array, Params, PRNGKey, Scalar

__all__ = ["ContinuousFlow", "VelocityFn", "with_divergence"]

#: ``(params, t, x) -> (velocity, divergence)``, for one x.
VelocityFn: TypeAlias = Callable[[Params, Array, Array], tuple[Array, Array]]


def with_divergence(field_fn: Callable[[Params, Array, Array], Array]) -> VelocityFn:
    """Take a field ``(params, t, x) -> velocity`` with its exact divergence, by d derivatives.

    Examples
    --------
    >>> shrink = with_divergence(lambda rate, t, x: -rate * x)
    >>> float(shrink(1.0, 0.0, jnp.ones(3))[1])
    -3.0
    """
    return lambda params, t, x: divergence(partial(field_fn, params, t), x)


class ContinuousFlow(NamedTuple):
    """A base and a velocity; it has what a :class:`~jarzynski_jax.generators.Flow` has.

    base
        Normalised, with exact samples: arrays.
    velocity_fn
        ``(params, t, x) -> (velocity, divergence)``, for one x, t from 0 to 1: of a field
        without a divergence, :func:`with_divergence`.
    num_steps
        Of the Runge-Kutta method, each of four evaluations.
    gradient
        Of samples: ``"checkpoint"``, through the steps; ``"adjoint"``, in
        :meth:`sample_with_score` alone, at a memory that does not grow with the steps.
    num_probes
        If given, log q of :meth:`sample_and_logdensity` takes the divergence by so many random
        signs instead, fixed along a path: unbiased for log q, so for the loss, but no weight is
        right with it, and there is no density.

    Examples
    --------
    >>> from jarzynski_jax import targets
    >>> shrink = with_divergence(lambda rate, t, x: -rate * x)
    >>> flow = ContinuousFlow(targets.gaussian([1.0, 1.0]), shrink, num_steps=10)
    >>> x, log_det = flow.forward_fn(1.0, jnp.ones(2))
    >>> round(float(x[0]), 4), round(float(log_det), 4)  # 1/e, and -d
    (0.3679, -2.0)
    """

    base: Density
    velocity_fn: VelocityFn
    num_steps: int
    gradient: str = "checkpoint"
    num_probes: int | None = None

    @property
    def flow(self) -> Flow:
        """The same flow as a map with its inverse."""
        return Flow(self.base, self.forward_fn, self.inverse_fn)

    def forward_fn(self, params: Params, z: Array) -> tuple[Array, Array]:
        """From the base to a sample, with log|det|."""
        return self._carry(self.velocity_fn, params, z, 0.0, 1.0)

    def inverse_fn(self, params: Params, x: Array) -> tuple[Array, Array]:
        """From a sample to the base, with log|det|."""
        return self._carry(self.velocity_fn, params, x, 1.0, 0.0)

    def sample_and_logdensity(self, rng_key: PRNGKey, params: Params) -> tuple[Array, Array]:
        """As of a flow: one sample and log q, differentiable."""
        if self.num_probes is None:
            return self.flow.sample_and_logdensity(rng_key, params)
        if self.num_probes < 1:
            raise ValueError(f"num_probes must be at least 1; got {self.num_probes}")
        sample, log_z = check_exact(self.base)
        key_base, key_probes = jax.random.split(rng_key)
        z = sample(key_base, 1)[0]
        probes = rademacher(key_probes, self.num_probes, z)

        def velocity(params: Params, t: Array, x: Array) -> tuple[Array, Array]:
            # Of the velocity alone: the exact divergence is not computed.
            return estimated_divergence(lambda x: self.velocity_fn(params, t, x)[0], x, probes)

        x, log_det = self._carry(velocity, params, z, 0.0, 1.0)
        return x, self.base.logdensity_fn(z) - log_z - log_det

    def logdensity(self, params: Params, x: Array) -> Array:
        """As of a flow: log q at one position, by the exact divergence."""
        return self.flow.logdensity(params, x)

    def density(self, params: Params) -> Density:
        """As of a flow. ValueError with ``num_probes``."""
        if self.num_probes is not None:
            raise ValueError(
                "a density needs the exact divergence: log q by random probes is unbiased, its "
                f"exponential is not; got num_probes={self.num_probes}: take "
                "flow._replace(num_probes=None)"
            )
        return self.flow.density(params)

    def sample_with_score(
        self, rng_key: PRNGKey, params: Params, num_samples: int
    ) -> tuple[Array, Array, Array]:
        r"""As of a flow: samples, log q and :math:`\partial\log q/\partial x`, carried along.

        The samples are integrated once more, without log q, for their gradient.
        """
        sample, log_z = check_exact(self.base)
        z = sample(rng_key, num_samples)
        frozen = jax.lax.stop_gradient(params)
        log_q, score = jax.vmap(jax.value_and_grad(self.base.logdensity_fn))(z)

        def rates(params: Params, t: Array, state: tuple) -> tuple[Array, Array, Array]:
            z, score, _ = state
            (velocity, of_velocity), pull_back = jax.vjp(
                lambda z: self.velocity_fn(params, t, z), z
            )
            minus = pull_back((score, jnp.ones_like(of_velocity)))[0]
            return velocity, -minus, -of_velocity

        start = z, score, log_q - log_z
        _, score, log_q = integrate(
            _batched(rates), frozen, start, 0.0, 1.0, self.num_steps, "checkpoint"
        )
        x = integrate(
            _batched(lambda params, t, z: self.velocity_fn(params, t, z)[0]),
            *(params, z, 0.0, 1.0, self.num_steps, self.gradient),
        )
        return x, log_q, score

    def _carry(
        self, velocity_fn: VelocityFn, params: Params, x: Array, start: Scalar, end: Scalar
    ) -> tuple[Array, Array]:
        nothing = jnp.zeros((), x.dtype)

        def rates(params: Params, t: Array, state: tuple) -> tuple[Array, Array]:
            return velocity_fn(params, t, state[0])

        return integrate(rates, params, (x, nothing), start, end, self.num_steps)


def _batched(rate_fn: Callable) -> Callable:
    return jax.vmap(rate_fn, (None, None, 0))
