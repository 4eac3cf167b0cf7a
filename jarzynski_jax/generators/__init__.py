"""Generators: what takes samples of one density to another, and is learned."""

from jarzynski_jax.generators.drift import Drift, Transport, functional, residual
from jarzynski_jax.generators.stochastic_flow import StochasticFlow

__all__ = ["Drift", "StochasticFlow", "Transport", "functional", "residual"]
