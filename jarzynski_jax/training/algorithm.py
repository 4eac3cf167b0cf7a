r"""What all training algorithms share: gradient, optimizer, held-out ensemble, metrics.

Most of them descend the cross entropy :math:`H = \log Z_\theta + E_*[U_\theta]` of the data
under the model, whose gradient is (thesis, eq. 3.1.1)

.. math:: \partial_\theta H = E_*[\partial_\theta U_\theta] - E_\theta[\partial_\theta U_\theta]

They differ in the walkers that stand for :math:`E_\theta`, the *negative samples*. Score
matching needs none and descends another objective.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax import weights
from jarzynski_jax.checks import check_energy
from jarzynski_jax.data import as_samples
from jarzynski_jax.kernels.arithmetic import lift
from jarzynski_jax.types import Array, EnergyFn, LogDensityFn, Params, Position, PRNGKey, Scalar
from jarzynski_jax.walkers import Dynamics, Walkers, advance_and_average, check_dynamics
from jarzynski_jax.walkers.blocks import Statistic, average, choose_block_size

__all__ = [
    "DataGradient",
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
        The training ensemble; weighed by the parameters *before* the last update. None if
        the algorithm needs no walkers.
    held_out
        The ensemble that never enters a gradient, likewise; None if there is none.
    """

    step: Array
    params: Params
    opt_state: Any
    walkers: Walkers | None
    held_out: Walkers | None


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


class TrainingAlgorithm(NamedTuple):
    """A training algorithm: two pure functions, with one signature for all algorithms.

    init
        ``init(rng_key, params, positions, data, log_partition_function,
        held_out_positions=None) -> TrainingState``. ``positions``, shape ``(N, ...)``, and
        ``held_out_positions``, shape ``(M, ...)``, are exact, independent samples of the
        first model, whose exact log Z is ``log_partition_function``. ``data``, shape
        ``(n, ...)``, is where the algorithms of contrastive divergence start their N
        walkers instead; a ``ValueError`` if they are not finite numbers. Optimizer and
        walkers start; nothing moves.
    step
        ``step(rng_key, state, batch) -> (TrainingState, Metrics)``: move and weigh the
        walkers under the parameters, take the gradient with the mini-batch ``batch``, shape
        ``(B, ...)``, update the parameters, resample. To be jitted, or scanned.
    """

    init: Callable[..., TrainingState]
    step: Callable[[PRNGKey, TrainingState, Position], tuple[TrainingState, Metrics]]


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


def build_algorithm(
    energy_fn: EnergyFn,
    optimizer: optax.GradientTransformation,
    dynamics: Dynamics,
    data_gradient: DataGradient,
    sampler: NegativeSampler | None,
) -> TrainingAlgorithm:
    """Make a training algorithm of what data pull at and of a sampler of negatives.

    Parameters
    ----------
    energy_fn
        ``(params, x) -> scalar``, for one sample.
    optimizer
        Any of Optax.
    dynamics
        How the held-out ensemble moves; its weights are exact whatever the sampler is.
    data_gradient
        The data's part of the gradient.
    sampler
        Where the negative samples come from, whose mean gradient is taken off; None if there
        are none.

    Returns
    -------
    TrainingAlgorithm
        ``(init, step)``.

    Raises
    ------
    ValueError
        If the energy is a module of Flax, or no function; or the dynamics are none.
    """
    check_energy(energy_fn)
    check_dynamics(dynamics)

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
        if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(data)):
            jax.tree.map(as_samples, data)
        # A weak type would not survive the first update, and the second would recompile.
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), params)
        target = logdensity_fn(params)
        walkers, held_out = None, None
        if sampler is not None:
            walkers = sampler.init(rng_key, target, positions, data, log_partition_function)
        if held_out_positions is not None:
            held_out = walkers_lib.init(
                held_out_positions, target, dynamics.kernel_init, log_partition_function
            )
        step = jnp.zeros((), jnp.int32)
        return TrainingState(step, params, optimizer.init(params), walkers, held_out)

    def step(
        rng_key: PRNGKey, state: TrainingState, batch: Position
    ) -> tuple[TrainingState, Metrics]:
        key_training, key_held_out, key_data = jax.random.split(rng_key, 3)
        target = logdensity_fn(state.params)
        walkers, negatives, held_out, held_out_info = None, None, None, None
        if sampler is not None and state.walkers is not None:
            energy_sums = sum_energies(energy_fn, state.params)
            walkers, negatives = sampler.step(
                key_training, state.walkers, target, batch, energy_sums
            )
        if state.held_out is not None:
            held_out, held_out_info = advance_and_resample(
                key_held_out, state.held_out, target, dynamics, _no_energies
            )
        gradient, data_energy = data_gradient(key_data, state.params, batch)
        if negatives is not None:
            gradient = jax.tree.map(jnp.subtract, gradient, negatives.energy_gradient)
        params, opt_state, is_skipped = _update(optimizer, gradient, _is_dead(negatives), state)
        metrics = _metrics(negatives, held_out_info, data_energy, gradient, is_skipped)
        return TrainingState(state.step + 1, params, opt_state, walkers, held_out), metrics

    return TrainingAlgorithm(init, step)


def _no_energies(position: Position, weights: Array) -> tuple[Array, tuple[()]]:
    """What a held-out ensemble contributes to a gradient: nothing."""
    del position
    return jnp.zeros((), weights.dtype), ()


def _update(
    optimizer: optax.GradientTransformation,
    gradient: Params,
    is_dead: Array,
    state: TrainingState,
) -> tuple[Params, Any, Array]:
    """Update the parameters, unless the gradient is not finite or all walkers are dead.

    The energy of a walker that dies in this step may poison the sum of the gradients, though
    its weight is zero. For the next step it is put at a place of finite energy, still with
    weight zero; so skipping one update is all it takes, unless its next move leads it out
    again.
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


def _is_dead(negatives: Negatives | None) -> Array:
    if negatives is None:
        return jnp.array(False)
    return ~jnp.isfinite(weights.log_mean_exp(negatives.log_weights))


def _metrics(
    training: Negatives | None,
    held_out: Negatives | None,
    data_energy: Array,
    gradient: Params,
    is_skipped: Array,
) -> Metrics:
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
        is_dead=_is_dead(training),
        held_out_effective_sample_size=effective_sample_size(held_out),
        held_out_shadow_effective_sample_size=seen_held_out.shadow_effective_sample_size,
        held_out_is_resampled=seen_held_out.is_resampled,
        held_out_num_dead=seen_held_out.num_dead,
    )
