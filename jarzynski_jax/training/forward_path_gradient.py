r"""The path gradient of the forward KL divergence: from data, and the target's log-density too.

With :math:`z = T_\theta^{-1}(x)` the divergence of the target from the model is that of the
data, carried back to the base, from the base: :math:`{\rm KL}(p\|q_\theta) =
{\rm KL}(p_\theta\|q_0)`, where :math:`\log p_\theta(z) = \ell(T(z)) + \log|\det\partial T|`, up
to a constant. The part of its gradient that goes through z is

.. math:: \nabla{\rm KL} = E_p\Big[\frac{\partial}{\partial z}\big(\log p_{\theta}(z)
          - \log q_0(z)\big)\Big|_{\theta\ \text{fixed}}
          \frac{\partial z}{\partial\theta}\Big],

zero for every single datum at q = p, unlike that of the likelihood.

References: Bauer and Mnih, ICML 2021 (GDReG); Vaitl, Winkler, Richter and Kessel, ICLR 2024.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jarzynski_jax.density import Density, check_density
from jarzynski_jax.training.gradient_descent import descent_objective, with_gradient_of
from jarzynski_jax.training.objective import Objective
from jarzynski_jax.types import Array, Params, Position, PRNGKey

__all__ = ["forward_path_gradient"]


def forward_path_gradient(
    flow: Any, target: Density, optimizer: optax.GradientTransformation
) -> Objective:
    r"""Train a flow on samples of a density whose log-density is known; unbiased.

    Parameters
    ----------
    flow
        A :class:`~jarzynski_jax.generators.Flow`, or anything with its fields.
    target
        That the data are samples of; its log-density is needed, differentiable.
    optimizer
        Any of Optax.

    Returns
    -------
    Objective
        ``init(rng_key, params)``; metrics
        :class:`~jarzynski_jax.training.DescentMetrics`: the loss is the mini-batch's cross
        entropy, as of :func:`jarzynski_jax.training.maximum_likelihood`.

    Raises
    ------
    ValueError
        If the flow lacks a field, or the target is no density; in ``init``, if parameters are
        no floating-point numbers; in ``step``, if there is no batch.
    """
    for name in ("base", "forward_fn", "inverse_fn"):
        if not hasattr(flow, name):
            raise ValueError(
                f"a flow must have a {name}, as generators.Flow; got {type(flow).__name__}"
            )
    check_density("the target", target)

    def loss_fn(rng_key: PRNGKey, batch: Position, params: Params) -> tuple[Array, Any]:
        del rng_key
        z, log_det = jax.vmap(flow.inverse_fn, (None, 0))(params, batch)
        log_base, log_z = flow.base.logdensity_fn, flow.base.log_partition_function
        frozen = jax.lax.stop_gradient(params)

        def log_ratio(z: Position) -> Array:
            x, log_det = flow.forward_fn(frozen, z)
            return target.logdensity_fn(x) + log_det - log_base(z)

        fixed = jax.lax.stop_gradient(z)
        slope = jax.vmap(jax.grad(log_ratio))(fixed)
        along = jax.tree.map(lambda slope, z: jnp.sum(slope * z), slope, z)
        surrogate = jnp.sum(jnp.stack(jax.tree.leaves(along))) / log_det.shape[0]
        loss = -jnp.mean(jax.vmap(log_base)(fixed) - log_z + log_det)
        return with_gradient_of(loss, surrogate), ()

    wrong_batch = "the forward path gradient needs a batch of data; got None"
    return descent_objective(loss_fn, optimizer, wrong_batch)
