r"""Metropolis adjustment of a kernel with exact weights.

At a fixed target a kernel's :math:`\Delta A` is the logarithm of the ratio in Metropolis and
Hastings' acceptance probability. Accepting a move with probability
:math:`\min(1, e^{\Delta A})` therefore leaves the target invariant: ULA becomes MALA.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.types import Array, Kernel, LogDensityFn, PRNGKey

__all__ = ["MetropolisInfo", "adjust"]


class MetropolisInfo(NamedTuple):
    """What one adjusted step did.

    acceptance_rate
        The probability with which the move was accepted.
    is_accepted
        Whether it was.
    """

    acceptance_rate: Array
    is_accepted: Array


def adjust(kernel: Kernel) -> Kernel:
    """Turn a kernel into one that leaves a fixed target exactly invariant.

    Parameters
    ----------
    kernel
        ``(rng_key, state, logdensity_fn, *kernel_args) -> (state, info)`` with
        ``info.log_weight_increment``, such as the one of :mod:`jarzynski_jax.kernels.ula`.

    Returns
    -------
    Kernel
        The same signature, with a :class:`MetropolisInfo`. The target must be the one by
        which the state was last weighed.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from jarzynski_jax.kernels import ula
    >>> mala, target = adjust(ula.build_kernel()), lambda x: -(x**2) / 2
    >>> state, info = mala(jax.random.key(0), ula.init(jnp.array(1.0), target), target, 0.1)
    >>> 0 <= float(info.acceptance_rate) <= 1
    True
    """

    def adjusted(
        rng_key: PRNGKey, state: Any, logdensity_fn: LogDensityFn, *kernel_args: Any
    ) -> tuple[Any, MetropolisInfo]:
        key_move, key_accept = jax.random.split(rng_key)
        proposed, info = kernel(key_move, state, logdensity_fn, *kernel_args)
        log_ratio = info.log_weight_increment
        uniform = jax.random.uniform(key_accept, (), log_ratio.dtype)
        is_accepted = jnp.log(uniform) < log_ratio
        state = jax.tree.map(lambda new, old: jnp.where(is_accepted, new, old), proposed, state)
        return state, MetropolisInfo(jnp.exp(jnp.minimum(log_ratio, 0)), is_accepted)

    return adjusted
