"""Quantum ground states: Hamiltonians, waves and drifts that are learned, and projection."""

from jarzynski_jax.quantum.estimates import (
    Extrapolation,
    cost_bound,
    extrapolate,
    growth_energy,
    mixed_mean,
)
from jarzynski_jax.quantum.grid import grid_energies
from jarzynski_jax.quantum.hamiltonian import Hamiltonian, inverse_masses
from jarzynski_jax.quantum.measurements import AtStep, Sampling
from jarzynski_jax.quantum.models import (
    bosons_in_trap,
    calogero,
    coupled_oscillators,
    harmonic,
    morse,
    poschl_teller,
    quartic,
    trotter_energy,
)
from jarzynski_jax.quantum.molecules import (
    Nuclei,
    atom,
    hydrogen_molecule,
    molecule,
    nuclei_of,
)
from jarzynski_jax.quantum.pair_drift import PairDrift
from jarzynski_jax.quantum.path_integral import path_integral_cost
from jarzynski_jax.quantum.report import GroundState, ground_state_report
from jarzynski_jax.quantum.runs import Run, run_populations
from jarzynski_jax.quantum.variational import variational_energy
from jarzynski_jax.quantum.waves import CuspedWave, TrapWave, exponential_wave

__all__ = [
    "AtStep",
    "CuspedWave",
    "Extrapolation",
    "GroundState",
    "Hamiltonian",
    "Nuclei",
    "PairDrift",
    "Run",
    "Sampling",
    "TrapWave",
    "atom",
    "bosons_in_trap",
    "calogero",
    "cost_bound",
    "coupled_oscillators",
    "exponential_wave",
    "extrapolate",
    "grid_energies",
    "ground_state_report",
    "growth_energy",
    "harmonic",
    "hydrogen_molecule",
    "inverse_masses",
    "mixed_mean",
    "molecule",
    "morse",
    "nuclei_of",
    "path_integral_cost",
    "poschl_teller",
    "quartic",
    "run_populations",
    "trotter_energy",
    "variational_energy",
]
