r"""The score estimator of the reverse KL divergence: no gradient goes through a sample.

With :math:`f = \log q - \ell` of samples held fixed,

.. math:: \nabla{\rm KL} = E_q[f\,\nabla_\theta\log q_\theta(x)]

It needs no derivative of the target and none of the map by which the model is sampled, and it
varies most of all: for :math:`q = N(0, s^2)`, :math:`p = N(0, 1)` by
:math:`14(s - 1/s)^2/n`, where the path gradient has :math:`2(s - 1/s)^2/n`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jarzynski_jax.density import Density
from jarzynski_jax.training.objective import Objective
from jarzynski_jax.training.reverse_kl import (
    SampleWithLogDensity,
    check_sampler,
    log_weights_at,
    objective_of_samples,
    with_gradient_of,
)
from jarzynski_jax.types import Array, Params, Position, PRNGKey

__all__ = ["score_gradient"]


def score_gradient(
    sample_and_logdensity: SampleWithLogDensity,
    logdensity_fn: Callable[[Params, Position], Array],
    target: Density,
    optimizer: optax.GradientTransformation,
    num_samples: int,
) -> Objective:
    r"""Train a model towards a density by the score estimator (REINFORCE).

    .. math:: \hat g = \frac1{n - 1}\sum_i (f_i - \bar f)\,\nabla\log q_\theta(x_i)

    The mean of f over the other samples is taken off each, so that it is unbiased.

    Parameters
    ----------
    sample_and_logdensity, target, optimizer
        As of :func:`jarzynski_jax.training.reverse_kl`; positions may be of integers.
    logdensity_fn
        ``(params, x) -> log q(x)``, normalised, differentiable in the parameters.
    num_samples
        n, at least 2.

    Returns
    -------
    Objective
        ``init(rng_key, params)``; metrics :class:`~jarzynski_jax.training.ReverseKLMetrics`. It
        takes no data.

    Raises
    ------
    ValueError
        As of :func:`jarzynski_jax.training.reverse_kl`, and for n = 1.

    References
    ----------
    Williams, *Mach. Learn.* 8 (1992) 229; Mnih and Rezende, ICML 2016.
    """
    check_sampler(sample_and_logdensity)
    if num_samples < 2:
        raise ValueError(
            "the score estimator takes the mean of the other samples off each: num_samples "
            f"must be at least 2; got {num_samples}"
        )

    def loss_fn(rng_key: PRNGKey, params: Params) -> tuple[Array, Array]:
        frozen = jax.lax.stop_gradient(params)
        keys = jax.random.split(rng_key, num_samples)
        x, log_q = jax.vmap(sample_and_logdensity, (0, None))(keys, frozen)
        f = -log_weights_at(target, x, log_q)
        scored = jax.vmap(logdensity_fn, (None, 0))(params, x)
        surrogate = jnp.sum((f - jnp.mean(f)) * scored) / (num_samples - 1)
        return with_gradient_of(jnp.mean(f), surrogate), -f

    return objective_of_samples(loss_fn, target, optimizer, num_samples)
