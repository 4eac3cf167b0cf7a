"""Weighted walkers in JAX: exact Jarzynski weights for sampling, free energies and training."""

from jarzynski_jax import (
    annealing,
    dynamics,
    energies,
    free_energy,
    interpolants,
    kernels,
    paths,
    resampling,
    schedules,
    targets,
    training,
    tuning,
    walkers,
    weights,
)

__version__ = "0.1.0"

__all__ = [
    "annealing",
    "dynamics",
    "energies",
    "free_energy",
    "interpolants",
    "kernels",
    "paths",
    "resampling",
    "schedules",
    "targets",
    "training",
    "tuning",
    "walkers",
    "weights",
]
