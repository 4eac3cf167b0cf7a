"""What is known exactly: log Z of narrow fields, variances of steps, the published grids."""

from collections.abc import Sequence

import numpy as np

from jarzynski_jax.targets import lattice

QUARTIC = 0.022
#: Steps of the hopping parameter, and where a grid has them; outside the coarser one remains.
_REFINEMENTS = (
    (0.01, 0.20, 0.30),
    (0.005, 0.20, 0.30),
    (0.0025, 0.22, 0.30),
    (0.001, 0.24, 0.30),
    (0.0005, 0.267, 0.279),
)


def grid(level: int) -> np.ndarray:
    """Hopping parameters from 0 to 0.3: of level 0 in steps of 0.05, of 1 to 5 the published.

    Nicoli et al. have 14, 24, 40, 76 and 88 simulations, one for each but the last.
    """
    found = np.linspace(0, 0.3, 7)
    for step, low, high in _REFINEMENTS[:level]:
        outside = found[(found < low - 1e-9) | (found > high + 1e-9)]
        inside = np.linspace(low, high, round((high - low) / step) + 1)
        found = np.sort(np.concatenate([outside, inside]))
    return found


def log_z_two_wide(kappa: float, num_rows: int, quartic: float = QUARTIC) -> float:
    """φ⁴ on two columns, by the transfer matrix of its rows; two bonds join the two sites."""
    reach, num_points = 6.4, 22
    points, step = np.linspace(-reach, reach, num_points, retstep=True)
    a, b = (axis.reshape(-1) for axis in np.meshgrid(points, points, indexing="ij"))
    sites = sum((1 - 2 * quartic) * x**2 + quartic * x**4 for x in (a, b))
    row = sites - 4 * kappa * a * b
    exponent = 2 * kappa * (np.outer(a, a) + np.outer(b, b)) - (row[:, None] + row) / 2
    eigenvalues = np.linalg.eigvalsh(np.exp(exponent)) * step**2
    return float(np.log(np.sum(eigenvalues**num_rows)))


def log_z_free(kappa: float, shape: tuple[int, int]) -> float:
    log_z = lattice.phi4(shape, kappa, 0.0).log_partition_function
    assert log_z is not None
    return float(log_z)


def step_variance(log_z: Sequence[float]) -> float:
    """Z(κ+2Δ) Z(κ) / Z(κ+Δ)² - 1, the relative variance of one sample of a step."""
    return float(np.expm1(log_z[2] + log_z[0] - 2 * log_z[1]))
