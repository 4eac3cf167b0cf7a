"""Training of energy-based models: pairs of pure functions ``(init, step)``."""

from jarzynski_jax.training.algorithm import Metrics, TrainingAlgorithm, TrainingState
from jarzynski_jax.training.bounding import (
    Annealing,
    Bounding,
    bound_along_path,
    bound_from_base,
    check_annealing,
    path_from_base,
)
from jarzynski_jax.training.contrastive_divergence import (
    contrastive_divergence,
    persistent_contrastive_divergence,
    unweighted,
)
from jarzynski_jax.training.fit import FitResult, TrainingDiverged, fit
from jarzynski_jax.training.jarzynski import jarzynski, jarzynski_pool
from jarzynski_jax.training.refresh import (
    Refresh,
    refresh_along_path,
    refresh_from_base,
    refresh_state,
)
from jarzynski_jax.training.score_matching import score_matching
from jarzynski_jax.training.step_quality import StepQuality, step_quality
from jarzynski_jax.training.trouble import Trouble, Watch

__all__ = [
    "Annealing",
    "Bounding",
    "FitResult",
    "Metrics",
    "Refresh",
    "StepQuality",
    "TrainingAlgorithm",
    "TrainingDiverged",
    "TrainingState",
    "Trouble",
    "Watch",
    "bound_along_path",
    "bound_from_base",
    "check_annealing",
    "contrastive_divergence",
    "fit",
    "jarzynski",
    "jarzynski_pool",
    "path_from_base",
    "persistent_contrastive_divergence",
    "refresh_along_path",
    "refresh_from_base",
    "refresh_state",
    "score_matching",
    "step_quality",
    "unweighted",
]
