r"""The first law for an invertible map: work, heat, and the entropy that is exchanged.

A map takes a configuration z of energy :math:`U_0` to x of energy :math:`U_1` and gains the
volume :math:`\log|\det\partial x/\partial z|`. That volume is heat that flows **into** the
system, and the rest of the energy is work:

.. math:: Q = T\log|\det\partial x/\partial z|, \qquad \Delta S = Q/T, \qquad
          W = U_1(x) - U_0(z) - Q, \qquad \langle e^{-W/T}\rangle = Z_1/Z_0

with z from :math:`e^{-U_0/T}/Z_0` (Boltzmann's constant is 1). W/T is minus the log-weight of
:mod:`jarzynski_jax.kernels.bijection`, and :math:`\langle W\rangle/T - \Delta F/T` is the
Kullback-Leibler divergence of the generated density from the target. ΔS is exchanged, not
produced: between the base and its own image a map produces none.

Reference: Jarzynski, *Phys. Rev. E* 65 (2002) 046122.
"""

from typing import NamedTuple

import jax.numpy as jnp

from jarzynski_jax.types import Array, Scalar

__all__ = ["FirstLaw", "first_law"]


class FirstLaw(NamedTuple):
    """Work done on the system and heat into it, in units of the energy; entropy, in nats."""

    work: Array
    heat: Array
    exchanged_entropy: Array


def first_law(
    energy_before: Array,
    energy_after: Array,
    log_determinant: Array,
    temperature: Scalar = 1.0,
) -> FirstLaw:
    r"""Split the change of energy under a map into work and heat.

    Parameters
    ----------
    energy_before, energy_after
        :math:`U_0(z)` and :math:`U_1(x)`, one number or one a sample.
    log_determinant
        :math:`\log|\det\partial x/\partial z|` of the map from z to x.

    Examples
    --------
    >>> law = first_law(1.0, 3.0, 0.5, temperature=2.0)
    >>> float(law.work), float(law.heat), float(law.exchanged_entropy)
    (1.0, 1.0, 0.5)
    """
    entropy = jnp.asarray(log_determinant)
    heat = temperature * entropy
    return FirstLaw(energy_after - energy_before - heat, heat, entropy)
