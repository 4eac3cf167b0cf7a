r"""Heat bath of Ising spins on a checkerboard, as a move with an exact weight.

The log-density :math:`\ell(s)` of spins 1 and -1 on a lattice is linear in the spins of either
colour of a checkerboard given those of the other, as where only nearest neighbours interact,
in any field and with any couplings. Given one colour the spins of the other are independent,
and their log-odds are a gradient,

.. math:: \log\frac{P(s_i = 1)}{P(s_i = -1)} = 2\,\frac{\partial\ell(s)}{\partial s_i}.

So the kernel needs no parameters: inverse temperature and couplings are in the log-density, and
along a path they are those of the path. When the target changes the walker is weighed where it
stands, before it moves,

.. math:: \Delta A = \ell_{\rm new}(s) - \ell_{\rm old}(s),

and then a sweep draws all spins of one colour afresh, then all of the other, which leaves
:math:`e^{\ell_{\rm new}}` invariant. The sweep that undoes it has the colours in the other
order.

References: Neal, *Statistics and Computing* 11 (2001) 125; Creutz, *Quarks, gluons and
lattices*, 1983.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.kernels import invariant
from jarzynski_jax.kernels.arithmetic import value_and_grad
from jarzynski_jax.kernels.binding import SamplingAlgorithm, bind
from jarzynski_jax.kernels.density_state import DensityState, without_endpoint
from jarzynski_jax.kernels.move import Move, keep_state
from jarzynski_jax.kernels.spins import as_floating, check_spins
from jarzynski_jax.types import Array, Kernel, LogDensityFn, Position, PRNGKey
from jarzynski_jax.uniform import open_uniform

__all__ = ["as_move", "as_top_level_api", "build_kernel", "init"]


def init(position: Position, logdensity_fn: LogDensityFn) -> DensityState:
    """Weigh one walker for the first time.

    The position is an array of any number of axes, all of even length, of integers or of
    floating point; else, or if a spin is known and neither 1 nor -1, a ValueError.

    Examples
    --------
    >>> float(init(jnp.ones((2, 2), jnp.int32), jnp.sum).logdensity)
    4.0
    """
    check_spins(position)
    _colour(jnp.shape(position))
    return without_endpoint(position, logdensity_fn(as_floating(position)))


@cache  # one function, so that what was compiled with it is found again
def build_kernel() -> Kernel:
    """Build the kernel for one walker, ``kernel(rng_key, state, logdensity_fn, colour=0)``.

    ``logdensity_fn`` is that after the move; it takes spins of floating point, and must be
    linear in the spins of either colour given the others, which is not checked. ``colour`` is
    that which is drawn first, 0 of sites with an even sum of coordinates, or 1; the
    ``mcmc_info`` is the share of spins that changed. The kernel raises a ValueError as
    :func:`init` does.

    Examples
    --------
    >>> old, new = jnp.sum, lambda spins: 2 * jnp.sum(spins)
    >>> state = init(jnp.ones((4, 4), jnp.int32), old)
    >>> state, info = build_kernel()(jax.random.key(0), state, new)
    >>> float(info.log_weight_increment), state.position.dtype
    (16.0, dtype('int32'))
    """
    return invariant.build_kernel(init, _sweep_spins)


def as_move() -> Move:
    """Make a move of the kernel: one sweep."""
    return _sweep(0)


def _sweep(colour: int) -> Move:
    def turned_round(move: Move) -> Move:
        del move
        return _sweep(1 - colour)

    return Move(
        init,
        build_kernel(),
        (colour,),
        turned_round,
        keep_state,
        is_invariant=True,
        is_differentiable=False,
    )


def as_top_level_api(logdensity_fn: LogDensityFn) -> SamplingAlgorithm:
    """Bind the kernel to one target, as BlackJAX's samplers are."""
    return bind(init, build_kernel(), logdensity_fn)


def _sweep_spins(
    rng_key: PRNGKey, state: DensityState, logdensity_fn: LogDensityFn, colour: Array | int = 0
) -> tuple[DensityState, Array]:
    """The Markov kernel, with BlackJAX's signature."""
    spins = as_floating(state.position)
    uniform = open_uniform(rng_key, spins.shape, spins.dtype)
    colours = _colour(spins.shape)

    def draw(spins: Array, is_drawn: Array) -> tuple[Array, None]:
        gradient: Any
        _, gradient = value_and_grad(logdensity_fn, spins)
        return _draw(uniform, spins, gradient, is_drawn), None

    # A loop: written out, XLA draws the first colour and its random numbers anew for every
    # neighbour of the second, and takes half as long again.
    moved, _ = jax.lax.scan(draw, spins, jnp.stack([colours == colour, colours != colour]))
    position = moved.astype(jnp.result_type(state.position))
    return without_endpoint(position, logdensity_fn(moved)), jnp.mean(moved != spins)


def _colour(shape: tuple[int, ...]) -> np.ndarray:
    """0 and 1 in turn; round a torus that comes out even for even lengths alone."""
    if any(length % 2 or length == 0 for length in shape):
        raise ValueError(f"a checkerboard needs even lengths; got a lattice of {shape}")
    return np.indices(shape).sum(axis=0) % 2


def _draw(uniform: Array, spins: Array, gradient: Array, is_drawn: Array) -> Array:
    """Draw spins afresh where it is said; the gradient is half of their log-odds."""
    drawn = jnp.where(uniform < jax.nn.sigmoid(2 * gradient), 1, -1).astype(spins.dtype)
    return jnp.where(is_drawn, drawn, spins)
