"""A density: what all rooms mean by a target, a base, or a model that can be sampled."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax

from jarzynski_jax.types import Array, LogDensityFn, Position, PRNGKey, Scalar

__all__ = ["Density", "check_density", "check_exact", "check_sampler", "draw"]

#: ``(rng_key, num_samples) -> positions``, exact and independent, on a leading axis.
Sample: TypeAlias = Callable[[PRNGKey, int], Position]
#: The same, and the log-density at each, shape ``(num_samples,)``.
SampleWithLogDensity: TypeAlias = Callable[[PRNGKey, int], tuple[Position, Array]]


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
    sample_with_logdensity
        ``(rng_key, num_samples) -> (positions, log-densities)``, where drawing tells the
        log-densities too; else None, and :func:`draw` evaluates them.
    """

    logdensity_fn: LogDensityFn
    log_partition_function: Scalar | None = None
    sample: Sample | None = None
    dimension: int | None = None
    sample_with_logdensity: SampleWithLogDensity | None = None


def check_density(what: str, density: Any) -> None:
    """Check that this is a density; else a ValueError.

    Examples
    --------
    >>> check_density("the target", lambda x: -(x**2))
    Traceback (most recent call last):
        ...
    ValueError: the target must be a Density; got function: write Density(logdensity_fn)
    """
    if not isinstance(density, Density):
        raise ValueError(
            f"{what} must be a Density; got {type(density).__name__}: write "
            "Density(logdensity_fn)"
        )


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


def check_sampler(what: str, density: Density) -> Sample:
    """Take a density's sampler; ValueError without, or if it is no density.

    Examples
    --------
    >>> check_sampler("a proposal", Density(lambda x: -(x**2)))
    Traceback (most recent call last):
        ...
    ValueError: a proposal must be a Density that can be sampled; got one whose sample is None
    """
    if not isinstance(density, Density):
        raise ValueError(
            f"{what} must be a Density that can be sampled; got {type(density).__name__}"
        )
    if density.sample is None:
        raise ValueError(
            f"{what} must be a Density that can be sampled; got one whose sample is None"
        )
    return density.sample


def draw(rng_key: PRNGKey, density: Density, num_samples: int) -> tuple[Position, Array]:
    """Draw samples of a density, with the log-density at each, shape ``(num_samples,)``.

    In one pass where the density can; ValueError unless it can be sampled.

    Examples
    --------
    >>> normal = lambda rng_key, n: jax.random.normal(rng_key, (n,))
    >>> gaussian = Density(lambda x: -(x**2) / 2, sample=normal)
    >>> [of.shape for of in draw(jax.random.key(0), gaussian, 2)]
    [(2,), (2,)]
    """
    sample = check_sampler("what is drawn from", density)
    if density.sample_with_logdensity is not None:
        return density.sample_with_logdensity(rng_key, num_samples)
    positions = sample(rng_key, num_samples)
    return positions, jax.vmap(density.logdensity_fn)(positions)
