"""How an ensemble moves: a kernel, its arguments, how many moves, when to resample.

Training, the held-out ensemble and annealing all move walkers in the same way, so the choice
is one value, made once.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax.kernels import ula
from jarzynski_jax.kernels.arithmetic import check_step_size
from jarzynski_jax.resampling import AdaptiveResampler, adaptive, systematic
from jarzynski_jax.types import Array, Kernel, KernelInit, LogDensityFn, PRNGKey, Scalar
from jarzynski_jax.walkers import Walkers

__all__ = ["Dynamics", "advance", "langevin"]


class Dynamics(NamedTuple):
    """How an ensemble moves.

    kernel_init
        ``(position, logdensity_fn) -> state``, for one walker.
    kernel
        ``(rng_key, state, logdensity_fn, *kernel_args) -> (state, info)``, for one walker.
    kernel_args
        What else the kernel takes.
    num_moves
        Moves under each new target.
    resampler
        From :func:`jarzynski_jax.resampling.adaptive`.
    """

    kernel_init: KernelInit
    kernel: Kernel
    kernel_args: tuple[Any, ...]
    num_moves: int
    resampler: AdaptiveResampler


def langevin(
    step_size: Scalar,
    num_moves: int = 1,
    resampler: AdaptiveResampler = adaptive(systematic, 0.5),  # noqa: B008
) -> Dynamics:
    """Unadjusted Langevin, systematic resampling below half of the walkers.

    Parameters
    ----------
    step_size
        h, the time step: drift h, noise sqrt(2h). Keep h below a fifth of the smallest
        variance of the target; h above twice that variance is unstable.
    num_moves
        Moves under each new target.
    resampler
        From :func:`jarzynski_jax.resampling.adaptive`.

    Returns
    -------
    Dynamics
        To be handed to the training algorithms and to :mod:`jarzynski_jax.annealing`.

    Raises
    ------
    ValueError
        If the step size is not positive or ``num_moves`` is below one.

    Examples
    --------
    >>> langevin(step_size=0.02).num_moves
    1
    """
    check_step_size(step_size)
    if num_moves < 1:
        raise ValueError(f"num_moves must be at least 1; got {num_moves}")
    return Dynamics(ula.init, ula.build_kernel(), (step_size,), num_moves, resampler)


def advance(
    rng_key: PRNGKey, walkers: Walkers, logdensity_fn: LogDensityFn, dynamics: Dynamics
) -> tuple[Walkers, Array]:
    """Move every walker ``num_moves`` times under a new target; do not resample.

    Parameters
    ----------
    rng_key
        A key of ``jax.random``.
    walkers
        N walkers, weighed by the old target.
    logdensity_fn
        The new target.
    dynamics
        How they move.

    Returns
    -------
    tuple[Walkers, Array]
        The walkers, weighed by the new target, and how many of them died on the way.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from jarzynski_jax import walkers
    >>> target, dynamics = (lambda x: -(x**2) / 2), langevin(0.1, num_moves=3)
    >>> ensemble = walkers.init(jnp.zeros(8), target, dynamics.kernel_init)
    >>> ensemble, num_dead = advance(jax.random.key(0), ensemble, target, dynamics)
    >>> int(num_dead)
    0
    """

    def move(ensemble: Walkers, key: PRNGKey) -> tuple[Walkers, None]:
        ensemble, _ = walkers_lib.move(
            key, ensemble, logdensity_fn, dynamics.kernel, *dynamics.kernel_args
        )
        return ensemble, None

    was_alive = jnp.isfinite(walkers.log_weights)
    keys = jax.random.split(rng_key, dynamics.num_moves)
    if dynamics.num_moves > 1:
        walkers, _ = jax.lax.scan(move, walkers, keys[:-1])
    # The last move stands outside the loop, so that XLA can share its evaluation of the
    # energies with whatever is computed at the same positions next.
    walkers, _ = move(walkers, keys[-1])
    return walkers, jnp.sum(was_alive & ~jnp.isfinite(walkers.log_weights))
