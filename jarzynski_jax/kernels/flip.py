r"""The flip :math:`\phi \to -\phi` of a field or of spins, as a move with an exact weight.

When the target changes the walker is weighed where it stands, before it moves,

.. math:: \Delta A = \ell_{\rm new}(\phi) - \ell_{\rm old}(\phi),

and then takes one of the two signs by their densities,

.. math:: P(-\phi) = \frac{e^{\ell_{\rm new}(-\phi)}}{e^{\ell_{\rm new}(\phi)}
    + e^{\ell_{\rm new}(-\phi)}},

which leaves any target invariant: a symmetric one with probability one half, so that of two
phases that are images of each other neither is ever missing. By
:mod:`jarzynski_jax.kernels.sequence` it goes between moves that stay in a phase. It costs one
density.
"""

from functools import cache

import jax
import jax.numpy as jnp

from jarzynski_jax.kernels import invariant
from jarzynski_jax.kernels.binding import SamplingAlgorithm, bind
from jarzynski_jax.kernels.density_state import DensityState, init, without_endpoint
from jarzynski_jax.kernels.move import Move
from jarzynski_jax.types import Array, Kernel, LogDensityFn, PRNGKey
from jarzynski_jax.uniform import bernoulli

__all__ = ["as_move", "as_top_level_api", "build_kernel", "init"]


@cache  # one function, so that what was compiled with it is found again
def build_kernel() -> Kernel:
    """Build the kernel for one walker, ``kernel(rng_key, state, logdensity_fn)``.

    ``logdensity_fn`` is that after the move; positions are any pytree, of integers too. The
    ``mcmc_info`` is the probability of the flip.

    Examples
    --------
    >>> old, new = (lambda x: -(x**2) / 2), (lambda x: -(x**2) + 50 * x)
    >>> state = init(jnp.array(-2.0), old)
    >>> state, info = build_kernel()(jax.random.key(0), state, new)
    >>> float(state.position), float(info.log_weight_increment)
    (2.0, -102.0)
    """
    return invariant.build_kernel(init, _choose_sign)


def as_move() -> Move:
    """Make a move of the kernel."""
    return invariant.markov_move(build_kernel())


def as_top_level_api(logdensity_fn: LogDensityFn) -> SamplingAlgorithm:
    """Bind the kernel to one target, as BlackJAX's samplers are."""
    return bind(init, build_kernel(), logdensity_fn)


def _choose_sign(
    rng_key: PRNGKey, state: DensityState, logdensity_fn: LogDensityFn
) -> tuple[DensityState, Array]:
    flipped = jax.tree.map(jnp.negative, state.position)
    logdensity = logdensity_fn(flipped).astype(state.logdensity.dtype)
    probability = jax.nn.sigmoid(logdensity - state.logdensity)
    is_flipped = bernoulli(rng_key, probability)
    position, logdensity = jax.tree.map(
        lambda new, old: jnp.where(is_flipped, new, old),
        (flipped, logdensity),
        (state.position, state.logdensity),
    )
    return without_endpoint(position, logdensity), probability
