"""Where the densities of forward and reverse work cross."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.free_energy.acceptance_ratio import acceptance_ratio
from jarzynski_jax.free_energy.exponential import relative_variance
from jarzynski_jax.free_energy.work_values import Estimate, as_pair, shift
from jarzynski_jax.types import Array

__all__ = [
    "Crossing",
    "crooks_crossing",
    "crossing_near",
]

#: Standard deviations of the priors of Crooks' regression, in nats and of the slope: so wide
#: that only what the samples leave open is left to them.
_WIDE = 100.0


#: In nats. Work further than this from the crossing is as good as infinite.
_FAR = 1000.0


_MAX_NEWTON_STEPS = 50


class Crossing(NamedTuple):
    """Where the densities of forward and reverse work cross: ΔF, in nats, and the slope there.

    The slope is of the logarithm of the ratio of the densities; 1 by Crooks' theorem.
    """

    difference: Estimate
    slope: Estimate


def crooks_crossing(forward_work: Array, reverse_work: Array) -> Crossing:
    r"""Crooks' crossing: where :math:`p_F(W) = p_R(-W)`, by logistic regression.

    Crooks' theorem is :math:`\log(p_F(W)/p_R(-W)) = W - \Delta F`, whatever the densities. So
    the probability that work W is of a forward run and not, as -W, of a reverse one is

    .. math::
        p(W) = \frac1{1 + e^{-(M + k W - \alpha)}},\qquad M = \log\frac{n_F}{n_R},

    with a slope k = 1, and the densities cross at :math:`\Delta F = \alpha/k`. Here k and α are
    those of most likelihood (with k fixed at 1, α is BAR). If k differs from 1 by more than
    its error, the two sets of work are not those of one process and its reverse, or not in
    nats.

    What the samples leave open, as work without spread or without overlap does, is left to a
    prior: k about 1 and α about BAR, with standard deviations of 100. Both are consistent, with
    asymptotic standard errors, those of the slope at most 100; trust them if :func:`overlap` is
    not poor. Work and its errors are as of :func:`bennett_acceptance_ratio`.

    References
    ----------
    Shirts et al. (2003) for the regression; Shirts (2013) for the slope as a check.

    Examples
    --------
    Work that is far from Gaussian, with ΔF = log 4: that of a stiffness switched at once.

    >>> x = jax.random.exponential(jax.random.key(0), (2, 2000))
    >>> found = crooks_crossing(3 * x[0], -3 / 4 * x[1])
    >>> bool(abs(found.difference.value - jnp.log(4)) < 4 * found.difference.standard_error)
    True
    >>> bool(abs(found.slope.value - 1) < 4 * found.slope.standard_error)
    True
    """
    forward_work, reverse_work, offset = as_pair(forward_work, reverse_work)
    difference = acceptance_ratio(forward_work, reverse_work).value
    found = crossing_near(difference, forward_work, reverse_work)
    return found._replace(difference=shift(found.difference, offset))


#: Steps taken, a and k, their loss, the share of Newton's step to take, the size of the last.
_NewtonState = tuple[Array, Array, Array, Array, Array]


def crossing_near(difference: Array, forward_work: Array, reverse_work: Array) -> Crossing:
    """Crooks' crossing of work without an offset, given that of slope 1.

    With w = W - ΔF of BAR, the regression is p = sigmoid(M + a + k w), by Newton's iteration
    from a = 0 and k = 1. That n_F and n_R were fixed, and not drawn with the samples, leaves
    the error of k as it is and makes that of a less (Prentice and Pyke, *Biometrika* 66 (1979)
    403): of k given, it is that of BAR of work k W.
    """
    sizes = forward_work.shape[0], reverse_work.shape[0]
    centre = jnp.where(jnp.isinf(difference), 0, difference)
    work = jnp.concatenate([forward_work - centre, -reverse_work - centre])
    work = jnp.clip(work, -_FAR, _FAR)
    log_ratio = math.log(sizes[0] / sizes[1])
    sign = jnp.concatenate([jnp.ones(sizes[0], work.dtype), -jnp.ones(sizes[1], work.dtype)])
    prior, precision = jnp.array([0, 1], work.dtype), 1 / _WIDE**2
    eps = float(jnp.finfo(work.dtype).eps)

    def loss(params: Array) -> Array:
        logit = log_ratio + params[0] + params[1] * work
        penalty = precision * jnp.sum(jnp.square(params - prior)) / 2
        return jnp.sum(jax.nn.softplus(-sign * logit)) + penalty

    def curvature(params: Array) -> tuple[Array, Array, Array, Array]:
        """Gradient, and the Hessian as H_aa, m = H_ak/H_aa and H_kk - m H_ak.

        With m, the mean of w by weight p(1 - p), the last is a sum of squares.
        """
        logit = log_ratio + params[0] + params[1] * work
        # p - 1 for forward work, p for reverse work.
        residual = -sign * jax.nn.sigmoid(-sign * logit)
        weight = jax.nn.sigmoid(logit) * jax.nn.sigmoid(-logit)
        gradient = jnp.stack([jnp.sum(residual), jnp.sum(residual * work)])
        by_intercept = jnp.sum(weight) + precision
        mean = jnp.sum(weight * work) / by_intercept
        by_slope = jnp.sum(weight * jnp.square(work - mean))
        by_slope += precision * (1 + jnp.square(mean))
        return gradient + precision * (params - prior), by_intercept, mean, by_slope

    def improve(state: _NewtonState) -> _NewtonState:
        count, params, value, scale, _ = state
        gradient, by_intercept, mean, by_slope = curvature(params)
        slope_step = (gradient[1] - mean * gradient[0]) / by_slope
        step = jnp.stack([gradient[0] / by_intercept - mean * slope_step, slope_step]) * scale
        new_value = loss(params - step)
        # Half the way if it led uphill, by more than rounding.
        is_better = new_value <= value * (1 + 16 * eps)
        return (
            count + 1,
            jnp.where(is_better, params - step, params),
            jnp.where(is_better, new_value, value),
            jnp.where(is_better, jnp.minimum(2 * scale, 1), scale / 2),
            jnp.max(jnp.abs(step) / (1 + jnp.abs(params))),
        )

    def is_moving(state: _NewtonState) -> Array:
        count, *_, size = state
        # Newton's steps square the error: after one of this size nothing is left.
        return (count < _MAX_NEWTON_STEPS) & (size > math.sqrt(eps))

    one = jnp.ones((), work.dtype)
    start = (jnp.zeros((), jnp.int32), prior, loss(prior), one, one)
    _, params, *_ = jax.lax.while_loop(is_moving, improve, start)
    _, _, mean, by_slope = curvature(params)
    intercept, slope = params
    safe_slope = jnp.where(slope == 0, 1, slope)
    crossing = -intercept / safe_slope
    # Of a + k m, m the mean: its error and that of k are independent.
    acceptance = jax.nn.log_sigmoid(-sign * (log_ratio + intercept + slope * work))
    variance = relative_variance(acceptance[: sizes[0]])
    variance += relative_variance(acceptance[sizes[0] :])
    variance += jnp.square(crossing - mean) / by_slope
    is_dead = jnp.isinf(difference)
    value = jnp.where(is_dead, difference, centre + crossing)
    error = jnp.where(is_dead, jnp.nan, jnp.sqrt(variance) / abs(safe_slope))
    return Crossing(Estimate(value, error), Estimate(slope, 1 / jnp.sqrt(by_slope)))
