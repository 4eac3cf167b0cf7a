"""Training without weights, to compare with: CD, persistent CD and the unweighted walk.

Their walkers do not sample the model, so their gradient is biased and they know no log Z. The
held-out ensemble beside them is weighted, and tells the truth about the model they make.

References: Hinton, *Neural Computation* 14 (2002) 1771; Tieleman, ICML 2008; thesis,
Algorithms 1 and 2, §4.2.
"""

import jax
import jax.numpy as jnp
import optax

from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax import weights
from jarzynski_jax.data.precision import check_kind
from jarzynski_jax.training.energy_based import build_objective, energy_of_data
from jarzynski_jax.training.negative_samples import (
    Negatives,
    NegativeSampler,
    SamplerInit,
    SamplerStep,
    start_from_model,
)
from jarzynski_jax.training.objective import Objective
from jarzynski_jax.training.watch import Watch
from jarzynski_jax.types import Array, EnergyFn, LogDensityFn, Position, PRNGKey, Scalar
from jarzynski_jax.walkers import Dynamics, Walkers, advance_and_average
from jarzynski_jax.walkers.blocks import Statistic

__all__ = ["contrastive_divergence", "persistent_contrastive_divergence", "unweighted"]


def contrastive_divergence(
    energy_fn: EnergyFn,
    optimizer: optax.GradientTransformation,
    dynamics: Dynamics,
    watch: Watch | None = None,
) -> Objective:
    """Contrastive divergence (thesis, Algorithm 1): start anew from the data at each update.

    Arguments, errors and ``init`` are those of :func:`~jarzynski_jax.training.jarzynski`.
    N walkers, as many as there are ``positions``, start from random members of the mini-batch;
    ``dynamics.num_moves`` is the P of CD-P.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax
    >>> from jarzynski_jax.walkers import langevin
    >>> energy_fn = lambda params, x: jnp.sum((x - params) ** 2) / 2
    >>> objective = contrastive_divergence(energy_fn, optax.sgd(1.0), langevin(0.1, 4))
    >>> x = jax.random.normal(jax.random.key(0), (500, 2))
    >>> state = objective.init(jax.random.key(1), jnp.zeros(2), x, x + 1, jnp.log(2 * jnp.pi))
    >>> state, metrics = jax.jit(objective.step)(jax.random.key(2), state, x + 1)
    >>> bool(jnp.all(state.params > 0))
    True
    """

    def step(
        rng_key: PRNGKey,
        walkers: Walkers,
        target: LogDensityFn,
        batch: Position,
        energy_sums: Statistic,
    ) -> tuple[Walkers, Negatives]:
        key_start, key_move = jax.random.split(rng_key)
        start = _draw(key_start, batch, walkers.position)
        restarted = walkers_lib.init(start, target, dynamics.kernel_init)
        return _advance_unweighted(key_move, restarted, target, dynamics, energy_sums)

    sampler = NegativeSampler(_start_from_data(dynamics), step, is_weighted=False)
    data_gradient = energy_of_data(energy_fn, dynamics)
    return build_objective(energy_fn, optimizer, dynamics, data_gradient, sampler, watch)


def persistent_contrastive_divergence(
    energy_fn: EnergyFn,
    optimizer: optax.GradientTransformation,
    dynamics: Dynamics,
    watch: Watch | None = None,
) -> Objective:
    """PCD, persistent contrastive divergence (thesis, Algorithm 2): start from data once.

    Arguments, errors and ``init`` are those of :func:`~jarzynski_jax.training.jarzynski`.
    N walkers, as many as there are ``positions``, start from random members of the data.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax
    >>> from jarzynski_jax.walkers import langevin
    >>> energy_fn = lambda params, x: jnp.sum((x - params) ** 2) / 2
    >>> objective = persistent_contrastive_divergence(energy_fn, optax.sgd(0.1), langevin(0.1))
    >>> x = jax.random.normal(jax.random.key(0), (500, 2))
    >>> state = objective.init(jax.random.key(1), jnp.zeros(2), x, x + 1, jnp.log(2 * jnp.pi))
    >>> state, metrics = jax.jit(objective.step)(jax.random.key(2), state, x + 1)
    >>> bool(jnp.isnan(metrics.training_cross_entropy))
    True
    """
    sampler = NegativeSampler(
        _start_from_data(dynamics), _persistent_step(dynamics), is_weighted=False
    )
    data_gradient = energy_of_data(energy_fn, dynamics)
    return build_objective(energy_fn, optimizer, dynamics, data_gradient, sampler, watch)


def unweighted(
    energy_fn: EnergyFn,
    optimizer: optax.GradientTransformation,
    dynamics: Dynamics,
    watch: Watch | None = None,
) -> Objective:
    """Jarzynski's walk with its weights left out (thesis, §4.2): what the weights are for.

    It differs from persistent contrastive divergence in where the walkers start: from exact
    samples of the first model.

    Arguments, errors and ``init`` are those of :func:`~jarzynski_jax.training.jarzynski`.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax
    >>> from jarzynski_jax.walkers import langevin
    >>> energy_fn = lambda params, x: jnp.sum((x - params) ** 2) / 2
    >>> objective = unweighted(energy_fn, optax.sgd(0.1), langevin(0.1))
    >>> x = jax.random.normal(jax.random.key(0), (500, 2))
    >>> state = objective.init(jax.random.key(1), jnp.zeros(2), x, x, jnp.log(2 * jnp.pi))
    >>> bool(jnp.all(state.walkers.position == x))
    True
    """
    sampler = NegativeSampler(
        start_from_model(dynamics), _persistent_step(dynamics), is_weighted=False
    )
    data_gradient = energy_of_data(energy_fn, dynamics)
    return build_objective(energy_fn, optimizer, dynamics, data_gradient, sampler, watch)


def _draw(rng_key: PRNGKey, data: Position, like: Position) -> Position:
    """Draw members of the data, as many as there are positions, and in their precision."""
    num_samples = jax.tree.leaves(like)[0].shape[0]
    num_data = jax.tree.leaves(data)[0].shape[0]
    indices = jax.random.randint(rng_key, (num_samples,), 0, num_data)

    def draw(leaf: Array, like: Array) -> Array:
        check_kind(leaf)
        return jnp.asarray(leaf[indices], like.dtype)

    return jax.tree.map(draw, data, like)


def _start_from_data(dynamics: Dynamics) -> SamplerInit:
    def init(
        rng_key: PRNGKey,
        target: LogDensityFn,
        positions: Position,
        data: Position,
        log_partition_function: Scalar,
    ) -> Walkers:
        del log_partition_function
        start = _draw(rng_key, data, positions)
        return walkers_lib.init(start, target, dynamics.kernel_init)

    return init


def _persistent_step(dynamics: Dynamics) -> SamplerStep:
    def step(
        rng_key: PRNGKey,
        walkers: Walkers,
        target: LogDensityFn,
        batch: Position,
        energy_sums: Statistic,
    ) -> tuple[Walkers, Negatives]:
        del batch
        return _advance_unweighted(rng_key, walkers, target, dynamics, energy_sums)

    return step


def _forget(log_weights: Array) -> Array:
    """Weigh the living alike."""
    return jnp.where(jnp.isfinite(log_weights), jnp.zeros_like(log_weights), -jnp.inf)


def _advance_unweighted(
    rng_key: PRNGKey,
    walkers: Walkers,
    target: LogDensityFn,
    dynamics: Dynamics,
    energy_sums: Statistic,
) -> tuple[Walkers, Negatives]:
    """Move walkers and forget their weights; those that died now become copies of a living."""
    moved, num_dead, (energy, gradient) = advance_and_average(
        rng_key, walkers, target, dynamics, energy_sums, _forget
    )
    log_weights = _forget(moved.log_weights)
    unknown = jnp.full_like(walkers.initial_log_partition_function, jnp.nan)
    negatives = Negatives(
        energy,
        gradient,
        log_weights,
        unknown,
        unknown,
        weights.effective_sample_size(log_weights),
        jnp.array(False),
        num_dead,
    )
    alive = walkers_lib.relocate_dead(moved._replace(log_weights=log_weights))
    return alive._replace(log_weights=jnp.zeros_like(log_weights)), negatives
