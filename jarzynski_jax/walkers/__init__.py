"""Ensembles of weighted walkers: how they start, move, resample and what they estimate."""

from jarzynski_jax.walkers.dynamics import (
    Dynamics,
    advance,
    advance_and_average,
    check_dynamics,
    kinetic_langevin,
    langevin,
)
from jarzynski_jax.walkers.ensemble import (
    Walkers,
    init,
    lost_log_weight,
    move,
)
from jarzynski_jax.walkers.estimates import (
    log_partition_function,
    log_partition_function_error,
)
from jarzynski_jax.walkers.pool import (
    draw_block,
    put,
    take,
)
from jarzynski_jax.walkers.resample import (
    ResampleInfo,
    relocate_dead,
    resample,
    shadow_log_weights,
)
from jarzynski_jax.walkers.sharding import (
    count_devices,
    ensemble_shardings,
    keep_spread,
    make_mesh,
    on_mesh,
    spread_data,
    spread_key,
)

__all__ = [
    "Dynamics",
    "ResampleInfo",
    "Walkers",
    "advance",
    "advance_and_average",
    "check_dynamics",
    "count_devices",
    "draw_block",
    "ensemble_shardings",
    "init",
    "keep_spread",
    "kinetic_langevin",
    "langevin",
    "log_partition_function",
    "log_partition_function_error",
    "lost_log_weight",
    "make_mesh",
    "move",
    "on_mesh",
    "put",
    "relocate_dead",
    "resample",
    "shadow_log_weights",
    "spread_data",
    "spread_key",
    "take",
]
