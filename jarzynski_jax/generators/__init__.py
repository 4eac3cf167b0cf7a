"""Generators: models with a density that can be sampled, and what is learned of them."""

from jarzynski_jax.generators.autoregressive import Autoregressive, autoregressive
from jarzynski_jax.generators.continuous_flow import ContinuousFlow, with_divergence
from jarzynski_jax.generators.divergence import divergence
from jarzynski_jax.generators.drift import Drift, Transport, functional, residual
from jarzynski_jax.generators.flow import Flow, RoundTrip, check_flow, round_trip
from jarzynski_jax.generators.lattice_velocity import (
    LatticeParams,
    init_lattice_velocity,
    lattice_velocity,
)
from jarzynski_jax.generators.layered_flow import Layer, LayeredFlow
from jarzynski_jax.generators.masked_convolutions import MaskedConvolutions
from jarzynski_jax.generators.masked_dense import MaskedDense
from jarzynski_jax.generators.step_doubts import StepDoubts, step_doubts
from jarzynski_jax.generators.stochastic_flow import StochasticFlow

__all__ = [
    "Autoregressive",
    "ContinuousFlow",
    "Drift",
    "Flow",
    "LatticeParams",
    "Layer",
    "LayeredFlow",
    "MaskedConvolutions",
    "MaskedDense",
    "RoundTrip",
    "StepDoubts",
    "StochasticFlow",
    "Transport",
    "autoregressive",
    "check_flow",
    "divergence",
    "functional",
    "init_lattice_velocity",
    "lattice_velocity",
    "residual",
    "round_trip",
    "step_doubts",
    "with_divergence",
]
