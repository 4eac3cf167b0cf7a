r"""The two sides of the gradient: what the data pull at, and the walkers that push back.

The walkers stand for :math:`E_\theta`: the *negative samples*.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax.kernels.arithmetic import lift
from jarzynski_jax.types import Array, EnergyFn, LogDensityFn, Params, Position, PRNGKey, Scalar
from jarzynski_jax.walkers import Dynamics, Walkers, advance_and_average
from jarzynski_jax.walkers.blocks import Statistic, average, choose_block_size

__all__ = [
    "DataGradient",
    "NegativeSampler",
    "Negatives",
    "SamplerInit",
    "SamplerStep",
    "advance_and_resample",
    "energy_of_data",
    "start_from_model",
    "sum_energies",
]


class Negatives(NamedTuple):
    r"""What the walkers that stand for the model say of it, and what befell them.

    ``energy`` and ``energy_gradient`` are the weighted means of :math:`U_\theta` and of
    :math:`\\partial_\theta U_\theta`, by ``log_weights``.
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
#: ``(rng_key, params, batch) -> (gradient, data_energy)``: what the data pull at.
DataGradient: TypeAlias = Callable[[PRNGKey, Params, Position], tuple[Params, Array]]


class NegativeSampler(NamedTuple):
    """Where an algorithm has its negative samples from.

    init
        The first walkers.
    step
        Move them. The means are taken before resampling: the gradient is then sharper, and
        at the very positions where the kernel evaluated the energy.
    """

    init: SamplerInit
    step: SamplerStep


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


def energy_of_data(energy_fn: EnergyFn, dynamics: Dynamics) -> DataGradient:
    """Make the data's part of the gradient of the cross entropy, eq. 3.1.1."""

    def data_gradient(
        rng_key: PRNGKey, params: Params, batch: Position
    ) -> tuple[Params, Array]:
        del rng_key
        num_data = jax.tree.leaves(batch)[0].shape[0]
        one = jax.tree.map(lambda leaf: leaf[0], batch)
        dtype = jnp.promote_types(jax.eval_shape(energy_fn, params, one).dtype, jnp.float32)
        energy, gradient = average(
            batch,
            jnp.zeros(num_data, dtype),
            sum_energies(energy_fn, params),
            dynamics.block_size or choose_block_size(batch),
        )
        return gradient, energy

    return data_gradient


def sum_energies(energy_fn: EnergyFn, params: Params) -> Statistic:
    """Make the statistic of weighted sums of energies and of their gradients."""

    def energy_sums(position: Position, weights: Array) -> tuple[Array, Params]:
        def total(params: Params) -> Array:
            energies = jax.vmap(energy_fn, (None, 0))(params, lift(position))
            # A weight of zero must silence a NaN, so the product alone will not do.
            return jnp.sum(jnp.where(weights == 0, 0, weights * energies))

        return jax.value_and_grad(total)(params)

    return energy_sums
