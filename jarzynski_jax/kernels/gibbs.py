r"""Block Gibbs of two layers of binary units, as a move with an exact weight.

The log-density :math:`\ell(v, h)` is linear in the visible units v given the hidden units h,
and in h given v, all of them 0 or 1: a restricted Boltzmann machine (thesis, eq. 3.4.7). Given
one layer the units of the other are independent, and their log-odds are a gradient,

.. math::
    \log\frac{P(h_j = 1 \mid v)}{P(h_j = 0 \mid v)} = \frac{\partial\ell(v, h)}{\partial h_j},
    \qquad
    \log\frac{P(v_i = 1 \mid h)}{P(v_i = 0 \mid h)} = \frac{\partial\ell(v, h)}{\partial v_i}.

So the kernel needs no parameters. The walker's position is v alone, and its density the
marginal of eq. 3.4.8,

.. math::
    \ell(v) = \log\sum_h e^{\ell(v, h)}
            = \ell(v, 0) + \sum_j {\rm softplus}\,\frac{\partial\ell(v, h)}{\partial h_j}.

When the target changes the walker is weighed where it stands, before it moves,

.. math:: \Delta A = \ell_{\rm new}(v) - \ell_{\rm old}(v),

in which no hidden unit is drawn, so that none adds noise. Then it moves, first h given v, then
v given h, which leaves :math:`e^{\ell_{\rm new}}` invariant, with detailed balance.

A step costs three products with the weights, of which training shares one with the gradient.

The marginal is always had from the joint density. So a path that interpolates joint densities,
as :func:`~jarzynski_jax.annealing.geometric_path` does, is followed through the marginals of
what it interpolates, and not through what it makes of the two marginals.

References: thesis, end of §3.4; Neal, *Statistics and Computing* 11 (2001) 125; Salakhutdinov
and Murray, ICML 2008.
"""

from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.kernels.arithmetic import check_floating, lift, value_and_grad
from jarzynski_jax.kernels.binding import SamplingAlgorithm, bind
from jarzynski_jax.kernels.density_state import DensityState, without_endpoint
from jarzynski_jax.kernels.invariant import InvariantInfo
from jarzynski_jax.kernels.move import Move, itself, keep_state
from jarzynski_jax.types import Array, Kernel, LogDensityFn, Position, PRNGKey
from jarzynski_jax.uniform import bernoulli

__all__ = [
    "GibbsInfo",
    "Units",
    "as_move",
    "as_top_level_api",
    "build_kernel",
    "init",
]


class Units(NamedTuple):
    """Both layers, which a joint density takes, each unit 0 or 1.

    ``visible`` is v: what a walker's position is, any pytree of floating-point arrays;
    ``hidden`` is h, shape ``(J,)``.
    """

    visible: Position
    hidden: Array


class GibbsInfo(NamedTuple):
    """What was drawn on the way, the ``mcmc_info`` of an ``InvariantInfo``.

    ``hidden`` is h given the old v, shape ``(J,)``; ``visible_mean`` is the probability of each
    visible unit to be 1 given this h, and the new v a draw from it.
    """

    hidden: Array
    visible_mean: Position


def init(position: Position, logdensity_fn: LogDensityFn, num_hidden: int) -> DensityState:
    """Weigh one walker for the first time.

    The position is the visible units, the log-density a joint one, of :class:`Units`, whose
    marginal weighs. ValueError if a leaf is not of floating point, J is below one, or the
    log-density does not take ``Units`` or is not a scalar.
    """
    return without_endpoint(position, _marginalize(position, logdensity_fn, num_hidden)[0])


@cache  # one function, so that what was compiled with it is found again
def build_kernel() -> Kernel:
    """Build the kernel for one walker, ``kernel(rng_key, state, logdensity_fn, num_hidden)``.

    ``logdensity_fn`` is the joint log-density after the move; it must be linear in either layer
    given the other, which is not checked. The ``mcmc_info`` is a :class:`GibbsInfo`. The kernel
    raises a ValueError as :func:`init` does.

    Examples
    --------
    >>> old = lambda units: jnp.sum(units.visible) * jnp.sum(units.hidden)
    >>> new = lambda units: old(units) + jnp.sum(units.visible)
    >>> state = init(jnp.ones(3), old, num_hidden=2)
    >>> state, info = build_kernel()(jax.random.key(0), state, new, 2)
    >>> round(float(info.log_weight_increment), 4), info.mcmc_info.hidden.shape
    (3.0, (2,))
    """

    def kernel(
        rng_key: PRNGKey, state: DensityState, logdensity_fn: LogDensityFn, num_hidden: int
    ) -> tuple[DensityState, InvariantInfo]:
        key_hidden, key_visible = jax.random.split(rng_key)
        logdensity, log_odds = _marginalize(state.position, logdensity_fn, num_hidden)
        dtype = state.log_endpoint.dtype
        increment = logdensity.astype(dtype) - state.logdensity.astype(dtype)
        is_finite = jnp.isfinite(increment)

        def given(hidden: Array) -> LogDensityFn:
            return lambda visible: logdensity_fn(Units(visible, hidden))

        visible = lift(state.position)
        hidden = _draw(key_hidden, _probability(log_odds), _zeros(visible, num_hidden))
        visible_mean = _probability(jax.grad(given(hidden))(visible))
        position = _draw(key_visible, visible_mean, state.position)
        moved, _ = _marginalize(position, logdensity_fn, num_hidden)
        increment = jnp.where(is_finite, increment, -jnp.inf)
        info = InvariantInfo(increment, is_finite, GibbsInfo(hidden, visible_mean))
        return without_endpoint(position, moved), info

    return kernel


def as_move(num_hidden: int) -> Move:
    """Make a move of the kernel."""
    start = partial(init, num_hidden=num_hidden)
    return Move(
        start,
        build_kernel(),
        (num_hidden,),
        itself,
        keep_state,
        is_invariant=True,
        is_differentiable=False,
    )


def as_top_level_api(logdensity_fn: LogDensityFn, num_hidden: int) -> SamplingAlgorithm:
    """Bind the kernel to one joint density, as BlackJAX's samplers are."""
    start = partial(init, num_hidden=num_hidden)
    return bind(start, build_kernel(), logdensity_fn, num_hidden)


def _zeros(position: Position, num_hidden: int) -> Array:
    """Hidden units that are all 0, in the dtype of the visible ones."""
    if num_hidden < 1:
        raise ValueError(f"num_hidden must be at least 1; got {num_hidden}")
    return jnp.zeros(num_hidden, jnp.result_type(*jax.tree.leaves(position)))


def _marginalize(
    position: Position, logdensity_fn: LogDensityFn, num_hidden: int
) -> tuple[Array, Array]:
    """Log-density of the visible units alone, and log-odds of the hidden ones given them."""
    check_floating(position)
    position = lift(position)
    hidden = _zeros(position, num_hidden)

    def given(hidden: Array) -> Array:
        return logdensity_fn(Units(position, hidden))

    try:
        jax.eval_shape(given, hidden)
    except (AttributeError, TypeError) as error:
        raise ValueError(
            f"logdensity_fn must take Units(visible, hidden), with {num_hidden} hidden units, "
            f"and return the joint log-density; it raised {type(error).__name__}: {error}"
        ) from error
    log_odds: Any
    logdensity, log_odds = value_and_grad(given, hidden)
    return logdensity + jnp.sum(jax.nn.softplus(log_odds)), log_odds


def _probability(log_odds: Position) -> Position:
    """Of each unit to be 1; in bfloat16 the uniform numbers drawn would be too coarse."""
    return jax.tree.map(
        lambda leaf: jax.nn.sigmoid(leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))),
        log_odds,
    )


def _draw(rng_key: PRNGKey, probability: Position, like: Position) -> Position:
    """Units of 0 or 1, independent, in the structure and dtypes of others."""
    leaves, structure = jax.tree.flatten(probability)
    keys = [rng_key] if len(leaves) == 1 else list(jax.random.split(rng_key, len(leaves)))
    drawn = [bernoulli(key, leaf) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.map(
        lambda new, old: new.astype(jnp.result_type(old)),
        jax.tree.unflatten(structure, drawn),
        like,
    )
