"""Kernels: how one walker moves, and by how much its log-weight changes."""

from jarzynski_jax.kernels import (
    bijection,
    escorted,
    invariant,
    kinetic,
    metropolis,
    preconditioning,
    sequence,
    ula,
)

__all__ = [
    "bijection",
    "escorted",
    "invariant",
    "kinetic",
    "metropolis",
    "preconditioning",
    "sequence",
    "ula",
]
