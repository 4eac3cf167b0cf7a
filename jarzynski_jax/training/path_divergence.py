r"""The divergence of path measures: a stochastic flow trained by its mean work.

Walkers go all the way through layers and moves, and their log-weights A are the work:

.. math:: L(\theta) = -E[A] = {\rm KL}(\text{forward paths}\,\|\,\text{backward paths})
          - \log Z_K/Z_0 \ge -\log Z_K/Z_0

with the gradient through the layers, and through the noise of Langevin moves as it is drawn
(reparametrised): unbiased. A step of Metropolis has no such gradient.

Reference: Wu, Köhler and Noé, *Stochastic normalizing flows*, NeurIPS 2020.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jarzynski_jax.annealing import anneal
from jarzynski_jax.density import Density
from jarzynski_jax.generators.stochastic_flow import StochasticFlow
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.training.craft import check_flow, check_layers
from jarzynski_jax.training.gradient_descent import DescentMetrics, descent_objective
from jarzynski_jax.training.objective import Objective
from jarzynski_jax.training.pipeline import check_sizes, enter
from jarzynski_jax.training.reverse_kl import ReverseKLMetrics, of_importance_weights
from jarzynski_jax.types import Array, Params, PRNGKey
from jarzynski_jax.walkers import Walkers, log_partition_function

__all__ = ["path_divergence"]


def path_divergence(
    flow: StochasticFlow,
    base: Density,
    optimizer: optax.GradientTransformation,
    num_walkers: int,
) -> Objective:
    r"""Train all layers of a stochastic flow together, by the mean work of fresh walkers.

    Parameters
    ----------
    flow
        Layers, path and moves; its resampler is not used here. Moves must be differentiable:
        unadjusted or kinetic Langevin.
    base
        The start of the path: exact samples and log Z.
    num_walkers
        That go all the way at each update; the memory is that of all of their steps.

    Returns
    -------
    Objective
        ``init(rng_key, params)``, with leading axis K on every leaf of the parameters; metrics
        :class:`~jarzynski_jax.training.ReverseKLMetrics`, of paths; ``loss`` is relative to the
        log Z of the base. It takes no data.

    Raises
    ------
    ValueError
        If the flow is none or its moves accept and reject, the base has no exact samples or
        log Z, or there are no walkers; in ``init``, if parameters have another leading axis, or
        are no floating-point numbers.

    Examples
    --------
    >>> from jarzynski_jax import annealing, targets, training
    >>> from jarzynski_jax.kernels import ula
    >>> base, goal = targets.gaussian([1.0]), (lambda x: -jnp.sum((x - 4) ** 2) / 2)
    >>> path = annealing.geometric_path(base.logdensity_fn, goal)
    >>> shift = lambda params, x: (x + params, 0.0)
    >>> flow = StochasticFlow(shift, path, jnp.linspace(0, 1, 5)[1:], ula.as_move(0.1))
    >>> objective = path_divergence(flow, base, optax.sgd(0.2), num_walkers=64)
    >>> state = objective.init(jax.random.key(0), jnp.zeros((4, 1)))
    >>> result = training.fit(jax.random.key(1), objective, state, num_steps=100)
    >>> bool(result.metrics.effective_sample_size[-1] > 0.9)
    True
    """
    check_flow(flow)
    check_sizes(num_walkers, base)
    if not flow.move.is_differentiable:
        raise ValueError(
            "the gradient of the mean work goes through the moves, and a move that accepts and "
            "rejects has none: take ula or kinetic, or training.craft; got a Move whose "
            "is_differentiable is False"
        )
    # Resampled walkers are no independent paths.
    flow = flow._replace(resampler=adaptive(systematic, 0.0))
    num_steps = flow.times.shape[0]

    def loss_fn(rng_key: PRNGKey, batch: Any, params: Params) -> tuple[Array, Walkers]:
        del batch
        key_start, key_path = jax.random.split(rng_key)
        first = flow.path(jnp.zeros_like(flow.times[0]))
        begin = enter(key_start, base, first, flow.dynamics.kernel_init, num_walkers)
        end, _ = anneal(key_path, begin, *flow.arguments(params))
        return -jnp.mean(end.log_weights), end

    def sum_up(seen: DescentMetrics, end: Walkers) -> ReverseKLMetrics:
        found = of_importance_weights(seen, end.log_weights)
        return found._replace(log_partition_function=log_partition_function(end))

    return descent_objective(
        loss_fn,
        optimizer,
        "the divergence of paths takes no data; got a batch",
        sum_up,
        takes_data=False,
        check=lambda rng_key, params: check_layers(params, num_steps),
    )
