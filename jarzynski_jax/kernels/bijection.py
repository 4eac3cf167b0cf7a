r"""A deterministic invertible map as a move with an exact weight.

.. math:: x' = T(x), \qquad
    \Delta A = \ell_{\rm new}(x') - \ell_{\rm old}(x) + \log|\det \partial T/\partial x|

With a map that takes the old target to the new one all increments are the constant
:math:`\log Z_{\rm new}/Z_{\rm old}`. Between other kernels, by
:mod:`jarzynski_jax.kernels.sequence`, it makes a stochastic normalizing flow.

References: Vaikuntanathan and Jarzynski, *J. Chem. Phys.* 134 (2011) 054107; Wu, Köhler and
Noé, *Stochastic normalizing flows*, 2020; thesis, §2.2.4.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jarzynski_jax.kernels.arithmetic import all_finite, check_kind, keep_finite, lift, lower
from jarzynski_jax.kernels.binding import SamplingAlgorithm, bind
from jarzynski_jax.kernels.density_state import DensityState, init
from jarzynski_jax.kernels.move import Move
from jarzynski_jax.types import Array, Kernel, LogDensityFn, Position, PRNGKey

__all__ = [
    "Bijection",
    "BijectionInfo",
    "as_move",
    "as_top_level_api",
    "build_kernel",
    "init",
]

#: ``bijection(x) -> (y, log|det ∂y/∂x|)``, invertible, for one position; flowjax's
#: ``transform_and_log_det``, say.
Bijection: TypeAlias = Callable[[Position], tuple[Position, Array]]


class BijectionInfo(NamedTuple):
    r"""What one step did: :math:`\Delta A`, ``-inf`` where it is not finite, never NaN.

    A walker whose increment is not finite is dead: its weight is 0. ``log_determinant`` is
    :math:`\log|\det \partial T/\partial x|`.
    """

    log_weight_increment: Array
    is_finite: Array
    log_determinant: Array

    @property
    def is_lost(self) -> Array:
        """Never: it dies only where the new target is zero, and its weight 0 is exact."""
        return jnp.zeros_like(self.is_finite)


@cache  # one function, so that what was compiled with it is found again
def build_kernel() -> Kernel:
    """Build the kernel for one walker, ``kernel(rng_key, state, logdensity_fn, bijection)``.

    ``bijection`` is ``x -> (y, log|det ∂y/∂x|)``, ``logdensity_fn`` the target after the move;
    the key is not used. The kernel raises a ValueError if the bijection returns other shapes.

    Examples
    --------
    >>> old, new = (lambda x: -(x**2) / 2), (lambda x: -2 * x**2)
    >>> halve = lambda x: (x / 2, -jnp.log(2.0))
    >>> _, info = build_kernel()(None, init(jnp.array(3.0), old), new, halve)
    >>> round(float(info.log_weight_increment), 4)  # log Z_new/Z_old, for any x
    -0.6931
    """

    def kernel(
        rng_key: PRNGKey,
        state: DensityState,
        logdensity_fn: LogDensityFn,
        bijection: Bijection,
    ) -> tuple[DensityState, BijectionInfo]:
        del rng_key
        image, log_determinant = bijection(lift(state.position))
        _check(state.position, image, log_determinant)
        position = keep_finite(lower(image, state.position), state.position)
        new_state = init(position, logdensity_fn)
        dtype = state.log_endpoint.dtype
        increment = (
            new_state.logdensity.astype(dtype)
            - state.logdensity.astype(dtype)
            + jnp.asarray(log_determinant, dtype)
        )
        # Where a number of the image overflowed the density is of another place.
        is_finite = jnp.isfinite(increment) & all_finite(image)
        increment = jnp.where(is_finite, increment, -jnp.inf)
        return new_state, BijectionInfo(
            increment, is_finite, jnp.asarray(log_determinant, dtype)
        )

    return kernel


def _check(position: Position, image: Position, log_determinant: Array) -> None:
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (position, image)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "a bijection must return a position in the shape of the one it is given, "
            f"{shapes[0]}; it returned {shapes[1]}"
        )
    if jnp.shape(log_determinant) != ():
        raise ValueError(
            "a bijection must return one log-determinant, a scalar; "
            f"it returned shape {jnp.shape(log_determinant)}"
        )
    check_kind("a bijection", image, position)


def as_move(bijection: Bijection | None = None, inverse: Bijection | None = None) -> Move:
    """Make a move of a map, or of one of its own at each step; ``inverse`` is for work back."""
    args = () if bijection is None else (bijection,)
    reverse = None if inverse is None else partial(_inverted, bijection, inverse)
    return Move(init, build_kernel(), args, reverse)


def _inverted(bijection: Bijection | None, inverse: Bijection, move: Move) -> Move:
    del move
    return as_move(inverse, bijection)


def as_top_level_api(logdensity_fn: LogDensityFn, bijection: Bijection) -> SamplingAlgorithm:
    """Bind the kernel to one target, as BlackJAX's samplers are."""
    return bind(init, build_kernel(), logdensity_fn, bijection)
