r"""Uniform numbers that are never 0, coins tossed by them, and proposals accepted.

Those of JAX are multiples of :math:`\epsilon`, 0 among them: once in :math:`2^{23}` times in
single precision. By log u < log r such a number accepts a proposal however improbable it is,
and by u < p it tosses a side that all but never comes, whose weight is then immense. In the
middle of their steps the numbers lie in (0, 1), and what is rarer than :math:`\epsilon/2` is
not drawn.

A compiler may compute a comparison anew for each of those who ask for it. If its sides are sums
and products, their last bits can differ from one time to the other, and once in a million steps
a walker gets the proposed position with the log-density of the old one: its next weight is then
wrong by any factor. So a number is compared with a probability, whose exponential XLA computes
once on a CPU, behind a barrier, which it respects elsewhere.
"""

import jax
import jax.numpy as jnp

from jarzynski_jax.types import Array, PRNGKey

__all__ = ["accept", "bernoulli", "open_uniform"]


def open_uniform(
    rng_key: PRNGKey, shape: tuple[int, ...] = (), dtype: jnp.dtype | type = jnp.float32
) -> Array:
    """Draw numbers uniform in (0, 1), multiples of ε less a half of it.

    Examples
    --------
    >>> numbers = open_uniform(jax.random.key(4), (2**21,))  # JAX draws a 0 here
    >>> float(numbers.min()) * 2**24
    1.0
    """
    numbers = jax.random.uniform(rng_key, shape, dtype)
    return numbers + jnp.finfo(numbers.dtype).eps / 2


def accept(rng_key: PRNGKey, log_ratio: Array) -> tuple[Array, Array]:
    """Accept a proposal, or not, with probability min(1, e^log_ratio), which comes second.

    NaN is not accepted.

    Examples
    --------
    >>> is_accepted, rate = accept(jax.random.key(0), jnp.array(-1e3))
    >>> bool(is_accepted), float(rate)
    (False, 0.0)
    """
    rate = jnp.exp(jnp.minimum(log_ratio, 0))
    return bernoulli(rng_key, rate), rate


def bernoulli(
    rng_key: PRNGKey, probability: Array, shape: tuple[int, ...] | None = None
) -> Array:
    """Toss coins, true with this probability; of its shape, or one to which it broadcasts.

    Examples
    --------
    >>> bernoulli(jax.random.key(0), jnp.array([0.0, 1e-30, 1.0])).tolist()
    [False, False, True]
    """
    drawn = jnp.shape(probability) if shape is None else shape
    uniform = open_uniform(rng_key, drawn, jnp.result_type(probability))
    return uniform < jax.lax.optimization_barrier(probability)
