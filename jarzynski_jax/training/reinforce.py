r"""REINFORCE: a model of discrete states learns a density, by samples of its own.

The reverse Kullback-Leibler divergence of :mod:`jarzynski_jax.training.reverse_kl` where no
derivative goes through the samples, such as spins: with
:math:`R = \log q_\theta - c\,\ell`,

.. math:: \nabla_\theta E_q[R] = E_q\big[(R - b)\,\nabla_\theta\log q_\theta\big],
    \qquad b_i = \frac1{n-1}\sum_{j\ne i} R_j,

in which the baseline b, of the other samples, leaves the gradient unbiased and takes away most
of its variance: all of it where the model is the target. The power c may grow from 0 to 1 as
training goes on: an inverse temperature that is annealed.

References: Williams, *Machine Learning* 8 (1992) 229; Wu, Wang and Zhang, *Phys. Rev. Lett.*
122 (2019) 080602; Kool, van Hoof and Welling, *Buy 4 REINFORCE samples, get a baseline for
free*, 2019.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jarzynski_jax import weights
from jarzynski_jax.density import Density, check_density
from jarzynski_jax.training.gradient_descent import (
    DescentState,
    descend,
    start,
    with_gradient_of,
)
from jarzynski_jax.training.objective import Objective
from jarzynski_jax.types import Array, Params, Position, PRNGKey, Scalar

__all__ = ["ReinforceMetrics", "reinforce"]


class ReinforceMetrics(NamedTuple):
    r"""What one update saw, by the parameters before it.

    loss
        :math:`\log q - c\,\ell`, the mean over the samples, in nats; unbiased for the reverse
        KL divergence less log Z.
    gradient_norm
        Of the estimate of its gradient.
    is_skipped
        Whether loss or gradient was not finite, so that no update was made.
    log_partition_function
        The log of the mean of the importance weights :math:`e^{c\ell} / q`; biased low.
    effective_sample_size
        Of these weights, a fraction. It does not see modes that the model misses.
    power
        c, of the target at this update.
    """

    loss: Array
    gradient_norm: Array
    is_skipped: Array
    log_partition_function: Array
    effective_sample_size: Array
    power: Array


def reinforce(
    sample: Callable[[PRNGKey, Params, int], Position],
    logdensity_fn: Callable[[Params, Position], Array],
    target: Density,
    optimizer: optax.GradientTransformation,
    num_samples: int,
    power: Callable[[Array], Scalar] | None = None,
) -> Objective:
    r"""Train a model that is sampled without derivatives towards a density.

    Clip the norm of the gradient, in the optimizer: early ones are large. The monitor stops
    where losses are not finite.

    Parameters
    ----------
    sample
        ``(rng_key, params, n) -> positions`` on a leading axis, exact and independent.
    logdensity_fn
        ``(params, position) -> log q``, normalised, of one position; differentiable in the
        parameters.
    target
        Only its log-density is needed.
    num_samples
        n ≥ 2, drawn at each update.
    power
        ``number of the update -> c``, a schedule of Optax say; None for 1. Wu, Wang and Zhang
        have :math:`1 - 0.998^k`.

    Returns
    -------
    Objective
        ``init(rng_key, params)``; metrics :class:`ReinforceMetrics`. It takes no data.

    Raises
    ------
    ValueError
        If a function is none, the target no density, or ``num_samples`` below two; in
        ``init``, if parameters are no floating-point numbers; in ``step``, if there is a batch,
        or log-densities of one position are no scalars.

    Examples
    --------
    >>> import jax, optax
    >>> from flax import nnx
    >>> from jarzynski_jax import generators, training
    >>> from jarzynski_jax.targets import lattice
    >>> net = generators.MaskedDense((2, 2), depth=1, rngs=nnx.Rngs(0))
    >>> model, params = generators.autoregressive(net)
    >>> target = lattice.ising((2, 2), inverse_temperature=0.1)
    >>> objective = reinforce(model.sample, model.logdensity_fn, target, optax.adam(0.02), 100)
    >>> state = objective.init(jax.random.key(0), params)
    >>> result = training.fit(jax.random.key(1), objective, state, num_steps=200)
    >>> bool(abs(result.metrics.loss[-50:].mean() + target.log_partition_function) < 0.05)
    True
    """
    for name, function in (("sample", sample), ("logdensity_fn", logdensity_fn)):
        if not callable(function):
            raise ValueError(f"{name} must be a function; got {type(function).__name__}")
    check_density("the target", target)
    if num_samples < 2:
        raise ValueError(
            f"num_samples must be at least 2, for a baseline of the others; got {num_samples}"
        )

    def init(rng_key: PRNGKey, params: Params) -> DescentState:
        del rng_key
        return start(params, optimizer)

    def step(
        rng_key: PRNGKey, state: DescentState, batch: Any
    ) -> tuple[DescentState, ReinforceMetrics]:
        if batch is not None:
            raise ValueError("REINFORCE takes no data; got a batch")
        c = jnp.asarray(1.0 if power is None else power(state.step))
        positions = sample(rng_key, state.params, num_samples)
        log_p = jax.vmap(target.logdensity_fn)(positions)

        def loss_fn(params: Params) -> tuple[Array, Array]:
            log_q = jax.vmap(logdensity_fn, (None, 0))(params, positions)
            if not log_p.shape == log_q.shape == (num_samples,):
                raise ValueError(
                    "log-densities of one position must be scalars; the model's has shape "
                    f"{log_q.shape[1:]}, the target's {log_p.shape[1:]}"
                )
            rewards = jax.lax.stop_gradient(log_q - c.astype(log_q.dtype) * log_p)
            mean = jnp.mean(rewards)
            # R_i less the mean of the others is this times R_i less that of all.
            factor = num_samples / (num_samples - 1)
            surrogate = factor * jnp.mean((rewards - mean) * log_q)
            return with_gradient_of(mean, surrogate), -rewards

        state, seen, log_weights = descend(state, loss_fn, optimizer)
        return state, ReinforceMetrics(
            loss=seen.loss,
            gradient_norm=seen.gradient_norm,
            is_skipped=seen.is_skipped,
            log_partition_function=weights.log_mean_exp(log_weights),
            effective_sample_size=weights.effective_sample_size(log_weights),
            power=c,
        )

    return Objective(init, step, takes_data=False)
