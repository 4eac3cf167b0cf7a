"""What a target is, and products of them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.types import Array, LogDensityFn, PRNGKey

__all__ = ["Target", "product"]


class Target(NamedTuple):
    """An unnormalised density whose partition function is known.

    logdensity_fn
        ``x -> scalar`` for one x of shape ``(d,)``.
    log_partition_function
        Exact log Z, in nats.
    dimension
        d.
    sample
        ``(rng_key, num_samples) -> (num_samples, d)``, exact and independent; None where no
        way is known.
    """

    logdensity_fn: LogDensityFn
    log_partition_function: float
    dimension: int
    sample: Callable[[PRNGKey, int], Array] | None


def product(targets: Sequence[Target]) -> Target:
    """Put independent targets side by side: dimensions and log Z add.

    Parameters
    ----------
    targets
        At least one.

    Returns
    -------
    Target
        Their product; it has samples if all of them have.

    Raises
    ------
    ValueError
        If there is no target.

    Examples
    --------
    >>> from jarzynski_jax.targets import funnel, gaussian
    >>> both = product([funnel(), gaussian([1.0, 2.0])])
    >>> both.dimension, both.sample is not None
    (12, True)
    """
    targets = tuple(targets)
    if not targets:
        raise ValueError("a product must have at least one factor; got none")
    ends = [0]
    for target in targets:
        ends.append(ends[-1] + target.dimension)

    def logdensity_fn(x: Array) -> Array:
        parts = zip(targets, ends[:-1], ends[1:], strict=True)
        values = [target.logdensity_fn(x[start:end]) for target, start, end in parts]
        return jnp.sum(jnp.stack(values))

    def sample(rng_key: PRNGKey, num_samples: int) -> Array:
        keys = jax.random.split(rng_key, len(targets))
        draws = [
            target.sample(key, num_samples)
            for target, key in zip(targets, keys, strict=True)
            if target.sample is not None
        ]
        return jnp.concatenate(draws, axis=1)

    return Target(
        logdensity_fn,
        sum(target.log_partition_function for target in targets),
        ends[-1],
        sample if all(target.sample is not None for target in targets) else None,
    )
