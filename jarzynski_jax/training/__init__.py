"""Training: objectives, of energy-based models and others, and the loop for all of them."""

from jarzynski_jax.training.boltzmann_generator import (
    BoltzmannMetrics,
    Coordinate,
    boltzmann_generator,
    coordinate_loss,
)
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
from jarzynski_jax.training.craft import craft
from jarzynski_jax.training.energy_based import TrainingState
from jarzynski_jax.training.fab import FABMetrics, FABState, fab
from jarzynski_jax.training.fit import FitResult, fit
from jarzynski_jax.training.forward_kl import ForwardKLMetrics, forward_kl
from jarzynski_jax.training.forward_path_gradient import forward_path_gradient
from jarzynski_jax.training.gradient_descent import DescentMetrics, DescentState
from jarzynski_jax.training.jarzynski import jarzynski, jarzynski_pool
from jarzynski_jax.training.learned_transport import learned_transport
from jarzynski_jax.training.maximum_likelihood import maximum_likelihood
from jarzynski_jax.training.metrics import Metrics
from jarzynski_jax.training.metrics_file import read_metrics
from jarzynski_jax.training.objective import Monitor, Objective
from jarzynski_jax.training.path_divergence import path_divergence
from jarzynski_jax.training.path_gradient import path_gradient
from jarzynski_jax.training.pipeline import PipelineMetrics, PipelineState
from jarzynski_jax.training.refresh import (
    Refresh,
    refresh_along_path,
    refresh_from_base,
    refresh_state,
)
from jarzynski_jax.training.reinforce import ReinforceMetrics, reinforce
from jarzynski_jax.training.replicas import ReplicaState, replicate
from jarzynski_jax.training.reverse_kl import ReverseKLMetrics, reverse_kl
from jarzynski_jax.training.score_matching import score_matching
from jarzynski_jax.training.step_quality import StepQuality, step_quality
from jarzynski_jax.training.stop_rules import TrainingDiverged, Trouble
from jarzynski_jax.training.watch import Watch

__all__ = [
    "Annealing",
    "BoltzmannMetrics",
    "Bounding",
    "Coordinate",
    "DescentMetrics",
    "DescentState",
    "FABMetrics",
    "FABState",
    "FitResult",
    "ForwardKLMetrics",
    "Metrics",
    "Monitor",
    "Objective",
    "PipelineMetrics",
    "PipelineState",
    "Refresh",
    "ReinforceMetrics",
    "ReplicaState",
    "ReverseKLMetrics",
    "StepQuality",
    "TrainingDiverged",
    "TrainingState",
    "Trouble",
    "Watch",
    "boltzmann_generator",
    "bound_along_path",
    "bound_from_base",
    "check_annealing",
    "contrastive_divergence",
    "coordinate_loss",
    "craft",
    "fab",
    "fit",
    "forward_kl",
    "forward_path_gradient",
    "jarzynski",
    "jarzynski_pool",
    "learned_transport",
    "maximum_likelihood",
    "path_divergence",
    "path_from_base",
    "path_gradient",
    "persistent_contrastive_divergence",
    "read_metrics",
    "refresh_along_path",
    "refresh_from_base",
    "refresh_state",
    "reinforce",
    "replicate",
    "reverse_kl",
    "score_matching",
    "step_quality",
    "unweighted",
]
