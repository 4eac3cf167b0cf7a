r"""Schedules that are found by the walkers themselves.

The next time on the path is the furthest at which the walkers, where they stand now, would not
lose more than a wanted share of themselves, by the conditional effective sample size. Since the
schedule then depends on the walkers, their estimate of Z is consistent but no longer unbiased.
Anneal fresh walkers with the schedule found (:func:`jarzynski_jax.annealing.anneal`), and it is
unbiased again.

Reference: Zhou, Johansen and Aston, *J. Comput. Graph. Stat.* 25 (2016) 701.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax.annealing.paths import Path, check_ends
from jarzynski_jax.compiling import compiled_once
from jarzynski_jax.kernels.arithmetic import lift
from jarzynski_jax.types import Array, PRNGKey
from jarzynski_jax.walkers import Dynamics, Walkers, advance, check_dynamics
from jarzynski_jax.weights import conditional_effective_sample_size

__all__ = ["AdaptiveInfo", "anneal_adaptively", "next_time", "refine", "spread_times"]

# Of the logarithm of a step, between the smallest one and all that is left of the path: to a
# hundred-thousandth of the step.
_NUM_BISECTIONS = 24
_SMALLEST_STEP = 1e-30


class AdaptiveInfo(NamedTuple):
    """The schedule found.

    times
        The path's parameter after each step, shape ``(max_steps,)``; after the last step taken
        it stays where it was.
    num_steps
        How many steps were taken.
    is_complete
        Whether t = 1 was reached. If not, the walkers are weighed by a density on the way: take
        more steps, or a lower threshold.
    conditional_effective_sample_size
        Of each step, as predicted where the walkers stood, shape ``(max_steps,)``.
    """

    times: Array
    num_steps: Array
    is_complete: Array
    conditional_effective_sample_size: Array


def anneal_adaptively(
    rng_key: PRNGKey,
    walkers: Walkers,
    path: Path,
    dynamics: Dynamics,
    threshold: float,
    max_steps: int,
) -> tuple[Walkers, AdaptiveInfo]:
    """Take walkers along a path in steps of equal loss.

    Their estimate of Z is **consistent, not unbiased**. For an unbiased one anneal fresh
    walkers along ``refine(info, num_steps)``. To find a step, densities are evaluated 26 times
    where the walkers stand, without gradients; few walkers suffice to find a schedule. Returns
    the walkers, weighed by the density at ``info.times[info.num_steps - 1]``, and the schedule.
    ValueError if the threshold is not between 0 and 1, ``max_steps`` below one, or an end of
    the path makes no sense where the walkers stand.

    Parameters
    ----------
    walkers
        N walkers, weighed by ``path(0)``.
    threshold
        The conditional effective sample size that a step should keep, a fraction between 0
        and 1: 0.99 for many small steps.

    Examples
    --------
    >>> from jarzynski_jax import walkers
    >>> from jarzynski_jax.walkers import langevin
    >>> from jarzynski_jax.annealing.paths import geometric_path
    >>> dynamics = langevin(0.02)
    >>> path = geometric_path(lambda x: -(x**2) / 2, lambda x: -8 * x**2)
    >>> x = jax.random.normal(jax.random.key(0), (500,))
    >>> start = walkers.init(x, path(0.0), dynamics.kernel_init)
    >>> _, info = anneal_adaptively(jax.random.key(1), start, path, dynamics, 0.99, 100)
    >>> bool(info.is_complete), float(info.times[-1])
    (True, 1.0)
    """
    if not 0 < threshold < 1:
        raise ValueError(
            f"threshold, the conditional effective sample size to keep, must be between 0 and "
            f"1; got {threshold}"
        )
    if max_steps < 1:
        raise ValueError(f"max_steps must be at least 1; got {max_steps}")
    check_dynamics(dynamics)
    check_ends(path, walkers.position, is_strict=False)
    return _anneal_adaptively(rng_key, walkers, path, dynamics, threshold, max_steps)


@compiled_once
def _anneal_adaptively(
    rng_key: PRNGKey,
    walkers: Walkers,
    path: Path,
    dynamics: Dynamics,
    threshold: float,
    max_steps: int,
) -> tuple[Walkers, AdaptiveInfo]:
    def is_on_the_way(carry: tuple) -> Array:
        _, index, time, *_ = carry
        return (index < max_steps) & (time < 1)

    def step(carry: tuple) -> tuple:
        walkers, index, time, times, kept = carry
        key_move, key_resample = jax.random.split(jax.random.fold_in(rng_key, index))
        time, share = next_time(walkers, path, time, threshold)
        walkers, _ = advance(key_move, walkers, path(time), dynamics)
        walkers, _ = walkers_lib.resample(key_resample, walkers, dynamics.resampler)
        times = jnp.where(jnp.arange(max_steps) >= index, time, times)
        return walkers, index + 1, time, times, kept.at[index].set(share)

    dtype = walkers.log_weights.dtype
    start = (
        walkers,
        jnp.zeros((), jnp.int32),
        jnp.zeros((), dtype),
        jnp.zeros(max_steps, dtype),
        jnp.ones(max_steps, dtype),
    )
    walkers, num_steps, time, times, kept = jax.lax.while_loop(is_on_the_way, step, start)
    return walkers, AdaptiveInfo(times, num_steps, time >= 1, kept)


def refine(info: AdaptiveInfo, num_steps: int) -> Array:
    """Spread another number of steps over a schedule that was found, in proportion.

    A schedule found by few walkers with few steps shows where the path needs its steps. Returns
    times of shape ``(num_steps,)``, ascending, the last one 1; if the schedule is not complete,
    its last step goes all the way.

    Examples
    --------
    >>> found = AdaptiveInfo(
    ...     jnp.array([0.2, 1.0, 1.0]), jnp.array(2), jnp.array(True), jnp.full(3, 0.9)
    ... )
    >>> [round(t, 2) for t in refine(found, 4).tolist()]
    [0.1, 0.2, 0.6, 1.0]
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1; got {num_steps}")
    return spread_times(info.times, info.num_steps, num_steps)


def spread_times(times: Array, num_stops: Array, num_steps: int) -> Array:
    """Spread K steps over the first ``num_stops`` times of a schedule; the last one is 1."""
    found = jnp.concatenate([jnp.zeros(1, times.dtype), times])
    wanted = jnp.arange(1, num_steps + 1) / num_steps * num_stops
    times = jnp.interp(wanted, jnp.arange(found.shape[0], dtype=found.dtype), found)
    return times.at[-1].set(1.0)


def next_time(
    walkers: Walkers, path: Path, time: Array, threshold: float
) -> tuple[Array, Array]:
    """Find the furthest time with the share wanted, by bisection; and the share there."""

    def share_at(later: Array) -> Array:
        new = jax.vmap(path(later))(lift(walkers.position))
        increments = (new - walkers.state.logdensity).astype(walkers.log_weights.dtype)
        return conditional_effective_sample_size(walkers.log_weights, increments)

    def after(log_step: Array) -> Array:
        # Never where the walkers are already, so that they do not stand still.
        return jnp.maximum(time + jnp.exp(log_step), jnp.nextafter(time, end))

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        is_kept = share_at(after(middle)) >= threshold
        return jnp.where(is_kept, middle, low), jnp.where(is_kept, high, middle)

    # In the logarithm, for where data are many the first step is many times smaller than the
    # last one.
    end = jnp.ones_like(time)
    ends = jnp.log(jnp.full_like(time, _SMALLEST_STEP)), jnp.log(end - time)
    low, _ = jax.lax.fori_loop(0, _NUM_BISECTIONS, halve, ends)
    found = jnp.where(share_at(end) >= threshold, end, after(low))
    return found, share_at(found)
