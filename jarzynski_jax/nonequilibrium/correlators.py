r"""Correlators of velocities in time, and what a time reversal forces on them.

``C[a, b]`` at a time t is :math:`E[v_a(0) v_b(t)]` in a steady state. If A is compatible with
field and potential (:mod:`~jarzynski_jax.nonequilibrium.time_reversal`), then at the SAME field

.. math:: C(t) = A\, C(t)^\top A^\top,

which for a diagonal A gives :math:`C_{ab} = s_a s_b C_{ba}`; where two of them disagree on the
sign, both are 0. Onsager and Casimir have another: :math:`C_B(t) = C_{-B}(t)^\top`, for any
field, of two systems. For charges alike in a field along z with :math:`A = {\rm diag}(1, -1)`
the first is :math:`C_{xy}(t) = -C_{yx}(t)`. (These are correlators. The diffusion tensor is
their integral over all times, which in a trap is 0.)

Erratum of the text this follows (thesis, Part II): eq. 6.2.149 lacks the minus signs of the
momenta; the swap of x and y takes them to :math:`(-p_y, -p_x, -p_z)`.

References: Bonella, Ciccotti and Rondoni, *EPL* 108 (2014) 60004; Carbone and Rondoni, *Ann.
Phys.* 414 (2020) 168082; Casimir, *Rev. Mod. Phys.* 17 (1945) 343.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.kernels.bijection import Bijection
from jarzynski_jax.kernels.magnetic import Charges
from jarzynski_jax.nonequilibrium.time_reversal import check_reversal
from jarzynski_jax.types import Array

__all__ = [
    "Correlators",
    "allowed_by",
    "along_trajectories",
    "reversal_gap",
    "z_scores",
]


class Correlators(NamedTuple):
    """What walkers tell of correlators at K times.

    samples
        :math:`v_a(0) v_b(t_k)` of each walker, averaged over its charges, ``(N, K, d, d)``.
    """

    samples: Array

    @property
    def mean(self) -> Array:
        """Mean over the walkers, shape ``(K, d, d)``."""
        return jnp.mean(self.samples, axis=0)

    @property
    def standard_error(self) -> Array:
        """Of the mean, from the spread of the walkers, which are independent."""
        number = self.samples.shape[0]
        return jnp.std(self.samples, axis=0, ddof=1) / jnp.sqrt(number)


def along_trajectories(flow: Bijection, start: Charges, num_times: int) -> Correlators:
    """Correlators of the velocities at the start with those after 0, 1, 2, ... runs of a flow.

    Parameters
    ----------
    flow
        A map of :class:`~jarzynski_jax.kernels.magnetic.Charges`, such as that of
        :func:`jarzynski_jax.kernels.magnetic.flow`, that leaves the law of the start invariant.
    start
        Independent walkers at equilibrium, both leaves of shape ``(N, d)`` or
        ``(N, charges, d)``. Equilibrium knows of no field: positions of the potential's
        density, velocities of a Gaussian of unit variance.
    num_times
        K, of which the first is 0.

    Examples
    --------
    >>> from jarzynski_jax.kernels import magnetic
    >>> noise = jax.random.normal(jax.random.key(0), (2, 2000, 2))
    >>> free = magnetic.flow(lambda x: 0.0 * x[0], 0.1, 1.0, num_steps=10)
    >>> found = along_trajectories(free, magnetic.Charges(0 * noise[0], noise[1]), 2)
    >>> bool(abs(found.mean[1, 0, 1] + jnp.sin(1.0)) < 4 * found.standard_error[1, 0, 1])
    True
    """
    shapes = jnp.shape(start.position), jnp.shape(start.velocity)
    if shapes[0] != shapes[1] or len(shapes[0]) < 2 or shapes[0][0] < 2:
        raise ValueError(
            "walkers at the start need positions and velocities of one shape, (N, d) or "
            f"(N, charges, d), N ≥ 2; got {shapes[0]} and {shapes[1]}"
        )
    if num_times < 1:
        raise ValueError(f"num_times must be at least 1; got {num_times}")

    def of_walker(charges: Charges) -> Array:
        def go_on(charges: Charges, _: None) -> tuple[Charges, Array]:
            return flow(charges)[0], charges.velocity

        _, velocities = jax.lax.scan(go_on, charges, None, num_times)
        first = velocities[0].reshape(-1, velocities.shape[-1])
        later = velocities.reshape(num_times, *first.shape)
        return jnp.einsum("na,knb->kab", first, later) / first.shape[0]

    return Correlators(jax.vmap(of_walker)(start))


def reversal_gap(correlators: Any, reversal: Any) -> Any:
    r"""What a reversal wants to be 0, :math:`C - A C^\top A^\top`, shape ``(..., d, d)``.

    Examples
    --------
    >>> gap = reversal_gap(np.array([[1.0, 0.5], [-0.5, 1.0]]), np.diag([1, -1]))
    >>> bool(np.all(gap == 0))
    True
    """
    dimension = jnp.shape(correlators)[-1]
    matrix = check_reversal(reversal, dimension)
    if isinstance(correlators, jax.Array):
        turn = jnp.asarray(matrix, correlators.dtype)
        return correlators - turn @ jnp.swapaxes(correlators, -1, -2) @ turn.T
    values = np.asarray(correlators)
    return values - matrix @ np.swapaxes(values, -1, -2) @ matrix.T


def z_scores(correlators: Correlators, reversal: Any) -> Array:
    """Gaps in units of their standard errors, shape ``(K, d, d)``; 0 where a gap has to be 0.

    Examples
    --------
    >>> noise = jax.random.normal(jax.random.key(0), (500, 3, 2, 2))
    >>> scores = z_scores(Correlators(noise), np.diag([1, -1]))
    >>> bool(jnp.all(jnp.abs(scores) < 4.5)), float(scores[0, 0, 0])
    (True, 0.0)
    """
    gaps = Correlators(reversal_gap(correlators.samples, reversal))
    mean, error = gaps.mean, gaps.standard_error
    return jnp.where((mean == 0) & (error == 0), 0, mean / error)  # NaN stays NaN


def allowed_by(reversals: Any) -> np.ndarray:
    r"""A basis of the correlators that reversals allow, orthonormal, shape ``(n, d, d)``.

    All :math:`C = A C^\top A^\top` at once: what is in no matrix of the basis must vanish.

    Examples
    --------
    A uniform field along z, with A diagonal: what is left is C_xx, C_yy, C_zz and
    C_xy = -C_yx; C_xz and C_yz are 0.

    >>> signs = [(1, -1, 1), (-1, 1, 1), (1, -1, -1), (-1, 1, -1)]
    >>> basis = allowed_by([np.diag(s) for s in signs])
    >>> len(basis), np.abs(basis).sum(axis=0).round(3).tolist()
    (4, [[1.0, 0.707, 0.0], [0.707, 1.0, 0.0], [0.0, 0.0, 1.0]])
    """
    matrices = [np.asarray(matrix, np.float64) for matrix in reversals]
    dimension = len(matrices[0])
    unit = np.eye(dimension**2).reshape(-1, dimension, dimension)
    demands = np.concatenate(
        [reversal_gap(unit, matrix).reshape(len(unit), -1) for matrix in matrices], axis=1
    )
    left, values, _ = np.linalg.svd(demands)
    rank = int(np.sum(values > 1e-10))
    basis = left[:, rank:].T.reshape(-1, dimension, dimension)
    return _sparse(basis)


def _sparse(basis: np.ndarray) -> np.ndarray:
    """Another orthonormal basis of the same space, one matrix for each orbit of the entries."""
    size = basis.shape[-1] ** 2
    flat = basis.reshape(-1, size)
    projector = flat.T @ flat
    found: list[np.ndarray] = []
    for column in projector:
        rest = column - sum((other @ column * other for other in found), np.zeros(size))
        if np.linalg.norm(rest) > 1e-8:
            found.append(rest / np.linalg.norm(rest))
    return np.reshape(found, (-1, *basis.shape[1:]))
