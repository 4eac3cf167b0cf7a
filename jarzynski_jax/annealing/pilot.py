r"""How to anneal, found out by few walkers: when to stop, how far to step, along which axes.

Pilot walkers go along the path in steps of equal loss and learn, at each stop, a step size by
what is accepted and the standard deviation of each coordinate by where they stand. Fresh
walkers for which all this is given are weighed exactly: their estimate of Z is unbiased.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax.annealing.paths import Path
from jarzynski_jax.annealing.schedules import next_time, spread_times
from jarzynski_jax.kernels import generalized_hmc
from jarzynski_jax.kernels.arithmetic import lift
from jarzynski_jax.kernels.evaluation import Evaluation
from jarzynski_jax.kernels.preconditioning import Preconditioner
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.types import Array, Position, PRNGKey
from jarzynski_jax.walkers import Walkers
from jarzynski_jax.weights import effective_sample_size, normalize, weighted_mean

__all__ = ["NUM_MOVES", "Choices", "find_choices", "step_args"]

#: Moves at each stop of the pilot.
NUM_MOVES = 3
#: In units of one over a standard deviation, for the preconditioner has them all 1.
_FRICTION = 1.0
#: Conditional effective sample size that a step of the pilot keeps.
_THRESHOLD = 0.7
#: The pilot is resampled as soon as it is worth it: families are no matter there.
_RESAMPLER = adaptive(systematic, 0.9)
#: Mean acceptance that is aimed at,
_ACCEPTANCE = 0.9
#: and what all but a twentieth of the walkers are to have at least: a narrow place, where few
#: walkers are, is closed to steps that are right for all others.
_LEAST_ACCEPTANCE = 0.5
#: How many walkers the variances of the stop before count for.
_PRIOR_WALKERS = 5.0


class Choices(NamedTuple):
    """How fresh walkers are to be annealed, for each of the K steps.

    times
        The path's parameter after each step, shape ``(K,)``, the last one 1.
    step_sizes
        h, in units of the standard deviations, shape ``(K,)``.
    variances
        Of each coordinate, in the order of ``ravel_pytree``, shape ``(K, d)``.
    is_complete
        Whether the pilot came to the end of the path, a scalar.
    num_gradients
        That the pilot took, of all its walkers, a scalar.
    """

    times: Array
    step_sizes: Array
    variances: Array
    is_complete: Array
    num_gradients: Array


def step_args(choices: Choices) -> tuple[Array, Array, Preconditioner]:
    """Arguments of :mod:`~jarzynski_jax.kernels.generalized_hmc` for each step."""
    preconditioners = Preconditioner(choices.variances, jnp.sqrt(choices.variances))
    frictions = jnp.full_like(choices.step_sizes, _FRICTION)
    return choices.step_sizes, frictions, preconditioners


class _Pilot(NamedTuple):
    """Where the pilot is, what it uses, and what it has written down."""

    walkers: Walkers
    time: Array
    log_step_size: Array
    variances: Array
    num_stops: Array
    found: tuple[Array, Array, Array]


def find_choices(
    rng_key: PRNGKey,
    positions: Position,
    path: Path,
    max_stops: int,
    num_steps: int,
    evaluation: Evaluation,
) -> Choices:
    """Send a pilot along a path, and spread K steps over what it found.

    Positions are exact samples of ``path(0)``, leading axis N. Where the pilot does not come to
    the end, the last step goes all the way.
    """
    move = generalized_hmc.as_move(NUM_MOVES, evaluation=evaluation)
    start = walkers_lib.init(positions, path(0.0), move.init)
    num_walkers = start.log_weights.shape[0]
    variances = _variances(start)
    dimension, dtype = variances.shape[0], start.log_weights.dtype

    def is_on_the_way(pilot: _Pilot) -> Array:
        return (pilot.num_stops < max_stops) & (pilot.time < 1)

    def stop(pilot: _Pilot) -> _Pilot:
        key_move, key_resample = jax.random.split(jax.random.fold_in(rng_key, pilot.num_stops))
        time, _ = next_time(pilot.walkers, path, pilot.time, _THRESHOLD)
        step_size = jnp.exp(pilot.log_step_size)
        preconditioner = Preconditioner(pilot.variances, jnp.sqrt(pilot.variances))
        walkers, info = walkers_lib.move(
            key_move,
            pilot.walkers,
            path(time),
            move.kernel,
            *(step_size, jnp.asarray(_FRICTION, dtype), preconditioner),
        )
        log_step_size = pilot.log_step_size + _correction(walkers, info.acceptance_rate)
        variances = _blend(pilot.variances, walkers)
        walkers, _ = walkers_lib.resample(key_resample, walkers, _RESAMPLER)
        learned = (time, log_step_size, jnp.log(variances))
        found = jax.tree.map(
            lambda all, one: all.at[pilot.num_stops].set(one), pilot.found, learned
        )
        return _Pilot(walkers, time, log_step_size, variances, pilot.num_stops + 1, found)

    zero = jnp.zeros((), dtype)
    end = jax.lax.while_loop(
        is_on_the_way,
        stop,
        _Pilot(
            start,
            zero,
            jnp.asarray(-jnp.log(dimension) / 4, dtype),
            variances,
            jnp.zeros((), jnp.int32),
            (
                jnp.ones(max_stops, dtype),
                jnp.zeros(max_stops, dtype),
                jnp.zeros((max_stops, dimension), dtype),
            ),
        ),
    )
    times, log_step_sizes, log_variances = end.found
    wanted = jnp.arange(1, num_steps + 1, dtype=dtype) / num_steps * end.num_stops
    stops = jnp.arange(1, max_stops + 1, dtype=dtype)

    def spread(values: Array) -> Array:
        return jnp.interp(jnp.clip(wanted, 1, end.num_stops), stops, values)

    return Choices(
        spread_times(times, end.num_stops, num_steps),
        jnp.exp(spread(log_step_sizes)),
        jnp.exp(jax.vmap(spread, in_axes=1, out_axes=1)(log_variances)),
        end.time >= 1,
        num_walkers * (1 + end.num_stops * (NUM_MOVES + evaluation.cost_again)),
    )


def _correction(walkers: Walkers, acceptance_rates: Array) -> Array:
    """By how much the logarithm of the step size is to change, from -1 to 0.1."""
    shares = normalize(walkers.log_weights)
    order = jnp.argsort(acceptance_rates)
    below = jnp.cumsum(shares[order])
    least = acceptance_rates[order][jnp.searchsorted(below, 0.05)]
    mean = weighted_mean(walkers.log_weights, acceptance_rates)
    found = jnp.minimum(mean - _ACCEPTANCE, least - _LEAST_ACCEPTANCE)
    return jnp.nan_to_num(found)


def _flat(walkers: Walkers) -> Array:
    return jax.vmap(lambda x: ravel_pytree(lift(x))[0])(walkers.position)


def _variances(walkers: Walkers) -> Array:
    """Of each coordinate, by the walkers' weights, shape ``(d,)``, of no coordinate 0."""
    x = _flat(walkers)
    mean = weighted_mean(walkers.log_weights, x)
    variances = weighted_mean(walkers.log_weights, jnp.square(x - mean))
    return jnp.maximum(variances, jnp.finfo(x.dtype).tiny)


def _blend(before: Array, walkers: Walkers) -> Array:
    """Variances where the walkers stand, with those of before as some walkers more."""
    number = effective_sample_size(walkers.log_weights) * walkers.log_weights.shape[0]
    weight = (number / (number + _PRIOR_WALKERS)).astype(before.dtype)
    blended = weight * _variances(walkers) + (1 - weight) * before
    return jnp.where(jnp.isfinite(blended), blended, before)
