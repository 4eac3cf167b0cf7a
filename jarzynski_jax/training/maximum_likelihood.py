r"""Maximum likelihood: a model whose normalised density is known learns from data.

It descends the forward Kullback-Leibler divergence of the data from the model,

.. math:: E_*[-\log q_\theta(x)] = {\rm KL}(\rho_* \| q_\theta) + H(\rho_*),

the cross entropy, which is never below the entropy :math:`H` of the data.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax

from jarzynski_jax.training.gradient_descent import descent_objective
from jarzynski_jax.training.objective import Objective
from jarzynski_jax.types import Array, Params, Position, PRNGKey

__all__ = ["maximum_likelihood"]

#: ``(params, x) -> scalar``, the normalised log-density of one sample.
ModelLogDensity: TypeAlias = Callable[[Params, Position], Array]


def maximum_likelihood(
    logdensity_fn: ModelLogDensity, optimizer: optax.GradientTransformation
) -> Objective:
    r"""Train a normalised density on data; the loss is the mini-batch's cross entropy.

    .. math:: \hat L(\theta) = -\frac1B \sum_j \log q_\theta(x^*_j),

    unbiased for the cross entropy, and its gradient for that one's.

    Parameters
    ----------
    logdensity_fn
        ``(params, x) -> scalar``: :math:`\log q_\theta`, normalised, for one sample, a pure
        function. Of a module of Equinox, such as a flow of flowjax, ``params, static =
        equinox.partition(flow, equinox.is_inexact_array)`` gives the parameters, and
        ``lambda params, x: equinox.combine(params, static).log_prob(x)`` the function; of one
        of Flax it is ``module.apply``.
    optimizer
        Any of Optax.

    Returns
    -------
    Objective
        ``init(rng_key, params)``; metrics
        :class:`~jarzynski_jax.training.gradient_descent.DescentMetrics`.

    Raises
    ------
    ValueError
        If the log-density is no function; in ``init``, if parameters are no floating-point
        numbers; in ``step``, if there is no batch, or the log-density of one sample is no
        scalar.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax
    >>> from jax.scipy.stats import norm
    >>> from jarzynski_jax import training
    >>> def logdensity_fn(params, x):
    ...     return norm.logpdf(x, params["mean"], jnp.exp(params["log_scale"]))
    >>> objective = maximum_likelihood(logdensity_fn, optax.adam(0.05))
    >>> params = {"mean": jnp.array(0.0), "log_scale": jnp.array(0.0)}
    >>> state = objective.init(jax.random.key(0), params)
    >>> data = 2 + 3 * jax.random.normal(jax.random.key(1), (500,))
    >>> result = training.fit(
    ...     jax.random.key(2), objective, state, data, num_steps=300, batch_size=100
    ... )
    >>> mean, scale = result.state.params["mean"], jnp.exp(result.state.params["log_scale"])
    >>> bool(abs(mean - data.mean()) < 0.4), bool(abs(scale - data.std()) < 0.4)
    (True, True)
    """
    if not callable(logdensity_fn):
        raise ValueError(
            "logdensity_fn must be a function (params, x) -> scalar; got "
            f"{type(logdensity_fn).__name__}"
        )

    def loss_fn(rng_key: PRNGKey, batch: Position, params: Params) -> tuple[Array, Any]:
        del rng_key
        log_q = jax.vmap(logdensity_fn, (None, 0))(params, batch)
        if log_q.ndim != 1:
            raise ValueError(
                f"the log-density of one sample must be a scalar; got shape {log_q.shape[1:]}"
            )
        return -jnp.mean(log_q), ()

    wrong_batch = "maximum likelihood needs a batch of data; got None"
    return descent_objective(loss_fn, optimizer, wrong_batch)
