"""What one update of an energy-based model tells of itself."""

from typing import NamedTuple

import jax.numpy as jnp
import optax

from jarzynski_jax import weights
from jarzynski_jax.training.negative_samples import Negatives, are_dead
from jarzynski_jax.types import Array, Params

__all__ = ["Metrics", "collect"]


class Metrics(NamedTuple):
    """What one update saw, all scalars; energies and entropies in nats.

    Everything refers to the parameters *before* the update. Where an algorithm has no such
    number (log Z of an unweighted walk, anything of an ensemble that is not there) it is NaN.

    cross_entropy
        From the held-out log Z, which is unbiased for Z, and the mini-batch.
    training_cross_entropy
        From the training walkers' log Z. *Biased*: the model reacts to these walkers.
    log_partition_function
        From the held-out ensemble.
    log_partition_function_error
        Its standard error, from the held-out walkers' own genealogy. The cross entropy has
        that of the mini-batch's mean energy besides.
    training_log_partition_function
        From the training walkers. *Biased*, often grossly.
    data_energy
        Mean energy of the mini-batch.
    walker_energy
        Weighted mean energy of the training walkers.
    gradient_norm
        Of the gradient that was followed.
    is_skipped
        Whether the gradient was not finite, so that no update was made.
    effective_sample_size
        Of the training walkers, a fraction; of the block, in a pool.
    shadow_effective_sample_size
        The one that triggers resampling.
    is_resampled
        Whether the training walkers were resampled.
    num_dead
        How many training walkers died in this step, their energy not being finite.
    is_dead
        Whether no training walker had a usable weight.
    held_out_effective_sample_size
        As above, for the held-out ensemble; so are the three below.
    held_out_shadow_effective_sample_size
        As above.
    held_out_is_resampled
        As above.
    held_out_num_dead
        As above.
    """

    cross_entropy: Array
    training_cross_entropy: Array
    log_partition_function: Array
    log_partition_function_error: Array
    training_log_partition_function: Array
    data_energy: Array
    walker_energy: Array
    gradient_norm: Array
    is_skipped: Array
    effective_sample_size: Array
    shadow_effective_sample_size: Array
    is_resampled: Array
    num_dead: Array
    is_dead: Array
    held_out_effective_sample_size: Array
    held_out_shadow_effective_sample_size: Array
    held_out_is_resampled: Array
    held_out_num_dead: Array


def collect(
    training: Negatives | None,
    held_out: Negatives | None,
    data_energy: Array,
    gradient: Params,
    is_skipped: Array,
) -> Metrics:
    """Collect the metrics of an update; NaN for what there is not."""
    nan = jnp.full((), jnp.nan, jnp.promote_types(data_energy.dtype, jnp.float32))
    nothing = Negatives(nan, None, nan, nan, nan, nan, jnp.array(False), jnp.array(0))
    seen, seen_held_out = training or nothing, held_out or nothing

    def effective_sample_size(negatives: Negatives | None) -> Array:
        return (
            nan if negatives is None else weights.effective_sample_size(negatives.log_weights)
        )

    return Metrics(
        cross_entropy=seen_held_out.log_partition_function + data_energy,
        training_cross_entropy=seen.log_partition_function + data_energy,
        log_partition_function=seen_held_out.log_partition_function,
        log_partition_function_error=seen_held_out.log_partition_function_error,
        training_log_partition_function=seen.log_partition_function,
        data_energy=data_energy,
        walker_energy=seen.energy,
        gradient_norm=optax.tree.norm(gradient),
        is_skipped=is_skipped,
        effective_sample_size=effective_sample_size(training),
        shadow_effective_sample_size=seen.shadow_effective_sample_size,
        is_resampled=seen.is_resampled,
        num_dead=seen.num_dead,
        is_dead=are_dead(training),
        held_out_effective_sample_size=effective_sample_size(held_out),
        held_out_shadow_effective_sample_size=seen_held_out.shadow_effective_sample_size,
        held_out_is_resampled=seen_held_out.is_resampled,
        held_out_num_dead=seen_held_out.num_dead,
    )
