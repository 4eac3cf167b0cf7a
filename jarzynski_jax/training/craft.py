r"""CRAFT: each layer of a stochastic flow learns to take one density of a path to the next.

The loss is a sum over the layers of what each loses on the walkers before it, weighted as they
are, with no gradient through anything but the layer:

.. math:: \hat L(\theta) = \sum_k \sum_i p_{k-1}^i \left[\ell_{k-1}(x_i)
          - \ell_k(T_{\theta_k}(x_i)) - \log|\det\partial T_{\theta_k}(x_i)|\right],
          \qquad p_{k-1} = {\rm softmax}(A_{k-1})

Of many walkers this is
:math:`\sum_k {\rm KL}(T_{\theta_k}\#\rho_{k-1}\,\|\,\rho_k) - \log Z_K/Z_0`; of few, the
weights' normalisation leaves a bias of 1/n. Between the layers walkers move by Langevin or HMC
and are resampled, so that a layer sees modes that the flow before it has lost.

Reference: Matthews, Arbel, Rezende and Doucet, *Continual repeated annealed flow transport
Monte Carlo*, ICML 2022. There walkers go all the way at each update; here those of the updates
before go on by one layer each (:mod:`jarzynski_jax.training.pipeline`).
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax import weights
from jarzynski_jax.annealing import check_whole_schedule
from jarzynski_jax.density import Density
from jarzynski_jax.generators.stochastic_flow import StochasticFlow
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
from jarzynski_jax.types import Array, LogDensityFn, Params, PRNGKey
from jarzynski_jax.walkers import Walkers

__all__ = ["check_flow", "craft"]


def craft(
    flow: StochasticFlow,
    base: Density,
    optimizer: optax.GradientTransformation,
    num_walkers: int,
) -> Objective:
    r"""Train the layers of a stochastic flow, each on weighted walkers of its own.

    K ensembles of n walkers stand before the K layers. An update evaluates the next density
    at n K images of the layers, with gradients, and where the moves go.

    Parameters
    ----------
    flow
        Layers, path and moves; the moves may be of any kind.
    base
        The start of the path: exact samples and log Z.
    num_walkers
        n, in each ensemble.

    Returns
    -------
    Objective
        ``init(rng_key, params)``, with leading axis K on every leaf of the parameters; metrics
        :class:`~jarzynski_jax.training.PipelineMetrics`, the loss in nats. It takes no data.

    Raises
    ------
    ValueError
        If the flow is none, the base has no exact samples or log Z, or there are no walkers; in
        ``init``, if parameters have another leading axis, or are no floating-point numbers.

    Examples
    --------
    >>> from jarzynski_jax import annealing, targets, training
    >>> from jarzynski_jax.kernels import ula
    >>> base, goal = targets.gaussian([1.0]), (lambda x: -jnp.sum((x - 4) ** 2) / 2)
    >>> path = annealing.geometric_path(base.logdensity_fn, goal)
    >>> shift = lambda params, x: (x + params, 0.0)
    >>> flow = StochasticFlow(shift, path, jnp.linspace(0, 1, 5)[1:], ula.as_move(0.1))
    >>> objective = craft(flow, base, optax.sgd(0.5), num_walkers=256)
    >>> state = objective.init(jax.random.key(0), jnp.zeros((4, 1)))
    >>> result = training.fit(jax.random.key(1), objective, state, num_steps=40)
    >>> bool(jnp.all(jnp.abs(result.state.params - 1) < 0.15))  # the well moves by 1 a step
    True
    """
    check_flow(flow)
    check_sizes(num_walkers, base)
    num_steps = flow.times.shape[0]
    dynamics = flow.dynamics
    before = jnp.concatenate([jnp.zeros_like(flow.times[:1]), flow.times[:-1]])

    def fresh(rng_key: PRNGKey) -> Walkers:
        start = flow.path(jnp.zeros_like(flow.times[0]))
        return enter(rng_key, base, start, dynamics.kernel_init, num_walkers)

    def init(rng_key: PRNGKey, params: Params) -> PipelineState:
        check_layers(params, num_steps)
        ensemble = fresh(rng_key)
        nowhere = jnp.zeros((), ensemble.log_weights.dtype)
        return begin(params, optimizer, ensemble, nowhere, num_steps)

    def move(
        rng_key: PRNGKey, ensemble: Walkers, time: Array, args: tuple[Any, ...]
    ) -> tuple[Walkers, Array]:
        key_move, key_resample = jax.random.split(rng_key)
        at_step = dynamics.with_args(*args)
        ensemble, _ = walkers_lib.advance(key_move, ensemble, flow.path(time), at_step)
        ensemble, info = walkers_lib.resample(key_resample, ensemble, flow.resampler)
        return ensemble, info.effective_sample_size

    def loss_of_layer(layer: Params, ensemble: Walkers, before: Array, after: Array) -> Array:
        targets = flow.path(before), flow.path(after)
        return _loss(flow, layer, ensemble, *targets)

    def step(
        rng_key: PRNGKey, state: PipelineState, batch: Any
    ) -> tuple[PipelineState, PipelineMetrics]:
        if batch is not None:
            raise ValueError("CRAFT takes no data; got a batch")
        key_move, key_fresh = jax.random.split(rng_key)
        is_there = jnp.arange(num_steps) <= state.step

        def loss_fn(params: Params) -> tuple[Array, tuple[()]]:
            losses = jax.vmap(loss_of_layer)(params, state.ensembles, before, flow.times)
            return jnp.sum(jnp.where(is_there, losses, 0)), ()

        keys = jax.random.split(key_move, num_steps)
        args = flow.step_args(state.params)
        moved, sizes = jax.vmap(move)(keys, state.ensembles, flow.times, args)
        descent, seen, _ = descend(
            DescentState(state.step, state.params, state.opt_state), loss_fn, optimizer
        )
        ensembles = push(fresh(key_fresh), moved)
        state = PipelineState(*descent, ensembles, state.offsets)
        return state, look(seen, moved, sizes, is_there)

    return Objective(init, step, takes_data=False)


def _loss(
    flow: StochasticFlow,
    layer: Params,
    ensemble: Walkers,
    old: LogDensityFn,
    new: LogDensityFn,
) -> Array:
    """Mean of minus the increment that the layer gives to the log-weights."""
    positions = walkers_lib.relocate_dead(ensemble).position
    images, log_determinants = jax.vmap(flow.layer_fn, (None, 0))(layer, positions)
    lost = jax.vmap(old)(positions) - jax.vmap(new)(images) - log_determinants
    return jnp.sum(weights.normalize(ensemble.log_weights) * lost)


def check_flow(flow: Any) -> None:
    """Check that this is a stochastic flow whose stops ascend to 1; else a ValueError."""
    if not isinstance(flow, StochasticFlow):
        raise ValueError(
            f"the flow must be a generators.StochasticFlow; got {type(flow).__name__}"
        )
    check_whole_schedule(flow.times)


def check_layers(params: Params, num_steps: int) -> None:
    """Check that there is a layer for each step; else a ValueError."""
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(params)]
    if any(shape[:1] != (num_steps,) for shape in shapes):
        raise ValueError(
            f"parameters of {num_steps} layers must have the leading axis K = {num_steps} on "
            f"every leaf; got shapes {shapes}"
        )
