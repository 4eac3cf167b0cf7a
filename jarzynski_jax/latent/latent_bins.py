r"""Latents as symbols: one of :math:`2^b` intervals of equal mass under the prior.

A latent then costs b bits by the prior, exactly; the networks are given the median of the
interval, and a Gaussian becomes its masses of them. Numbers of a network by which something is
coded are rounded to a grid, so that a machine which computes them a little otherwise mostly
finds the same.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr
from scipy.special import ndtri

from jarzynski_jax.types import Array

__all__ = [
    "LEAST_MASS",
    "LatentBins",
    "as_odds",
    "log_mass",
    "make_bins",
    "normal_masses",
    "to_grid",
]

#: No symbol has less, as the coder knows none that has.
LEAST_MASS = 2.0**-24
_GRID = 2.0**-12


class LatentBins(NamedTuple):
    """Where the M intervals part, ascending, shape ``(M - 1,)``, and their medians, float32."""

    edges: np.ndarray
    medians: np.ndarray


def make_bins(num_bits: int) -> LatentBins:
    """Make 2^b intervals; ValueError unless b is from 1 to 16.

    Examples
    --------
    >>> make_bins(1).medians.round(4).tolist()
    [-0.6744999885559082, 0.6744999885559082]
    """
    if not 1 <= num_bits <= 16:
        raise ValueError(f"num_latent_bits must be from 1 to 16; got {num_bits}")
    count = 2**num_bits
    edges = ndtri(np.arange(1, count) / count).astype(np.float32)
    return LatentBins(edges, ndtri((np.arange(count) + 0.5) / count).astype(np.float32))


def to_grid(numbers: Array) -> Array:
    """Round numbers that the machine computed to what another machine would find too."""
    return jnp.round(numbers / _GRID) * _GRID


def normal_masses(bins: LatentBins, mean: Array, log_scale: Array) -> Array:
    """Masses of the intervals under a Gaussian with numbers of the grid: ``(H, M)``.

    Examples
    --------
    >>> normal_masses(make_bins(1), jnp.zeros(1), jnp.zeros(1)).tolist()
    [[0.5, 0.5]]
    """
    mean, log_scale = to_grid(mean), to_grid(log_scale)
    edges = (bins.edges - mean[:, None]) * jnp.exp(-log_scale)[:, None]
    # From the side where the tail is small, so that nothing cancels.
    below, above = jnp.exp(log_ndtr(edges)), jnp.exp(log_ndtr(-edges))
    lower = jnp.pad(below, ((0, 0), (1, 0)))
    upper = jnp.pad(below, ((0, 0), (0, 1)), constant_values=1)
    lower_tail = jnp.pad(above, ((0, 0), (0, 1)))
    upper_tail = jnp.pad(above, ((0, 0), (1, 0)), constant_values=1)
    return jnp.where(upper < 0.5, upper - lower, upper_tail - lower_tail)


def as_odds(masses: Array) -> np.ndarray:
    """Masses as the coder takes them: float64, none of them too small for it."""
    return np.maximum(np.asarray(masses, np.float64), LEAST_MASS)


def log_mass(odds: np.ndarray, symbols: np.ndarray) -> float:
    """Logarithm of the probability of symbols ``(H,)`` by odds ``(H, M)``.

    Examples
    --------
    >>> round(float(np.exp(log_mass(np.array([[1.0, 3.0], [1.0, 1.0]]), np.array([1, 0])))), 4)
    0.375
    """
    chosen = odds[np.arange(len(symbols)), symbols] / odds.sum(axis=1)
    return float(np.sum(np.log(chosen)))
