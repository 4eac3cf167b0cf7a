r"""The forward KL divergence from weighted samples, such as walkers.

.. math:: \hat L(\theta) = -\sum_i p_i\log q_\theta(x_i), \qquad p = {\rm softmax}(A)

With properly weighted samples of p it tends to the cross entropy :math:`H(p) +
{\rm KL}(p\|q_\theta)`. Normalised weights are a ratio of two means: a bias of order 1/n.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jarzynski_jax import weights
from jarzynski_jax.training.gradient_descent import DescentMetrics, descent_objective
from jarzynski_jax.training.objective import Objective
from jarzynski_jax.types import Array, Params, Position, PRNGKey

__all__ = ["ForwardKLMetrics", "forward_kl"]


class ForwardKLMetrics(NamedTuple):
    """What one update saw, by the parameters before it.

    loss, gradient_norm, is_skipped
        As of any objective; the loss is the weighted cross entropy, in nats.
    effective_sample_size
        Of the weights that came with the samples, a fraction.
    """

    loss: Array
    gradient_norm: Array
    is_skipped: Array
    effective_sample_size: Array


def forward_kl(
    logdensity_fn: Callable[[Params, Position], Array],
    draw: Callable[[PRNGKey, Params], tuple[Position, Array]],
    optimizer: optax.GradientTransformation,
) -> Objective:
    r"""Train a normalised density on weighted samples that are drawn at each update.

    Data of equal weight are the business of :func:`jarzynski_jax.training.maximum_likelihood`.

    Parameters
    ----------
    logdensity_fn
        ``(params, x) -> log q(x)``, normalised, for one sample.
    draw
        ``(rng_key, params) -> (positions, log_weights)``, leading axis n; no gradient goes
        through it. It may take some of an ensemble of walkers, or anneal new ones.
    optimizer
        Any of Optax.

    Returns
    -------
    Objective
        ``init(rng_key, params)``; metrics :class:`ForwardKLMetrics`. It takes no data.

    Raises
    ------
    ValueError
        If one of the functions is none; in ``init``, if parameters are no floating-point
        numbers; in ``step``, if there is a batch, or as many log-weights as samples are not.

    Examples
    --------
    >>> from jax.scipy.stats import norm
    >>> from jarzynski_jax import training
    >>> def draw(rng_key, params):  # of N(2, 1), by samples of N(0, 3²)
    ...     x = 3 * jax.random.normal(rng_key, (500,))
    ...     return x, norm.logpdf(x, 2.0) - norm.logpdf(x, 0.0, 3.0)
    >>> objective = forward_kl(lambda mean, x: norm.logpdf(x, mean), draw, optax.sgd(0.1))
    >>> state = objective.init(jax.random.key(0), 0.0)
    >>> result = training.fit(jax.random.key(1), objective, state, num_steps=100)
    >>> bool(abs(result.state.params - 2) < 0.1)
    True
    """
    for name, function, form in (
        ("logdensity_fn", logdensity_fn, "(params, x) -> scalar"),
        ("draw", draw, "(rng_key, params) -> (positions, log_weights)"),
    ):
        if not callable(function):
            raise ValueError(f"{name} must be a function {form}; got {type(function).__name__}")

    def loss_fn(rng_key: PRNGKey, batch: Any, params: Params) -> tuple[Array, Array]:
        del batch
        # No derivative goes in: what draws may have none.
        x, log_weights = draw(rng_key, jax.lax.stop_gradient(params))
        log_q = jax.vmap(logdensity_fn, (None, 0))(params, x)
        if not log_q.shape == jnp.shape(log_weights) == log_q.shape[:1]:
            raise ValueError(
                "each sample must have one log-weight and one log-density; got log-weights of "
                f"shape {jnp.shape(log_weights)} and log-densities of shape {log_q.shape}"
            )
        return -weights.weighted_mean(log_weights, log_q), log_weights

    def sum_up(seen: DescentMetrics, log_weights: Array) -> ForwardKLMetrics:
        return ForwardKLMetrics(*seen, weights.effective_sample_size(log_weights))

    wrong_batch = (
        "the forward KL divergence draws its weighted samples itself; got a batch: of data "
        "take maximum_likelihood"
    )
    return descent_objective(loss_fn, optimizer, wrong_batch, sum_up, takes_data=False)
