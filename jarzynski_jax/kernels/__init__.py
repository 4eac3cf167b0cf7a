"""Kernels: one file each, in BlackJAX's three layers, with exact path weights."""

from jarzynski_jax.kernels import metropolis, ula

__all__ = ["metropolis", "ula"]
