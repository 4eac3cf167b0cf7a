"""Stochastic interpolants: densities in between, what transports them, generation."""

from jarzynski_jax.interpolants.generation import (
    generate_by_ode,
    generate_by_sde,
    generate_weighted,
    transport_by_ode,
)
from jarzynski_jax.interpolants.interpolant import (
    Draw,
    FieldFn,
    Interpolant,
    draw,
    linear_interpolant,
    variance_preserving_interpolant,
)
from jarzynski_jax.interpolants.losses import (
    score_loss,
    velocity_from_score,
    velocity_loss,
)

__all__ = [
    "Draw",
    "FieldFn",
    "Interpolant",
    "draw",
    "generate_by_ode",
    "generate_by_sde",
    "generate_weighted",
    "linear_interpolant",
    "score_loss",
    "transport_by_ode",
    "variance_preserving_interpolant",
    "velocity_from_score",
    "velocity_loss",
]
