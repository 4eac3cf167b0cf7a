"""Negative samples: walkers that stand for the model in the gradient of its cross entropy."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax import weights
from jarzynski_jax.kernels.arithmetic import lift
from jarzynski_jax.types import Array, EnergyFn, LogDensityFn, Params, Position, PRNGKey, Scalar
from jarzynski_jax.walkers import Dynamics, Walkers, advance_and_average
from jarzynski_jax.walkers.blocks import Statistic

__all__ = [
    "NegativeSampler",
    "Negatives",
    "SamplerInit",
    "SamplerStep",
    "advance_and_resample",
    "are_dead",
    "start_from_model",
    "sum_energies",
]


class Negatives(NamedTuple):
    r"""What the walkers that stand for the model say of it, and what befell them.

    ``energy`` and ``energy_gradient`` are the weighted means of :math:`U_\theta` and of
    :math:`\partial_\theta U_\theta`, by ``log_weights``.
    """

    energy: Array
    energy_gradient: Params
    log_weights: Array
    log_partition_function: Array
    log_partition_function_error: Array
    shadow_effective_sample_size: Array
    is_resampled: Array
    num_dead: Array


#: ``(rng_key, logdensity_fn, positions, data, log_partition_function) -> Walkers``.
SamplerInit: TypeAlias = Callable[[PRNGKey, LogDensityFn, Position, Position, Scalar], Walkers]
#: ``(rng_key, walkers, logdensity_fn, batch, energy_sums) -> (Walkers, Negatives)``, where
#: ``energy_sums(position, weights) -> (energy, gradient)`` are weighted sums.
SamplerStep: TypeAlias = Callable[
    [PRNGKey, Walkers, LogDensityFn, Position, Statistic], tuple[Walkers, Negatives]
]


class NegativeSampler(NamedTuple):
    """Where an objective has its negative samples from.

    init
        The first walkers.
    step
        Move them. The means are taken before resampling: the gradient is then sharper, and
        at the very positions where the kernel evaluated the energy.
    is_weighted
        Whether the walkers carry weights. Without them nobody expects the walkers to keep up
        with the model: then only their death is fatal.
    """

    init: SamplerInit
    step: SamplerStep
    is_weighted: bool


def start_from_model(dynamics: Dynamics) -> SamplerInit:
    """Start the walkers at the exact samples of the first model."""

    def init(
        rng_key: PRNGKey,
        target: LogDensityFn,
        positions: Position,
        data: Position,
        log_partition_function: Scalar,
    ) -> Walkers:
        del rng_key, data
        return walkers_lib.init(positions, target, dynamics.kernel_init, log_partition_function)

    return init


def advance_and_resample(
    rng_key: PRNGKey,
    walkers: Walkers,
    logdensity_fn: LogDensityFn,
    dynamics: Dynamics,
    energy_sums: Statistic,
) -> tuple[Walkers, Negatives]:
    """Move properly weighted walkers under a new target; resample them if need be."""
    key_move, key_resample = jax.random.split(rng_key)
    moved, num_dead, (energy, gradient) = advance_and_average(
        key_move, walkers, logdensity_fn, dynamics, energy_sums
    )
    resampled, info = walkers_lib.resample(key_resample, moved, dynamics.resampler)
    return walkers_lib.relocate_dead(resampled), Negatives(
        energy,
        gradient,
        moved.log_weights,
        walkers_lib.log_partition_function(moved),
        walkers_lib.log_partition_function_error(moved),
        info.shadow_effective_sample_size,
        info.is_resampled,
        num_dead,
    )


def sum_energies(energy_fn: EnergyFn, params: Params) -> Statistic:
    """Make the statistic of weighted sums of energies and of their gradients."""

    def energy_sums(position: Position, weights: Array) -> tuple[Array, Params]:
        def total(params: Params) -> Array:
            energies = jax.vmap(energy_fn, (None, 0))(params, lift(position))
            # A weight of zero must silence a NaN, so the product alone will not do.
            return jnp.sum(jnp.where(weights == 0, 0, weights * energies))

        return jax.value_and_grad(total)(params)

    return energy_sums


def are_dead(negatives: Negatives | None) -> Array:
    """Whether no walker has a usable weight."""
    if negatives is None:
        return jnp.array(False)
    return ~jnp.isfinite(weights.log_mean_exp(negatives.log_weights))
