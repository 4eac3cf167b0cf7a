"""Lattice systems with their exact solutions, where there are some."""

from jarzynski_jax.targets.lattice.best_gaussian import (
    GaussianFit,
    best_gaussian,
    fit_gaussian,
)
from jarzynski_jax.targets.lattice.couplings import (
    Couplings,
    from_continuum,
    from_mass,
    to_continuum,
    to_mass,
)
from jarzynski_jax.targets.lattice.double_well_path import (
    PathValues,
    double_well_path,
    double_well_path_values,
)
from jarzynski_jax.targets.lattice.free_field import free_field_flow
from jarzynski_jax.targets.lattice.gauge import (
    GaugeValues,
    gauge_values,
    plaquette_sum,
    plaquettes,
    topological_charge,
    u1_gauge,
)
from jarzynski_jax.targets.lattice.geometry import bond_sum
from jarzynski_jax.targets.lattice.ising import ising
from jarzynski_jax.targets.lattice.kaufman import (
    CRITICAL_INVERSE_TEMPERATURE,
    IsingThermodynamics,
    ising_thermodynamics,
)
from jarzynski_jax.targets.lattice.phi4 import phi4, phi4_continuum, phi4_mass
from jarzynski_jax.targets.lattice.single_site import site_log_z

__all__ = [
    "CRITICAL_INVERSE_TEMPERATURE",
    "Couplings",
    "GaugeValues",
    "GaussianFit",
    "IsingThermodynamics",
    "PathValues",
    "best_gaussian",
    "bond_sum",
    "double_well_path",
    "double_well_path_values",
    "fit_gaussian",
    "free_field_flow",
    "from_continuum",
    "from_mass",
    "gauge_values",
    "ising",
    "ising_thermodynamics",
    "phi4",
    "phi4_continuum",
    "phi4_mass",
    "plaquette_sum",
    "plaquettes",
    "site_log_z",
    "to_continuum",
    "to_mass",
    "topological_charge",
    "u1_gauge",
]
