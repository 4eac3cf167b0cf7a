"""Targets with a known log Z, for tests and benchmarks."""

from jarzynski_jax.targets import lattice
from jarzynski_jax.targets.gaussians import (
    forty_modes,
    funnel,
    gaussian,
    gaussian_mixture,
    two_modes,
)
from jarzynski_jax.targets.product import product
from jarzynski_jax.targets.unbounded import Unbounded, unbounded
from jarzynski_jax.targets.wells import double_well, many_well

__all__ = [
    "Unbounded",
    "double_well",
    "forty_modes",
    "funnel",
    "gaussian",
    "gaussian_mixture",
    "lattice",
    "many_well",
    "product",
    "two_modes",
    "unbounded",
]
