r"""Moves that are made for one density, corrected for another.

A Markov kernel leaves :math:`e^{r}` invariant, a reference that is nearly the target
:math:`e^\ell` but has faster moves: heat bath and clusters of spins know the Ising model, not
the network that was trained on it. What it proposes from x is accepted with probability

.. math:: \min\!\Big(1,\ e^{[\ell(x') - r(x')] - [\ell(x) - r(x)]}\Big),

which leaves :math:`e^\ell` invariant, if the kernel has detailed balance for the reference. One
that has only a reverse gets it here: the move or its reverse is taken by a coin. When the
target changes the walker is weighed where it stands, before it moves,
:math:`\Delta A = \ell_{\rm new}(x) - \ell_{\rm old}(x)`.

References: Liu, *Monte Carlo strategies in scientific computing*, 2001, §9.4.3; Christen and
Fox, *J. Comput. Graph. Stat.* 14 (2005) 795.
"""

from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.kernels import invariant
from jarzynski_jax.kernels.binding import SamplingAlgorithm, bind
from jarzynski_jax.kernels.density_state import DensityState, init, without_endpoint
from jarzynski_jax.kernels.move import Move, check_move
from jarzynski_jax.types import Array, Kernel, LogDensityFn, PRNGKey
from jarzynski_jax.uniform import accept

__all__ = ["SurrogateInfo", "as_move", "as_top_level_api", "build_kernel", "init"]


class SurrogateInfo(NamedTuple):
    """Whether what was proposed was accepted: the ``mcmc_info`` of an ``InvariantInfo``."""

    acceptance_rate: Array
    is_accepted: Array


def build_kernel(move: Move, reference: LogDensityFn) -> Kernel:
    """Build the kernel for one walker, ``kernel(rng_key, state, logdensity_fn)``.

    The move leaves ``reference`` invariant and has a reverse, as those of
    :mod:`~jarzynski_jax.kernels.heat_bath`, :mod:`~jarzynski_jax.kernels.wolff` and
    :mod:`~jarzynski_jax.kernels.flip`, else a ValueError. ``logdensity_fn`` is that after the
    move. The ``mcmc_info`` is a :class:`SurrogateInfo`.

    Examples
    --------
    >>> from jarzynski_jax.kernels import heat_bath
    >>> from jarzynski_jax.targets import lattice
    >>> cold = lattice.ising((4, 4), 0.4).logdensity_fn
    >>> kernel, spins = build_kernel(heat_bath.as_move(), cold), jnp.ones((4, 4), jnp.int32)
    >>> state, info = kernel(jax.random.key(0), init(spins, cold), cold)
    >>> float(info.mcmc_info.acceptance_rate)  # the target is the reference
    1.0
    """
    check_move(move)
    if not move.is_invariant or move.reverse is None:
        raise ValueError(
            "a move must leave the reference invariant and have a reverse, as heat_bath, wolff "
            "and flip do; got a Move with "
            f"is_invariant={move.is_invariant} and reverse={move.reverse}"
        )
    return _built(move, reference)


def as_move(move: Move, reference: LogDensityFn) -> Move:
    """Make a move of the kernel."""
    return invariant.markov_move(build_kernel(move, reference))


def as_top_level_api(
    logdensity_fn: LogDensityFn, move: Move, reference: LogDensityFn
) -> SamplingAlgorithm:
    """Bind the kernel to one target, as BlackJAX's samplers are."""
    return bind(init, build_kernel(move, reference), logdensity_fn)


@lru_cache(maxsize=64)  # one function, so that what was compiled with it is found again
def _built(move: Move, reference: LogDensityFn) -> Kernel:
    return invariant.build_kernel(init, partial(_propose, move, reference))


def _propose(
    move: Move,
    reference: LogDensityFn,
    rng_key: PRNGKey,
    state: DensityState,
    logdensity_fn: LogDensityFn,
) -> tuple[DensityState, SurrogateInfo]:
    """The Markov kernel, with BlackJAX's signature."""
    key_coin, key_move, key_accept = jax.random.split(rng_key, 3)
    assert move.reverse is not None
    start = move.init(state.position, reference)

    def take(move: Move) -> DensityState:
        moved, _ = move.kernel(key_move, start, reference, *move.args)
        return without_endpoint(moved.position, moved.logdensity)

    back = move.reverse(move)
    if back is move:
        proposed = take(move)
    else:
        coin = jax.random.bernoulli(key_coin)
        proposed = jax.lax.cond(coin, lambda: take(move), lambda: take(back))
    logdensity = logdensity_fn(proposed.position).astype(state.logdensity.dtype)
    log_ratio = (logdensity - proposed.logdensity) - (state.logdensity - start.logdensity)
    is_accepted, acceptance_rate = accept(key_accept, log_ratio)
    position, logdensity = jax.tree.map(
        lambda new, old: jnp.where(is_accepted, new, old),
        (proposed.position, logdensity),
        (state.position, state.logdensity),
    )
    info = SurrogateInfo(acceptance_rate, is_accepted)
    return without_endpoint(position, logdensity), info
