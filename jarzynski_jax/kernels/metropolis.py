r"""Metropolis adjustment of a kernel with exact weights.

Where a kernel's reverse move is a move of the same kernel, :math:`\Delta A` at a fixed target
is the logarithm of the ratio in Metropolis and Hastings' acceptance probability, and accepting
with probability :math:`\min(1, e^{\Delta A})` leaves the target invariant: ULA becomes MALA. A
Markov kernel that leaves its target invariant has :math:`\Delta A = 0` and is always accepted.
The reverse of a kinetic step has its velocity turned round: a walker whose move is rejected
goes back the way it came, with the velocity :math:`-v_1`, and the target extended by velocities
is invariant (generalized Hamiltonian Monte Carlo).

Of other kernels this does not hold: the reverse of an escorted step has the drift -b, that of a
bijection is its inverse.

Reference: Horowitz, *Phys. Lett. B* 268 (1991) 247.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.kernels.move import Move, check_move
from jarzynski_jax.types import Array, Kernel, LogDensityFn, PRNGKey
from jarzynski_jax.uniform import accept

__all__ = ["MetropolisInfo", "adjust"]


class MetropolisInfo(NamedTuple):
    """What one adjusted step did: its probability of acceptance, and whether it was."""

    acceptance_rate: Array
    is_accepted: Array


def adjust(move: Move) -> Kernel:
    """Turn a kernel into one that leaves a fixed target exactly invariant.

    The move is of :mod:`jarzynski_jax.kernels.ula`, :mod:`jarzynski_jax.kernels.kinetic` or a
    Markov kernel: any that says where a rejected walker returns to, else a ValueError. Its
    arguments are to be given, and the target must be the one by which the state was last
    weighed.

    Examples
    --------
    >>> from jarzynski_jax.kernels import ula
    >>> mala, target = adjust(ula.as_move()), lambda x: -(x**2) / 2
    >>> state, info = mala(jax.random.key(0), ula.init(jnp.array(1.0), target), target, 0.1)
    >>> 0 <= float(info.acceptance_rate) <= 1
    True
    """
    check_move(move)
    reject = move.reject
    if reject is None:
        raise ValueError(
            "only unadjusted Langevin, kinetic Langevin and Markov kernels (kernels.ula, "
            "kernels.kinetic, kernels.invariant) can be Metropolis-adjusted; got a Move "
            "whose reject is None, so that it does not say where a rejected walker returns to"
        )

    def adjusted(
        rng_key: PRNGKey, state: Any, logdensity_fn: LogDensityFn, *kernel_args: Any
    ) -> tuple[Any, MetropolisInfo]:
        key_move, key_accept = jax.random.split(rng_key)
        proposed, info = move.kernel(key_move, state, logdensity_fn, *kernel_args)
        is_accepted, acceptance_rate = accept(key_accept, info.log_weight_increment)
        state = reject(state, info)
        state = jax.tree.map(lambda new, old: jnp.where(is_accepted, new, old), proposed, state)
        return state, MetropolisInfo(acceptance_rate, is_accepted)

    return adjusted
