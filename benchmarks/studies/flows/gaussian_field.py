r"""The best Gaussian of φ⁴ theory, and coupling layers that see a site's neighbours.

Gaussians of a mean v and the action :math:`a\phi^2 - 2\kappa\sum\phi\phi'` have

.. math:: -\mathrm{KL} + \log Z = H(a) - \langle S\rangle, \qquad
    \frac{\langle S\rangle}V = \frac1V\sum_p\frac{m - 2\kappa c_p}{2(a - 2\kappa c_p)}
    + (m - 4\kappa) v^2 + \lambda (v^4 + 6 v^2 G + 3 G^2),

with :math:`m = 1 - 2\lambda`, :math:`c_p = \sum_\mu\cos p_\mu` and the variance
:math:`G = \frac1V\sum_p 1/2(a - 2\kappa c_p)`. A flow from there has only to learn what no
Gaussian has.
"""

import math
from typing import Any, NamedTuple

import bijx
import jax.numpy as jnp
import numpy as np
from flax import nnx
from scipy.optimize import minimize

from jarzynski_jax.density import Density, check_exact
from jarzynski_jax.targets import lattice
from jarzynski_jax.types import Array, PRNGKey


class Gaussian(NamedTuple):
    """Its mean v, its mass a, and the bound of log Z that it is, in nats."""

    mean: float
    mass: float
    bound: float


def best_gaussian(shape: tuple[int, int], kappa: float, quartic: float) -> Gaussian:
    """The one of the smallest reverse divergence: of mean zero, or in one of two phases."""
    hopping = 2 * kappa * sum(np.ix_(*(np.cos(2 * np.pi * np.arange(n) / n) for n in shape)))
    free_mass, size = 1 - 2 * quartic, math.prod(shape)

    def bound(mean: float, mass: float) -> float:
        precisions = 2 * (mass - hopping)
        variance = np.mean(1 / precisions)
        quadratic = np.sum((free_mass - hopping) / precisions)
        constant = (free_mass - 4 * kappa) * mean**2
        fourth = quartic * (mean**4 + 6 * mean**2 * variance + 3 * variance**2)
        entropy = np.sum(1 + np.log(2 * np.pi / precisions)) / 2
        return float(entropy - quadratic - size * (constant + fourth))

    found = []
    for start in (0.0, 2.0):
        # A mean of zero stays so: the bound is even in it.
        best = minimize(
            lambda x, start=start: -bound(start * x[0], 4 * kappa + math.exp(x[1])),
            [1.0, -1.0],
            method="Nelder-Mead",
            options={"xatol": 1e-6, "fatol": 1e-9, "maxiter": 4000},
        )
        mean, mass = abs(start * best.x[0]), 4 * kappa + math.exp(best.x[1])
        found.append(Gaussian(mean, mass, bound(mean, mass)))
    return max(found, key=lambda of: of.bound)


def density(of: Gaussian, shape: tuple[int, int], kappa: float) -> Density:
    """The Gaussian, normalised, with its samples: a free field, moved and scaled."""
    scale = 1 / math.sqrt(of.mass)
    free = lattice.phi4(shape, kappa / of.mass, 0.0)
    draw, log_z = check_exact(free)
    constant = log_z + math.prod(shape) * math.log(scale)

    def sample(key: PRNGKey, num_samples: int) -> Array:
        return of.mean + scale * draw(key, num_samples)

    return Density(lambda x: free.logdensity_fn((x - of.mean) / scale) - constant, 0.0, sample)


class Neighbours(nnx.Module):
    """Scale and shift of a site, by the field and its square on the nine sites around it.

    Sites are gathered by rolls: convolutions of so few features take twice the time on a CPU.
    """

    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(18, width, rngs=rngs)
        self.out = nnx.Linear(width, 2, kernel_init=nnx.initializers.zeros, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        steps = (-1, 0, 1)
        around = [
            jnp.roll(of, (i, j), (-2, -1)) for of in (x, x * x) for i in steps for j in steps
        ]
        return self.out(nnx.gelu(self.hidden(jnp.stack(around, axis=-1))))


def coupling_layers(shape: tuple[int, int], num_layers: int, width: int) -> Any:
    """Affine couplings of the sites of either colour by turns, that do nothing at first."""
    rngs = nnx.Rngs(0)
    template = bijx.ModuleReconstructor(bijx.AffineLinear(rngs=rngs))
    return bijx.Chain(
        *(
            bijx.GeneralCouplingLayer(
                Neighbours(width, rngs),
                bijx.checker_mask(shape, parity=bool(number % 2)),
                template,
                bijection_event_rank=0,
                split=False,
            )
            for number in range(num_layers)
        )
    )
