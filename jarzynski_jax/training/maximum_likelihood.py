"""Models whose density is normalised, trained on data: flows, autoregressive networks."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jarzynski_jax.training.gradient_descent import descend
from jarzynski_jax.training.objective import Objective
from jarzynski_jax.types import Array, Params, Position, PRNGKey

__all__ = ["maximum_likelihood"]


def maximum_likelihood(
    logdensity_fn: Callable[[Params, Position], Array],
    optimizer: optax.GradientTransformation,
) -> Objective:
    r"""Descend the cross entropy of the data, which is the forward Kullback-Leibler divergence.

    .. math:: L(\theta) = -E_*[\log q_\theta(x)] = {\rm KL}(p_* | q_\theta) + H(p_*)

    Parameters
    ----------
    logdensity_fn
        ``(params, x) -> scalar`` for one sample, **normalised**: nothing here sees a log Z.
    optimizer
        Any of Optax.

    Returns
    -------
    Objective
        ``init(rng_key, params)``. Its metric ``loss``, nats, is an unbiased estimate of the
        cross entropy.

    Examples
    --------
    >>> import jax.numpy as jnp, optax
    >>> from jarzynski_jax import training
    >>> logdensity_fn = lambda params, x: jax.scipy.stats.norm.logpdf(x, params, 1.0).sum()
    >>> objective = maximum_likelihood(logdensity_fn, optax.sgd(0.1))
    >>> data = 1 + jax.random.normal(jax.random.key(0), (500, 2))
    >>> state = objective.init(jax.random.key(1), jnp.zeros(2))
    >>> found = training.fit(
    ...     jax.random.key(2), objective, state, data, num_steps=100, batch_size=100
    ... )
    >>> bool(jnp.all(jnp.abs(found.state.params - 1) < 0.2))
    True
    """

    def loss_fn(params: Params, rng_key: PRNGKey, batch: Position) -> tuple[Array, tuple[()]]:
        del rng_key  # nothing is drawn
        return -jnp.mean(jax.vmap(logdensity_fn, (None, 0))(params, batch)), ()

    return descend(loss_fn, optimizer)
