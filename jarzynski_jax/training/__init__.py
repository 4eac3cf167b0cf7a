"""Training: objectives, of energy-based models and others, and the loop for all of them."""

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
from jarzynski_jax.training.energy_based import TrainingState
from jarzynski_jax.training.fit import FitResult, fit
from jarzynski_jax.training.gradient_descent import DescentMetrics, DescentState
from jarzynski_jax.training.jarzynski import jarzynski, jarzynski_pool
from jarzynski_jax.training.maximum_likelihood import maximum_likelihood
from jarzynski_jax.training.metrics import Metrics
from jarzynski_jax.training.metrics_file import read_metrics
from jarzynski_jax.training.objective import Monitor, Objective
from jarzynski_jax.training.refresh import (
    Refresh,
    refresh_along_path,
    refresh_from_base,
    refresh_state,
)
from jarzynski_jax.training.replicas import ReplicaState, replicate
from jarzynski_jax.training.reverse_kl import ReverseKLMetrics, reverse_kl
from jarzynski_jax.training.score_matching import score_matching
from jarzynski_jax.training.step_quality import StepQuality, step_quality
from jarzynski_jax.training.stop_rules import TrainingDiverged, Trouble
from jarzynski_jax.training.watch import Watch

__all__ = [
    "Annealing",
    "Bounding",
    "DescentMetrics",
    "DescentState",
    "FitResult",
    "Metrics",
    "Monitor",
    "Objective",
    "Refresh",
    "ReplicaState",
    "ReverseKLMetrics",
    "StepQuality",
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
    "maximum_likelihood",
    "path_from_base",
    "persistent_contrastive_divergence",
    "read_metrics",
    "refresh_along_path",
    "refresh_from_base",
    "refresh_state",
    "replicate",
    "reverse_kl",
    "score_matching",
    "step_quality",
    "unweighted",
]
