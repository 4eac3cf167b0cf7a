r"""Clusters of Ising spins that are flipped at once: Wolff's, and Swendsen and Wang's.

Where a log-density has a part :math:`K\sum_{ij} s_i s_j` over the nearest neighbours of a
torus, each bond is drawn with probability :math:`1 - e^{-2K s_i s_j}`, and not at all where
that is negative; sites that bonds connect are a cluster. Wolff flips the cluster of a random
site, Swendsen and Wang each cluster with probability one half. Either leaves
:math:`e^{K\sum s_i s_j}` invariant, with detailed balance. What else there is in the
log-density, :math:`r(s) = \ell(s) - K\sum s_i s_j`, accepts or rejects the flip with
:math:`\min(1, e^{r(s') - r(s)})`; of the Ising model r is constant, and all are accepted. K is
had from the log-density itself,

.. math:: K = \frac1{2dN}\sum_i \frac{\partial\ell(s)}{\partial s_i}\Big|_{s = 1},

so that the kernel needs no parameters and is exact for any target, though of use for one that
is nearly an Ising model. When the target changes the walker is weighed where it stands, before
it moves,

.. math:: \Delta A = \ell_{\rm new}(s) - \ell_{\rm old}(s).

All clusters are found in either case, and at the same cost, so Swendsen and Wang's move more
spins a step: most of all at high temperature, where clusters are small.

References: Swendsen and Wang, *Phys. Rev. Lett.* 58 (1987) 86; Wolff, *Phys. Rev. Lett.* 62
(1989) 361.
"""

from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.kernels import invariant
from jarzynski_jax.kernels.binding import SamplingAlgorithm, bind
from jarzynski_jax.kernels.density_state import DensityState, without_endpoint
from jarzynski_jax.kernels.move import Move, itself, keep_state
from jarzynski_jax.kernels.spins import as_floating, bond_sum, check_spins
from jarzynski_jax.types import Array, Kernel, LogDensityFn, Position, PRNGKey
from jarzynski_jax.uniform import accept, bernoulli

__all__ = [
    "ClusterInfo",
    "as_move",
    "as_top_level_api",
    "build_kernel",
    "init",
]

#: To neighbours, for one to the site of the number: that is a gather, which costs as much.
_NUM_STEPS = 4


class ClusterInfo(NamedTuple):
    """What was proposed, the ``mcmc_info`` of an ``InvariantInfo``.

    ``acceptance_rate`` is the probability of acceptance, 1 for the Ising model;
    ``flipped_share`` is the share of the spins that were to be flipped.
    """

    acceptance_rate: Array
    flipped_share: Array


def init(position: Position, logdensity_fn: LogDensityFn) -> DensityState:
    """Weigh one walker for the first time.

    The position is an array of any number of axes, of integers or of floating point; else, or
    if a spin is known and neither 1 nor -1, a ValueError.

    Examples
    --------
    >>> float(init(jnp.ones((3, 3), jnp.int32), jnp.sum).logdensity)
    9.0
    """
    check_spins(position)
    return without_endpoint(position, logdensity_fn(as_floating(position)))


@cache  # one function, so that what was compiled with it is found again
def build_kernel(all_clusters: bool = False) -> Kernel:
    """Build the kernel for one walker, ``kernel(rng_key, state, logdensity_fn)``.

    Of Wolff's clusters, or of Swendsen and Wang's if ``all_clusters``. ``logdensity_fn`` is
    that after the move; it takes spins of floating point, and is differentiated where all are
    1. The ``mcmc_info`` is a :class:`ClusterInfo`.

    Examples
    --------
    >>> from jarzynski_jax.targets import lattice
    >>> target = lattice.ising((4, 4), 100.0).logdensity_fn  # so cold that one cluster is all
    >>> state, info = build_kernel()(
    ...     jax.random.key(0), init(jnp.ones((4, 4), jnp.int32), target), target
    ... )
    >>> int(state.position.sum()), float(info.log_weight_increment)
    (-16, 0.0)
    """
    return invariant.build_kernel(init, partial(_flip_clusters, all_clusters))


def as_move(all_clusters: bool = False) -> Move:
    """Make a move of the kernel, of Wolff's clusters or of Swendsen and Wang's."""
    return Move(
        init,
        build_kernel(all_clusters),
        (),
        itself,
        keep_state,
        is_invariant=True,
        is_differentiable=False,
    )


def as_top_level_api(
    logdensity_fn: LogDensityFn, all_clusters: bool = False
) -> SamplingAlgorithm:
    """Bind the kernel to one target, as BlackJAX's samplers are."""
    return bind(init, build_kernel(all_clusters), logdensity_fn)


def _flip_clusters(
    all_clusters: bool, rng_key: PRNGKey, state: DensityState, logdensity_fn: LogDensityFn
) -> tuple[DensityState, ClusterInfo]:
    """The Markov kernel, with BlackJAX's signature."""
    key_bonds, key_flip, key_accept = jax.random.split(rng_key, 3)
    spins = as_floating(state.position)
    coupling = mean_coupling(logdensity_fn, spins)
    labels = label_clusters(draw_bonds(key_bonds, spins, coupling))
    is_flipped = choose_clusters(key_flip, labels, all_clusters)
    proposed = jnp.where(is_flipped, -spins, spins)
    logdensity = logdensity_fn(proposed)
    log_ratio = logdensity - state.logdensity
    log_ratio -= coupling * (bond_sum(proposed) - bond_sum(spins))
    is_accepted, acceptance_rate = accept(key_accept, log_ratio)
    moved = jnp.where(is_accepted, proposed, spins)
    new_state = without_endpoint(
        moved.astype(jnp.result_type(state.position)),
        jnp.where(is_accepted, logdensity, state.logdensity),
    )
    return new_state, ClusterInfo(acceptance_rate, jnp.mean(is_flipped))


def mean_coupling(logdensity_fn: LogDensityFn, spins: Array) -> Array:
    """K, the same wherever the spins point; of the Ising model that of every bond."""
    gradient = jax.grad(logdensity_fn)(jnp.ones_like(spins))
    return jnp.mean(gradient) / (2 * spins.ndim)


def draw_bonds(rng_key: PRNGKey, spins: Array, coupling: Array) -> Array:
    """Whether each site is bound to the next one along each axis, shape ``(d, *shape)``."""
    products = jnp.stack([spins * _ahead(spins, axis) for axis in range(spins.ndim)])
    return bernoulli(rng_key, -jnp.expm1(-2 * coupling * products))


def label_clusters(bonds: Array) -> Array:
    """Number clusters by their first site, shape ``shape``.

    Each site takes the least number among its neighbours in the cluster, a few times, and then
    that of the site of this number, by which long clusters are done in few rounds.
    """
    num_axes, *shape = bonds.shape
    numbers = jnp.arange(bonds[0].size).reshape(shape)

    def take_least(labels: Array) -> Array:
        least = labels
        for axis in range(num_axes):
            bound = bonds[axis]
            least = jnp.where(bound, jnp.minimum(least, _ahead(labels, axis)), least)
            behind = jnp.roll(jnp.where(bound, labels, labels.size), 1, axis)
            least = jnp.minimum(least, behind)
        return least

    def spread(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        labels, _ = carry
        least = jax.lax.fori_loop(0, _NUM_STEPS, lambda _, of: take_least(of), labels)
        least = least.reshape(-1)[least]
        return least, jnp.any(least != labels)

    start = numbers, jnp.array(True)
    return jax.lax.while_loop(lambda carry: carry[1], spread, start)[0]


def choose_clusters(rng_key: PRNGKey, labels: Array, all_clusters: bool) -> Array:
    """Which sites are to be flipped: each cluster by a coin of its own, or one of them."""
    if all_clusters:
        return jax.random.bernoulli(rng_key, shape=(labels.size,))[labels]
    seed = jax.random.randint(rng_key, (), 0, labels.size)
    return labels == labels.reshape(-1)[seed]


def _ahead(values: Array, axis: int) -> Array:
    return jnp.roll(values, -1, axis)
