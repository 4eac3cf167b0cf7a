"""Generators: models with a density that can be sampled."""

from jarzynski_jax.generators.autoregressive import Autoregressive, autoregressive
from jarzynski_jax.generators.masked_convolutions import MaskedConvolutions
from jarzynski_jax.generators.masked_dense import MaskedDense

__all__ = ["Autoregressive", "MaskedConvolutions", "MaskedDense", "autoregressive"]
