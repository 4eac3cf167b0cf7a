r"""The best Gaussian of φ⁴ theory, found without samples: a base that is near the field.

Gaussians of a mean v and the action :math:`a\phi^2 - 2\kappa\sum\phi\phi'` bound log Z from
below (Gibbs and Bogoliubov),

.. math:: \log Z \ge H(a) - \langle S\rangle, \qquad
    \frac{\langle S\rangle}V = \frac1V\sum_p\frac{m - 2\kappa c_p}{2(a - 2\kappa c_p)}
    + (m - 2d\kappa) v^2 + \lambda (v^4 + 6 v^2 G + 3 G^2),

with :math:`m = 1 - 2\lambda`, :math:`c_p = \sum_\mu\cos p_\mu`, the entropy H and the variance
:math:`G = \frac1V\sum_p 1/2(a - 2\kappa c_p)`. The best one has v = 0 in the symmetric phase,
and is in one of two phases in the broken one; with both signs it is in both.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.density import Density, check_exact
from jarzynski_jax.targets.lattice.geometry import check_shape, momentum_cosines
from jarzynski_jax.targets.lattice.phi4 import phi4
from jarzynski_jax.types import Array, PRNGKey

__all__ = ["GaussianFit", "best_gaussian", "fit_gaussian"]


class GaussianFit(NamedTuple):
    """Its mean v, its mass a, and how low log Z is at least, in nats."""

    mean: float
    mass: float
    bound: float


def fit_gaussian(shape: tuple[int, ...], kappa: float, quartic: float) -> GaussianFit:
    """Find the Gaussian that bounds log Z of :func:`phi4` best.

    ValueError as of :func:`phi4`, or if κ is negative.

    Examples
    --------
    >>> fit = fit_gaussian((8, 8), 0.3, 0.022)
    >>> round(fit.mean, 2), round(fit.bound, 2)  # log Z is 67.82, of both signs
    (2.09, 66.72)
    """
    from scipy.optimize import minimize

    phi4(shape, kappa, quartic)  # so that what is wrong is told as there
    if kappa < 0:
        raise ValueError(f"kappa must be at least 0; got {kappa}")
    shape = check_shape(shape)
    hopping = 2 * kappa * momentum_cosines(shape)
    steepest, free_mass, size = 2 * len(shape) * kappa, 1 - 2 * quartic, math.prod(shape)

    def bound(mean: float, mass: float) -> float:
        precisions = 2 * (mass - hopping)
        variance = np.mean(1 / precisions)
        quadratic = np.sum((free_mass - hopping) / precisions)
        constant = (free_mass - steepest) * mean**2
        fourth = quartic * (mean**4 + 6 * mean**2 * variance + 3 * variance**2)
        entropy = np.sum(1 + np.log(2 * np.pi / precisions)) / 2
        return float(entropy - quadratic - size * (constant + fourth))

    found = []
    for start in (0.0, 2.0):
        # A mean of zero stays so: the bound is even in it.
        best = minimize(
            lambda x, start=start: -bound(start * x[0], steepest + math.exp(x[1])),
            [1.0, -1.0],
            method="Nelder-Mead",
            options={"xatol": 1e-6, "fatol": 1e-9, "maxiter": 4000},
        )
        mean, mass = abs(start * float(best.x[0])), steepest + math.exp(best.x[1])
        found.append(GaussianFit(mean, mass, bound(mean, mass)))
    return max(found, key=lambda of: of.bound)


def best_gaussian(
    shape: tuple[int, ...], kappa: float, quartic: float, is_symmetric: bool = True
) -> Density:
    """Make the Gaussian of :func:`fit_gaussian`, with both signs of its mean or with one.

    Normalised, with exact samples of the lattice's shape: a base for
    :func:`~jarzynski_jax.annealing.estimate` of the same field, or of a flow. In the broken
    phase the one without ``is_symmetric`` misses half of the field. ValueError as above.

    Examples
    --------
    >>> base = best_gaussian((8, 8), 0.3, 0.022)
    >>> x = base.sample(jax.random.key(0), 100)
    >>> x.shape, bool(jnp.isclose(base.logdensity_fn(x[0]), base.logdensity_fn(-x[0])))
    ((100, 8, 8), True)
    """
    fit = fit_gaussian(shape, kappa, quartic)
    mean, scale = fit.mean, 1 / math.sqrt(fit.mass)
    free = phi4(shape, kappa / fit.mass, 0.0)
    draw, log_z = check_exact(free)
    constant = log_z + math.prod(shape) * math.log(scale)

    def one(x: Array) -> Array:
        return free.logdensity_fn((x - mean) / scale) - constant

    def both(x: Array) -> Array:
        return jnp.logaddexp(one(x), one(-x)) - math.log(2)

    def sample(rng_key: PRNGKey, num_samples: int) -> Array:
        key_field, key_sign = jax.random.split(rng_key)
        x = mean + scale * draw(key_field, num_samples)
        if not is_symmetric:
            return x
        return x * jax.random.rademacher(key_sign, (num_samples, *(1,) * len(shape)), x.dtype)

    return Density(both if is_symmetric and mean > 0 else one, 0.0, sample)
