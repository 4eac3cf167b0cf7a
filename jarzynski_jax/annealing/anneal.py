r"""Walkers along a path of densities: annealed importance sampling.

From exact samples of the first density the mean weight at the end is an unbiased estimate of
:math:`Z_1/Z_0`. With resampling on the way this is a sequential Monte Carlo sampler.

Called outside ``jax.jit``, this and its relatives compile once for the same functions, shapes
and numbers of Python: keep paths and dynamics, for those made anew are another program.

References: Neal, *Annealed importance sampling*, 2001; Del Moral, Doucet and Jasra, *Sequential
Monte Carlo samplers*, 2006.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax.annealing.paths import Path, check_ends, check_times
from jarzynski_jax.compiling import compiled_once
from jarzynski_jax.free_energy.annealing_runs import AnnealingInfo
from jarzynski_jax.types import Array, PRNGKey
from jarzynski_jax.walkers import Dynamics, Walkers, advance, check_dynamics

__all__ = [
    "AnnealingInfo",
    "anneal",
    "check_step_args",
    "part_of",
    "reverse_args",
    "scan_along",
]


def anneal(
    rng_key: PRNGKey,
    walkers: Walkers,
    path: Path,
    times: Array,
    dynamics: Dynamics,
    step_args: tuple[Any, ...] | None = None,
    *,
    progress: Callable[[float], None] | None = None,
) -> tuple[Walkers, AnnealingInfo]:
    """Take walkers along a path of densities: annealed importance sampling, or SMC.

    Returns the walkers, weighed by ``path(times[-1])``, and diagnostics. ValueError if
    ``times`` or ``step_args`` are not as below, an end of the path makes no sense where the
    walkers stand, or the dynamics are none.

    Parameters
    ----------
    walkers
        N walkers, weighed by the density at the start of the path.
    times
        The path's parameter after each step, shape ``(K,)``, ascending or descending in
        [0, 1]. Forward they end at 1, backward at 0.
    step_args
        What the kernel takes at each step behind its fixed arguments: a tuple, as these are,
        every leaf of leading axis K. In ``(h,)`` h[k] is the step size of all moves to
        ``times[k]``; in ``(jax.tree_util.Partial(fn, parameters),)`` a function of its own for
        each step, such as a layer of a flow or a drift that depends on time. The weights are
        exact for any that do not depend on the walkers.
    progress
        Called some fifty times on the way, with the share of the steps that were made since the
        call before; another function is compiled anew.

    Examples
    --------
    >>> from jarzynski_jax import walkers
    >>> from jarzynski_jax.walkers import langevin
    >>> from jarzynski_jax.annealing.paths import geometric_path
    >>> path = geometric_path(lambda x: -(x**2) / 2, lambda x: -2 * x**2)
    >>> dynamics, x = langevin(None), jax.random.normal(jax.random.key(0), (1000,))
    >>> start = walkers.init(x, path(0.0), dynamics.kernel_init)
    >>> times = jnp.linspace(0, 1, 101)[1:]
    >>> steps = (0.1 / (1 + 3 * times),)  # shorter where the density is narrower
    >>> end, info = anneal(jax.random.key(1), start, path, times, dynamics, steps)
    >>> float(abs(walkers.log_partition_function(end) + jnp.log(2))) < 0.1
    True
    """
    check_dynamics(dynamics)
    # In the precision of the weights, or a path would change it on the way.
    times = check_times(times).astype(walkers.log_weights.dtype)
    step_args = check_step_args(step_args, times.shape[0])
    check_ends(path, walkers.position, is_strict=False)
    return _anneal(rng_key, walkers, path, times, dynamics, step_args, progress)


def check_step_args(step_args: tuple[Any, ...] | None, num_steps: int) -> tuple[Any, ...]:
    """Check that the arguments of the steps have the leading axis K on every leaf."""
    if step_args is None:
        return ()
    # A NamedTuple is a tuple too, but one argument.
    if type(step_args) is not tuple:
        raise ValueError(
            "step_args must be a tuple of what the kernel takes behind its fixed arguments; "
            f"got {type(step_args).__name__}: write (step_args,) if it is one argument"
        )
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(step_args)]
    if any(shape[:1] != (num_steps,) for shape in shapes):
        raise ValueError(
            f"every leaf of step_args must have the leading axis K = {num_steps}, an entry for "
            f"each of the times; got shapes {shapes}"
        )
    return step_args


@compiled_once
def _anneal(
    rng_key: PRNGKey,
    walkers: Walkers,
    path: Path,
    times: Array,
    dynamics: Dynamics,
    step_args: tuple[Any, ...],
    progress: Callable[[float], None] | None,
) -> tuple[Walkers, AnnealingInfo]:
    def step(walkers: Walkers, inputs: tuple) -> tuple[Walkers, AnnealingInfo]:
        key, time, args = inputs
        key_move, key_resample = jax.random.split(key)
        at_step = dynamics.with_args(*args)
        walkers, num_dead = advance(key_move, walkers, path(time), at_step)
        walkers, info = walkers_lib.resample(key_resample, walkers, dynamics.resampler)
        return walkers, AnnealingInfo(
            info.effective_sample_size,
            info.shadow_effective_sample_size,
            info.is_resampled,
            num_dead,
            walkers.leakage,
        )

    keys = jax.random.split(rng_key, times.shape[0])
    return scan_along(step, walkers, (keys, times, step_args), times.shape[0], progress)


_NUM_REPORTS = 50


def scan_along(
    step: Callable,
    carry: object,
    inputs: object,
    num_steps: int,
    progress: Callable[[float], None] | None,
) -> tuple:
    """``jax.lax.scan`` that reports its progress."""
    if progress is None:
        return jax.lax.scan(step, carry, inputs)
    num_reports = min(num_steps, _NUM_REPORTS)
    is_reported = np.diff(np.arange(num_steps + 1) * num_reports // num_steps) > 0
    report = partial(jax.debug.callback, partial(progress, 1 / num_reports))

    def step_and_report(carry: object, inputs: tuple) -> tuple:
        result = step(carry, inputs[0])
        jax.lax.cond(inputs[1], report, lambda: None)
        return result

    return jax.lax.scan(step_and_report, carry, (inputs, jnp.asarray(is_reported)))


def reverse_args(step_args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Take the arguments of the steps in reverse order."""
    return jax.tree.map(lambda leaf: leaf[::-1], step_args)


def part_of(
    progress: Callable[[float], None] | None, share: float
) -> Callable[[float], None] | None:
    """Report the progress of a part, which is ``share`` of the whole."""
    return None if progress is None else lambda made: progress(share * made)
