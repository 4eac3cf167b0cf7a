"""Walkers along a path of densities: annealed importance sampling and its relatives."""

from jarzynski_jax.annealing.anneal import (
    AnnealingInfo,
    anneal,
    part_of,
)
from jarzynski_jax.annealing.bounds import (
    LogPartitionBounds,
    log_partition_bounds,
)
from jarzynski_jax.annealing.estimate import (
    LogPartitionEstimate,
    estimate,
)
from jarzynski_jax.annealing.multistage import (
    MultistageEstimate,
    multistage,
)
from jarzynski_jax.annealing.paths import (
    LinearPath,
    Path,
    check_ends,
    check_times,
    check_whole_schedule,
    geometric_path,
    tempering_path,
)
from jarzynski_jax.annealing.pilot import (
    Choices,
)
from jarzynski_jax.annealing.relax import (
    relax,
)
from jarzynski_jax.annealing.schedules import (
    AdaptiveInfo,
    anneal_adaptively,
    refine,
)
from jarzynski_jax.annealing.tuning import (
    TunedStepSize,
    acceptance_rate,
    find_step_size,
)
from jarzynski_jax.annealing.work import (
    Work,
    work,
)

__all__ = [
    "AdaptiveInfo",
    "AnnealingInfo",
    "Choices",
    "LinearPath",
    "LogPartitionBounds",
    "LogPartitionEstimate",
    "MultistageEstimate",
    "Path",
    "TunedStepSize",
    "Work",
    "acceptance_rate",
    "anneal",
    "anneal_adaptively",
    "check_ends",
    "check_times",
    "check_whole_schedule",
    "estimate",
    "find_step_size",
    "geometric_path",
    "log_partition_bounds",
    "multistage",
    "part_of",
    "refine",
    "relax",
    "tempering_path",
    "work",
]
