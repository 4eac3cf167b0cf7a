r"""Log Z of a density in one call: a pilot finds how to anneal, fresh walkers do, both ways.

A tenth of the gradients, at most, goes to the pilot (:mod:`jarzynski_jax.annealing.pilot`), the
rest to both directions of :func:`~jarzynski_jax.annealing.log_partition_bounds`, four parts
forward, for the estimate, and one back, for its bracket, with Metropolis-adjusted kinetic moves
(:mod:`jarzynski_jax.kernels.generalized_hmc`). Between two densities, and from a prior to a
posterior, the gradients of both terms are kept where a walker stands, so that a step along the
path costs one.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax.annealing.bounds import log_partition_bounds
from jarzynski_jax.annealing.paths import LinearPath, Path, check_base, geometric_path
from jarzynski_jax.annealing.pilot import NUM_MOVES, Choices, find_choices, step_args
from jarzynski_jax.checks import check_known
from jarzynski_jax.compiling import compiled_once
from jarzynski_jax.density import Density, Sample, check_density, check_exact
from jarzynski_jax.free_energy import Bracket, log_partition_bracket
from jarzynski_jax.free_energy.annealing_runs import LogPartitionBounds
from jarzynski_jax.kernels import generalized_hmc
from jarzynski_jax.kernels.evaluation import LINEAR, WHOLE, Evaluation
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.types import Array, Position, PRNGKey
from jarzynski_jax.walkers import Dynamics
from jarzynski_jax.weights import log_mean_exp, normalize, relative_error

__all__ = ["LogPartitionEstimate", "estimate"]

#: Fewer do not know their own spread: of four, one bracket in sixteen was doubted by chance.
_NUM_REPLICATES = 8
#: One walker of so many goes back.
_STRIDE = 4
_PILOT_SHARE = 0.1
#: Stops that a pilot has, at least, if the budget allows.
_MIN_STOPS = 24
_PILOT_WALKERS = 32, 256


class _Manner(NamedTuple):
    """How often walkers move at each target, and how densities are evaluated."""

    num_moves: int
    evaluation: Evaluation
    dynamics: Dynamics

    def cost(self, num_walkers: int, num_relaxed: int, num_steps: int) -> int:
        """Gradients of both ways, of K steps, and of what tells the loss of a step at rest."""
        of_target = self.num_moves + self.evaluation.cost_again
        back = num_walkers // _STRIDE + num_relaxed
        starts = 2 * num_walkers + back
        return (
            num_steps * of_target * (num_walkers + back) + 2 * of_target * num_walkers + starts
        )


def _manner(num_moves: int, evaluation: Evaluation) -> _Manner:
    """Resample early: adjusted moves leave no noise in the weights that would pass."""
    move = generalized_hmc.as_move(num_moves, evaluation=evaluation)
    return _Manner(num_moves, evaluation, Dynamics(move, resampler=adaptive(systematic, 0.95)))


#: Where a new target costs nothing, as many of them as possible.
_ALONG_LINES = _manner(1, LINEAR)
_ALONG_ANY_PATH = _manner(3, WHOLE)


class LogPartitionEstimate(NamedTuple):
    """Log Z, weighted samples, and how they were found; ``print`` shows log Z and the doubts.

    log_partition_function
        In nats, from all forward walkers; its exponential is unbiased.
    standard_error
        Of it, from the spread of eight replicates, in nats: it is itself known to a quarter,
        and one estimate in fifty is farther than three of it from the truth.
    bounds
        From both sides, with the doubts.
    samples, log_weights
        Positions, leading axis N, and their log-weights, shape ``(N,)``, up to a constant: of
        the target, from the forward runs' end points.
    choices
        What the pilot chose; hand it to :func:`estimate` to use it again.
    num_gradients
        That were taken, of log-densities at single positions, on this call.
    """

    log_partition_function: float
    standard_error: float
    bounds: Bracket
    samples: Position
    log_weights: Array
    choices: Choices
    num_gradients: int

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why the estimate is not to be believed; empty if it is."""
        incomplete = (
            "the pilot did not come to the end of the path; give more gradients, or a base "
            "nearer to the target"
        )
        is_complete = bool(self.choices.is_complete)
        return self.bounds.doubts if is_complete else (*self.bounds.doubts, incomplete)

    def __str__(self) -> str:
        """The bracket and its doubts."""
        return str(self.bounds._replace(doubts=self.doubts))


def estimate(
    rng_key: PRNGKey,
    base: Density,
    target: Density | None = None,
    *,
    num_gradients: int,
    path: Path | None = None,
    num_walkers: int = 512,
    choices: Choices | None = None,
    relaxed: Position | None = None,
    progress: Callable[[float], None] | None = None,
    mesh: Mesh | None = None,
) -> LogPartitionEstimate:
    """Estimate log Z of a target, bracket it, and sample the target.

    A ValueError inside ``jax.jit`` or ``jax.vmap``, unless the base has exact samples and a
    known log Z, unless one of ``target`` and ``path`` is given, or if the gradients do not
    suffice for two steps.

    Parameters
    ----------
    num_gradients
        For all walkers together, the pilot's included. Beside them densities are evaluated 26
        times at each of the pilot's stops.
    path
        In place of the geometric path to a target: any path from the base's log-density.
    num_walkers
        That go forward, cut into eight replicates; a quarter as many go back. A multiple of 32
        times the number of devices.
    choices
        Of an earlier call, on however many devices: no pilot is sent then. Their number of
        steps is kept, whatever ``num_gradients`` is. With the same key, the same result.
    relaxed
        Samples of the target that were found without it, by NUTS say: leading axis a multiple
        of eight times the number of devices. They go back too, and a mode that they have and
        the forward runs missed is doubted. Without them it is seen by nobody.
    progress
        As of :func:`~jarzynski_jax.annealing.anneal`, of the runs behind the pilot;
        :func:`jarzynski_jax.progress.show_fraction` makes a bar of it.
    mesh
        Of :func:`jarzynski_jax.walkers.make_mesh`: each replicate's walkers are spread over its
        devices. The result is the same but for the order of sums.

    Examples
    --------
    >>> from jarzynski_jax import targets
    >>> base, target = targets.gaussian([1.0, 1.0]), Density(lambda x: -2 * jnp.sum(x**2))
    >>> found = estimate(jax.random.key(0), base, target, num_gradients=100_000)
    >>> exact = jnp.log(jnp.pi / 2)
    >>> bool(abs(found.log_partition_function - exact) < 0.1), found.doubts
    (True, ())
    """
    sample, log_z_base = check_exact(base)
    check_known("annealing.estimate", rng_key)
    path = _path(base, target, path)
    manner = _ALONG_LINES if isinstance(path, LinearPath) else _ALONG_ANY_PATH
    num_relaxed = 0 if relaxed is None else jax.tree.leaves(relaxed)[0].shape[0]
    _check_numbers(num_walkers, num_relaxed, walkers_lib.count_devices(mesh))
    key_pilot, key_start, key_runs = jax.random.split(rng_key, 3)
    positions = sample(key_start, num_walkers)
    if target is None:
        check_base(base.logdensity_fn, path, positions)
    spent = 0
    if choices is None:
        choices = _send_pilot(
            key_pilot, sample, path, num_gradients, num_walkers, num_relaxed, manner, mesh
        )
        spent = int(choices.num_gradients)
    choices = jax.tree.map(jnp.asarray, jax.device_get(choices))  # found on whatever devices
    key_runs, (positions, relaxed) = _spread(key_runs, (positions, relaxed), mesh)
    with walkers_lib.on_mesh(mesh):
        bounds = log_partition_bounds(
            key_runs,
            positions,
            path,
            log_z_base,
            manner.dynamics,
            relaxed=relaxed,
            times=choices.times,
            step_args=step_args(choices),
            num_replicates=_NUM_REPLICATES,
            num_backward=num_walkers // (_NUM_REPLICATES * _STRIDE),
            progress=progress,
        )
        spent += manner.cost(num_walkers, num_relaxed, choices.times.shape[0])
        return _sum_up(bounds, choices, spent)


def _check_numbers(num_walkers: int, num_relaxed: int, num_devices: int) -> None:
    """Check that replicates are alike, and their parts on devices, each way."""
    multiple = _NUM_REPLICATES * _STRIDE * num_devices
    on_each = "" if num_devices == 1 else f", in equal parts on {num_devices} devices"
    if num_walkers < multiple or num_walkers % multiple:
        raise ValueError(
            f"num_walkers must be a multiple of {multiple}, for {_NUM_REPLICATES} replicates, "
            f"one in {_STRIDE} of whose walkers goes back{on_each}; got {num_walkers}"
        )
    if num_relaxed % (_NUM_REPLICATES * num_devices):
        raise ValueError(
            f"relaxed must have a multiple of {_NUM_REPLICATES * num_devices} samples, for "
            f"{_NUM_REPLICATES} replicates{on_each}; got {num_relaxed}"
        )


def _spread(rng_key: PRNGKey, data: Any, mesh: Mesh | None) -> tuple[PRNGKey, Any]:
    if mesh is None:
        return rng_key, data
    return walkers_lib.spread_key(rng_key, mesh), walkers_lib.spread_data(data, mesh)


def _path(base: Density, target: Density | None, path: Path | None) -> Path:
    if (target is None) == (path is None):
        raise ValueError(
            "either a target or a path must be given, and not both; got "
            f"target={target} and path={path}"
        )
    if path is not None:
        return path
    assert target is not None
    check_density("the target", target)
    return _geometric(base.logdensity_fn, target.logdensity_fn)


# One function for the same two densities, so that what was compiled with it is found again.
_geometric = functools.lru_cache(maxsize=64)(geometric_path)


def _send_pilot(
    rng_key: PRNGKey,
    sample: Sample,
    path: Path,
    num_gradients: int,
    num_walkers: int,
    num_relaxed: int,
    manner: _Manner,
    mesh: Mesh | None,
) -> Choices:
    cost = NUM_MOVES + manner.evaluation.cost_again
    of_pilot = int(_PILOT_SHARE * num_gradients) // cost
    pilots = int(np.clip(of_pilot // _MIN_STOPS, *_PILOT_WALKERS))
    max_stops = (of_pilot * cost // pilots - 1) // cost  # it takes one gradient before it moves
    fixed, each = (manner.cost(num_walkers, num_relaxed, steps) for steps in (0, 1))
    num_steps = (num_gradients - of_pilot * cost - fixed) // (each - fixed)
    if num_steps < 2 or max_stops < 1:
        of_walkers = manner.cost(num_walkers, num_relaxed, 2) / (1 - _PILOT_SHARE)
        of_a_stop = (_PILOT_WALKERS[0] * (cost + 1) + cost) / _PILOT_SHARE
        needed = int(max(of_walkers, of_a_stop)) + cost
        raise ValueError(
            f"num_gradients must be at least {needed}, for {num_walkers} walkers to take two "
            f"steps each way; got {num_gradients}. Give more, or a smaller num_walkers"
        )
    key_start, key_walk = jax.random.split(rng_key)
    key_walk, positions = _spread(key_walk, sample(key_start, pilots), mesh)
    with walkers_lib.on_mesh(mesh):
        return _find_choices(key_walk, positions, path, max_stops, num_steps, manner.evaluation)


_find_choices = compiled_once(find_choices)


def _sum_up(
    bounds: LogPartitionBounds, choices: Choices, num_gradients: int
) -> LogPartitionEstimate:
    samples, log_weights = _in_a_row(bounds.end_points, bounds.forward)
    return LogPartitionEstimate(
        float(log_mean_exp(bounds.forward)),
        float(relative_error(normalize(bounds.forward))),
        log_partition_bracket(bounds),
        samples,
        log_weights,
        choices,
        num_gradients,
    )


@jax.jit
def _in_a_row(end_points: Position, log_zs: Array) -> tuple[Position, Array]:
    """Walkers of all replicates along one axis, each weighed by its replicate."""
    num_each = jax.tree.leaves(end_points)[0].shape[1]
    samples = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), end_points)
    return walkers_lib.keep_spread((samples, jnp.repeat(log_zs, num_each)))
