r"""U(1) gauge theory on a torus in two dimensions, exactly solved by its characters.

The links :math:`\theta_\mu(x)` are angles, and with the angle
:math:`P(x) = \theta_0(x) + \theta_1(x+\hat 0) - \theta_0(x+\hat 1) - \theta_1(x)` of each of
the V plaquettes

.. math:: \ell = \beta\sum_x\cos P(x) - 2V\log 2\pi, \qquad
    Z = \int_{[-\pi,\pi)^{2V}} e^{\ell}\,d\theta = \sum_n I_n(\beta)^V,

the constant being such that each link is integrated with :math:`d\theta/2\pi`. (With open
boundaries plaquettes are independent and only :math:`I_0^V` is left.) The topological charge

.. math:: Q = \frac1{2\pi}\sum_x [P(x)]_{-\pi}^{\pi}

is a whole number, for each :math:`P` is brought to :math:`[-\pi, \pi)` and without that the
sum is 0.

References: Wiese, *Nucl. Phys. B* 318 (1989) 153; Gattringer and Lang, *Quantum chromodynamics
on the lattice*, 2010.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.density import Density
from jarzynski_jax.sine import sine_and_cosine
from jarzynski_jax.targets.lattice.geometry import check_finite, check_position, check_shape
from jarzynski_jax.types import Array, PRNGKey

__all__ = [
    "GaugeValues",
    "gauge_values",
    "plaquette_sum",
    "plaquettes",
    "topological_charge",
    "u1_gauge",
]


class GaugeValues(NamedTuple):
    r"""Exact values of the whole torus.

    log_partition_function
        :math:`\log\sum_n I_n(\beta)^V`, in nats.
    mean_plaquette
        :math:`\langle\cos P\rangle`.
    mean_square_charge
        :math:`\langle Q^2\rangle`.
    """

    log_partition_function: float
    mean_plaquette: float
    mean_square_charge: float


def u1_gauge(shape: tuple[int, ...], inverse_coupling: float) -> Density:
    r"""U(1) gauge theory on a torus, :math:`\ell = \beta\sum\cos P - 2V\log 2\pi`.

    A position is of shape ``(2, *shape)``: the links of either direction, angles of which only
    the value modulo :math:`2\pi` counts, so that walkers may leave :math:`[-\pi,\pi)`. Log Z is
    the character sum; there are samples, uniform in :math:`[-\pi,\pi)`, at β = 0 alone.
    ValueError unless both lengths are at least 2 and β is finite and not negative; the
    log-density raises one for other shapes, integers and complex numbers.

    Examples
    --------
    >>> round(u1_gauge((8, 8), 1.0).log_partition_function, 6)
    15.098519
    """
    shape = check_shape(shape, 2)
    beta = check_finite("inverse_coupling", inverse_coupling, 0)
    num_links = 2 * shape[0] * shape[1]

    def logdensity_fn(x: Array) -> Array:
        x = check_position(x, (2, *shape), jnp.floating)
        return beta * plaquette_sum(x) - num_links * math.log(2 * math.pi)

    def sample(rng_key: PRNGKey, num_samples: int) -> Array:
        links = (num_samples, 2, *shape)
        return jax.random.uniform(rng_key, links, minval=-math.pi, maxval=math.pi)

    log_z = gauge_values(shape, beta).log_partition_function
    return Density(logdensity_fn, log_z, sample if beta == 0 else None)


def plaquettes(x: Array) -> Array:
    r"""Angle of each plaquette of links of shape ``(2, L, M)``, shape ``(L, M)``.

    Examples
    --------
    >>> plaquettes(jnp.zeros((2, 4, 6))).shape
    (4, 6)
    """
    first, second = x
    return first + jnp.roll(second, -1, 0) - jnp.roll(first, -1, 1) - second


def plaquette_sum(x: Array) -> Array:
    r""":math:`\sum\cos P`, of which the log-density is β times.

    Examples
    --------
    >>> float(plaquette_sum(jnp.zeros((2, 4, 6))))
    24.0
    """
    _, cosines = sine_and_cosine(plaquettes(x))
    return jnp.sum(cosines)


def topological_charge(x: Array) -> Array:
    """Topological charge of one configuration of links, a whole number, of the links' dtype.

    Examples
    --------
    >>> abs(float(topological_charge(jnp.zeros((2, 4, 4)))))
    0.0
    """
    turns = plaquettes(x) / (2 * math.pi)
    # The turns sum to 0 round a torus, so the charge is that which is taken off them.
    return -jnp.sum(jnp.floor(turns + 0.5))


def gauge_values(shape: tuple[int, ...], inverse_coupling: float) -> GaugeValues:
    r"""Exact log Z, mean plaquette and mean square of the topological charge.

    The last is had from :math:`Z(\vartheta) = \sum_n J(n + \vartheta/2\pi)^V` with
    :math:`J(\nu) = \frac1{2\pi}\int_{-\pi}^\pi e^{\beta\cos\varphi}\cos\nu\varphi\,d\varphi`,
    the weight of :math:`e^{i\vartheta Q}`. ValueError as of :func:`u1_gauge`.

    Examples
    --------
    >>> round(gauge_values((8, 8), 1.0).mean_plaquette, 6)
    0.44639
    """
    shape = check_shape(shape, 2)
    beta = check_finite("inverse_coupling", inverse_coupling, 0)
    volume = shape[0] * shape[1]
    # Gauss and Legendre's points: with derivatives by ν the integrands are not periodic.
    num_points = 64 + 8 * math.ceil(math.sqrt(beta) + beta / 8)
    nodes, weights = np.polynomial.legendre.leggauss(2 * num_points)
    angles = np.pi * nodes
    weights = weights / 2 * np.exp(beta * (np.cos(angles) - 1))
    orders = np.arange(num_points // 2)[:, None]
    waves, slopes = np.cos(orders * angles), -angles * np.sin(orders * angles)
    characters = waves @ weights  # I_n / e^β
    # Those that are lost in rounding would be raised to the power V.
    is_kept = characters > 1e-12 * characters[0]
    characters, waves, slopes = characters[is_kept], waves[is_kept], slopes[is_kept]
    cosines = waves @ (np.cos(angles) * weights) / characters
    slope = slopes @ weights / characters
    curvature = -waves @ (angles**2 * weights) / characters
    # Of n and -n together.
    terms = np.where(orders[is_kept, 0] == 0, 1.0, 2.0) * (characters / characters[0]) ** volume
    shares = terms / np.sum(terms)
    charge = -volume * shares @ (curvature + (volume - 1) * slope**2) / (2 * np.pi) ** 2
    return GaugeValues(
        float(volume * (beta + np.log(characters[0])) + np.log(np.sum(terms))),
        float(shares @ cosines),
        max(float(charge), 0.0),
    )
