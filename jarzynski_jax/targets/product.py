"""Products of densities."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.density import Density
from jarzynski_jax.targets.vectors import check_vector
from jarzynski_jax.types import Array, PRNGKey

__all__ = ["product"]


def product(targets: Sequence[Density]) -> Density:
    """Put independent targets side by side: dimensions and log Z add.

    Log Z is known, and there are samples, if that holds for all of them. ValueError if there is
    no target, or one that is no density of vectors.

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
    dimensions = [target.dimension for target in targets]
    log_zs = [target.log_partition_function for target in targets]
    samplers = [target.sample for target in targets]
    if None in dimensions:
        raise ValueError(f"all factors must have a dimension; got {dimensions}")
    ends = np.cumsum([0, *dimensions])

    def logdensity_fn(x: Array) -> Array:
        check_vector(x, int(ends[-1]))
        parts = zip(targets, ends[:-1], ends[1:], strict=True)
        values = [target.logdensity_fn(x[start:end]) for target, start, end in parts]
        return jnp.sum(jnp.stack(values))

    def sample(rng_key: PRNGKey, num_samples: int) -> Array:
        keys = jax.random.split(rng_key, len(targets))
        draws = [
            draw(key, num_samples)
            for draw, key in zip(samplers, keys, strict=True)
            if draw is not None
        ]
        return jnp.concatenate(draws, axis=1)

    return Density(
        logdensity_fn,
        None if None in log_zs else sum(log_z for log_z in log_zs if log_z is not None),
        None if None in samplers else sample,
        int(ends[-1]),
    )
