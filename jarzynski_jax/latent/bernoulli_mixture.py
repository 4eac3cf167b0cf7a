r"""Mixtures of independent binary units, by EM.

.. math:: p(x) = \sum_a \pi_a \prod_i \mu_{ai}^{x_i} (1 - \mu_{ai})^{1 - x_i}

No model of one-hot hidden units can make data more likely than the best of these.

References: Dempster, Laird and Rubin, *J. R. Stat. Soc. B* 39 (1977) 1; Bishop, *Pattern
Recognition and Machine Learning*, §9.3.3.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.types import Array, PRNGKey

__all__ = [
    "BernoulliMixture",
    "check_binary",
    "expectation_maximization",
    "log_likelihood",
    "responsibilities",
]


class BernoulliMixture(NamedTuple):
    r"""Shares :math:`\pi`, shape ``(L,)``, and means :math:`\mu`, shape ``(L, D)``."""

    weights: Array
    means: Array


def check_binary(data: Any) -> Array:
    """Check that data are 0 and 1, shape ``(n, D)``; as floating-point numbers.

    ValueError if not, as far as values are known.

    Examples
    --------
    >>> check_binary(jnp.array([[0.0, 0.5]]))
    Traceback (most recent call last):
        ...
    ValueError: data must be 0 or 1; got values from 0 to 0.5: cut grey ones, as by data > 0.5
    """
    data = jnp.asarray(data)
    if data.ndim != 2 or 0 in data.shape:
        raise ValueError(f"binary data must have shape (n, D), not empty; got {data.shape}")
    if not isinstance(data, jax.core.Tracer):
        values = np.asarray(data)
        if not np.all((values == 0) | (values == 1)):
            raise ValueError(
                f"data must be 0 or 1; got values from {values.min():g} to {values.max():g}: "
                "cut grey ones, as by data > 0.5"
            )
    return data.astype(jnp.promote_types(data.dtype, jnp.float32))


def _log_joint(mixture: BernoulliMixture, data: Array) -> Array:
    """Log of share times probability, of each datum and component, shape ``(n, L)``."""
    log_on, log_off = jnp.log(mixture.means), jnp.log1p(-mixture.means)
    return jnp.log(mixture.weights) + data @ (log_on - log_off).T + jnp.sum(log_off, axis=1)


def log_likelihood(mixture: BernoulliMixture, data: Array) -> Array:
    """Mean log-likelihood of data in nats a datum; means must be between 0 and 1, not at them.

    Examples
    --------
    >>> coin = BernoulliMixture(jnp.ones(1), jnp.full((1, 3), 0.5))
    >>> round(float(log_likelihood(coin, jnp.ones((5, 3)))), 4)  # -3 log 2
    -2.0794
    """
    data = check_binary(data)
    return jnp.mean(jax.nn.logsumexp(_log_joint(mixture, data), axis=1))


def responsibilities(mixture: BernoulliMixture, data: Array) -> Array:
    """Probability of each component given a datum, shape ``(n, L)``."""
    return jax.nn.softmax(_log_joint(mixture, check_binary(data)), axis=1)


def expectation_maximization(
    rng_key: PRNGKey, data: Array, num_components: int, num_steps: int, floor: float = 1e-3
) -> tuple[BernoulliMixture, Array]:
    """Fit a mixture by EM from a random start; the likelihood never falls, but for the floor.

    It ends in a local optimum: take the best of many starts, by ``jax.vmap`` over keys.

    Parameters
    ----------
    data
        0 and 1, shape ``(n, D)``, else a ValueError.
    floor
        Means are kept between it and 1 less it.

    Returns
    -------
    tuple[BernoulliMixture, Array]
        And the mean log-likelihood before each step, in nats a datum, shape ``(num_steps,)``.

    Examples
    --------
    >>> data = jnp.array([[1, 1, 0, 0]] * 30 + [[0, 0, 1, 1]] * 10)
    >>> mixture, _ = expectation_maximization(jax.random.key(0), data, 2, 20)
    >>> sorted(round(float(weight), 3) for weight in mixture.weights)
    [0.25, 0.75]
    """
    data = check_binary(data)
    if num_components < 1 or num_steps < 1:
        raise ValueError(
            "num_components and num_steps must be at least 1; got "
            f"{num_components} and {num_steps}"
        )
    if not 0 < floor < 0.5:
        raise ValueError(f"floor must be between 0 and 1/2; got {floor}")
    num_data = data.shape[0]

    def maximize(shares: Array) -> BernoulliMixture:
        totals = jnp.sum(shares, axis=0)
        means = shares.T @ data / jnp.maximum(totals, 1e-6)[:, None]
        return BernoulliMixture(
            jnp.maximum(totals, 1e-6) / num_data, jnp.clip(means, floor, 1 - floor)
        )

    def step(mixture: BernoulliMixture, _: None) -> tuple[BernoulliMixture, Array]:
        joint = _log_joint(mixture, data)
        shares = jax.nn.softmax(joint, axis=1)
        return maximize(shares), jnp.mean(jax.nn.logsumexp(joint, axis=1))

    # Components begin at data, each unit drawn some way to the mean of all: else two that begin
    # at data alike would stay alike.
    key_data, key_way = jax.random.split(rng_key)
    chosen = data[jax.random.choice(key_data, num_data, (num_components,))]
    way = jax.random.uniform(key_way, chosen.shape, minval=0.25, maxval=0.75)
    means = jnp.clip(chosen + way * (jnp.mean(data, axis=0) - chosen), floor, 1 - floor)
    start = BernoulliMixture(jnp.full(num_components, 1 / num_components, data.dtype), means)
    return jax.lax.scan(step, start, length=num_steps)
