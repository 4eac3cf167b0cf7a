"""Lattice systems with their exact solutions, where there are some."""

from jarzynski_jax.targets.lattice.geometry import bond_sum
from jarzynski_jax.targets.lattice.ising import ising
from jarzynski_jax.targets.lattice.kaufman import (
    CRITICAL_INVERSE_TEMPERATURE,
    IsingThermodynamics,
    ising_thermodynamics,
)

__all__ = [
    "CRITICAL_INVERSE_TEMPERATURE",
    "IsingThermodynamics",
    "bond_sum",
    "ising",
    "ising_thermodynamics",
]
