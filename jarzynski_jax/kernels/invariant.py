r"""Any Markov kernel that leaves its target invariant, as a move with an exact weight.

When the target changes from :math:`\ell_{\rm old}` to :math:`\ell_{\rm new}` the walker is
weighed where it stands, before it moves,

.. math:: \Delta A = \ell_{\rm new}(x) - \ell_{\rm old}(x),

and then moves by a kernel under which :math:`e^{\ell_{\rm new}}` is invariant: MALA, HMC, NUTS,
a random walk. Along a path this is annealed importance sampling.

References: Neal, *Statistics and Computing* 11 (2001) 125; thesis, §3.3.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.checks import check_kernel, check_kernel_init
from jarzynski_jax.kernels.arithmetic import check_kind, lift, lower
from jarzynski_jax.kernels.binding import SamplingAlgorithm, bind
from jarzynski_jax.kernels.density_state import DensityState, init, without_endpoint
from jarzynski_jax.kernels.move import Move, itself, keep_state
from jarzynski_jax.types import Array, Kernel, LogDensityFn, Position, PRNGKey

__all__ = [
    "InvariantInfo",
    "as_move",
    "as_top_level_api",
    "build_kernel",
    "init",
]

#: ``init(position, logdensity_fn) -> state``, as BlackJAX's kernels have it.
MCMCInit = Callable[[Position, LogDensityFn], Any]
#: ``kernel(rng_key, state, logdensity_fn, *args) -> (state, info)``, likewise.
MCMCKernel = Callable[..., tuple[Any, Any]]


class InvariantInfo(NamedTuple):
    r"""What one step did: :math:`\Delta A`, ``-inf`` where a density is not finite, never NaN.

    A walker whose increment is not finite is dead: its weight is 0. ``mcmc_info`` is the info
    of the Markov kernel.
    """

    log_weight_increment: Array
    is_finite: Array
    mcmc_info: Any

    @property
    def is_lost(self) -> Array:
        """Never: it dies only where the new target is zero, and its weight 0 is exact."""
        return jnp.zeros_like(self.is_finite)


def build_kernel(mcmc_init: MCMCInit, mcmc_kernel: MCMCKernel) -> Kernel:
    """Build the kernel for one walker from a Markov kernel with BlackJAX's signatures.

    The Markov kernel must leave its target invariant; its state must have the fields
    ``position`` and ``logdensity``, the latter of the whole target, and integers must stay
    integers, else the kernel raises a ValueError. The kernel is
    ``kernel(rng_key, state, logdensity_fn, *args, **kwargs)`` with what else the Markov kernel
    takes. ValueError if this is no kernel: its module, say.

    Examples
    --------
    >>> import blackjax, jax, jax.numpy as jnp
    >>> kernel = build_kernel(blackjax.mala.init, blackjax.mala.build_kernel())
    >>> old, new = (lambda x: -(x**2) / 2), (lambda x: -(x**2))
    >>> state, info = kernel(jax.random.key(0), init(jnp.array(1.0), old), new, 0.1)
    >>> float(info.log_weight_increment)
    -0.5
    """
    check_kernel_init(mcmc_init)
    check_kernel(mcmc_kernel)

    def kernel(
        rng_key: PRNGKey,
        state: DensityState,
        logdensity_fn: LogDensityFn,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[DensityState, InvariantInfo]:
        with _refusing_integers(state.position):
            mcmc_state = mcmc_init(_widen(state.position), logdensity_fn)
        for field in ("position", "logdensity"):
            if not hasattr(mcmc_state, field):
                raise ValueError(
                    f"the state of the Markov kernel must have the field {field!r}; "
                    f"got {type(mcmc_state).__name__} with the fields "
                    f"{getattr(mcmc_state, '_fields', ())}"
                )
        dtype = state.log_endpoint.dtype
        increment = mcmc_state.logdensity.astype(dtype) - state.logdensity.astype(dtype)
        is_finite = jnp.isfinite(increment)
        with _refusing_integers(state.position):
            moved, mcmc_info = mcmc_kernel(rng_key, mcmc_state, logdensity_fn, *args, **kwargs)
        check_kind("a Markov kernel", moved.position, state.position)
        position = lower(moved.position, state.position)
        is_rounded = jax.tree.map(jnp.result_type, (position, moved.position))
        logdensity = moved.logdensity
        if is_rounded[0] != is_rounded[1]:
            # What is carried on is rounded.
            logdensity = logdensity_fn(lift(position))
        new_state = without_endpoint(position, logdensity.astype(state.logdensity.dtype))
        increment = jnp.where(is_finite, increment, -jnp.inf)
        return new_state, InvariantInfo(increment, is_finite, mcmc_info)

    return kernel


def as_move(mcmc_init: MCMCInit, mcmc_kernel: MCMCKernel, *args: Any) -> Move:
    """Make a move of a Markov kernel with detailed balance and of what it takes."""
    return markov_move(build_kernel(mcmc_init, mcmc_kernel), *args)


def markov_move(kernel: Kernel, *args: Any) -> Move:
    """Make a move of what :func:`build_kernel` built."""
    return Move(
        init, kernel, args, itself, keep_state, is_invariant=True, is_differentiable=False
    )


def as_top_level_api(
    logdensity_fn: LogDensityFn, mcmc_init: MCMCInit, mcmc_kernel: MCMCKernel, *args: Any
) -> SamplingAlgorithm:
    """Bind the kernel to one target, as BlackJAX's samplers are."""
    return bind(init, build_kernel(mcmc_init, mcmc_kernel), logdensity_fn, *args)


@contextmanager
def _refusing_integers(position: Position) -> Iterator[None]:
    """Say what is wrong if a Markov kernel with gradients, or noise, stumbles over integers."""
    try:
        yield
    except TypeError as error:
        dtypes = [jnp.result_type(leaf) for leaf in jax.tree.leaves(position)]
        if all(jnp.issubdtype(dtype, jnp.floating) for dtype in dtypes):
            raise
        raise ValueError(
            "positions must be of floating point for a Markov kernel that does not take "
            f"integers; got {', '.join(map(str, dtypes))}, and it raised: {error}"
        ) from error


def _widen(position: Position) -> Position:
    """Lift a position to JAX's default precision, for BlackJAX draws noise of no other."""
    default = jnp.result_type(float)

    def widen(leaf: Array) -> Array:
        dtype = jnp.result_type(leaf)
        is_floating = jnp.issubdtype(dtype, jnp.floating)
        return jnp.asarray(leaf, jnp.promote_types(dtype, default) if is_floating else dtype)

    return jax.tree.map(widen, position)
