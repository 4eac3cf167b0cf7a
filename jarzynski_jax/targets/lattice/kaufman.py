r"""The Ising model on a torus in two dimensions, exactly: Kaufman's solution.

For n rows' length and m rows, N = nm sites and :math:`s = \sinh 2\beta`,

.. math::
    Z = \tfrac12 (2s)^{N/2} \Big[\prod_k 2\cosh\tfrac m2\gamma_{2k+1}
        + \prod_k 2\sinh\tfrac m2\gamma_{2k+1} + \prod_k 2\cosh\tfrac m2\gamma_{2k}
        + \prod_k 2\sinh\tfrac m2\gamma_{2k}\Big],
    \qquad \cosh\gamma_k = \frac{1 + s^2}{s} - \cos\frac{\pi k}n,

k from 0 to n - 1, with :math:`\gamma_0 = 2\beta + \log\tanh\beta`, which is negative above the
critical temperature. It is summed here in the logarithms of
:math:`A_k = \sqrt{2s}\,e^{\gamma_k/2}` and :math:`q_k = e^{-\gamma_k}`, for

.. math:: A_k^2 = 2(a + \sqrt{a^2 - s^2}), \quad q_k = \frac s{a + \sqrt{a^2 - s^2}}, \quad
    a = 1 + s^2 - s\cos\tfrac{\pi k}n, \qquad A_0 = e^{2\beta} - 1,

in which nothing overflows in large lattices and nothing cancels at small :math:`\beta`; the
first derivative is written out, and the second is had from it by a step in the complex plane,
which is exact to rounding.

Reference: Kaufman, *Phys. Rev.* 76 (1949) 1232.
"""

from typing import NamedTuple

import numpy as np

from jarzynski_jax.targets.lattice.geometry import check_finite, check_shape
from jarzynski_jax.targets.lattice.ring import ring_log_z

__all__ = ["CRITICAL_INVERSE_TEMPERATURE", "IsingThermodynamics", "ising_thermodynamics"]

#: :math:`\beta_c = \frac12\log(1 + \sqrt2)` of the infinite lattice.
CRITICAL_INVERSE_TEMPERATURE = float(np.log1p(np.sqrt(2.0)) / 2)

#: From here on the two ground states alone are left, to rounding: others have e^(-8β) of them.
_GROUND_STATES = 20.0
_COMPLEX_STEP = 1e-30


class IsingThermodynamics(NamedTuple):
    r"""Of the whole lattice, N sites, not a site; J = 1 and Boltzmann's constant 1.

    log_partition_function
        :math:`\log Z`, in nats.
    energy
        :math:`U = \langle H\rangle = -\partial\log Z/\partial\beta`.
    entropy
        :math:`\log Z + \beta U`, in nats.
    heat_capacity
        :math:`\beta^2\,\partial^2\log Z/\partial\beta^2`.
    """

    log_partition_function: float
    energy: float
    entropy: float
    heat_capacity: float


def ising_thermodynamics(
    shape: tuple[int, ...], inverse_temperature: float
) -> IsingThermodynamics:
    r"""Exact log Z, energy, entropy and heat capacity of the Ising model on a torus or a ring.

    In float64; ValueError as of :func:`~jarzynski_jax.targets.lattice.ising`.

    Examples
    --------
    >>> exact = ising_thermodynamics((16, 16), 0.44)
    >>> round(exact.log_partition_function, 6), round(exact.energy / 256, 6)
    (238.387247, -1.447743)
    """
    shape = check_shape(shape, 1 if len(shape) == 1 else 2)
    beta = check_finite("inverse_temperature", inverse_temperature, 0)
    if len(shape) == 1:
        log_z, slope, curvature = ring_log_z(shape[0], beta)
        return IsingThermodynamics(log_z, -slope, log_z - beta * slope, beta**2 * curvature)
    if beta > _GROUND_STATES:
        num_bonds = 2.0 * shape[0] * shape[1]
        ground = float(np.log(2.0))
        return IsingThermodynamics(num_bonds * beta + ground, -num_bonds, ground, 0.0)
    of_torus, its_slope = _log_z_and_slope(shape, complex(beta, _COMPLEX_STEP))
    log_z, energy = float(of_torus.real), -float(its_slope.real)
    curvature = float(its_slope.imag) / _COMPLEX_STEP
    return IsingThermodynamics(log_z, energy, log_z + beta * energy, beta**2 * curvature)


def _log_z_and_slope(shape: tuple[int, ...], beta: complex) -> tuple[complex, complex]:
    """Log Z and its derivative by β, both analytic in β."""
    num_columns, num_rows = shape
    odd = _sector(num_columns, num_rows, beta, np.arange(1, 2 * num_columns, 2))
    even = _sector(num_columns, num_rows, beta, np.arange(2, 2 * num_columns, 2))
    first = _first_mode(num_rows, beta)
    # Signs and sizes of k = 0 are carried apart from the logarithms: it may be 0 or negative.
    factors = np.array([1, 1, first[0], first[1]])
    factor_slopes = np.array([0, 0, first[2], first[3]])
    logs = np.array([*odd[:2], even[0] + first[4], even[1] + first[4]])
    slopes = np.array([*odd[2:], *even[2:]])
    peak = np.max(logs.real)
    sizes = np.exp(logs - peak)
    total = np.sum(sizes * factors)
    slope = np.sum(sizes * (factors * slopes + factor_slopes)) / total
    return peak + np.log(total / 2), slope


def _sector(
    num_columns: int, num_rows: int, beta: complex, modes: np.ndarray
) -> tuple[complex, complex, complex, complex]:
    """Logs of both products over modes other than k = 0, and their derivatives."""
    angle = np.pi * modes / num_columns
    s, ds = np.sinh(2 * beta), 2 * np.cosh(2 * beta)
    a, da = 1 + s**2 - s * np.cos(angle), (2 * s - np.cos(angle)) * ds
    # a - s without cancellation near the critical temperature.
    root = np.sqrt(((1 - s) ** 2 + 2 * s * np.sin(angle / 2) ** 2) * (a + s))
    d_root = (a * da - s * ds) / root
    log_scale, d_log_scale = np.log(2 * (a + root)) / 2, (da + d_root) / (a + root) / 2
    q = s / (a + root)
    dq = ds / (a + root) - 2 * q * d_log_scale
    power, d_power = q**num_rows, num_rows * q ** (num_rows - 1) * dq
    scale, d_scale = num_rows * np.sum(log_scale), num_rows * np.sum(d_log_scale)
    return (
        scale + np.sum(np.log1p(power)),
        scale + np.sum(np.log1p(-power)),
        d_scale + np.sum(d_power / (1 + power)),
        d_scale - np.sum(d_power / (1 - power)),
    )


def _first_mode(
    num_rows: int, beta: complex
) -> tuple[complex, complex, complex, complex, float]:
    r""":math:`A_0^m \pm B_0^m`, their derivatives, all over a power, and its logarithm."""
    a, b = np.exp(2 * beta) - 1, 1 + np.exp(-2 * beta)
    scale = max(abs(a), abs(b))
    a_power, b_power = (a / scale) ** num_rows, (b / scale) ** num_rows
    d_a = num_rows * (a / scale) ** (num_rows - 1) * 2 * np.exp(2 * beta) / scale
    d_b = num_rows * (b / scale) ** (num_rows - 1) * -2 * np.exp(-2 * beta) / scale
    log_scale = num_rows * float(np.log(scale))
    return a_power + b_power, a_power - b_power, d_a + d_b, d_a - d_b, log_scale
