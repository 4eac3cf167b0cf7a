"""Weighted walkers in JAX: exact Jarzynski weights for sampling, free energies and training."""

from jarzynski_jax import (
    annealing,
    dynamics,
    energies,
    free_energy,
    kernels,
    paths,
    resampling,
    training,
    walkers,
    weights,
)

__version__ = "0.1.0"

__all__ = [
    "annealing",
    "dynamics",
    "energies",
    "free_energy",
    "kernels",
    "paths",
    "resampling",
    "training",
    "walkers",
    "weights",
]
