r"""Weighted walkers: an ensemble of positions, each with a log-weight.

At every moment, for every test function :math:`f`,

.. math:: E[f(X_i)\, e^{A_i}] = (Z/Z_0)\, E_\theta[f],

where :math:`\theta` is the target by which the walkers were last weighed. Moving, resampling,
and taking a block out and putting it back keep this equation; nothing else may be done to a
walker. The kernel that moves them is any ``(rng_key, state, logdensity_fn, *args)``.

References: Carbone, Hua, Coste and Vanden-Eijnden, NeurIPS 2023; thesis, Proposition 3.3.1.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax import weights
from jarzynski_jax.checks import (
    check_fields,
    check_kernel,
    check_kernel_args,
    check_kernel_init,
)
from jarzynski_jax.kernels.arithmetic import is_lost
from jarzynski_jax.types import (
    Array,
    Kernel,
    KernelInit,
    LogDensityFn,
    Position,
    PRNGKey,
    Scalar,
)

__all__ = [
    "Walkers",
    "init",
    "lost_log_weight",
    "move",
    "move_each",
]


class Walkers(NamedTuple):
    r"""An ensemble of N walkers.

    state
        The kernel's states, every leaf with leading axis N.
    log_weights
        A, shape ``(N,)``; ``-inf`` for a dead walker.
    initial_log_partition_function
        log Z₀ of the density that the walkers were drawn from, a scalar.
    roots
        Which of the first walkers each descends from, int32, shape ``(N,)``. Walkers of one
        root are not independent; the standard error of log Z is made of this.
    leakage
        About how much log Z is too low, in nats, because walkers died by their own moves:
        :math:`-\sum_k \log(1 - q_k)` with q the share of the weight that so died in a move. A
        scalar, 0 as long as none did.
    """

    state: Any
    log_weights: Array
    initial_log_partition_function: Array
    roots: Array
    leakage: Array

    @property
    def position(self) -> Position:
        """Where the walkers stand, every leaf with leading axis N."""
        return self.state.position


def init(
    positions: Position,
    logdensity_fn: LogDensityFn,
    kernel_init: KernelInit,
    log_partition_function: Scalar = 0.0,
) -> Walkers:
    r"""Start an ensemble from exact, independent samples of :math:`e^{\ell}/Z_0`.

    Every leaf is of shape ``(N, ...)``. All have log-weight 0, except that a walker whose
    density is not finite is dead. ``log_partition_function`` is
    :math:`\log Z_0 = \log\int e^{\ell}`, in nats; with 0, what is estimated later is the ratio
    to it. ValueError if the leaves do not share a leading axis, ``kernel_init`` is no function,
    or the kernel's state lacks a field.

    Examples
    --------
    >>> from jarzynski_jax import walkers
    >>> from jarzynski_jax.kernels import ula
    >>> x = jax.random.normal(jax.random.key(0), (1000, 2))
    >>> ensemble = walkers.init(x, lambda x: -jnp.sum(x**2) / 2, ula.init, jnp.log(2 * jnp.pi))
    >>> round(float(walkers.log_partition_function(ensemble)), 4)
    1.8379
    """
    check_kernel_init(kernel_init)
    num_walkers = _leading_axis(positions)
    state = jax.vmap(lambda x: kernel_init(x, logdensity_fn))(positions)
    check_fields(state, "state", "position", "logdensity", "log_endpoint")
    dtype = jnp.promote_types(state.logdensity.dtype, jnp.float32)
    zeros = jnp.zeros(num_walkers, dtype)
    return Walkers(
        state,
        jnp.where(jnp.isfinite(state.logdensity), zeros, -jnp.inf),
        jnp.array(log_partition_function, dtype),
        jnp.arange(num_walkers, dtype=jnp.int32),
        jnp.zeros((), dtype),
    )


def move(
    rng_key: PRNGKey,
    walkers: Walkers,
    logdensity_fn: LogDensityFn,
    kernel: Kernel,
    *kernel_args: Any,
) -> tuple[Walkers, Any]:
    """Move every walker by one step of a kernel and weigh it under a new target.

    Returns the walkers, weighed by the new target, and the kernel's infos, leading axis N.
    ValueError if the kernel is none (its module, say), or its state or info lacks a field.

    Examples
    --------
    >>> from jarzynski_jax import walkers
    >>> from jarzynski_jax.kernels import ula
    >>> old, new = (lambda x: -(x**2) / 2), (lambda x: -(x**2))
    >>> ensemble = walkers.init(jax.random.normal(jax.random.key(0), (1000,)), old, ula.init)
    >>> key = jax.random.key(1)
    >>> ensemble, _ = walkers.move(key, ensemble, new, ula.build_kernel(), 0.1)
    >>> float(abs(walkers.log_partition_function(ensemble) + jnp.log(2) / 2)) < 0.1
    True
    """
    keys = jax.random.split(rng_key, walkers.log_weights.shape[0])
    state, log_weights, info = move_each(
        keys, walkers.state, walkers.log_weights, logdensity_fn, kernel, *kernel_args
    )
    leakage = walkers.leakage + lost_log_weight(walkers.log_weights, is_lost(info))
    moved = walkers._replace(state=state, log_weights=log_weights, leakage=leakage)
    return moved, info


def lost_log_weight(log_weights: Array, is_lost: Array) -> Array:
    r"""How much a move lowers log Z by the walkers that it lost, :math:`-\log(1 - q)`.

    A walker that steps out of where the density is positive dies. Walkers that come back, as
    many at rest, would bring as much weight with them, and there are none. So the mean weight
    is too low by about the share that stepped out: nearly that at a target that hardly moves,
    and less where the density falls to zero by itself. (Where numbers overflow, far out in the
    tails, there is no weight to come back, and nothing is lost; that is not told apart.)
    Log-weights are those before the move; ``inf`` if all were lost.

    Examples
    --------
    >>> is_lost = jnp.array([True, True, False, False])
    >>> round(float(lost_log_weight(jnp.zeros(4), is_lost)), 4)
    0.6931
    """

    def lost(log_weights: Array) -> Array:
        share = jnp.sum(jnp.where(is_lost, weights.normalize(log_weights), 0))
        # Of walkers that are all dead already nothing is lost: their shares are NaN.
        return -jnp.log1p(-jnp.minimum(jnp.nan_to_num(share), 1))

    # Most moves lose none, and must not pay for it.
    return jax.lax.cond(
        jnp.any(is_lost),
        lost,
        lambda log_weights: jnp.zeros((), log_weights.dtype),
        log_weights,
    )


def move_each(
    keys: PRNGKey,
    state: Any,
    log_weights: Array,
    logdensity_fn: LogDensityFn,
    kernel: Kernel,
    *kernel_args: Any,
) -> tuple[Any, Array, Any]:
    """Move each state by a step of a kernel, with its own key; return weights and infos too."""
    check_kernel(kernel)
    check_kernel_args(kernel, kernel_args)
    state, info = jax.vmap(lambda key, state: kernel(key, state, logdensity_fn, *kernel_args))(
        keys, state
    )
    check_fields(state, "state", "position", "logdensity", "log_endpoint")
    check_fields(info, "info", "log_weight_increment")
    return state, log_weights + info.log_weight_increment, info


def _leading_axis(positions: Position) -> int:
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(positions)]
    sizes = {shape[:1] for shape in shapes}
    if len(sizes) != 1 or () in sizes or (0,) in sizes:
        raise ValueError(
            "positions must have a common leading axis of at least one walker on every "
            f"leaf; got shapes {shapes}"
        )
    return shapes[0][0]
