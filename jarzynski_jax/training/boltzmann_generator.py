r"""Boltzmann generators: a flow learns of an energy and of a few samples together.

.. math:: J = w_{\rm ML} J_{\rm ML} + w_{\rm KL} J_{\rm KL} + w_{\rm RC} J_{\rm RC}

The likelihood :math:`J_{\rm ML} = -E_*[\log q]` of samples, which may be from each state apart
and in any proportion, shows the flow where the states are; the reverse divergence
:math:`J_{\rm KL} = E_q[\log q - \ell]` makes it right there; and :math:`J_{\rm RC} =
E_q[\log p_q(R(x))]`, minus the entropy of a reaction coordinate R under the model, spreads
samples along it, over barriers too. Weights make up for whatever was learned, wherever the flow
has samples: :mod:`jarzynski_jax.free_energy.macrostates`.

Reference: Noé, Olsson, Köhler and Wu, *Science* 365 (2019) eaaw1147.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.scipy.special import logsumexp

from jarzynski_jax import weights
from jarzynski_jax.density import Density, check_density
from jarzynski_jax.training.gradient_descent import DescentMetrics, descent_objective
from jarzynski_jax.training.objective import Objective
from jarzynski_jax.training.reverse_kl import log_weights_at
from jarzynski_jax.types import Array, Params, Position, PRNGKey, Scalar

__all__ = ["BoltzmannMetrics", "Coordinate", "boltzmann_generator", "coordinate_loss"]


class Coordinate(NamedTuple):
    """A reaction coordinate, the range over which to spread, and a width of its samples.

    coordinate_fn
        ``position -> scalar``.
    low, high
        Beyond them the coordinate counts as at the end that is next.
    bandwidth
        Standard deviation of the kernel by which its density is estimated.
    """

    coordinate_fn: Callable[[Position], Array]
    low: float
    high: float
    bandwidth: float


class BoltzmannMetrics(NamedTuple):
    """What one update saw, by the parameters before it.

    loss
        J, in nats.
    gradient_norm, is_skipped
        As of any objective.
    likelihood_loss, divergence_loss, coordinate_loss
        The three terms without their weights; the last is NaN without a coordinate.
    effective_sample_size
        Of the importance weights of the model's samples: a mode that is missing shows nowhere
        in it.
    """

    loss: Array
    gradient_norm: Array
    is_skipped: Array
    likelihood_loss: Array
    divergence_loss: Array
    coordinate_loss: Array
    effective_sample_size: Array


def coordinate_loss(values: Array, low: Scalar, high: Scalar, bandwidth: Scalar) -> Array:
    r"""Minus the entropy of a coordinate, by a Gaussian kernel density of its n samples.

    :math:`\frac1n\sum_i\log\frac1n\sum_j N(r_i; r_j, h^2)`, of values clipped to the range.

    Examples
    --------
    >>> round(float(coordinate_loss(jnp.zeros(4), -1.0, 1.0, 0.1)), 4)  # log N(0; 0, 0.1²)
    1.3836
    """
    values = jnp.clip(values, low, high)
    deviations = (values[:, None] - values) / bandwidth
    norm = jnp.log(bandwidth * math.sqrt(2 * math.pi) * values.shape[0])
    return jnp.mean(logsumexp(-jnp.square(deviations) / 2, axis=1) - norm)


def boltzmann_generator(
    flow: Any,
    target: Density,
    optimizer: optax.GradientTransformation,
    num_samples: int,
    *,
    likelihood_weight: float = 1.0,
    divergence_weight: float = 1.0,
    coordinate_weight: float = 0.0,
    coordinate: Coordinate | None = None,
) -> Objective:
    """Train a flow on samples and on the log-density that they belong to.

    Parameters
    ----------
    flow
        A :class:`~jarzynski_jax.generators.Flow`, or anything with its methods.
    target
        Only its log-density is needed.
    num_samples
        Of the model, drawn at each update for two of the three terms.
    likelihood_weight, divergence_weight, coordinate_weight
        Not negative, and not all of them 0. A first phase by likelihood alone has
        ``divergence_weight=0``.
    coordinate
        Needed if its weight is not 0.

    Returns
    -------
    Objective
        ``init(rng_key, params)``; metrics :class:`BoltzmannMetrics`.

    Raises
    ------
    ValueError
        If a weight is negative or all are 0, there is a weight but no coordinate, its range or
        bandwidth is not positive, or the target is no density; in ``init``, if parameters are
        no floating-point numbers; in ``step``, if there is no batch.
    """
    loss_weights = likelihood_weight, divergence_weight, coordinate_weight
    if min(loss_weights) < 0 or not 0 < sum(loss_weights) < math.inf:
        raise ValueError(
            "the weights of likelihood, divergence and coordinate must be finite, not negative "
            f"and not all 0; got {loss_weights}"
        )
    _check_coordinate(coordinate, coordinate_weight)
    check_density("the target", target)
    if num_samples < 2:
        raise ValueError(f"num_samples must be at least 2; got {num_samples}")

    def losses(
        rng_key: PRNGKey, batch: Position, params: Params
    ) -> tuple[Array, tuple[Array, Array, Array, Array]]:
        of_data = -jnp.mean(jax.vmap(flow.logdensity, (None, 0))(params, batch))
        keys = jax.random.split(rng_key, num_samples)
        x, log_q = jax.vmap(flow.sample_and_logdensity, (0, None))(keys, params)
        log_weights = log_weights_at(target, x, log_q)
        of_model = -jnp.mean(log_weights)
        # A term without weight must not spoil the gradient by numbers that are not finite.
        loss = jnp.zeros_like(of_data)
        for weight, term in ((likelihood_weight, of_data), (divergence_weight, of_model)):
            loss = loss + weight * term if weight > 0 else loss
        spread = jnp.full((), jnp.nan, of_data.dtype)
        if coordinate is not None:
            values = jax.vmap(coordinate.coordinate_fn)(x)
            spread = coordinate_loss(values, *coordinate[1:])
            loss = loss + coordinate_weight * spread if coordinate_weight > 0 else loss
        return loss, (of_data, of_model, spread, log_weights)

    def sum_up(seen: DescentMetrics, terms: Any) -> BoltzmannMetrics:
        of_data, of_model, spread, log_weights = terms
        return BoltzmannMetrics(
            loss=seen.loss,
            gradient_norm=seen.gradient_norm,
            is_skipped=seen.is_skipped,
            likelihood_loss=of_data,
            divergence_loss=of_model,
            coordinate_loss=spread,
            effective_sample_size=weights.effective_sample_size(log_weights),
        )

    wrong_batch = "a Boltzmann generator needs a batch of samples; got None"
    return descent_objective(losses, optimizer, wrong_batch, sum_up)


def _check_coordinate(coordinate: Coordinate | None, weight: float) -> None:
    if coordinate is None:
        if weight > 0:
            raise ValueError(
                f"coordinate_weight is {weight}, but there is no coordinate: give a Coordinate"
            )
        return
    if not (coordinate.low < coordinate.high and coordinate.bandwidth > 0):
        raise ValueError(
            "a coordinate needs low < high and a positive bandwidth; got "
            f"{coordinate.low}, {coordinate.high} and {coordinate.bandwidth}"
        )
