r"""Paths of densities from one that can be sampled to one that is wanted.

A path takes a time t from 0 to 1 to a log-density. Any function does; these are the usual ones.
A schedule is the times at which the walkers stop on the way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.kernels.arithmetic import lift
from jarzynski_jax.kernels.evaluation import LinearCombination
from jarzynski_jax.types import Array, LogDensityFn, Position, Scalar

__all__ = [
    "LinearPath",
    "Path",
    "check_base",
    "check_ends",
    "check_times",
    "check_whole_schedule",
    "geometric_path",
    "tempering_path",
]

#: ``path(t) -> logdensity_fn``, for t from 0 (the first density) to 1 (the last).
Path: TypeAlias = Callable[[Scalar], LogDensityFn]


@dataclass(frozen=True, eq=False)
class LinearPath:
    """A path of linear combinations of the same terms, whose gradients outlast a step of it.

    coefficients
        ``t -> (c_0, c_1, ...)``, one for each of the terms.
    """

    coefficients: Callable[[Scalar], tuple[Scalar, ...]]
    terms: tuple[LogDensityFn, ...]

    def __call__(self, t: Scalar) -> LinearCombination:
        """The log-density at a time."""
        return LinearCombination(self.coefficients(t), self.terms)


def geometric_path(logdensity_0: LogDensityFn, logdensity_1: LogDensityFn) -> LinearPath:
    r"""Interpolate log-densities, :math:`\ell_t = (1 - t)\,\ell_0 + t\,\ell_1`.

    The density at t = 1 must be finite wherever the one at t = 0 is.

    Examples
    --------
    >>> path = geometric_path(lambda x: -x, lambda x: -3 * x)
    >>> float(path(0.5)(1.0))
    -2.0
    """
    return LinearPath(lambda t: (1 - t, t), (logdensity_0, logdensity_1))


def tempering_path(log_prior: LogDensityFn, log_likelihood: LogDensityFn) -> LinearPath:
    r"""Switch a likelihood on, :math:`\ell_t = \log\pi + t \log L`, from prior to posterior.

    From a normalised prior, log Z at t = 1 is the log evidence.

    Examples
    --------
    >>> path = tempering_path(lambda x: -x, lambda x: -2 * x)
    >>> float(path(0.5)(1.0))
    -2.0
    """
    return LinearPath(lambda t: (1.0, t), (log_prior, log_likelihood))


def check_times(times: Array, is_ascending: bool = False) -> Array:
    """Check a schedule, as far as its values are known, and return it.

    ValueError unless it is of shape ``(K,)``, K ≥ 1, in [0, 1], and ascending or, if that is
    allowed, descending.

    Examples
    --------
    >>> check_times([0.5, 1.0, 1.5])
    Traceback (most recent call last):
        ...
    ValueError: times must be in [0, 1]; got values from 0.5 to 1.5
    """
    times = jnp.asarray(times)
    if times.ndim != 1 or times.shape[0] == 0:
        raise ValueError(f"times must have shape (K,) with K ≥ 1; got shape {times.shape}")
    if isinstance(times, jax.core.Tracer):
        return times
    values = np.asarray(times)
    if not np.all((values >= 0) & (values <= 1)):  # NaN is neither
        raise ValueError(
            f"times must be in [0, 1]; got values from {values.min()} to {values.max()}"
        )
    signs = np.sign(np.diff(values))
    if is_ascending and np.any(signs < 0):
        raise ValueError(f"times must ascend; got {values[0]:.7g} to {values[-1]:.7g}")
    moves = signs.nonzero()[0]
    turns = moves[1:][signs[moves[1:]] != signs[moves[:-1]]]
    if turns.size:
        index = int(turns[0])
        before, at, after = (f"{float(t):.7g}" for t in values[[0, index, index + 1]])
        raise ValueError(
            "times must only go up or only down; "
            f"from {before} they come to times[{index}] = {at}, then to {after}"
        )
    return times


def check_whole_schedule(times: Array) -> Array:
    """Raise a ``ValueError`` unless times ascend to 1, where the last density is."""
    times = check_times(times, is_ascending=True)
    if not isinstance(times, jax.core.Tracer) and abs(float(times[-1]) - 1) > 1e-6:
        raise ValueError(
            f"times must end at 1, where the last density is; got {float(times[-1]):.7g}"
        )
    return times


def check_base(logdensity_fn: LogDensityFn, path: Path, positions: Position) -> None:
    """Raise a ``ValueError`` unless a path begins at the base whose log Z is to be added.

    A normalised base, and a path from the same density without its constant, would pass for
    each other and be wrong by that constant. Looked at are some of the base's samples.
    """
    some = jax.tree.map(lambda leaf: lift(leaf[:32]), positions)
    of_base, of_path = (
        np.asarray(jax.vmap(fn)(some), np.float64) for fn in (logdensity_fn, path(0.0))
    )
    gaps = np.where(np.isfinite(of_base) & np.isfinite(of_path), np.abs(of_base - of_path), 0)
    excess = gaps - 1e-4 * np.abs(np.where(gaps > 0, of_base, 0))
    worst = int(np.argmax(excess))
    if excess[worst] > 1e-3:
        raise ValueError(
            "the path must begin at the base's log-density, with its constant: at one of the "
            f"base's samples it is {of_path[worst]:.7g}, and the base's {of_base[worst]:.7g}"
        )


def check_ends(path: Path, positions: Position, is_strict: bool = True) -> None:
    """Check that both ends of a path make sense where its walkers start.

    A density may be zero at some positions, where walkers die (rightly, unless by an unadjusted
    move: see :class:`~jarzynski_jax.walkers.Walkers`), and the last one at all of them, as
    between two states that have no position in common. A NaN, an infinite density, and a first
    one that is zero everywhere, are mistakes: a ValueError. Of walkers on their way some may
    have died of a NaN; if not ``is_strict`` it is a mistake if all do. Traced positions are not
    looked at, nor those spread over processes, none of which has them all.

    Examples
    --------
    >>> path = geometric_path(lambda x: -(x**2), lambda x: jnp.log(x))
    >>> check_ends(path, jnp.array([-1.0, 1.0]))
    Traceback (most recent call last):
        ...
    ValueError: the path's log-density at t = 1 is NaN or +inf at 1 of 2 positions
    """
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(positions)):
        return
    for time in (0.0, 1.0):
        with jax.ensure_compile_time_eval():
            logdensity = jax.vmap(path(time))(lift(positions))
        is_traced = isinstance(logdensity, jax.core.Tracer)  # of parameters, say
        if is_traced or not logdensity.is_fully_addressable:
            return
        values = np.asarray(logdensity)
        is_wrong = np.isnan(values) | np.isposinf(values)
        if np.any(is_wrong) if is_strict else np.all(is_wrong):
            raise ValueError(
                f"the path's log-density at t = {time:g} is NaN or +inf at "
                f"{np.sum(is_wrong)} of {is_wrong.size} positions"
            )
        if time == 0 and np.all(np.isneginf(values)):
            raise ValueError(f"the path's density at t = {time:g} is zero at all positions")
