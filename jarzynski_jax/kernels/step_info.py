"""What one unadjusted step tells: what it adds to the log-weight, and the heat where known."""

from typing import NamedTuple

from jarzynski_jax.types import Array

__all__ = ["HeatInfo", "WeightInfo"]


class WeightInfo(NamedTuple):
    r"""What one step did: :math:`\Delta A`, ``-inf`` where anything is not finite, never NaN.

    A walker whose increment is not finite is dead: its weight is 0.
    """

    log_weight_increment: Array
    is_finite: Array

    @property
    def is_lost(self) -> Array:
        """Whether it died by its own move: walkers that come back are missing."""
        return ~self.is_finite


class HeatInfo(NamedTuple):
    r"""The same, and the heat that the walker took up, in units of the temperature.

    It is :math:`\log K(x' \to x)/K(x \to x')` of a step with noise, or :math:`\log|J|` of a map
    that thermostats move.
    """

    log_weight_increment: Array
    is_finite: Array
    heat: Array

    @property
    def is_lost(self) -> Array:
        """Whether it died by its own move: walkers that come back are missing."""
        return ~self.is_finite
