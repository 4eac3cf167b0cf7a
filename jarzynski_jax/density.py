"""A density: what all rooms mean by a target, a base, or a model that can be sampled."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from jarzynski_jax.types import LogDensityFn, Position, PRNGKey, Scalar

__all__ = ["Density", "check_exact"]

#: ``(rng_key, num_samples) -> positions``, exact and independent, on a leading axis.
Sample: TypeAlias = Callable[[PRNGKey, int], Position]


class Density(NamedTuple):
    """A density up to a constant, and what is known exactly of it.

    logdensity_fn
        ``position -> scalar``, for one position.
    log_partition_function
        Exact log Z of ``exp(logdensity_fn)``, in nats, 0 if it is normalised; None where it is
        not known.
    sample
        ``(rng_key, num_samples) -> positions``, exact and independent, on a leading axis; None
        where no way is known.
    dimension
        d, where a position is a vector of shape ``(d,)``; else None.
    """

    logdensity_fn: LogDensityFn
    log_partition_function: Scalar | None = None
    sample: Sample | None = None
    dimension: int | None = None


def check_exact(density: Density) -> tuple[Sample, Scalar]:
    """Take a density's sampler and its log Z, for walkers to start; ValueError without."""
    sample, log_z = density.sample, density.log_partition_function
    if sample is None or log_z is None:
        missing = "sample" if sample is None else "log_partition_function"
        raise ValueError(
            "an exact start needs a density with exact samples and a known log Z; "
            f"got one whose {missing} is None"
        )
    return sample, log_z
