"""Out of equilibrium: entropy production, work and heat, time reversal in magnetic fields."""

from jarzynski_jax.nonequilibrium import (
    correlators,
    counts,
    driven_langevin,
    first_law,
    fluctuation,
    kubo,
    linear_langevin,
    markov_chains,
    pauli,
    polynomial_fields,
    rare_transitions,
    time_reversal,
)

__all__ = [
    "correlators",
    "counts",
    "driven_langevin",
    "first_law",
    "fluctuation",
    "kubo",
    "linear_langevin",
    "markov_chains",
    "pauli",
    "polynomial_fields",
    "rare_transitions",
    "time_reversal",
]
