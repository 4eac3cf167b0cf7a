r"""The Pareto shape of the largest weights: whether a mean weight can be trusted.

Above a high threshold u the excess of a weight, :math:`x = w - u`, has nearly a generalised
Pareto distribution, :math:`P(X > x) = (1 + \xi x/\sigma)^{-1/\xi}`, whose shape says how many
moments the weight has: all below :math:`1/\xi`, so a variance if :math:`\xi < 1/2` and a mean
if :math:`\xi < 1`. Of bounded weights it tells how they look at this number of samples, which
is what matters for their mean.

It sees what was drawn. A set of samples that has none of the rare ones has a smaller shape than
one that has some, and a worse mean: so it tells of a model rather than of one estimate, which
samples of the target do (:func:`~jarzynski_jax.free_energy.importance_estimate`).

The fit is by Zhang and Stephens: with :math:`\theta = -\xi/\sigma` the likelihood is largest at
:math:`\xi(\theta) = \overline{\log(1 - \theta x)}`, and :math:`\theta` is averaged over the
profile likelihood on a grid of m points, :math:`m = 30 + \lfloor\sqrt n\rfloor`,

.. math:: \theta_j = \frac{1}{x_{(n)}} - \frac{c_j}{x_{(n/4)}}, \qquad
    c_j = \frac13\Big(\sqrt{\frac{m}{j - 1/2}} - 1\Big),

between the largest and the lower quartile of n excesses. Linear in c, so that nothing of it
leaves log space: :math:`1 - \theta x = (1 - x/x_{(n)}) + c\,x/x_{(n/4)}`.

References: Vehtari, Simpson, Gelman, Yao and Gabry, *JMLR* 25 (2024) 72, where the number of
excesses, the prior and the threshold are from; Zhang and Stephens, *Technometrics* 51 (2009)
316.
"""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from jarzynski_jax.types import Array
from jarzynski_jax.weights import as_log_weights

__all__ = ["max_pareto_shape", "pareto_shape"]

#: Fewer excesses have no shape.
_MIN_EXCESSES = 5
#: Excesses that the prior counts for, and the shape that these have.
_PRIOR_SIZE, _PRIOR_SHAPE = 10, 0.5


def pareto_shape(log_weights: Array) -> Array:
    r"""Estimate the shape :math:`\hat k` of the largest weights, of the living walkers.

    Shape ``(N,)``; of S alive the largest :math:`\min(S/5, 3\sqrt S)` count, and their shape is
    drawn a little towards 1/2, as if by ten more. Its standard error is about
    :math:`(1 + k)/\sqrt n` of n excesses. Beyond :func:`max_pareto_shape` the mean weight and
    its error are not reliable. NaN if fewer than five weights are above the threshold, as of
    fewer than 21 walkers or of equal weights, or if a weight is NaN or infinite.

    Examples
    --------
    >>> log_weights = jax.random.exponential(jax.random.key(0), (4000,))  # P(w > x) = 1/x
    >>> bool(abs(pareto_shape(log_weights) - 1) < 0.3)
    True
    """
    return _pareto_shape(as_log_weights(log_weights))


def max_pareto_shape(num_samples: int) -> float:
    r"""Largest shape with which a mean of S weights is reliable, :math:`1 - 1/\log_{10} S`.

    At most 0.7, however large S is; the error falls too slowly beyond.

    Examples
    --------
    >>> round(max_pareto_shape(100), 9), max_pareto_shape(10_000)
    (0.5, 0.7)
    """
    if num_samples < 2:
        raise ValueError(f"num_samples must be at least 2; got {num_samples}")
    return min(1 - 1 / math.log10(num_samples), 0.7)


@jax.jit
def _pareto_shape(weights: Array) -> Array:
    num_alive = jnp.sum(weights > -jnp.inf, dtype=weights.dtype)
    num_most = _num_largest(weights.shape[0])
    if num_most < _MIN_EXCESSES:
        return jnp.full_like(weights[0], jnp.nan)
    # One more than can count, for the threshold.
    largest = jax.lax.top_k(weights, num_most + 1)[0]
    num_largest = jnp.ceil(jnp.minimum(num_alive / 5, 3 * jnp.sqrt(num_alive)))
    threshold = largest[jnp.minimum(num_largest, num_most).astype(jnp.int32)]
    is_excess = largest > threshold  # those that tie with it are no excesses
    # log(e^A - e^u), with the largest A at 0.
    shifted = jnp.where(is_excess, largest - largest[0], -1.0)
    below = jnp.where(is_excess, threshold - largest, -1.0)
    log_excesses = shifted + jnp.log(-jnp.expm1(below))
    raw, num = _fit(log_excesses, is_excess)
    shape = (num * raw + _PRIOR_SIZE * _PRIOR_SHAPE) / (num + _PRIOR_SIZE)
    is_known = (num >= _MIN_EXCESSES) & jnp.all(weights < jnp.inf)  # NaN is not less
    return jnp.where(is_known, shape, jnp.nan)


def _num_largest(num_samples: int) -> int:
    return math.ceil(min(num_samples / 5, 3 * math.sqrt(num_samples)))


def _fit(log_excesses: Array, is_excess: Array) -> tuple[Array, Array]:
    """Shape and number n of excesses, in descending order, the first n of the array."""
    num = jnp.sum(is_excess, dtype=log_excesses.dtype)
    lower = log_excesses[(num - jnp.floor(num / 4 + 0.5)).astype(jnp.int32)]
    num_points = 30 + jnp.floor(jnp.sqrt(num))
    points = jnp.arange(1, 31 + math.isqrt(log_excesses.shape[0]), dtype=num.dtype)
    log_c = jnp.log(jnp.sqrt(num_points / (points - 0.5)) - 1) - math.log(3.0)
    is_point = points <= num_points

    largest = log_excesses[0]
    # 1 - x/max x, 0 of the largest.
    falls_short = jnp.log(-jnp.expm1(log_excesses - largest))

    def shape(log_c: Array) -> Array:
        """Mean of log(1 - θx) for θ of this c."""
        logs = jnp.logaddexp(falls_short, log_c + log_excesses - lower)
        return jnp.sum(jnp.where(is_excess, logs, 0)) / num

    shapes = jax.vmap(shape)(log_c)
    # -θ/ξ = 1/σ is positive whatever the sign of θ is; where both vanish it is 1 over the mean.
    log_theta = _log_difference(log_c - lower, -largest)
    log_mean = logsumexp(jnp.where(is_excess, log_excesses, -jnp.inf)) - jnp.log(num)
    is_flat = jnp.abs(shapes) < math.sqrt(jnp.finfo(shapes.dtype).eps)
    log_rate = jnp.where(is_flat, -log_mean, log_theta - jnp.log(jnp.abs(shapes)))
    log_likelihood = num * (log_rate - shapes - 1)
    share = jax.nn.softmax(jnp.where(is_point, log_likelihood, -jnp.inf))
    mean_c = jnp.sum(jnp.where(is_point, share * jnp.exp(log_c), 0))
    return shape(jnp.log(mean_c)), num


def _log_difference(first: Array, second: Array) -> Array:
    """Log of the distance of two positive numbers, from their logs."""
    return jnp.maximum(first, second) + jnp.log(-jnp.expm1(-jnp.abs(first - second)))
