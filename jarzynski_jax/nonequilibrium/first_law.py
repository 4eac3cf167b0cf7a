r"""Work and heat of walkers along a path: the first law, for any kernel.

Energies are :math:`U = -\ell`, in units of the temperature. A walker's weight says what total
work was done on it, :math:`W = -A`, and what is left of its energy's change is the heat that it
took up,

.. math:: \Delta U = W + Q, \qquad Q = \log\frac{B(x' \to x)}{F(x \to x')}\ \text{per move},

the log-ratio of the densities of the backward and the forward move: of a bijection the
log-determinant of its Jacobian, of Langevin the work against its own forces. Of W the part

.. math:: W_{\rm path} = \sum_k U_{k+1}(x) - U_k(x)

is done by whoever changes the target while the walker stands still: behind the move, as
unadjusted kernels do, or, by kernels that leave the new target invariant, before it. The rest,

.. math:: W_{\rm shadow} = W - W_{\rm path},

is work that the move itself does: the error of an integrator, 0 of an invariant kernel (Sivak,
Chodera and Crooks, *Phys. Rev. X* 3 (2013) 011007). At a constant target the work of the path
is exactly 0.

For Langevin in continuous time, :math:`dX = -\nabla U dt + \sqrt2 dW`, the heat is
:math:`dQ = (-|\nabla U|^2 + \Delta U) dt + \sqrt2\,\nabla U\cdot dW`: dissipated and thermal
(thesis, eq. 3.2.14). Kernels with velocities count these to the bath, and thermostats their
frictions too: what these gain is taken off the log-determinant, the heat of their info.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax.annealing import Path, anneal, check_ends, check_times
from jarzynski_jax.compiling import compiled_once
from jarzynski_jax.kernels.arithmetic import lift
from jarzynski_jax.kernels.move import Move, check_move
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.types import Array, ArrayTree, LogDensityFn, Position, PRNGKey, Scalar
from jarzynski_jax.walkers import Dynamics, check_dynamics

__all__ = ["Ledger", "account"]


class Ledger(NamedTuple):
    """What was done on each walker, in units of the temperature, shape ``(N,)``.

    ``energy_change`` is path_work + shadow_work + heat; the work of
    :mod:`jarzynski_jax.free_energy` is path_work + shadow_work. All are NaN or infinite for a
    walker that died.
    """

    energy_change: Array
    path_work: Array
    shadow_work: Array
    heat: Array


class _AtTime:
    """A log-density that knows of which time of its path it is."""

    def __init__(self, path: Path, time: Scalar) -> None:
        self.path, self.time = path, time
        self.logdensity_fn = path(time)

    def __call__(self, position: Position) -> Array:
        return self.logdensity_fn(position)


class _Accounted(NamedTuple):
    """The state of a kernel, the time of its target, and what was done so far."""

    inner: Any
    time: Array
    ledger: Ledger

    @property
    def position(self) -> ArrayTree:
        return self.inner.position

    @property
    def logdensity(self) -> Array:
        return self.inner.logdensity

    @property
    def log_endpoint(self) -> Array:
        return self.inner.log_endpoint


def account(
    rng_key: PRNGKey,
    positions: Position,
    path: Path,
    times: Array,
    dynamics: Dynamics,
    step_args: tuple[Any, ...] | None = None,
) -> Ledger:
    """Take walkers along a path, by ``anneal``, and keep account of work and heat.

    Walkers are not resampled. It costs one more evaluation of a log-density a move. Positions
    are exact samples of ``path(0)``, leading axis N; the other arguments are those of
    :func:`jarzynski_jax.annealing.anneal`, and the ValueErrors. The densities of the path must
    be functions of the walker's position alone, which those of
    :mod:`~jarzynski_jax.kernels.gibbs` are not.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from jarzynski_jax.walkers import langevin
    >>> path = lambda t: lambda x: -(1 + 3 * t) * x**2 / 2
    >>> x = jax.random.normal(jax.random.key(0), (100,))
    >>> ledger = account(jax.random.key(1), x, path, jnp.linspace(0, 1, 21)[1:], langevin(0.05))
    >>> bool(jnp.mean(ledger.path_work) > 0), bool(jnp.mean(ledger.heat) < 0)
    (True, True)
    """
    check_dynamics(dynamics)
    times = check_times(times)
    check_ends(path, positions)
    return _account(rng_key, positions, path, times, dynamics, step_args)


@compiled_once
def _account(
    rng_key: PRNGKey,
    positions: Position,
    path: Path,
    times: Array,
    dynamics: Dynamics,
    step_args: tuple[Any, ...] | None,
) -> Ledger:
    move = _with_ledger(dynamics.move)
    alone = dynamics._replace(move=move, resampler=adaptive(systematic, 0.0))
    timed = partial(_AtTime, path)
    start = walkers_lib.init(positions, timed(jnp.zeros_like(times[0])), alone.kernel_init)
    return anneal(rng_key, start, timed, times, alone, step_args)[0].state.ledger


def _with_ledger(move: Move) -> Move:
    check_move(move)

    def init(position: Position, logdensity_fn: LogDensityFn) -> _Accounted:
        inner = move.init(position, logdensity_fn)
        zero = jnp.zeros((), inner.log_endpoint.dtype)
        time = jnp.asarray(_of(logdensity_fn).time, zero.dtype)
        return _Accounted(inner, time, Ledger(zero, zero, zero, zero))

    def kernel(
        rng_key: PRNGKey, state: _Accounted, logdensity_fn: LogDensityFn, *args: Any
    ) -> tuple[_Accounted, Any]:
        target = _of(logdensity_fn)
        inner, info = move.kernel(rng_key, state.inner, target.logdensity_fn, *args)
        dtype = state.ledger.heat.dtype
        old = state.inner.logdensity.astype(dtype)
        new = inner.logdensity.astype(dtype)
        if move.is_invariant:  # the target changes first
            path_work = old - _at(target.logdensity_fn, state.position, dtype)
        else:
            path_work = _at(target.path(state.time), inner.position, dtype) - new
        # At the same time it is the same target, whatever the rounding of an evaluation is.
        time = jnp.asarray(target.time, state.time.dtype)
        path_work = jnp.where(time == state.time, 0, path_work)
        work = -info.log_weight_increment.astype(dtype)
        of_move = Ledger(old - new, path_work, work - path_work, old - new - work)
        ledger = jax.tree.map(jnp.add, state.ledger, of_move)
        return _Accounted(inner, time, ledger), info

    return move._replace(init=init, kernel=kernel, reverse=None, reject=None)


def _at(logdensity_fn: LogDensityFn, position: Position, dtype: Any) -> Array:
    return jnp.asarray(logdensity_fn(lift(position)), dtype)


def _of(logdensity_fn: LogDensityFn) -> _AtTime:
    if not isinstance(logdensity_fn, _AtTime):
        raise ValueError(f"a log-density without its time: {type(logdensity_fn).__name__}")
    return logdensity_fn
