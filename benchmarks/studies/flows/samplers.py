"""Reverse KL, FAB, CRAFT and NETS, trained with a number of evaluations; samplers then."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import flowjax.bijections as bijections
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from flowjax.distributions import Normal
from flowjax.flows import coupling_flow
from jax.tree_util import Partial

from benchmarks.studies.flows.budget import Budget
from benchmarks.studies.log_partition.problems import Problem
from jarzynski_jax import annealing, generators, interpolants, training, walkers
from jarzynski_jax.density import check_exact
from jarzynski_jax.generators import Flow, StochasticFlow
from jarzynski_jax.interop.flowjax import from_bijection, from_flowjax
from jarzynski_jax.kernels import generalized_hmc
from jarzynski_jax.kernels.evaluation import LINEAR
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.types import Array, Params, PRNGKey
from jarzynski_jax.walkers import Dynamics

#: Steps of generalized HMC at each stop of FAB and CRAFT.
_NUM_MOVES = 2


class Trained(NamedTuple):
    """A sampler that was trained.

    sample
        ``rng_key -> (positions, log_weights)``: the mean of the weights estimates Z.
    num_walkers, num_evaluations
        Of one call.
    losses
        Of every update.
    """

    sample: Callable[[PRNGKey], tuple[Array, Array]]
    num_walkers: int
    num_evaluations: int
    num_evaluations_training: int
    losses: np.ndarray


def reverse_kl(key: PRNGKey, problem: Problem, budget: Budget) -> Trained:
    """A coupling flow, by samples of its own alone."""
    key_flow, key_fit = jax.random.split(key)
    flow, params = _flow(key_flow, problem, budget)
    num_updates = _whole(budget.num_training // budget.batch_size)
    objective = training.reverse_kl(
        flow.sample_and_logdensity,
        problem.target,
        _optimizer(budget, num_updates),
        budget.batch_size,
    )
    state = objective.init(key_fit, params)
    result = training.fit(key_fit, objective, state, num_steps=num_updates)
    spent = num_updates * budget.batch_size
    return _by_importance(flow, result, problem, budget, spent)


def fab(key: PRNGKey, problem: Problem, budget: Budget) -> Trained:
    """The same flow, by walkers where it is too small, of generalized HMC."""
    key_flow, key_fit = jax.random.split(key)
    flow, params = _flow(key_flow, problem, budget)
    num_walkers, every = budget.num_walkers_of_fab, budget.anneal_every
    # Where they start, and where each step ends; the gradients of both terms are kept.
    cost = num_walkers * (1 + _NUM_MOVES * budget.num_stops)
    num_updates = _whole(budget.num_training // cost * every)
    move = generalized_hmc.as_move(
        _NUM_MOVES, problem.step_size / 2, 1 / problem.base_scale, evaluation=LINEAR
    )
    objective = training.fab(
        flow.sample_and_logdensity,
        flow.logdensity,
        problem.target,
        _optimizer(budget, num_updates),
        dynamics=Dynamics(move, 1, adaptive(systematic, 0.0)),
        times=jnp.linspace(0, 1, budget.num_stops + 1)[1:],
        num_samples=num_walkers,
        batch_size=2 * num_walkers,
        buffer_size=32 * num_walkers,
        anneal_every=every,
    )
    state = objective.init(key_fit, params)
    result = training.fit(key_fit, objective, state, num_steps=num_updates)
    spent = -(-num_updates // every) * cost
    return _by_importance(flow, result, problem, budget, spent)


def craft(key: PRNGKey, problem: Problem, budget: Budget) -> Trained:
    """Two affine coupling layers, and generalized HMC, at each stop of the geometric path."""
    key_layers, key_fit = jax.random.split(key)
    layer_fn, params = _layers(key_layers, problem, budget)
    times = jnp.linspace(0, 1, budget.num_layers + 1)[1:]
    frictions = jnp.full(budget.num_layers, 1 / problem.base_scale)
    move_args = _width(problem, times) / 2, frictions
    move = generalized_hmc.as_move(_NUM_MOVES)
    flow = StochasticFlow(layer_fn, _path(problem), times, move, move_args)
    # Where the layer leads, and where each step ends.
    cost = budget.num_layers * (1 + _NUM_MOVES)
    num_updates = _whole(budget.num_training // (cost * budget.num_walkers_of_craft))
    objective = training.craft(
        flow, problem.base, _optimizer(budget, num_updates), budget.num_walkers_of_craft
    )
    state = objective.init(key_fit, params)
    result = training.fit(key_fit, objective, state, num_steps=num_updates)
    num_walkers = budget.num_sampling // (1 + cost)
    start_from, _ = check_exact(problem.base)

    def sample(key: PRNGKey) -> tuple[Array, Array]:
        key_start, key_path = jax.random.split(key)
        x = start_from(key_start, num_walkers)
        start = walkers.init(x, flow.path(0.0), flow.dynamics.kernel_init)
        end, _ = annealing.anneal(key_path, start, *flow.arguments(result.state.params))
        return end.position, end.log_weights

    spent = num_updates * cost * budget.num_walkers_of_craft
    return Trained(sample, num_walkers, num_walkers * (1 + cost), spent, result.metrics.loss)


def nets(key: PRNGKey, problem: Problem, budget: Budget) -> Trained:
    """A drift along the geometric path."""
    num_steps, num_walkers = budget.num_steps, budget.num_walkers_of_nets

    def diffusion(t: Array) -> Array:
        """In a step, h = 1/K, hε is that of leapfrog steps of half the width."""
        return num_steps * jnp.square(_width(problem, t) / 2) / 2

    dimension = problem.target.dimension
    assert dimension is not None
    drift = generators.Drift(
        dimension,
        (budget.width, budget.width),
        scale=problem.base_scale,
        rngs=nnx.Rngs(int(jax.random.randint(key, (), 0, 2**30))),
    )
    transport, params = generators.functional(drift)
    path = _path(problem)
    num_updates = _whole(budget.num_training // (num_steps * num_walkers))
    objective = training.learned_transport(
        transport,
        path,
        problem.base,
        _optimizer(budget, num_updates),
        num_steps=num_steps,
        num_walkers=num_walkers,
        diffusion=diffusion,
    )
    state = objective.init(key, params)
    result = training.fit(key, objective, state, num_steps=num_updates)
    num_sampled = budget.num_sampling // (1 + num_steps)
    start_from, _ = check_exact(problem.base)
    times = jnp.linspace(0, 1, num_steps + 1)
    velocity = Partial(transport.velocity_fn, result.state.params)

    def sample(key: PRNGKey) -> tuple[Array, Array]:
        key_start, key_path = jax.random.split(key)
        end = interpolants.generate_weighted(
            key_path,
            start_from(key_start, num_sampled),
            path,
            velocity,
            times,
            diffusion,
            adaptive(systematic, 0.5),
        )
        return end.position, end.log_weights

    spent = num_updates * num_steps * num_walkers
    cost = num_sampled * (1 + num_steps)
    return Trained(sample, num_sampled, cost, spent, result.metrics.loss)


SAMPLERS = {"reverse_kl": reverse_kl, "fab": fab, "craft": craft, "nets": nets}


def _by_importance(
    flow: Flow, result: Any, problem: Problem, budget: Budget, spent: int
) -> Trained:
    params, number = result.state.params, budget.num_sampling

    def sample(key: PRNGKey) -> tuple[Array, Array]:
        keys = jax.random.split(key, number)
        x, log_q = jax.vmap(flow.sample_and_logdensity, (0, None))(keys, params)
        return x, jax.vmap(problem.target.logdensity_fn)(x) - log_q

    return Trained(sample, number, number, spent, result.metrics.loss)


def _whole(num_updates: int) -> int:
    """Whole chunks of the training loop: one of another length would be compiled too."""
    return num_updates if num_updates < 100 else num_updates // 100 * 100


def _width(problem: Problem, t: Array) -> Array:
    """Of a Gaussian between the base and one of the target's smallest width."""
    return ((1 - t) / problem.base_scale**2 + t / problem.step_size**2) ** -0.5


@functools.cache
def _path(problem: Problem) -> annealing.Path:
    return annealing.geometric_path(problem.base.logdensity_fn, problem.target.logdensity_fn)


def _optimizer(budget: Budget, num_updates: int) -> optax.GradientTransformation:
    schedule = optax.cosine_decay_schedule(budget.learning_rate, num_updates)
    return optax.chain(optax.clip_by_global_norm(10.0), optax.adam(schedule))


def _flow(key: PRNGKey, problem: Problem, budget: Budget) -> tuple[Flow, Params]:
    """An affine coupling flow, in units of the problem's base."""
    assert problem.target.dimension is not None
    net = coupling_flow(
        key,
        base_dist=Normal(jnp.zeros(problem.target.dimension)),
        flow_layers=budget.depth,
        nn_width=budget.width,
    )
    flow, params = from_flowjax(net)
    return _in_units(flow, problem.base_scale, problem.target.dimension), params


def _in_units(flow: Flow, scale: float, dimension: int) -> Flow:
    log_scale = dimension * jnp.log(scale)

    def forward(params: Params, z: Array) -> tuple[Array, Array]:
        x, log_det = flow.forward_fn(params, z)
        return scale * x, log_det + log_scale

    def inverse(params: Params, x: Array) -> tuple[Array, Array]:
        z, log_det = flow.inverse_fn(params, x / scale)
        return z, log_det - log_scale

    return Flow(flow.base, forward, inverse)


def _layers(key: PRNGKey, problem: Problem, budget: Budget) -> tuple[Callable, Params]:
    """For each stop two coupling layers, of both halves, that do nothing at first."""
    scale, dimension = problem.base_scale, problem.target.dimension
    assert dimension is not None

    def coupling(key: PRNGKey, untransformed: int) -> Any:
        layer = bijections.Coupling(
            key,
            transformer=bijections.Affine(),
            untransformed_dim=untransformed,
            dim=dimension,
            nn_width=budget.width,
            nn_depth=1,
        )
        last = layer.conditioner.layers[-1]
        zero = jax.tree.map(jnp.zeros_like, (last.weight, last.bias))
        return eqx.tree_at(
            lambda layer: (
                layer.conditioner.layers[-1].weight,
                layer.conditioner.layers[-1].bias,
            ),
            layer,
            zero,
        )

    def pair(key: PRNGKey) -> Any:
        first, second = jax.random.split(key)
        half = dimension // 2
        flip = bijections.Permute(jnp.arange(dimension)[::-1])
        return bijections.Chain([coupling(first, half), flip, coupling(second, half), flip])

    base = Normal(jnp.zeros(dimension))
    # One of them says what is fixed; all have the parameters of their own.
    flow, _ = from_bijection(pair(key), base)
    stacked = jax.vmap(lambda key: from_bijection(pair(key), base)[1])(
        jax.random.split(key, budget.num_layers)
    )

    def layer_fn(params: Params, x: Array) -> tuple[Array, Array]:
        y, log_det = flow.forward_fn(params, x / scale)
        return scale * y, log_det

    return layer_fn, stacked
