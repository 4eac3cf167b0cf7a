r"""The reverse Kullback-Leibler divergence: a model that can be sampled learns a density.

No data are needed, but a density up to its constant, :math:`p = e^{\ell} / Z`:

.. math:: E_q[\log q_\theta(x) - \ell(x)] = {\rm KL}(q_\theta \| p) - \log Z \ge -\log Z

What the model never visits does not enter: a mode of the density that it misses costs it no
more than the log of the mass that is left, and neither loss nor weights tell.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from jarzynski_jax import weights
from jarzynski_jax.density import Density, check_density
from jarzynski_jax.training.gradient_descent import DescentMetrics, descent_objective
from jarzynski_jax.training.objective import Objective
from jarzynski_jax.types import Array, Params, Position, PRNGKey

__all__ = [
    "ReverseKLMetrics",
    "SampleWithLogDensity",
    "check_sampler",
    "log_weights_at",
    "objective_of_samples",
    "of_importance_weights",
    "reverse_kl",
]

#: ``(rng_key, params) -> (x, log q(x))``, one sample of the model and its normalised
#: log-density there, differentiable in the parameters through the sample.
SampleWithLogDensity: TypeAlias = Callable[[PRNGKey, Params], tuple[Position, Array]]


class ReverseKLMetrics(NamedTuple):
    r"""What one update saw, by the parameters before it.

    loss
        :math:`\log q - \ell`, the mean over the samples, in nats; unbiased for
        :math:`{\rm KL}(q \| p) - \log Z`.
    gradient_norm
        Of the gradient of the loss.
    is_skipped
        Whether loss or gradient was not finite, so that no update was made.
    log_partition_function
        The log of the mean of the importance weights :math:`e^\ell / q`. The mean is unbiased
        for Z where q is positive wherever p is; its log is biased low.
    effective_sample_size
        Of these weights, a fraction.
    """

    loss: Array
    gradient_norm: Array
    is_skipped: Array
    log_partition_function: Array
    effective_sample_size: Array


def reverse_kl(
    sample_and_logdensity: SampleWithLogDensity,
    target: Density,
    optimizer: optax.GradientTransformation,
    num_samples: int,
) -> Objective:
    r"""Train a model towards a density, on samples of the model itself.

    .. math:: \hat L(\theta) = \frac1n \sum_i \log q_\theta(x_i) - \ell(x_i),
              \qquad x_i = T_\theta(z_i)

    with the reparametrised gradient, through the samples: unbiased.

    Parameters
    ----------
    sample_and_logdensity
        ``(rng_key, params) -> (x, log q(x))``, for one sample, a pure function. Of a module of
        Equinox, such as a flow of flowjax, ``params, static = equinox.partition(flow,
        equinox.is_inexact_array)`` gives the parameters, and ``lambda key, params:
        equinox.combine(params, static).sample_and_log_prob(key)`` the function.
    target
        Only its log-density is needed.
    optimizer
        Any of Optax.
    num_samples
        n, drawn at each update.

    Returns
    -------
    Objective
        ``init(rng_key, params)``; metrics :class:`ReverseKLMetrics`. It takes no data.

    Raises
    ------
    ValueError
        If the sampler is no function, the target no density, or ``num_samples`` below one; in
        ``init``, if parameters are no floating-point numbers; in ``step``, if there is a batch,
        or log-densities of one sample are no scalars.

    References
    ----------
    Rezende and Mohamed, ICML 2015; Noé, Olsson, Köhler and Wu, *Science* 365 (2019) eaaw1147.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax
    >>> from jax.scipy.stats import norm
    >>> from jarzynski_jax import training
    >>> from jarzynski_jax.density import Density
    >>> target = Density(lambda x: -((x - 2) ** 2) / 18)  # log Z = log(3 sqrt(2 pi)) = 2.018
    >>> def sample_and_logdensity(rng_key, params):
    ...     mean, log_scale = params
    ...     x = mean + jnp.exp(log_scale) * jax.random.normal(rng_key)
    ...     return x, norm.logpdf(x, mean, jnp.exp(log_scale))
    >>> objective = reverse_kl(sample_and_logdensity, target, optax.adam(0.05), num_samples=100)
    >>> state = objective.init(jax.random.key(0), (0.0, 0.0))
    >>> result = training.fit(jax.random.key(1), objective, state, num_steps=300)
    >>> round(float(result.metrics.log_partition_function[-1]), 1)
    2.0
    """
    check_sampler(sample_and_logdensity)

    def loss_fn(rng_key: PRNGKey, params: Params) -> tuple[Array, Array]:
        keys = jax.random.split(rng_key, num_samples)
        x, log_q = jax.vmap(sample_and_logdensity, (0, None))(keys, params)
        log_weights = log_weights_at(target, x, log_q)
        return -jnp.mean(log_weights), log_weights

    return objective_of_samples(loss_fn, target, optimizer, num_samples)


def check_sampler(sample_and_logdensity: Any) -> None:
    """Check that this is a function; else a ValueError."""
    if not callable(sample_and_logdensity):
        raise ValueError(
            "sample_and_logdensity must be a function (rng_key, params) -> (x, log q(x)); got "
            f"{type(sample_and_logdensity).__name__}"
        )


def log_weights_at(target: Density, x: Position, log_q: Array) -> Array:
    r"""Log-weights :math:`\ell - \log q` of samples whose log q is known."""
    log_p = jax.vmap(target.logdensity_fn)(x)
    if not log_p.shape == log_q.shape == log_q.shape[:1]:
        raise ValueError(
            "log-densities of one sample must be scalars; the model's has shape "
            f"{log_q.shape[1:]}, the target's {log_p.shape[1:]}"
        )
    return log_p - log_q


def objective_of_samples(
    loss_fn: Callable[[PRNGKey, Params], tuple[Array, Array]],
    target: Density,
    optimizer: optax.GradientTransformation,
    num_samples: int,
) -> Objective:
    """Descend a loss of fresh samples of the model, ``(loss, log_weights)`` of a key.

    What all estimators of the gradient of the reverse divergence share: the loss differs by its
    gradient alone.
    """
    check_density("the target", target)
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1; got {num_samples}")
    return descent_objective(
        lambda rng_key, batch, params: loss_fn(rng_key, params),
        optimizer,
        "the reverse KL divergence takes no data; got a batch",
        of_importance_weights,
        takes_data=False,
    )


def of_importance_weights(seen: DescentMetrics, log_weights: Array) -> ReverseKLMetrics:
    """Metrics of an update that saw these importance weights."""
    return ReverseKLMetrics(
        loss=seen.loss,
        gradient_norm=seen.gradient_norm,
        is_skipped=seen.is_skipped,
        log_partition_function=weights.log_mean_exp(log_weights),
        effective_sample_size=weights.effective_sample_size(log_weights),
    )
