"""Kernels: how one walker moves, and by how much its log-weight changes."""

from jarzynski_jax.kernels import (
    bijection,
    escorted,
    flip,
    generalized_hmc,
    gibbs,
    heat_bath,
    independence,
    invariant,
    kinetic,
    metropolis,
    move,
    preconditioning,
    sequence,
    spins,
    ula,
    wolff,
)

__all__ = [
    "bijection",
    "escorted",
    "flip",
    "generalized_hmc",
    "gibbs",
    "heat_bath",
    "independence",
    "invariant",
    "kinetic",
    "metropolis",
    "move",
    "preconditioning",
    "sequence",
    "spins",
    "ula",
    "wolff",
]
