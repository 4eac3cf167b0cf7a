r"""Laws of an observation given its latent: what a decoder's network says becomes a density.

The network gives each feature some channels; numbers that are learned once for all features are
further channels behind them. Laws of whole numbers can be coded without loss
(:mod:`jarzynski_jax.latent.bits_back`), those of real numbers cannot.

References: Salimans, Karpathy, Chen and Kingma, *PixelCNN++*, 2017 (discretized logistic);
Townsend, Bird and Barber, *Practical lossless compression with latent variables using bits back
coding*, 2019 (beta-binomial).
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln, gammaln
from jax.scipy.stats import norm

from jarzynski_jax import uniform
from jarzynski_jax.types import Array, PRNGKey

__all__ = [
    "Output",
    "OutputName",
    "bernoulli",
    "beta_binomial",
    "check_observations",
    "discretized_logistic",
    "gaussian",
    "log_probabilities",
    "make_output",
]

OutputName: TypeAlias = Literal[
    "bernoulli", "gaussian", "discretized_logistic", "beta_binomial"
]

#: Logarithms of scales and concentrations are held within these, as part of the model.
_LARGEST_LOG = 10.0


class Output(NamedTuple):
    """The law of each feature, independent of the others given its channels.

    name
        As :func:`make_output` takes it.
    num_channels
        How many numbers a feature the network gives.
    num_shared
        How many more are learned, common to all features and samples.
    num_levels
        L, if a feature is one of 0, ..., L - 1; None if it is any real number.
    log_prob
        ``(channels, x) -> log p``, of every feature: ``channels`` have the shape of x and one
        more axis, of ``num_channels + num_shared``.
    sample
        ``(rng_key, channels) -> x``.
    """

    name: OutputName
    num_channels: int
    num_shared: int
    num_levels: int | None
    log_prob: Callable[[Array, Array], Array]
    sample: Callable[[PRNGKey, Array], Array]


def gaussian() -> Output:
    r"""Real numbers, :math:`N(\mu_i, \sigma^2)`, with one σ that is learned for all of them.

    With linear networks this is probabilistic principal component analysis.

    Examples
    --------
    >>> round(float(gaussian().log_prob(jnp.array([1.0, 0.0]), jnp.array(1.0))), 4)
    -0.9189
    """

    def log_prob(channels: Array, x: Array) -> Array:
        return norm.logpdf(x, channels[..., 0], jnp.exp(channels[..., 1]))

    def sample(rng_key: PRNGKey, channels: Array) -> Array:
        mean = channels[..., 0]
        return mean + jnp.exp(channels[..., 1]) * jax.random.normal(
            rng_key, mean.shape, mean.dtype
        )

    return Output("gaussian", 1, 1, None, log_prob, sample)


def bernoulli() -> Output:
    r"""0 or 1, by the logit :math:`l`: :math:`-\log p = {\rm softplus}(l) - x l`.

    Examples
    --------
    >>> jnp.exp(bernoulli().log_prob(jnp.zeros((2, 1)), jnp.array([0, 1]))).tolist()
    [0.5, 0.5]
    """

    def log_prob(channels: Array, x: Array) -> Array:
        logit = channels[..., 0]
        return x * logit - jax.nn.softplus(logit)

    def sample(rng_key: PRNGKey, channels: Array) -> Array:
        logit = channels[..., 0]
        return uniform.bernoulli(rng_key, jax.nn.sigmoid(logit)).astype(logit.dtype)

    return Output("bernoulli", 1, 0, 2, log_prob, sample)


def discretized_logistic(num_levels: int) -> Output:
    r"""0, ..., L - 1, by a logistic law whose tails belong to the first and the last level.

    .. math:: p(x) = \sigma\left(\frac{x + \frac12 - m}{s}\right)
                   - \sigma\left(\frac{x - \frac12 - m}{s}\right)
              = \sigma(a)\,\sigma(-b)\,(1 - e^{b - a})

    with a and b the two arguments, so that nothing cancels however narrow it is. The channels
    :math:`c_0, c_1` mean :math:`m = \frac{L-1}2 (1 + c_0)` and :math:`\log s = c_1 + \log
    \frac L8`. ValueError with less than two levels.

    Examples
    --------
    >>> law = discretized_logistic(4)
    >>> log_p = law.log_prob(jnp.zeros((4, 2)), jnp.arange(4))
    >>> round(float(jnp.exp(log_p).sum()), 6)
    1.0
    """
    _check_levels(num_levels)

    def arguments(channels: Array) -> tuple[Array, Array]:
        mean = (num_levels - 1) / 2 * (1 + channels[..., 0])
        return mean, jnp.exp(-_bounded(channels[..., 1]) - math.log(num_levels / 8))

    def log_prob(channels: Array, x: Array) -> Array:
        mean, inverse_scale = arguments(channels)
        above = jax.nn.log_sigmoid((x + 0.5 - mean) * inverse_scale)
        below = jax.nn.log_sigmoid((mean - x + 0.5) * inverse_scale)
        between = jnp.log(-jnp.expm1(-inverse_scale))
        is_first, is_last = x <= 0, x >= num_levels - 1
        inner = above + below + between
        return jnp.where(is_first, above, jnp.where(is_last, below, inner))

    def sample(rng_key: PRNGKey, channels: Array) -> Array:
        mean, inverse_scale = arguments(channels)
        drawn = mean + jax.random.logistic(rng_key, mean.shape, mean.dtype) / inverse_scale
        return jnp.clip(jnp.round(drawn), 0, num_levels - 1)

    return Output("discretized_logistic", 2, 0, num_levels, log_prob, sample)


def beta_binomial(num_levels: int) -> Output:
    r"""0, ..., n with n = L - 1, as counts of n coins whose bias is drawn from a beta law.

    .. math:: p(x) = \binom nx \frac{B(x + \alpha, n - x + \beta)}{B(\alpha, \beta)}

    with :math:`\log\alpha` and :math:`\log\beta` the two channels. ValueError with less than
    two levels.

    Examples
    --------
    >>> law = beta_binomial(4)  # flat for α = β = 1
    >>> jnp.exp(law.log_prob(jnp.zeros((4, 2)), jnp.arange(4))).round(4).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    _check_levels(num_levels)
    count = num_levels - 1

    def concentrations(channels: Array) -> tuple[Array, Array]:
        log_concentrations = _bounded(channels)
        return jnp.exp(log_concentrations[..., 0]), jnp.exp(log_concentrations[..., 1])

    def log_prob(channels: Array, x: Array) -> Array:
        alpha, beta = concentrations(channels)
        ways = gammaln(count + 1.0) - gammaln(x + 1.0) - gammaln(count - x + 1.0)
        return ways + betaln(x + alpha, count - x + beta) - betaln(alpha, beta)

    def sample(rng_key: PRNGKey, channels: Array) -> Array:
        drawn = jax.random.categorical(rng_key, log_probabilities(law, channels))
        return drawn.astype(channels.dtype)

    law = Output("beta_binomial", 2, 0, num_levels, log_prob, sample)
    return law


def make_output(name: OutputName, num_levels: int | None = None) -> Output:
    """Make a law by its name; ValueError if there is none, or its levels do not fit.

    Examples
    --------
    >>> make_output("beta_binomial", 17).num_levels
    17
    """
    if name not in get_args(OutputName):
        raise ValueError(f"an output is one of {get_args(OutputName)}; got {name!r}")
    if name in ("gaussian", "bernoulli"):
        law = gaussian() if name == "gaussian" else bernoulli()
        if num_levels != law.num_levels:
            raise ValueError(f"{name} has num_levels={law.num_levels}; got {num_levels}")
        return law
    if num_levels is None:
        raise ValueError(f"{name} needs num_levels, how many values a feature has; got None")
    is_logistic = name == "discretized_logistic"
    return discretized_logistic(num_levels) if is_logistic else beta_binomial(num_levels)


def log_probabilities(output: Output, channels: Array) -> Array:
    """Of all levels of every feature: from channels of shape ``(..., C)``, ``(..., L)``.

    ValueError of real numbers, which have no levels.
    """
    if output.num_levels is None:
        raise ValueError(
            f"{output.name} is of real numbers, which cannot be coded: they have no levels"
        )
    shape = channels.shape[:-1]
    levels = jnp.arange(output.num_levels, dtype=channels.dtype)
    return jax.vmap(lambda x: output.log_prob(channels, jnp.full(shape, x)), out_axes=-1)(
        levels
    )


def check_observations(output: Output, shape: tuple[int, ...], data: Any) -> None:
    """Check data of shape ``(n, *shape)`` for this law; traced ones by their shape alone.

    ValueError if there are none, they have another shape, a value is NaN or infinite, or it is
    none of the levels.

    Examples
    --------
    >>> check_observations(bernoulli(), (2,), np.array([[0.0, 0.5]]))
    Traceback (most recent call last):
        ...
    ValueError: data of bernoulli must be whole numbers from 0 to 1; got 0.5
    """
    if jnp.ndim(data) != len(shape) + 1 or jnp.shape(data)[1:] != tuple(shape):
        raise ValueError(
            f"data must have the shape (n, {', '.join(map(str, shape))}) of the model; got "
            f"{jnp.shape(data)}"
        )
    if jnp.shape(data)[0] == 0:
        raise ValueError("data must be at least one sample; got none")
    if isinstance(data, jax.core.Tracer):
        return
    values = np.asarray(data)
    if not np.all(np.isfinite(values)):
        raise ValueError(
            f"data must be finite; {np.sum(~np.isfinite(values))} of {values.size} values are "
            "not"
        )
    if output.num_levels is None:
        return
    is_level = (values == np.round(values)) & (values >= 0) & (values < output.num_levels)
    if not np.all(is_level):
        raise ValueError(
            f"data of {output.name} must be whole numbers from 0 to {output.num_levels - 1}; "
            f"got {values[~is_level][0]:g}"
        )


def _check_levels(num_levels: int) -> None:
    if num_levels < 2:
        raise ValueError(f"num_levels must be at least 2; got {num_levels}")


def _bounded(logarithm: Array) -> Array:
    return jnp.clip(logarithm, -_LARGEST_LOG, _LARGEST_LOG)
