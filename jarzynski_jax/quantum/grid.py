r"""Energies of one particle on a line by exact diagonalisation, to compare with."""

import jax
import numpy as np

from jarzynski_jax.types import LogDensityFn

__all__ = ["grid_energies"]


def grid_energies(
    potential_fn: LogDensityFn,
    low: float,
    high: float,
    num_points: int = 400,
    num_states: int = 2,
) -> np.ndarray:
    r"""Lowest energies of :math:`-\frac12\partial_x^2 + V(x)` in the sinc basis on a grid.

    .. math:: K_{ij} = \frac{(-1)^{i-j}}{(i-j)^2\,\Delta^2},\qquad
              K_{ii} = \frac{\pi^2}{6\Delta^2}

    Converges faster than any power of the spacing :math:`\Delta` for smooth potentials, if the
    states are gone at the ends. Colbert and Miller, *J. Chem. Phys.* 96 (1992) 1982. In double
    precision, whatever JAX's; ``potential_fn`` takes positions of shape ``(1,)``.

    Examples
    --------
    >>> grid_energies(lambda x: x[0] ** 2 / 2, -10, 10).round(6).tolist()
    [0.5, 1.5]
    """
    if not low < high or num_points < 2 or not 1 <= num_states <= num_points:
        raise ValueError(
            "a grid needs low < high, and at least 2 points and as many as states; got "
            f"{low}, {high}, {num_points} points and {num_states} states"
        )
    x, spacing = np.linspace(low, high, num_points, retstep=True)
    i = np.arange(num_points)
    gap = i[:, None] - i
    with np.errstate(divide="ignore"):
        kinetic = np.where(gap == 0, np.pi**2 / 6, (-1.0) ** gap / np.square(gap, dtype=float))
    with jax.enable_x64(True):
        potential = np.asarray(jax.vmap(potential_fn)(x[:, None]))
    if potential.shape != x.shape or not np.all(np.isfinite(potential)):
        raise ValueError(
            "potential_fn must return a finite scalar at each position of shape (1,); of "
            f"{num_points} positions it gave {np.sum(np.isfinite(potential))} finite values of "
            f"shape {potential.shape[1:]}"
        )
    return np.linalg.eigvalsh(kinetic / spacing**2 + np.diag(potential))[:num_states]
