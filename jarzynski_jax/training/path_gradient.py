r"""Path gradients of the reverse KL divergence, which vanish where the model is the target.

The gradient through a sample :math:`x = T_\theta(z)` has two parts. That of
:math:`\log q_\theta` at a fixed sample, the score, has mean zero and is left out; what remains
goes through the sample:

.. math:: \nabla{\rm KL} = E\Big[\Big(\frac{\partial\log q}{\partial x}
          - \frac{\partial\ell}{\partial x}\Big)\frac{\partial x}{\partial\theta}\Big],

zero for every single sample at q = p, where the total gradient still fluctuates: for
:math:`q = N(0, s^2)` of :math:`N(0, 1)` by :math:`2(s - 1/s)^2` against :math:`2s^2`. What it
costs is :math:`\partial\log q/\partial x` at a sample, for which there are three ways: the
inverse of the map (``Flow.sample_with_score``); a recursion through coupling layers
(``LayeredFlow.sample_with_score``); along the path of a continuous flow
(``ContinuousFlow.sample_with_score``).

References: Roeder, Wu and Duvenaud, NeurIPS 2017; Vaitl, Nicoli, Nakajima and Kessel, ICML
2022, and ICLR 2024.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import optax

from jarzynski_jax.density import Density
from jarzynski_jax.training.gradient_descent import with_gradient_of
from jarzynski_jax.training.objective import Objective
from jarzynski_jax.training.reverse_kl import log_weights_at, objective_of_samples
from jarzynski_jax.types import Array, Params, Position, PRNGKey

__all__ = ["SampleWithScore", "path_gradient"]

#: ``(rng_key, params, num_samples) -> (x, log q, ∂log q/∂x)``, leading axis n; only x depends
#: on the parameters, log q and score are those of parameters held fixed.
SampleWithScore: TypeAlias = Callable[[PRNGKey, Params, int], tuple[Position, Array, Position]]


def path_gradient(
    sample_with_score: SampleWithScore,
    target: Density,
    optimizer: optax.GradientTransformation,
    num_samples: int,
) -> Objective:
    """Train a model towards a density by the path gradient; unbiased.

    Parameters
    ----------
    sample_with_score
        Of a flow, its method of that name.
    target, optimizer, num_samples
        As of :func:`jarzynski_jax.training.reverse_kl`, with a target that is differentiable.

    Returns
    -------
    Objective
        ``init(rng_key, params)``; metrics :class:`~jarzynski_jax.training.ReverseKLMetrics`. It
        takes no data.

    Raises
    ------
    ValueError
        As of :func:`jarzynski_jax.training.reverse_kl`.

    Examples
    --------
    >>> from jarzynski_jax import targets, training
    >>> from jarzynski_jax.generators import Flow
    >>> scale = lambda s, z: (s * z, jnp.log(s))
    >>> flow = Flow(targets.gaussian([1.0]), scale, lambda s, x: scale(1 / s, x))
    >>> objective = path_gradient(
    ...     flow.sample_with_score, targets.gaussian([4.0]), optax.sgd(0.3), num_samples=10
    ... )
    >>> state = objective.init(jax.random.key(0), 1.0)
    >>> result = training.fit(jax.random.key(1), objective, state, num_steps=200)
    >>> round(float(result.state.params), 4)  # without a rest of noise
    2.0
    """
    if not callable(sample_with_score):
        raise ValueError(
            "sample_with_score must be a function (rng_key, params, num_samples) -> "
            f"(x, log q, score), a flow's method; got {type(sample_with_score).__name__}"
        )

    def loss_fn(rng_key: PRNGKey, params: Params) -> tuple[Array, Array]:
        x, log_q, score = sample_with_score(rng_key, params, num_samples)
        fixed, log_q, score = jax.lax.stop_gradient((x, log_q, score))
        log_weights = log_weights_at(target, fixed, log_q)
        force = jax.vmap(jax.grad(target.logdensity_fn))(fixed)
        along = jax.tree.map(
            lambda score, force, x: jnp.sum((score - force) * x) / num_samples, score, force, x
        )
        surrogate = jnp.sum(jnp.stack(jax.tree.leaves(along)))
        return with_gradient_of(-jnp.mean(log_weights), surrogate), log_weights

    return objective_of_samples(loss_fn, target, optimizer, num_samples)
