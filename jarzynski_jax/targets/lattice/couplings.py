r"""Couplings of :math:`\phi^4` theory in three conventions, and how they go over.

With d axes and each bond counted once,

.. math::
    S &= \sum_x \Big[-2\kappa\sum_\mu\phi_x\phi_{x+\mu} + (1 - 2\lambda)\phi_x^2
        + \lambda\phi_x^4\Big] &&\text{(hopping)} \\
    S &= \sum_x \Big[\tfrac12\sum_\mu(\varphi_{x+\mu} - \varphi_x)^2
        + \tfrac12 m_0^2\varphi_x^2 + \tfrac{g_0}{4!}\varphi_x^4\Big]
        &&\text{(continuum, lattice spacing 1)} \\
    S &= \sum_x \Big[\sum_\mu(\chi_{x+\mu} - \chi_x)^2 + m^2\chi_x^2 + \lambda'\chi_x^4\Big]
        &&\text{(mass)}

are the same number for :math:`\varphi = \sqrt{2\kappa}\,\phi` and
:math:`\chi = \sqrt\kappa\,\phi` with

.. math:: m_0^2 = m^2 = \frac{1 - 2\lambda}\kappa - 2d, \qquad g_0 = \frac{6\lambda}{\kappa^2},
    \qquad \lambda' = \frac\lambda{\kappa^2}.

The hopping action lacks the constant :math:`\lambda` a site that makes a square of
:math:`\lambda(\phi^2 - 1)^2`; log Z is that of the action as it is written.
"""

import math
from typing import NamedTuple

from jarzynski_jax.targets.lattice.geometry import check_finite

__all__ = ["Couplings", "from_continuum", "from_mass", "to_continuum", "to_mass"]


class Couplings(NamedTuple):
    r""":math:`\kappa` and :math:`\lambda` of the hopping action."""

    kappa: float
    quartic: float


def from_mass(mass_squared: float, quartic: float, dimension: int = 2) -> Couplings:
    r"""Couplings of the hopping action for :math:`m^2` and :math:`\lambda'`.

    :math:`\kappa` is the positive root of
    :math:`2\lambda'\kappa^2 + (m^2 + 2d)\kappa - 1 = 0`. ValueError if there is none: at
    :math:`\lambda' = 0` for :math:`m^2 \le -2d`; or if :math:`\lambda'` is negative.

    Examples
    --------
    >>> round(from_mass(-4.0, 5.276).kappa, 5)
    0.30785
    """
    quartic = check_finite("quartic", quartic, 0)
    hop = check_finite("mass_squared", mass_squared) + 2 * dimension
    if quartic == 0 and hop <= 0:
        raise ValueError(
            f"without a quartic term mass_squared must be above {-2 * dimension}; "
            f"got {mass_squared}"
        )
    root = math.sqrt(hop**2 + 8 * quartic)
    # Either form is the root; of each the other sign of hop would cancel.
    kappa = 2 / (hop + root) if hop > 0 else (root - hop) / (4 * quartic)
    return Couplings(kappa, quartic * kappa**2)


def from_continuum(mass_squared: float, coupling: float, dimension: int = 2) -> Couplings:
    r"""Couplings of the hopping action for :math:`m_0^2` and :math:`g_0`, spacing 1.

    ValueError as of :func:`from_mass`.

    Examples
    --------
    >>> round(from_continuum(1.0, 0.0).kappa, 6)  # the free field of mass 1
    0.2
    """
    return from_mass(mass_squared, check_finite("coupling", coupling, 0) / 6, dimension)


def to_mass(couplings: Couplings, dimension: int = 2) -> tuple[float, float]:
    r""":math:`m^2` and :math:`\lambda'` for κ and λ; ValueError unless κ is positive.

    Examples
    --------
    >>> mass_squared, quartic = to_mass(Couplings(0.25, 0.5))
    >>> mass_squared, quartic
    (-4.0, 8.0)
    """
    kappa, quartic = couplings
    if not 0 < kappa < math.inf:
        raise ValueError(f"kappa must be positive and finite; got {kappa}")
    return (1 - 2 * quartic) / kappa - 2 * dimension, quartic / kappa**2


def to_continuum(couplings: Couplings, dimension: int = 2) -> tuple[float, float]:
    r""":math:`m_0^2` and :math:`g_0` for κ and λ; ValueError unless κ is positive.

    Examples
    --------
    >>> to_continuum(Couplings(0.25, 0.5))
    (-4.0, 48.0)
    """
    mass_squared, quartic = to_mass(couplings, dimension)
    return mass_squared, 6 * quartic
