r"""What all training algorithms share: gradient, optimizer, held-out ensemble, metrics.

All of them descend the cross entropy :math:`H = \log Z_\theta + E_*[U_\theta]` of the data
under the model, whose gradient is (thesis, eq. 3.1.1)

.. math:: \partial_\theta H = E_*[\partial_\theta U_\theta] - E_\theta[\partial_\theta U_\theta]

They differ in the walkers that stand for :math:`E_\theta`, the *negative samples*.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax import weights
from jarzynski_jax.dynamics import Dynamics, advance
from jarzynski_jax.types import Array, EnergyFn, LogDensityFn, Params, Position, PRNGKey, Scalar
from jarzynski_jax.walkers import Walkers

__all__ = [
    "Metrics",
    "NegativeSampler",
    "Negatives",
    "TrainingAlgorithm",
    "TrainingState",
    "build_algorithm",
]


class TrainingState(NamedTuple):
    r"""Everything that training carries from one update to the next.

    step
        How many updates were made, int32.
    params
        :math:`\theta`.
    opt_state
        Of the optimizer.
    walkers
        The training ensemble; weighed by the parameters *before* the last update.
    held_out
        The ensemble that never enters a gradient, likewise; None if there is none.
    """

    step: Array
    params: Params
    opt_state: Any
    walkers: Walkers
    held_out: Walkers | None


class Metrics(NamedTuple):
    """What one update saw, all scalars; energies and entropies in nats.

    Everything refers to the parameters *before* the update. Where an algorithm has no such
    number (weights of an unweighted walk, a held-out ensemble that is not there) it is NaN.

    cross_entropy
        From the held-out log Z, which is unbiased for Z, and the mini-batch.
    training_cross_entropy
        From the training walkers' log Z. *Biased*: the model reacts to these walkers.
    log_partition_function
        From the held-out ensemble.
    training_log_partition_function
        From the training walkers. *Biased*, often grossly.
    data_energy
        Mean energy of the mini-batch.
    walker_energy
        Weighted mean energy of the training walkers.
    gradient_norm
        Of the cross entropy's gradient.
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


class TrainingAlgorithm(NamedTuple):
    """A training algorithm: two pure functions, with one signature for all algorithms.

    init
        ``init(rng_key, params, positions, data, log_partition_function,
        held_out_positions=None) -> TrainingState``. ``positions``, shape ``(N, ...)``, and
        ``held_out_positions``, shape ``(M, ...)``, are exact, independent samples of the
        first model, whose exact log Z is ``log_partition_function``. ``data``, shape
        ``(n, ...)``, is where the algorithms of contrastive divergence start their N
        walkers instead. Optimizer and walkers start; nothing moves.
    step
        ``step(rng_key, state, batch) -> (TrainingState, Metrics)``: move and weigh the
        walkers under the parameters, take the gradient with the mini-batch ``batch``, shape
        ``(B, ...)``, update the parameters, resample. To be jitted, or scanned.
    """

    init: Callable[..., TrainingState]
    step: Callable[[PRNGKey, TrainingState, Position], tuple[TrainingState, Metrics]]


class Negatives(NamedTuple):
    """Weighted samples that stand for the model, and what befell them."""

    position: Position
    log_weights: Array
    log_partition_function: Array
    shadow_effective_sample_size: Array
    is_resampled: Array
    num_dead: Array


#: ``(rng_key, logdensity_fn, positions, data, log_partition_function) -> Walkers``.
SamplerInit: TypeAlias = Callable[[PRNGKey, LogDensityFn, Position, Position, Scalar], Walkers]
#: ``(rng_key, walkers, logdensity_fn, batch) -> (Walkers, Negatives)``.
SamplerStep: TypeAlias = Callable[
    [PRNGKey, Walkers, LogDensityFn, Position], tuple[Walkers, Negatives]
]


class NegativeSampler(NamedTuple):
    """Where an algorithm has its negative samples from.

    init
        The first walkers.
    step
        Move them. The negatives are as they were before resampling: the gradient is then
        sharper, and at the very positions where the kernel evaluated the energy.
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
    rng_key: PRNGKey, walkers: Walkers, logdensity_fn: LogDensityFn, dynamics: Dynamics
) -> tuple[Walkers, Negatives]:
    """Move properly weighted walkers under a new target; resample them if need be."""
    key_move, key_resample = jax.random.split(rng_key)
    moved, num_dead = advance(key_move, walkers, logdensity_fn, dynamics)
    resampled, info = walkers_lib.resample(key_resample, moved, dynamics.resampler)
    # Not before the gradient is taken: there the positions must be the kernel's.
    return walkers_lib.relocate_dead(resampled), Negatives(
        moved.position,
        moved.log_weights,
        walkers_lib.log_partition_function(moved),
        info.shadow_effective_sample_size,
        info.is_resampled,
        num_dead,
    )


def build_algorithm(
    energy_fn: EnergyFn,
    optimizer: optax.GradientTransformation,
    sampler: NegativeSampler,
    dynamics: Dynamics,
) -> TrainingAlgorithm:
    """Make a training algorithm of a sampler of negatives.

    Parameters
    ----------
    energy_fn
        ``(params, x) -> scalar``, for one sample.
    optimizer
        Any of Optax.
    sampler
        Where the negative samples come from.
    dynamics
        How the held-out ensemble moves; its weights are exact whatever the sampler is.

    Returns
    -------
    TrainingAlgorithm
        ``(init, step)``.
    """

    def logdensity_fn(params: Params) -> LogDensityFn:
        return lambda x: -energy_fn(params, x)

    def init(
        rng_key: PRNGKey,
        params: Params,
        positions: Position,
        data: Position,
        log_partition_function: Scalar,
        held_out_positions: Position | None = None,
    ) -> TrainingState:
        # A weak type would not survive the first update, and the second would recompile.
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), params)
        target = logdensity_fn(params)
        held_out = None
        if held_out_positions is not None:
            held_out = walkers_lib.init(
                held_out_positions, target, dynamics.kernel_init, log_partition_function
            )
        return TrainingState(
            jnp.zeros((), jnp.int32),
            params,
            optimizer.init(params),
            sampler.init(rng_key, target, positions, data, log_partition_function),
            held_out,
        )

    def cross_entropy_surrogate(
        params: Params, batch: Position, negatives: Negatives
    ) -> tuple[Array, tuple[Array, Array]]:
        """Return a number whose gradient is that of the cross entropy, eq. 3.1.1."""
        energies = jax.vmap(energy_fn, (None, 0))
        data_energy = jnp.mean(energies(params, batch))
        walker_energy = weights.weighted_mean(
            negatives.log_weights, energies(params, negatives.position)
        )
        return data_energy - walker_energy, (data_energy, walker_energy)

    def step(
        rng_key: PRNGKey, state: TrainingState, batch: Position
    ) -> tuple[TrainingState, Metrics]:
        key_training, key_held_out = jax.random.split(rng_key)
        target = logdensity_fn(state.params)
        walkers, negatives = sampler.step(key_training, state.walkers, target, batch)
        held_out, held_out_info = None, None
        if state.held_out is not None:
            held_out, held_out_info = advance_and_resample(
                key_held_out, state.held_out, target, dynamics
            )
        gradient_fn = jax.grad(cross_entropy_surrogate, has_aux=True)
        gradient, (data_energy, walker_energy) = gradient_fn(state.params, batch, negatives)
        is_dead = ~jnp.isfinite(weights.log_mean_exp(negatives.log_weights))
        params, opt_state, is_skipped = _update(optimizer, gradient, is_dead, state)
        metrics = _metrics(
            negatives, held_out_info, data_energy, walker_energy, gradient, is_skipped
        )
        return TrainingState(state.step + 1, params, opt_state, walkers, held_out), metrics

    return TrainingAlgorithm(init, step)


def _update(
    optimizer: optax.GradientTransformation,
    gradient: Params,
    is_dead: Array,
    state: TrainingState,
) -> tuple[Params, Any, Array]:
    """Update the parameters, unless the gradient is not finite or all walkers are dead.

    The energy of a walker that dies in this step may poison the sum of the gradients, though
    its weight is zero. For the next step it is put at a place of finite energy, still with
    weight zero; so skipping one update is all it takes.
    """
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    is_finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(gradient)]
    is_usable = jnp.all(jnp.stack(is_finite)) & ~is_dead
    params, opt_state = jax.tree.map(
        lambda new, old: jnp.where(is_usable, new, old),
        (params, opt_state),
        (state.params, state.opt_state),
    )
    return params, opt_state, ~is_usable


def _metrics(
    negatives: Negatives,
    held_out: Negatives | None,
    data_energy: Array,
    walker_energy: Array,
    gradient: Params,
    is_skipped: Array,
) -> Metrics:
    log_weights = negatives.log_weights
    nan = jnp.full_like(negatives.log_partition_function, jnp.nan)
    nothing = Negatives(None, log_weights, nan, nan, jnp.array(False), jnp.array(0))
    log_z = nan if held_out is None else held_out.log_partition_function
    held_out_ess = nan if held_out is None else _ess(held_out)
    held_out = nothing if held_out is None else held_out
    return Metrics(
        cross_entropy=log_z + data_energy,
        training_cross_entropy=negatives.log_partition_function + data_energy,
        log_partition_function=log_z,
        training_log_partition_function=negatives.log_partition_function,
        data_energy=data_energy,
        walker_energy=walker_energy,
        gradient_norm=optax.tree.norm(gradient),
        is_skipped=is_skipped,
        effective_sample_size=_ess(negatives),
        shadow_effective_sample_size=negatives.shadow_effective_sample_size,
        is_resampled=negatives.is_resampled,
        num_dead=negatives.num_dead,
        is_dead=~jnp.isfinite(weights.log_mean_exp(log_weights)),
        held_out_effective_sample_size=held_out_ess,
        held_out_shadow_effective_sample_size=held_out.shadow_effective_sample_size,
        held_out_is_resampled=held_out.is_resampled,
        held_out_num_dead=held_out.num_dead,
    )


def _ess(negatives: Negatives) -> Array:
    return weights.effective_sample_size(negatives.log_weights)
