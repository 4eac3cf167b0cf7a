"""Training with Jarzynski-weighted walkers: the whole ensemble, or a pool of them.

References: Carbone, Hua, Coste and Vanden-Eijnden, NeurIPS 2023; thesis, Algorithms 3 and 4.
"""

import jax
import optax

from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax.training.energy_based import build_objective, energy_of_data
from jarzynski_jax.training.negative_samples import (
    Negatives,
    NegativeSampler,
    advance_and_resample,
    start_from_model,
)
from jarzynski_jax.training.objective import Objective
from jarzynski_jax.training.watch import Watch
from jarzynski_jax.types import EnergyFn, LogDensityFn, Position, PRNGKey, Scalar
from jarzynski_jax.walkers import Dynamics, Walkers
from jarzynski_jax.walkers.blocks import Statistic

__all__ = ["jarzynski", "jarzynski_pool"]


def jarzynski(
    energy_fn: EnergyFn,
    optimizer: optax.GradientTransformation,
    dynamics: Dynamics,
    watch: Watch | None = None,
) -> Objective:
    r"""Train with all walkers at every step (thesis, Algorithm 3).

    .. math:: \partial_\theta H \approx \frac1B \sum_j \partial_\theta U_\theta(x^*_j)
              - \sum_i p_i\, \partial_\theta U_\theta(X_i), \qquad p = {\rm softmax}(A)

    Parameters
    ----------
    energy_fn
        ``(params, x) -> scalar``, for one sample.
    optimizer
        Any of Optax. With Adam take eps near 1e-2, or 1e-3 and b1 near 0.99 for networks of
        images: with 1e-8 it blows entries of the gradient that are mere noise up to full size.
    dynamics
        How the walkers move and resample, e.g. :func:`jarzynski_jax.walkers.langevin`.
    watch
        What :func:`~jarzynski_jax.training.fit` looks for; None for gradients that are not
        finite, alone.

    Returns
    -------
    Objective
        Its ``init(rng_key, params, positions, data, log_partition_function,
        held_out_positions=None)`` takes exact, independent samples of the first model, shapes
        ``(N, ...)`` and ``(M, ...)``, and its exact log Z, and gives a
        :class:`~jarzynski_jax.training.TrainingState`; metrics are
        :class:`~jarzynski_jax.training.Metrics`. So do those of all energy-based models.

    Raises
    ------
    ValueError
        If the energy is a module of Flax, or the dynamics are none.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax
    >>> from jarzynski_jax.walkers import langevin
    >>> energy_fn = lambda params, x: jnp.sum((x - params) ** 2) / 2
    >>> objective = jarzynski(energy_fn, optax.sgd(0.1), langevin(0.1))
    >>> x = jax.random.normal(jax.random.key(0), (500, 2))
    >>> log_z, data = jnp.log(2 * jnp.pi), x + 1
    >>> state = objective.init(jax.random.key(1), jnp.zeros(2), x, data, log_z)
    >>> step = jax.jit(objective.step)
    >>> for key in jax.random.split(jax.random.key(2), 50):
    ...     state, metrics = step(key, state, data)
    >>> bool(jnp.all(jnp.abs(state.params - 1) < 0.2))
    True
    """

    def step(
        rng_key: PRNGKey,
        walkers: Walkers,
        target: LogDensityFn,
        batch: Position,
        energy_sums: Statistic,
    ) -> tuple[Walkers, Negatives]:
        del batch
        return advance_and_resample(rng_key, walkers, target, dynamics, energy_sums)

    data_gradient = energy_of_data(energy_fn, dynamics)
    sampler = NegativeSampler(start_from_model(dynamics), step, is_weighted=True)
    return build_objective(energy_fn, optimizer, dynamics, data_gradient, sampler, watch)


def jarzynski_pool(
    energy_fn: EnergyFn,
    optimizer: optax.GradientTransformation,
    dynamics: Dynamics,
    block_size: int,
    watch: Watch | None = None,
) -> Objective:
    """Train with a pool of N walkers of which N' are touched at a step.

    Algorithm 4 of the thesis without its sweep over the frozen walkers: that sum telescopes.
    A walker that carries the energy and gradient by which it was last weighed can be left
    alone until it is drawn again; moving it then is Proposition 3.3.1 along the walker's own
    subsequence of targets, and is exact. The cost of a step is that of N' walkers. If the
    model moves far between two touches, the block's effective sample size falls: watch it.

    Other arguments, errors and ``init`` are those of :func:`jarzynski`.

    Parameters
    ----------
    dynamics
        How the walkers move; resampling is within the block.
    block_size
        N', how many walkers are touched at a step; ``init`` raises a ``ValueError`` if N' > N.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax
    >>> from jarzynski_jax.walkers import langevin
    >>> energy_fn = lambda params, x: jnp.sum((x - params) ** 2) / 2
    >>> objective = jarzynski_pool(energy_fn, optax.sgd(0.1), langevin(0.1), block_size=100)
    >>> x = jax.random.normal(jax.random.key(0), (500, 2))
    >>> state = objective.init(jax.random.key(1), jnp.zeros(2), x, x, jnp.log(2 * jnp.pi))
    >>> state, metrics = jax.jit(objective.step)(jax.random.key(2), state, x)
    >>> state.walkers.log_weights.shape
    (500,)
    """
    start = start_from_model(dynamics)

    def init(
        rng_key: PRNGKey,
        target: LogDensityFn,
        positions: Position,
        data: Position,
        log_partition_function: Scalar,
    ) -> Walkers:
        pool = start(rng_key, target, positions, data, log_partition_function)
        num_walkers = pool.log_weights.shape[0]
        if not 1 <= block_size <= num_walkers:
            raise ValueError(
                f"block_size, the walkers touched at a step, must be between 1 and the "
                f"number of walkers, {num_walkers}; got {block_size}"
            )
        return pool

    def step(
        rng_key: PRNGKey,
        pool: Walkers,
        target: LogDensityFn,
        batch: Position,
        energy_sums: Statistic,
    ) -> tuple[Walkers, Negatives]:
        del batch
        key_draw, key_block = jax.random.split(rng_key)
        indices = walkers_lib.draw_block(key_draw, pool.log_weights.shape[0], block_size)
        block, negatives = advance_and_resample(
            key_block, walkers_lib.take(pool, indices), target, dynamics, energy_sums
        )
        return walkers_lib.put(pool, indices, block), negatives

    data_gradient = energy_of_data(energy_fn, dynamics)
    sampler = NegativeSampler(init, step, is_weighted=True)
    return build_objective(energy_fn, optimizer, dynamics, data_gradient, sampler, watch)
