"""Free-energy differences and log Z, with errors, from both sides, or with doubts."""

from jarzynski_jax.free_energy.acceptance_ratio import (
    bennett_acceptance_ratio,
    overlap,
)
from jarzynski_jax.free_energy.bounding import (
    Annealing,
    Bounding,
    bound_along_path,
    bound_from_base,
    check_annealing,
    path_from_base,
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
from jarzynski_jax.free_energy.work_values import (
    Estimate,
)

__all__ = [
    "Annealing",
    "Bounding",
    "Bounds",
    "Bracket",
    "Crossing",
    "Estimate",
    "FreeEnergy",
    "bennett_acceptance_ratio",
    "bound_along_path",
    "bound_from_base",
    "bracket",
    "check_annealing",
    "crooks_crossing",
    "cumulant_expansion",
    "dissipation_bounds",
    "estimate",
    "exponential_average",
    "log_partition_bracket",
    "overlap",
    "path_from_base",
    "two_sided_bounds",
]
