"""What an update of an energy-based model saw."""

from typing import NamedTuple

from jarzynski_jax.types import Array

__all__ = ["Metrics"]


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
        Its standard error, and that of ``cross_entropy``, from the held-out walkers' own
        genealogy.
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
