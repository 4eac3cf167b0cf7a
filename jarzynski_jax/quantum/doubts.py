"""Every reason not to believe a ground-state energy, with its threshold."""

import itertools
import math

import numpy as np

from jarzynski_jax.free_energy import Estimate, blocked_mean
from jarzynski_jax.quantum.estimates import Extrapolation
from jarzynski_jax.quantum.runs import Run

__all__ = ["doubts_of_order", "doubts_of_relaxation", "doubts_of_run"]

#: Standard errors by which numbers in the wrong order, or two of the same, may differ.
_MAX_ERRORS = 4.0
#: Share of accepted steps below which walkers hardly relax.
_MIN_ACCEPTANCE = 0.5
#: Effective sample size, a share of the walkers, that a single block may leave.
_MIN_EFFECTIVE_SAMPLE_SIZE = 0.05
#: Share of steps in which walkers may be resampled.
_MAX_RESAMPLED = 0.5
#: Nats by which log Z may be too low for walkers that died, over a whole run.
_MAX_LEAKAGE = 0.01
#: Families left of a window's walkers, below which genealogies tell nothing.
_MIN_FAMILIES = 4


def doubts_of_relaxation(acceptance_rate: float, step_size: float) -> list[str]:
    """Of Metropolis-adjusted walkers that hardly move."""
    if acceptance_rate >= _MIN_ACCEPTANCE:
        return []
    return [
        (
            f"only {100 * acceptance_rate:.2g} % of the steps towards ψ² were accepted at "
            f"h = {step_size:g}: take a smaller step size"
        )
    ]


def doubts_of_run(run: Run, name: str, num_warmup: int) -> list[str]:
    """Of populations that die, explode, lose walkers, or have not come to rest."""
    growth = np.asarray(run.mean_growth if _is_unresampled(run) else run.log_growth)
    if not np.all(np.isfinite(growth)):
        died = (
            f"a population died out in {name}: no walker had a finite weight. Take a "
            "smaller step size, or a guide that keeps walkers where the potential is finite"
        )
        return [died]
    doubts = []
    leakage = float(np.max(run.walkers.leakage))
    if leakage > _MAX_LEAKAGE:
        doubts.append(
            f"walkers died by their own moves in {name}: {leakage:.2g} nats of "
            "weight are missing"
        )
    if not _is_unresampled(run):
        doubts += _doubts_of_weights(run, name, num_warmup)
    half = (growth.shape[1] - num_warmup) // 2
    first, second = growth[:, num_warmup : num_warmup + half], growth[:, -half:]
    if first.size >= 32:
        gap, error = _difference(blocked_mean(first), blocked_mean(second))
        if abs(gap) > _MAX_ERRORS * error + _rounding(growth):
            doubts.append(
                f"the first and the second half of {name} differ by {abs(gap) / error:.1f} "
                "standard errors: more blocks of warm-up are needed"
            )
    return doubts


def _is_unresampled(run: Run) -> bool:
    return not np.any(run.resampled_share)


def _doubts_of_weights(run: Run, name: str, num_warmup: int) -> list[str]:
    doubts = []
    ess = float(np.min(np.asarray(run.effective_sample_size)[:, num_warmup:]))
    if ess < _MIN_EFFECTIVE_SAMPLE_SIZE:
        doubts.append(
            f"a few walkers took all weight in {name}: the effective sample size fell to "
            f"{100 * ess:.2g} %. The step is too large, or the weights have no mean"
        )
    share = float(np.mean(np.asarray(run.resampled_share)[:, num_warmup:]))
    if share > _MAX_RESAMPLED:
        doubts.append(
            f"walkers were resampled in {100 * share:.2g} % of the steps of {name}: the step "
            "is too large, or the guide far from the ground state"
        )
    if np.min(run.num_families) < _MIN_FAMILIES <= run.walkers.log_weights.shape[1]:
        doubts.append(
            f"all walkers of a window of {name} descend from "
            f"{int(np.min(run.num_families))} of its first: take more walkers, or shorter "
            "windows"
        )
    return doubts


def doubts_of_order(
    cost: Extrapolation | None,
    variational: Estimate | None,
    growth: Extrapolation | None,
    mixed: Extrapolation | None,
) -> list[str]:
    """Of three numbers that must come in order, and of the fits that gave them."""
    doubts = []
    if cost is None:
        doubts.append("the cost is not finite at some step: take smaller ones")
    if mixed is None:
        doubts.append(
            "no diffusion Monte Carlo: weights with an attractive Coulomb potential itself "
            "have no mean (give log_wave_fn, a wave with the cusp), or are not finite"
        )
    for name, fit in (("cost", cost), ("growth energy", growth), ("mixed energy", mixed)):
        if fit is not None and fit.chi_square > _largest_chi_square(fit.degrees_of_freedom):
            doubts.append(
                f"the {name} does not depend on the step as it should (chi square "
                f"{fit.chi_square:.3g} for {fit.degrees_of_freedom}): leave out the largest"
            )
    if mixed is not None and growth is not None:
        gap, error = _difference(mixed.value, growth.value)
        if abs(gap) > _MAX_ERRORS * error:
            doubts.append(
                f"growth and mixed energy differ by {abs(gap):.2g}, {abs(gap) / error:.1f} "
                "standard errors: longer memory, more walkers or smaller steps are needed"
            )
    below = None if mixed is None else mixed.value
    order = (
        ("cost", None if cost is None else cost.value),
        ("variational energy", variational),
        ("energy of diffusion Monte Carlo", below),
    )
    known = [(name, of) for name, of in order if of is not None]
    for (upper, above), (lower, value) in itertools.pairwise(known):
        gap, error = _difference(value, above)
        if gap > _MAX_ERRORS * error:
            doubts.append(
                f"the {lower} lies {gap:.2g} above the {upper}, {gap / error:.1f} standard "
                "errors, and must not"
            )
    return doubts


def _largest_chi_square(degrees_of_freedom: int) -> float:
    """Four deviations above the mean; of none there is nothing to doubt."""
    if degrees_of_freedom == 0:
        return math.inf
    return degrees_of_freedom + 4 * math.sqrt(2 * degrees_of_freedom)


def _difference(one: Estimate, other: Estimate) -> tuple[float, float]:
    """And its error, at least that of rounding in single precision."""
    gap = float(one.value) - float(other.value)
    size = 1 + abs(float(one.value)) + abs(float(other.value))
    error = math.hypot(float(one.standard_error), float(other.standard_error))
    return gap, max(error, 1e-6 * size)


def _rounding(growth: np.ndarray) -> float:
    return 1e-6 * (1 + float(np.max(np.abs(growth))))
