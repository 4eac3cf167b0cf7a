"""Resampling schemes, and when to resample."""

from jarzynski_jax.resampling.adaptive import (
    AdaptiveResampler,
    ResamplingInfo,
    adaptive,
    from_log_weights,
    islands,
)
from jarzynski_jax.resampling.schemes import (
    NO_ANCESTOR,
    multinomial,
    residual,
    stratified,
    systematic,
)

__all__ = [
    "NO_ANCESTOR",
    "AdaptiveResampler",
    "ResamplingInfo",
    "adaptive",
    "from_log_weights",
    "islands",
    "multinomial",
    "residual",
    "stratified",
    "systematic",
]
