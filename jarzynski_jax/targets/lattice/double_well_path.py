r"""A quantum particle in a double well, as the path integral of a periodic imaginary time.

The action of a path :math:`x_0 \dots x_{n-1}`, :math:`x_n = x_0`, of total time
:math:`T = na` in steps of a is

.. math:: S = a\sum_t\Big[\frac{m_0}2\Big(\frac{x_{t+1} - x_t}a\Big)^2
    + \frac{m_0\mu^2}2 x_t^2 + \frac\lambda4 x_t^4\Big],

for :math:`\mu^2 < 0` with wells at :math:`\pm\sqrt{-m_0\mu^2/\lambda}`. Its transfer matrix

.. math:: \mathcal T(x, y) = e^{-\frac{m_0}{2a}(x - y)^2 - \frac a2(V(x) + V(y))}

gives :math:`Z = {\rm Tr}\,\mathcal T^n`, by Gauss and Legendre's points, which for such
integrands is exact to rounding. As :math:`a \to 0` it is :math:`e^{-aH}` times
:math:`\sqrt{2\pi a/m_0}`, with :math:`H = p^2/2m_0 + V`.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jarzynski_jax.density import Density
from jarzynski_jax.targets.lattice.geometry import check_finite, check_position, check_shape
from jarzynski_jax.types import Array

__all__ = ["PathValues", "double_well_path", "double_well_path_values"]

#: Nats below the peak at which the paths' density at one time is cut off.
_DEPTH = 80.0
#: Points in the width of one position between its neighbours.
_POINTS = 5.0
_MOST_POINTS = 2048


class PathValues(NamedTuple):
    r"""Exact values of a path of n steps, by the transfer matrix.

    log_partition_function
        Log Z of the n integrals over :math:`x_t`, in nats.
    log_gap
        :math:`\log(\lambda_0/\lambda_1)`: a times the gap between the two lowest energies.
    mean_square
        :math:`\langle x_t^2\rangle`.
    one_sided
        Probability that all n positions have one sign: the mass of both modes, without the
        paths between them.
    """

    log_partition_function: float
    log_gap: float
    mean_square: float
    one_sided: float


class _Path(NamedTuple):
    num_sites: int
    spacing: float
    mass: float
    frequency_squared: float
    quartic: float

    def potential(self, x: Any) -> Any:
        """V, of numbers of any kind."""
        square = x * x
        return self.mass * self.frequency_squared / 2 * square + self.quartic / 4 * square**2


def double_well_path(
    num_sites: int,
    spacing: float = 1.0,
    *,
    mass: float = 2.75,
    frequency_squared: float = -1.0,
    quartic: float = 1.0,
) -> Density:
    r"""Paths of a quantum particle in a double well, :math:`\ell = -S`; see the module.

    A position is of shape ``(num_sites,)``. Log Z is by the transfer matrix. ValueError unless
    there are 2 sites at least, spacing and mass are positive, and the potential is bounded
    from below: λ positive, or 0 with a positive :math:`\mu^2`; and if the spacing is so fine,
    or the wells are so far apart, that the transfer matrix would need more than 2048 points.

    Parameters
    ----------
    num_sites
        n: the total time is T = n a.
    spacing
        a, the time step.
    mass, frequency_squared, quartic
        :math:`m_0`, :math:`\mu^2` and λ.

    Examples
    --------
    >>> round(double_well_path(64).log_partition_function, 5)
    107.9921
    """
    path = _check(num_sites, spacing, mass, frequency_squared, quartic)

    def logdensity_fn(x: Array) -> Array:
        x = check_position(x, (path.num_sites,), jnp.floating)
        steps = jnp.sum(jnp.square(jnp.roll(x, -1) - x))
        kinetic = path.mass / (2 * path.spacing) * steps
        return -kinetic - path.spacing * jnp.sum(path.potential(x))

    return Density(logdensity_fn, _values(path).log_partition_function, None, path.num_sites)


def double_well_path_values(
    num_sites: int,
    spacing: float = 1.0,
    *,
    mass: float = 2.75,
    frequency_squared: float = -1.0,
    quartic: float = 1.0,
) -> PathValues:
    """Exact values of :func:`double_well_path`, with its arguments and errors.

    Examples
    --------
    >>> round(double_well_path_values(64).mean_square, 5)
    2.50166
    """
    return _values(_check(num_sites, spacing, mass, frequency_squared, quartic))


def _check(
    num_sites: int, spacing: float, mass: float, frequency_squared: float, quartic: float
) -> _Path:
    (num_sites,) = check_shape((num_sites,))
    for name, value in (("spacing", spacing), ("mass", mass)):
        if not 0 < value < np.inf:
            raise ValueError(f"{name} must be positive and finite; got {value}")
    frequency_squared = check_finite("frequency_squared", frequency_squared)
    quartic = check_finite("quartic", quartic, 0)
    if quartic == 0 and frequency_squared <= 0:
        raise ValueError(
            "without a quartic term frequency_squared must be positive; "
            f"got {frequency_squared}"
        )
    return _Path(num_sites, float(spacing), float(mass), frequency_squared, quartic)


def _values(path: _Path) -> PathValues:
    """Of even and odd functions apart, on the half-line x > 0, where either is smooth."""
    x, weights = _half_line(path)
    potential = path.spacing * np.asarray(path.potential(x))
    # No entry overflows: the least potential is taken off, and put back in log Z.
    lowest = float(np.min(potential))
    factors = np.sqrt(weights) * np.exp((lowest - potential) / 2)
    stiffness = path.mass / (2 * path.spacing)
    same, across = (
        np.outer(factors, factors) * np.exp(-stiffness * (x[:, None] - y) ** 2) for y in (x, -x)
    )
    even, odd = np.linalg.eigh(same + across), np.linalg.eigh(same - across)
    largest = even[0][-1]

    def powers(eigenvalues: np.ndarray) -> np.ndarray:
        return (np.maximum(eigenvalues, 0) / largest) ** path.num_sites

    shares = np.concatenate([powers(even[0]), powers(odd[0])])
    squares = x**2 @ np.concatenate([even[1], odd[1]], axis=1) ** 2
    one_sided = 2 * np.sum(powers(np.linalg.eigvalsh(same)))
    return PathValues(
        float(path.num_sites * (np.log(largest) - lowest) + np.log(np.sum(shares))),
        float(np.log(largest / odd[0][-1])),
        float(shares @ squares / np.sum(shares)),
        float(one_sided / np.sum(shares)),
    )


def _half_line(path: _Path) -> tuple[np.ndarray, np.ndarray]:
    """Gauss and Legendre's points and weights, as far out and as many as the paths need."""
    bottom = max(-path.mass * path.frequency_squared, 0.0) / (path.quartic or 1.0)
    lowest = path.potential(np.sqrt(bottom))
    upper = 1.0
    while upper**2 <= bottom or path.spacing * (path.potential(upper) - lowest) <= _DEPTH:
        upper *= 2
    # There the weight of one site has fallen; in fine steps, the square of a bound state first.
    x = np.linspace(0, upper, 100_001)
    above = np.asarray(path.potential(x)) - lowest
    is_outside = x**2 > bottom
    rates = np.sqrt(2 * path.mass * np.where(is_outside, np.maximum(above, 0), 0))
    is_far = (path.spacing * above > _DEPTH) | (2 * np.cumsum(rates) * x[1] > _DEPTH)
    reach = x[np.argmax(is_far & is_outside)]
    well = 2 * path.mass * abs(path.frequency_squared) + np.sqrt(path.quartic / path.spacing)
    width = 1 / np.sqrt(2 * path.mass / path.spacing + path.spacing * well)
    num_points = int(np.ceil(_POINTS * reach / width)) + 16
    if num_points > _MOST_POINTS:
        raise ValueError(
            f"the transfer matrix would need {num_points} points, more than {_MOST_POINTS}: "
            f"steps of {path.spacing} are too fine, or the wells too far apart"
        )
    nodes, weights = np.polynomial.legendre.leggauss(num_points)
    return reach * (nodes + 1) / 2, reach * weights / 2
