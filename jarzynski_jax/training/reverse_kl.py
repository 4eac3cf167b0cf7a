r"""Models that sample and know their density, trained on a target without data.

With samples of the model, :math:`x \sim q_\theta`, and :math:`w = p(x)/q_\theta(x)` for the
unnormalised target p, the mean of w is an unbiased estimate of Z at every update, whatever the
model is; the model itself only makes it a good one.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jarzynski_jax.training.gradient_descent import DescentMetrics, descend
from jarzynski_jax.training.objective import Objective
from jarzynski_jax.types import Array, LogDensityFn, Params, Position, PRNGKey
from jarzynski_jax.weights import effective_sample_size, log_mean_exp

__all__ = ["ReverseKLMetrics", "reverse_kl"]


class ReverseKLMetrics(NamedTuple):
    r"""What one update saw, all scalars, of the parameters before it.

    loss
        :math:`E_q[\log q - \log p]`, nats: never below :math:`-\log Z` but by chance.
    log_partition_function
        From this update's samples; the mean weight is unbiased for Z.
    effective_sample_size
        Of their weights, a fraction. It does not see what the model never proposes.
    gradient_norm
        Of the gradient that was followed.
    is_skipped
        Whether the gradient was not finite, so that no update was made.
    """

    loss: Array
    log_partition_function: Array
    effective_sample_size: Array
    gradient_norm: Array
    is_skipped: Array


def reverse_kl(
    sample_fn: Callable[[Params, PRNGKey, int], tuple[Position, Array]],
    logdensity_fn: LogDensityFn,
    optimizer: optax.GradientTransformation,
    num_samples: int,
) -> Objective:
    r"""Descend the reverse Kullback-Leibler divergence, by samples that can be differentiated.

    .. math:: L(\theta) = E_{q_\theta}[\log q_\theta(x) - \log p(x)]
              = {\rm KL}(q_\theta | p/Z) - \log Z

    It is mode seeking: a model may learn one mode of many, and nothing here shows the others.

    Parameters
    ----------
    sample_fn
        ``(params, rng_key, n) -> (positions, log_q)``: independent samples, leading axis n,
        and their normalised log-density, shape ``(n,)``. The gradient goes through both: a
        reparametrized model, such as a flow.
    logdensity_fn
        The target, up to its constant; that of a :class:`~jarzynski_jax.density.Density`.
    optimizer
        Any of Optax.
    num_samples
        Drawn for an update.

    Returns
    -------
    Objective
        ``init(rng_key, params)``; it takes no data.

    Raises
    ------
    ValueError
        If ``num_samples`` is below one.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax
    >>> from jarzynski_jax import training
    >>> def sample_fn(params, rng_key, n):
    ...     noise = jax.random.normal(rng_key, (n,))
    ...     log_q = jax.scipy.stats.norm.logpdf(noise) - params
    ...     return jnp.exp(params) * noise, log_q
    >>> objective = reverse_kl(sample_fn, lambda x: -2 * x**2, optax.sgd(0.1), 200)
    >>> state = objective.init(jax.random.key(0), jnp.array(0.0))
    >>> found = training.fit(jax.random.key(1), objective, state, num_steps=100)
    >>> bool(abs(jnp.exp(found.state.params) - 0.5) < 0.05)
    True
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1; got {num_samples}")

    def loss_fn(params: Params, rng_key: PRNGKey, batch: None) -> tuple[Array, Array]:
        positions, log_q = sample_fn(params, rng_key, num_samples)
        log_weights = jax.vmap(logdensity_fn)(positions) - log_q
        return -jnp.mean(log_weights), log_weights

    def metrics_of(metrics: DescentMetrics, log_weights: Array) -> ReverseKLMetrics:
        return ReverseKLMetrics(
            loss=metrics.loss,
            log_partition_function=log_mean_exp(log_weights),
            effective_sample_size=effective_sample_size(log_weights),
            gradient_norm=metrics.gradient_norm,
            is_skipped=metrics.is_skipped,
        )

    return descend(loss_fn, optimizer, metrics_of, takes_data=False)
