r"""Learned transport: a drift that takes the work out of Jarzynski's weights.

Along a path :math:`\rho_t = e^{\ell_t}/Z_t` a velocity :math:`b_\theta(t, x)` and a rate
:math:`\partial_t F_\theta(t)` learn to make the residual of the transport
(:mod:`jarzynski_jax.generators.drift`) small wherever walkers come,

.. math:: L(\theta) = E\left|\nabla\cdot b_\theta + b_\theta\cdot\nabla\ell_t
          + \partial_t\ell_t + \partial_t F_\theta\right|^2

The minimum, 0, is the same whatever the law of the walkers is: they are moved with the drift as
it is, resampled, and taken as they stand, with no gradient through their way (a
physics-informed loss off the policy). Where the law has no walkers nothing is learned.

Afterwards the drift may be used with any diffusion, by
:func:`jarzynski_jax.interpolants.generate_weighted`, whose weights are exact at finite steps.

Reference: Albergo and Vanden-Eijnden, *NETS: a non-equilibrium transport sampler*, ICML 2025.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial

from jarzynski_jax.annealing import Path
from jarzynski_jax.density import Density
from jarzynski_jax.generators.drift import Diffusion, Transport, diffusion_at, residual
from jarzynski_jax.kernels import escorted
from jarzynski_jax.kernels.arithmetic import check_positive, drop_non_finite
from jarzynski_jax.kernels.move import Move
from jarzynski_jax.resampling import AdaptiveResampler, adaptive, systematic
from jarzynski_jax.training.gradient_descent import DescentState, descend
from jarzynski_jax.training.objective import Objective
from jarzynski_jax.training.pipeline import (
    PipelineMetrics,
    PipelineState,
    begin,
    check_sizes,
    enter,
    look,
    push,
)
from jarzynski_jax.types import Array, Params, PRNGKey
from jarzynski_jax.walkers import Dynamics, Walkers, advance, resample

__all__ = ["learned_transport"]


def learned_transport(
    transport: Transport,
    path: Path,
    base: Density,
    optimizer: optax.GradientTransformation,
    *,
    num_steps: int,
    num_walkers: int,
    diffusion: Diffusion,
    resampler: AdaptiveResampler = adaptive(systematic, 0.5),  # noqa: B008
) -> Objective:
    r"""Train a drift on walkers that it moves itself.

    K ensembles of n walkers stand on the way, and an update takes each one step further
    (:mod:`jarzynski_jax.training.pipeline`): n K positions are the batch, and cost one gradient
    of the path's log-density each. Stops of an ensemble are 1/(K - 1) apart, from a random
    first one on, so that all times are learned; the last is 1.

    Parameters
    ----------
    transport
        From :func:`jarzynski_jax.generators.functional`, with the parameters for ``init``.
    path
        From the base; differentiable in time and position.
    num_steps
        K, at least 2. The path's time is 1, so steps are of about h = 1/K.
    num_walkers
        n, in each ensemble.
    diffusion
        ε, of the walkers in training, or a function of time: keep hε below a fifth of the
        smallest variance of the path's density.

    Returns
    -------
    Objective
        ``init(rng_key, params)``; metrics :class:`~jarzynski_jax.training.PipelineMetrics`,
        whose loss is in squared nats per squared unit of time. It takes no data.

    Raises
    ------
    ValueError
        If the transport is none, the base has no exact samples or log Z, or a number is too
        small; in ``init``, if parameters are no floating-point numbers.

    Examples
    --------
    >>> from flax import nnx
    >>> from jarzynski_jax import generators, targets, training
    >>> base, goal = targets.gaussian([1.0]), (lambda x: -jnp.sum((x - 2) ** 2) / 2)
    >>> path = lambda t: lambda x: -jnp.sum((x - 2 * t) ** 2) / 2
    >>> drift = generators.Drift(1, (16,), num_frequencies=1, rngs=nnx.Rngs(0))
    >>> transport, params = generators.functional(drift)
    >>> objective = learned_transport(
    ...     transport, path, base, optax.adam(0.01), num_steps=8, num_walkers=32, diffusion=1.0
    ... )
    >>> state = objective.init(jax.random.key(0), params)
    >>> result = training.fit(jax.random.key(1), objective, state, num_steps=300)
    >>> bool(result.metrics.loss[-50:].mean() < 0.1 * result.metrics.loss[:50].mean())
    True
    """
    if not isinstance(transport, Transport):
        raise ValueError(
            "the transport must be a generators.Transport, as of generators.functional(drift); "
            f"got {type(transport).__name__}"
        )
    check_sizes(num_walkers, base)
    if num_steps < 2:
        raise ValueError(f"num_steps must be at least 2; got {num_steps}")
    if not callable(diffusion):
        check_positive("diffusion, ε,", diffusion)
    velocity_fn = transport.velocity_fn

    def fresh(rng_key: PRNGKey, params: Params) -> tuple[Walkers, Array]:
        key_start, key_offset = jax.random.split(rng_key)
        first_velocity = Partial(velocity_fn, params, 0.0)
        kernel_init = partial(escorted.init, velocity_fn=first_velocity)
        ensemble = enter(key_start, base, path(0.0), kernel_init, num_walkers)
        return ensemble, jax.random.uniform(key_offset, (), ensemble.log_weights.dtype)

    def init(rng_key: PRNGKey, params: Params) -> PipelineState:
        return begin(params, optimizer, *fresh(rng_key, params), num_steps)

    def move(
        rng_key: PRNGKey, ensemble: Walkers, before: Array, after: Array, params: Params
    ) -> tuple[Walkers, Array]:
        key_move, key_resample = jax.random.split(rng_key)
        velocity = Partial(velocity_fn, params, after)
        args = velocity, after - before, diffusion_at(diffusion, after)
        kernel_init = partial(escorted.init, velocity_fn=velocity)
        dynamics = Dynamics(Move(kernel_init, escorted.build_kernel(), args), 1, resampler)
        ensemble, _ = advance(key_move, ensemble, path(after), dynamics)
        ensemble, info = resample(key_resample, ensemble, resampler)
        return ensemble, info.effective_sample_size

    def step(
        rng_key: PRNGKey, state: PipelineState, batch: Any
    ) -> tuple[PipelineState, PipelineMetrics]:
        if batch is not None:
            raise ValueError("learned transport takes no data; got a batch")
        key_move, key_fresh = jax.random.split(rng_key)
        before, after = _stops(state.offsets)
        moved, sizes = jax.vmap(move, (0, 0, 0, 0, None))(
            jax.random.split(key_move, num_steps), state.ensembles, before, after, state.params
        )
        is_there = jnp.arange(num_steps) <= state.step
        points = _points(moved, is_there, after, path)

        def loss_fn(params: Params) -> tuple[Array, tuple[()]]:
            return _mean_square(transport, params, *points), ()

        descent, seen, _ = descend(
            DescentState(state.step, state.params, state.opt_state), loss_fn, optimizer
        )
        ensembles, offsets = push(fresh(key_fresh, descent.params), (moved, state.offsets))
        return PipelineState(*descent, ensembles, offsets), look(seen, moved, sizes, is_there)

    return Objective(init, step, takes_data=False)


def _stops(offsets: Array) -> tuple[Array, Array]:
    """Times before and after the k-th step of each ensemble, from 0 and to 1."""
    num_steps = offsets.shape[0]
    index = jnp.arange(num_steps)
    after = (index + offsets) / (num_steps - 1)
    before = jnp.where(index == 0, 0, (index - 1 + offsets) / (num_steps - 1))
    return before, jnp.where(index == num_steps - 1, 1, after)


def _points(
    moved: Walkers, is_there: Array, times: Array, path: Path
) -> tuple[Array, Array, Array, Array, Array]:
    """Where the residual is taken, all ``(K, n, ...)``: whether, t, x, score, rate of ℓ."""

    def rate(t: Array, x: Array) -> Array:
        return jax.jvp(lambda t: path(t)(x), (t,), (jnp.ones_like(t),))[1]

    times = jnp.broadcast_to(times[:, None], moved.log_weights.shape)
    rates = jax.vmap(jax.vmap(rate))(times, moved.position)
    scores = moved.state.logdensity_grad
    is_alive = jnp.isfinite(moved.log_weights) & is_there[:, None] & jnp.isfinite(rates)
    points = is_alive, times, *drop_non_finite((moved.position, scores, rates))
    return jax.lax.stop_gradient(points)


def _mean_square(
    transport: Transport,
    params: Params,
    is_alive: Array,
    times: Array,
    positions: Array,
    scores: Array,
    rates: Array,
) -> Array:
    of_point = partial(residual, transport, params)
    residuals = jax.vmap(jax.vmap(of_point))(times, positions, scores, rates)
    return jnp.mean(jnp.square(residuals), where=is_alive)
