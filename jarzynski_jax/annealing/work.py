"""Work along a path, forward and in reverse, of walkers that are not resampled."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax.annealing.anneal import anneal, check_step_args, reverse_args
from jarzynski_jax.annealing.paths import Path, check_ends, check_times
from jarzynski_jax.compiling import compiled_once
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.types import Array, Position, PRNGKey
from jarzynski_jax.walkers import Dynamics, check_dynamics

__all__ = [
    "Work",
    "work",
]


class Work(NamedTuple):
    """Work of independent walkers in nats, ``inf`` for one that died.

    ``forward`` is from samples of the first density, shape ``(n,)``, ``reverse`` from samples
    of the last one along the reversed path, shape ``(m,)``.
    """

    forward: Array
    reverse: Array


def work(
    rng_key: PRNGKey,
    first_positions: Position,
    last_positions: Position,
    path: Path,
    times: Array,
    dynamics: Dynamics,
    step_args: tuple[Any, ...] | None = None,
) -> Work:
    """Work in both directions, for :mod:`jarzynski_jax.free_energy`.

    Reverse runs are forward runs turned round in time, move for move; walkers are never
    resampled, whatever the dynamics say, so that they are independent. ΔF is that from the
    first density to the last. ValueError if the times do not ascend, the move has no reverse,
    or ``step_args`` are not as of :func:`anneal`.

    Parameters
    ----------
    first_positions
        Exact, independent samples of ``path(0)``, leading axis n. Of a state that is one well
        of several, samples of that well alone: those that were left in or fell into others
        shift ΔF, and no doubt of :mod:`~jarzynski_jax.free_energy` tells.
    last_positions
        Independent samples of ``path(times[-1])``, leading axis m.
    times
        Shape ``(K,)``, ascending, as for :func:`anneal`: runs start at ``path(0)``. (A first
        time of 0 is a step at rest, and does no harm.)
    step_args
        As of :func:`anneal`. A move back is given those of the move that it undoes: step sizes,
        or the parameters of a map, of which the reverse move takes the inverse. (A drift
        that depends on time belongs to both ends of a move, and is not turned round by this.)

    Examples
    --------
    >>> from jarzynski_jax import free_energy
    >>> from jarzynski_jax.annealing import geometric_path
    >>> from jarzynski_jax.walkers import langevin
    >>> path = geometric_path(lambda x: -(x**2) / 2, lambda x: -2 * x**2)
    >>> x = jax.random.normal(jax.random.key(0), (2, 1000))
    >>> times = jnp.linspace(0, 1, 21)[1:]
    >>> found = work(jax.random.key(1), x[0], x[1] / 2, path, times, langevin(0.05))
    >>> bar = free_energy.estimate(*found).bar
    >>> bool(abs(bar.value - jnp.log(2)) < 4.5 * bar.standard_error)
    True
    """
    times = check_times(times, is_ascending=True)
    check_dynamics(dynamics)
    step_args = check_step_args(step_args, times.shape[0])
    reverse_dynamics = _turned_round(dynamics)
    check_dynamics(reverse_dynamics)
    check_ends(path, first_positions, is_strict=False)
    return _work(
        rng_key,
        first_positions,
        last_positions,
        path,
        times,
        dynamics,
        reverse_dynamics,
        step_args,
    )


@compiled_once
def _work(
    rng_key: PRNGKey,
    first_positions: Position,
    last_positions: Position,
    path: Path,
    times: Array,
    dynamics: Dynamics,
    reverse_dynamics: Dynamics,
    step_args: tuple[Any, ...],
) -> Work:
    # Target by target as the moves see them, so that they can be read backwards.
    start = jnp.zeros(1, times.dtype)
    targets = jnp.concatenate([start, jnp.repeat(times, dynamics.num_moves)])
    move_args = jax.tree.map(
        lambda leaf: jnp.repeat(jnp.asarray(leaf), dynamics.num_moves, axis=0), step_args
    )

    def run(
        key: PRNGKey,
        positions: Position,
        targets: Array,
        dynamics: Dynamics,
        move_args: tuple[Any, ...],
    ) -> Array:
        alone = dynamics._replace(num_moves=1, resampler=adaptive(systematic, 0.0))
        start = walkers_lib.init(positions, path(targets[0]), alone.kernel_init)
        return -anneal(key, start, path, targets[1:], alone, move_args)[0].log_weights

    key_forward, key_reverse = jax.random.split(rng_key)
    return Work(
        run(key_forward, first_positions, targets, dynamics, move_args),
        run(
            key_reverse,
            last_positions,
            targets[::-1],
            reverse_dynamics,
            reverse_args(move_args),
        ),
    )


def _turned_round(dynamics: Dynamics) -> Dynamics:
    move = dynamics.move
    if move.reverse is None:
        raise ValueError(
            "work needs a move whose reverse is known, as of the drift -b for b or the inverse "
            "of a bijection (a sequence of several stages has none; log_partition_bounds needs "
            "none); got a Move whose reverse is None"
        )
    return dynamics._replace(move=move.reverse(move))
