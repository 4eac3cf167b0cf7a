"""Training of energy-based models: pairs of pure functions ``(init, step)``."""

from jarzynski_jax.training.algorithm import Metrics, TrainingAlgorithm, TrainingState
from jarzynski_jax.training.contrastive_divergence import (
    contrastive_divergence,
    persistent_contrastive_divergence,
    unweighted,
)
from jarzynski_jax.training.jarzynski import jarzynski, jarzynski_pool

__all__ = [
    "Metrics",
    "TrainingAlgorithm",
    "TrainingState",
    "contrastive_divergence",
    "jarzynski",
    "jarzynski_pool",
    "persistent_contrastive_divergence",
    "unweighted",
]
