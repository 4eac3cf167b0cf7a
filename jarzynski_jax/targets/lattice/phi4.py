r"""Scalar :math:`\phi^4` theory on a torus, in the conventions of ``couplings``."""

import math

import jax.numpy as jnp
import numpy as np

from jarzynski_jax.density import Density, Sample
from jarzynski_jax.targets.lattice.couplings import Couplings, from_continuum, from_mass
from jarzynski_jax.targets.lattice.free_field import free_log_z, free_sample
from jarzynski_jax.targets.lattice.geometry import (
    bond_sum,
    check_finite,
    check_position,
    check_shape,
)
from jarzynski_jax.targets.lattice.single_site import sample_sites, site_log_z
from jarzynski_jax.types import Array, PRNGKey, Scalar

__all__ = ["phi4", "phi4_continuum", "phi4_mass"]


def phi4(shape: tuple[int, ...], kappa: float, quartic: float) -> Density:
    r""":math:`\phi^4` theory with a hopping parameter.

    .. math:: -\ell = S = \sum_x \Big[-2\kappa\sum_\mu\phi_x\phi_{x+\mu}
        + (1 - 2\lambda)\phi_x^2 + \lambda\phi_x^4\Big],

    on a torus of any number of axes, each bond counted once and along an axis of length 2 each
    pair twice. Log Z and samples are exact at :math:`\kappa = 0`, where sites are independent,
    and at :math:`\lambda = 0`, the free field; else they are None. ℓ is linear in κ, so that a
    geometric path from κ = 0 goes along κ. ValueError if a length is below 2, λ is negative, or
    κ is beyond the limit of the free field; the log-density raises one for other shapes and
    for integers or complex numbers.

    Parameters
    ----------
    kappa
        κ, the hopping parameter.
    quartic
        λ, at least 0.

    Examples
    --------
    >>> field = phi4((64, 8), kappa=0.3, quartic=0.022)
    >>> base = phi4((64, 8), kappa=0.0, quartic=0.022)
    >>> round(base.log_partition_function, 6), field.sample is None  # 512 log z₀
    (296.078324, True)
    """
    shape = check_shape(shape)
    kappa, quartic = check_finite("kappa", kappa), check_finite("quartic", quartic, 0)

    def logdensity_fn(x: Array) -> Array:
        x = check_position(x, shape, jnp.floating)
        square = jnp.square(x)
        sites = (1 - 2 * quartic) * square + quartic * jnp.square(square)
        return 2 * kappa * bond_sum(x) - jnp.sum(sites)

    log_z, sample = _exact(shape, Couplings(kappa, quartic))
    return Density(logdensity_fn, log_z, sample)


def phi4_continuum(shape: tuple[int, ...], mass_squared: float, coupling: float) -> Density:
    r""":math:`\phi^4` theory of the continuum's couplings, at lattice spacing 1.

    .. math:: -\ell = S = \sum_x \Big[\tfrac12\sum_\mu(\varphi_{x+\mu} - \varphi_x)^2
        + \tfrac12 m_0^2\varphi_x^2 + \tfrac{g_0}{4!}\varphi_x^4\Big].

    A position is :math:`\varphi = \sqrt{2\kappa}\,\phi`, of the field of :func:`phi4` with the
    couplings :func:`~jarzynski_jax.targets.lattice.from_continuum`. Log Z and samples are exact
    at :math:`g_0 = 0`. ValueError as of :func:`phi4`.

    Examples
    --------
    >>> round(phi4_continuum((4, 4), 1.0, 0.0).log_partition_function, 6)
    2.687046
    """
    couplings = from_continuum(mass_squared, coupling, len(check_shape(shape)))
    return _rescaled(shape, couplings, math.sqrt(2 * couplings.kappa))


def phi4_mass(shape: tuple[int, ...], mass_squared: float, quartic: float) -> Density:
    r""":math:`\phi^4` theory of a mass and a quartic term.

    .. math:: -\ell = S = \sum_x \Big[\sum_\mu(\chi_{x+\mu} - \chi_x)^2 + m^2\chi_x^2
        + \lambda'\chi_x^4\Big].

    A position is :math:`\chi = \sqrt\kappa\,\phi`, of the field of :func:`phi4` with the
    couplings :func:`~jarzynski_jax.targets.lattice.from_mass`. Log Z and samples are exact at
    :math:`\lambda' = 0`. ValueError as of :func:`phi4`.

    Examples
    --------
    >>> float(phi4_mass((4, 4), -4.0, 5.276).logdensity_fn(jnp.zeros((4, 4))))
    0.0
    """
    couplings = from_mass(mass_squared, quartic, len(check_shape(shape)))
    return _rescaled(shape, couplings, math.sqrt(couplings.kappa))


def _exact(shape: tuple[int, ...], couplings: Couplings) -> tuple[Scalar | None, Sample | None]:
    kappa, quartic = couplings
    if quartic == 0:
        return free_log_z(shape, kappa), free_sample(shape, kappa)
    if kappa != 0:
        return None, None

    def sample(rng_key: PRNGKey, num_samples: int) -> Array:
        return sample_sites(rng_key, (num_samples, *shape), quartic)

    return float(np.prod(shape)) * site_log_z(quartic), sample


def _rescaled(shape: tuple[int, ...], couplings: Couplings, scale: float) -> Density:
    r"""The density of s times the field: :math:`\ell(y/s)`, log Z more by V log s."""
    density = phi4(shape, *couplings)
    log_z, sample = density.log_partition_function, density.sample
    return Density(
        lambda x: density.logdensity_fn(jnp.asarray(x) / scale),
        None if log_z is None else log_z + float(np.prod(shape)) * math.log(scale),
        None if sample is None else lambda rng_key, n: scale * sample(rng_key, n),
    )
