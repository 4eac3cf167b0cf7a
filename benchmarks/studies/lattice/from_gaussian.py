"""φ⁴ theory annealed from its best Gaussian, which is found without samples."""

from functools import cache

import jax
import numpy as np

from benchmarks.studies.lattice.exact import QUARTIC, grid
from benchmarks.studies.lattice.field import bracketed, num_gradients
from benchmarks.studies.lattice.settings import Settings
from jarzynski_jax.annealing import estimate
from jarzynski_jax.density import Density
from jarzynski_jax.targets import lattice

#: Of the gradients that the chain of simulations takes.
_SHARE = 1 / 8


def names(settings: Settings) -> list[str]:
    return [f"gaussian_{rows}x{columns}" for rows, columns in settings.field_shapes]


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    """Log Z at the last coupling over seeds, and brackets at the others that have one."""
    rows, columns = (int(of) for of in name.rpartition("_")[2].split("x"))
    kappas = grid(settings.grid_level)
    ends = bracketed(kappas, settings)[-settings.num_near_couplings :]
    budget = int(_SHARE * num_gradients(kappas, settings))
    last = [
        one_call((rows, columns), ends[-1], seed, budget) for seed in range(settings.num_seeds)
    ]
    brackets = [one_call((rows, columns), kappa, 0, budget) for kappa in ends[:-1]]
    return {
        "ends": ends,
        "brackets": np.array([*brackets, last[0]]),
        "ours": np.array(last),
        "budget": np.array(budget),
    }


@cache  # the same functions, so that what was compiled with them is found again
def _ends(shape: tuple[int, int], kappa: float) -> tuple[Density, Density]:
    couplings = (shape, kappa, QUARTIC)
    return lattice.best_gaussian(*couplings), lattice.phi4(*couplings)


def one_call(shape: tuple[int, int], kappa: float, seed: int, budget: int) -> list[float]:
    """Log Z and its error, both bounds with theirs, and how many doubts there are."""
    found = estimate(jax.random.key(seed), *_ends(shape, kappa), num_gradients=budget)
    bounds = found.bounds
    return [
        found.log_partition_function,
        found.standard_error,
        *(bounds.lower, bounds.lower_error, bounds.upper, bounds.upper_error),
        len(found.doubts),
    ]
