r"""Bits back with annealing: the encoder's latent is led to the posterior before x is coded.

A latent :math:`z_0` popped by q(z|x) makes n moves, each of which leaves

.. math:: \ell_t(z) = \log q(z|x) + t\,D(z), \quad
          D(z) = \log p(x|z) + \log p(z) - \log q(z|x)

invariant, at :math:`t_i = i/(n + 1)`. A move pops a proposal of the Langevin step from z,
and with the odds of Metropolis whether it is taken; and what the move back would pop is pushed.
So it costs :math:`\ell_t(z) - \ell_t(z')`, whatever is proposed, and the stack grows by minus
the annealing weight,

.. math:: -\frac1{n+1} \sum_{i=0}^n D(z_i) ,

whose mean lies between -ELBO and -log p(x), and comes down to the latter as n grows. The moves
are in detailed balance, so that they are their own inverse, and decoding is encoding with the
times in reverse.

All pops come before all pushes. In between, a proposal would be popped of the very bits that
were pushed for the move before it, and lead back to where that came from. The price are seed
words for n + 1 latents; they are given back.

A step is that of :mod:`jarzynski_jax.kernels.ula` for the encoder's noise, so that lengths are
in its standard deviations, adjusted as in :mod:`jarzynski_jax.kernels.metropolis`. Unadjusted,
the weight would lose what the steps dissipate.

References: Neal, *Annealed importance sampling*, 2001; Ruan, Ullrich, Severo, Townsend, Khisti,
Doucet, Makhzani and Maddison, 2021 (BB-AIS); Roberts and Rosenthal, *Optimal scaling of
discrete approximations to Langevin diffusions*, 1998.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.kernels.arithmetic import check_step_size
from jarzynski_jax.latent.autoencoder import Autoencoder
from jarzynski_jax.latent.entropy_coder import BitStack
from jarzynski_jax.latent.latent_bins import (
    LEAST_MASS,
    LatentBins,
    as_odds,
    log_mass,
    normal_masses,
    to_grid,
)
from jarzynski_jax.types import Array, Params

__all__ = ["Annealing", "make_annealing", "walk"]


class Annealing(NamedTuple):
    """What encoder and decoder must both have of the moves, to the last bit.

    times
        Of the moves, ascending in (0, 1).
    step_size
        h, in units of the encoder's variances.
    score
        ``(image, symbols) -> (log p(x|z), gradient of D)``, the latter by the encoder's noise,
        shape ``(H,)``.
    proposal
        ``(image, symbols, gradient, t) -> odds`` of each latent's symbols, float64, ``(H, M)``.
    """

    times: tuple[float, ...]
    step_size: float
    score: Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]
    proposal: Callable[[np.ndarray, np.ndarray, np.ndarray, float], np.ndarray]


def make_annealing(
    model: Autoencoder,
    params: Params,
    bins: LatentBins,
    num_steps: int,
    step_size: float | None = None,
) -> Annealing:
    r"""Make the moves of an autoencoder, a gradient of its decoder each.

    ValueError if a number is not positive.

    Parameters
    ----------
    num_steps
        n.
    step_size
        None for what is best for normal posteriors of H latents, :math:`1.36\,H^{-1/3}`.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1; got {num_steps}")
    if step_size is None:
        step_size = 1.65**2 / 2 * model.latent_dim ** (-1 / 3)
    check_step_size(step_size)
    h = float(step_size)

    @jax.jit
    def score(x: Array, z: Array) -> tuple[Array, Array]:
        mean, scale = model.encode(params, x)

        def log_weight(noise: Array) -> tuple[Array, Array]:
            z = mean + scale * noise
            found = jnp.sum(model.output.log_prob(model.decode(params, z), x))
            return found + jnp.sum(jnp.square(noise) - jnp.square(z)) / 2, found

        gradient, found = jax.grad(log_weight, has_aux=True)((z - mean) / scale)
        # A move is right with any drift, as long as the way back has the same.
        return to_grid(found), to_grid(jnp.where(jnp.isfinite(gradient), gradient, 0))

    @jax.jit
    def proposal(x: Array, z: Array, gradient: Array, t: Array) -> Array:
        mean, scale = model.encode(params, x)
        noise = (z - mean) / scale
        end = mean + scale * (noise + h * (t * gradient - noise))
        return normal_masses(bins, end, jnp.log(scale) + jnp.log(2 * h) / 2)

    def score_of(image: np.ndarray, symbols: np.ndarray) -> tuple[float, np.ndarray]:
        found, gradient = score(np.asarray(image, np.float32), bins.medians[symbols])
        return float(found), np.asarray(gradient)

    def odds_of(
        image: np.ndarray, symbols: np.ndarray, gradient: np.ndarray, t: float
    ) -> np.ndarray:
        x, z = np.asarray(image, np.float32), bins.medians[symbols]
        return as_odds(proposal(x, z, gradient, np.float32(t)))

    times = tuple(i / (num_steps + 1) for i in range(1, num_steps + 1))
    return Annealing(times, h, score_of, odds_of)


class _Point(NamedTuple):
    symbols: np.ndarray
    gradient: np.ndarray
    log_posterior: float
    log_weight: float


def walk(
    stack: BitStack,
    annealing: Annealing,
    image: np.ndarray,
    tables: tuple[np.ndarray, np.ndarray],
    start: np.ndarray,
    times: Sequence[float],
) -> np.ndarray:
    """Lead a latent on, and return where it came to: symbols, shape ``(H,)``.

    With the times in reverse it leads back, and leaves the stack as it was. OutOfBits if the
    stack holds too little for the proposals.

    Parameters
    ----------
    tables
        Odds of symbols by the encoder and by the prior, shape ``(H, M)`` both.
    """
    posterior, prior = tables

    def weigh(symbols: np.ndarray) -> _Point:
        log_likelihood, gradient = annealing.score(image, symbols)
        log_q = log_mass(posterior, symbols)
        log_weight = log_likelihood + log_mass(prior, symbols) - log_q
        return _Point(symbols, gradient, log_q, log_weight)

    here = weigh(start)
    backward = []
    for t in times:
        odds = annealing.proposal(image, here.symbols, here.gradient, t)
        other = weigh(stack.pop(odds))
        back = annealing.proposal(image, other.symbols, other.gradient, t)
        # Of the move back it is minus that, to the last bit.
        log_ratio = _log_flow(other, back, here, t) - _log_flow(here, odds, other, t)
        if stack.pop(_acceptance(log_ratio))[0]:
            backward.append((1, -log_ratio, here.symbols, back))
            here = other
        else:
            backward.append((0, log_ratio, other.symbols, odds))
    for is_taken, log_ratio, symbols, odds in backward:
        stack.push(np.array([is_taken]), _acceptance(log_ratio))
        stack.push(symbols, odds)
    return here.symbols


def _log_flow(point: _Point, odds: np.ndarray, other: _Point, t: float) -> float:
    log_density = point.log_posterior + t * point.log_weight
    return log_density + log_mass(odds, other.symbols)


def _acceptance(log_ratio: float) -> np.ndarray:
    """Odds that a move is not taken, and that it is, shape ``(1, 2)``."""
    taken = np.exp(min(log_ratio, 0.0))
    return np.maximum(np.array([[1 - taken, taken]]), LEAST_MASS)
