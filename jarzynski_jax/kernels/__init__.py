"""Kernels: how one walker moves, and by how much its log-weight changes."""

from jarzynski_jax.kernels import (
    bijection,
    escorted,
    generalized_hmc,
    gibbs,
    heat_bath,
    invariant,
    kinetic,
    metropolis,
    move,
    preconditioning,
    sequence,
    ula,
)

__all__ = [
    "bijection",
    "escorted",
    "generalized_hmc",
    "gibbs",
    "heat_bath",
    "invariant",
    "kinetic",
    "metropolis",
    "move",
    "preconditioning",
    "sequence",
    "ula",
]
