r"""What all objectives of energy-based models share: gradient, held-out ensemble, metrics.

Most of them descend the cross entropy :math:`H = \log Z_\theta + E_*[U_\theta]` of the data
under the model, whose gradient is (thesis, eq. 3.1.1)

.. math:: \partial_\theta H = E_*[\partial_\theta U_\theta] - E_\theta[\partial_\theta U_\theta]

They differ in the walkers that stand for :math:`E_\theta`, the *negative samples*. Score
matching needs none and descends another loss.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax.checks import check_energy
from jarzynski_jax.data import as_samples
from jarzynski_jax.training import metrics as metrics_lib
from jarzynski_jax.training.gradient_descent import strong_types, update
from jarzynski_jax.training.metrics import Metrics
from jarzynski_jax.training.negative_samples import (
    NegativeSampler,
    advance_and_resample,
    are_dead,
    sum_energies,
)
from jarzynski_jax.training.objective import Objective
from jarzynski_jax.training.step_quality import step_quality
from jarzynski_jax.training.walker_monitor import monitor_walkers
from jarzynski_jax.training.watch import Watch
from jarzynski_jax.types import Array, EnergyFn, LogDensityFn, Params, Position, PRNGKey, Scalar
from jarzynski_jax.walkers import Dynamics, Walkers, check_dynamics
from jarzynski_jax.walkers.blocks import average, choose_block_size

__all__ = ["DataGradient", "TrainingState", "build_objective", "energy_of_data"]


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
        the objective needs no walkers.
    held_out
        The ensemble that never enters a gradient, likewise; None if there is none.
    """

    step: Array
    params: Params
    opt_state: Any
    walkers: Walkers | None
    held_out: Walkers | None


#: ``(rng_key, params, batch) -> (gradient, data_energy)``: what the data pull at.
DataGradient: TypeAlias = Callable[[PRNGKey, Params, Position], tuple[Params, Array]]


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


def build_objective(
    energy_fn: EnergyFn,
    optimizer: optax.GradientTransformation,
    dynamics: Dynamics,
    data_gradient: DataGradient,
    sampler: NegativeSampler | None,
    watch: Watch | None = None,
) -> Objective:
    """Make an objective of what data pull at and of a sampler of negatives.

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
    watch
        What to look for between chunks; None for gradients that are not finite, alone.

    Returns
    -------
    Objective
        Its ``init(rng_key, params, positions, data, log_partition_function,
        held_out_positions=None)`` gives a :class:`TrainingState`. ``positions``, shape
        ``(N, ...)``, and ``held_out_positions``, shape ``(M, ...)``, are exact, independent
        samples of the first model, whose exact log Z is ``log_partition_function``. ``data``,
        shape ``(n, ...)``, is where contrastive divergence starts its N walkers instead; a
        ``ValueError`` if they are not finite numbers. Nothing moves yet. Its ``step`` moves and
        weighs the walkers under the parameters, takes the gradient with the mini-batch, updates
        the parameters, and resamples.

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
        params = strong_types(params)
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
        # The energy of a walker that dies in this step may poison the sum of the gradients,
        # though its weight is zero. For the next step it is put at a place of finite energy,
        # still with weight zero; so skipping one update is all it takes, unless its next move
        # leads it out again.
        params, opt_state, is_skipped = update(
            optimizer, gradient, state.params, state.opt_state, ~are_dead(negatives)
        )
        metrics = metrics_lib.collect(
            negatives, held_out_info, data_energy, gradient, is_skipped
        )
        return TrainingState(state.step + 1, params, opt_state, walkers, held_out), metrics

    is_weighted = sampler is not None and sampler.is_weighted
    quality = step_quality(energy_fn, dynamics)
    return Objective(init, step, monitor=monitor_walkers(watch, is_weighted, quality))


def _no_energies(position: Position, weights: Array) -> tuple[Array, tuple[()]]:
    """What a held-out ensemble contributes to a gradient: nothing."""
    del position
    return jnp.zeros((), weights.dtype), ()
