r"""Energies from runs of populations, with errors that know their correlation in time.

Moments before ``num_warmup`` blocks are left out, but for what they weigh of later ones. Means
are single global ratios over all populations and moments, weighted by the growth over the last
``num_past`` blocks (:func:`jarzynski_jax.free_energy.past_log_weights`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jarzynski_jax.free_energy import (
    Estimate,
    blocked_mean,
    past_log_weights,
    weighted_ratio,
)
from jarzynski_jax.quantum.runs import Run

__all__ = ["Extrapolation", "cost_bound", "extrapolate", "growth_energy", "mixed_mean"]


def growth_energy(
    run: Run, block_time: float, num_warmup: int = 0, num_past: int = 0
) -> Estimate:
    r"""Energy at which the mean weight decays, :math:`-\frac1\tau\log E[e^{\Delta L}]`.

    :math:`\Delta L` is the growth of the log of the mean weight over a block of the time
    :math:`\tau`, K steps of h. The error is the larger one of two: by blocks of the series, and
    by the genealogy of the walkers, of which one of many offspring counts once.

    Examples
    --------
    >>> zeros = np.zeros((2, 16))
    >>> run = Run(zeros - 0.05, zeros, zeros, zeros, zeros, zeros, zeros, zeros, ())
    >>> round(float(growth_energy(run, 0.1).value), 6)
    0.5
    """
    growth = np.asarray(run.log_growth, np.float64)
    weights = past_log_weights(growth, num_past, lag=1)[:, num_warmup:]
    growth = growth[:, num_warmup:]
    centre = growth.mean()
    found = weighted_ratio(weights, np.exp(growth - centre))
    variances = np.asarray(run.genealogical_variance, np.float64)
    blocks_per_window = run.log_growth.shape[1] // variances.shape[1]
    variances = variances[:, num_warmup // blocks_per_window :]
    by_families = np.sqrt(variances.mean() / variances.size) / blocks_per_window
    error = max(float(found.standard_error / found.value), float(by_families))
    return Estimate(
        jnp.asarray(-(np.log(found.value) + centre) / block_time),
        jnp.asarray(error / block_time),
    )


def mixed_mean(values: ArrayLike, run: Run, num_warmup: int = 0, num_past: int = 0) -> Estimate:
    r"""Weighted mean of what was observed, shape ``(R, B)``, such as the local energy.

    With a wave as guide walkers are distributed as :math:`\psi\phi_0`: of the energy, the mean
    of :math:`E_L` is :math:`E_0`; **of another observable it is a mixed one**,
    :math:`\langle\psi|O|\phi_0\rangle/\langle\psi|\phi_0\rangle`, not that of the ground state.
    Without a wave it is :math:`\int O\phi_0/\int\phi_0`, which of V is :math:`E_0` in a trap.
    """
    weights = past_log_weights(run.log_growth, num_past)[:, num_warmup:]
    return weighted_ratio(weights, np.asarray(values)[:, num_warmup:])


def cost_bound(run: Run, block_time: float, num_warmup: int = 0) -> Estimate:
    r"""The path-integral cost of a guide, :math:`E[\ell_T]/T \ge E_0`.

    Minus the growth of the mean log-weight, of walkers that were never resampled: by Jensen's
    inequality above the energy at which the mean weight decays, at any step h. With a drift it
    is the cost with V, with a wave the same integrated by parts, with the local energy. h
    enters it in first order.
    """
    return blocked_mean(-np.asarray(run.mean_growth, np.float64)[:, num_warmup:] / block_time)


class Extrapolation(NamedTuple):
    """A fit through energies at several steps, taken to h = 0.

    slope
        Of the energy against the first power of h.
    chi_square, degrees_of_freedom
        Of the fit: far above the degrees of freedom, the steps are too large for it.
    """

    value: Estimate
    slope: Estimate
    chi_square: float
    degrees_of_freedom: int


def extrapolate(
    step_sizes: ArrayLike,
    energies: ArrayLike,
    errors: ArrayLike,
    powers: Sequence[int] = (1,),
) -> Extrapolation:
    r"""Least squares of :math:`E(h) = E_0 + \sum_p a_p h^p`, weighted by independent errors.

    The power is 1 with a wave as guide, 2 with the symmetric propagator of a drift. ValueError
    unless there are more different steps than powers, all positive, with finite energies and
    errors that are not negative; without errors all points count alike, and the value has the
    error 0.

    Examples
    --------
    >>> found = extrapolate([0.1, 0.2], [1.1, 1.2], [0.01, 0.01])
    >>> round(float(found.value.value), 6), round(float(found.value.standard_error), 6)
    (1.0, 0.022361)
    """
    steps, values, spread = (
        np.asarray(of, np.float64) for of in (step_sizes, energies, errors)
    )
    if not (steps.ndim == 1 and steps.shape == values.shape == spread.shape):
        raise ValueError(
            "steps, energies and errors must have the same shape (n,); got "
            f"{steps.shape}, {values.shape} and {spread.shape}"
        )
    if len(np.unique(steps)) <= len(powers) or not np.all(steps > 0):
        raise ValueError(
            f"an extrapolation in the powers {tuple(powers)} of h needs at least "
            f"{len(powers) + 1} different positive steps; got {steps.tolist()}"
        )
    if not (np.all(np.isfinite(values)) and np.all(spread >= 0) and np.all(spread < np.inf)):
        raise ValueError(
            "energies and their errors must be finite; got "
            f"{values.tolist()} and {spread.tolist()}"
        )
    # Rounding alone where there is no spread at all.
    least = max(1e-6 * np.max(spread), 1e-12 * (1 + np.max(np.abs(values))))
    scale = np.maximum(spread, least)
    # Errors may be far apart: not by normal equations, and the most certain rows first.
    order = np.argsort(scale)
    design = np.stack([steps**power for power in (0, *powers)], axis=1) / scale[:, None]
    orthogonal, triangle = np.linalg.qr(design[order])
    inverse = np.linalg.inv(triangle)
    fit = inverse @ (orthogonal.T @ (values / scale)[order])
    residuals = values / scale - design @ fit
    deviations = np.linalg.norm(inverse, axis=1) * (np.max(spread) > 0)
    return Extrapolation(
        Estimate(fit[0], deviations[0]),
        Estimate(fit[1], deviations[1]),
        float(residuals @ residuals),
        len(steps) - design.shape[1],
    )
