"""Free-energy differences and log Z, with errors, from both sides, or with doubts."""

from jarzynski_jax.free_energy.acceptance_ratio import (
    bennett_acceptance_ratio,
    overlap,
)
from jarzynski_jax.free_energy.autocorrelation import (
    Autocorrelation,
    autocorrelation,
)
from jarzynski_jax.free_energy.bounds import (
    Bounds,
    dissipation_bounds,
    two_sided_bounds,
)
from jarzynski_jax.free_energy.brackets import (
    Bracket,
    bracket,
    log_partition_bracket,
)
from jarzynski_jax.free_energy.crossing import (
    Crossing,
    crooks_crossing,
)
from jarzynski_jax.free_energy.estimators import (
    FreeEnergy,
    estimate,
)
from jarzynski_jax.free_energy.exponential import (
    cumulant_expansion,
    exponential_average,
)
from jarzynski_jax.free_energy.heat import FirstLaw, first_law
from jarzynski_jax.free_energy.importance import (
    ImportanceEstimate,
    ThermodynamicEstimates,
    forward_effective_sample_size,
    importance_estimate,
    observable,
    thermodynamics,
)
from jarzynski_jax.free_energy.macrostates import Macrostate, Macrostates, macrostates
from jarzynski_jax.free_energy.pareto import max_pareto_shape, pareto_shape
from jarzynski_jax.free_energy.time_series import (
    blocked_mean,
    blocking_errors,
    past_log_weights,
    weighted_ratio,
)
from jarzynski_jax.free_energy.work_values import (
    Estimate,
)

__all__ = [
    "Autocorrelation",
    "Bounds",
    "Bracket",
    "Crossing",
    "Estimate",
    "FirstLaw",
    "FreeEnergy",
    "ImportanceEstimate",
    "Macrostate",
    "Macrostates",
    "ThermodynamicEstimates",
    "autocorrelation",
    "bennett_acceptance_ratio",
    "blocked_mean",
    "blocking_errors",
    "bracket",
    "crooks_crossing",
    "cumulant_expansion",
    "dissipation_bounds",
    "estimate",
    "exponential_average",
    "first_law",
    "forward_effective_sample_size",
    "importance_estimate",
    "log_partition_bracket",
    "macrostates",
    "max_pareto_shape",
    "observable",
    "overlap",
    "pareto_shape",
    "past_log_weights",
    "thermodynamics",
    "two_sided_bounds",
    "weighted_ratio",
]
