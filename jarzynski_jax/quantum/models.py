r"""Model systems: oscillators, wells, and particles in a trap; masses are 1 but where said."""

import math

import jax.numpy as jnp
import numpy as np

from jarzynski_jax.kernels.arithmetic import check_positive
from jarzynski_jax.quantum.hamiltonian import Hamiltonian, inverse_masses
from jarzynski_jax.types import Array, Scalar

__all__ = [
    "bosons_in_trap",
    "calogero",
    "coupled_oscillators",
    "harmonic",
    "morse",
    "pair_differences",
    "poschl_teller",
    "quartic",
    "trotter_energy",
]


def harmonic(dimension: int, masses: Array | None = None) -> Hamiltonian:
    r"""Oscillators :math:`V = \frac12 |x|^2`, :math:`E_0 = \frac12\sum_i m_i^{-1/2}`.

    Examples
    --------
    >>> harmonic(3).ground_energy
    1.5
    """
    if dimension < 1:
        raise ValueError(f"dimension must be at least 1; got {dimension}")
    if masses is None:
        return Hamiltonian(
            _half_square, (dimension,), None, dimension / 2, lambda x: -_half_square(x)
        )
    kinetic = inverse_masses(masses, (dimension,))
    roots = jnp.broadcast_to(jnp.sqrt(jnp.asarray(masses)), (dimension,))
    return Hamiltonian(
        _half_square,
        (dimension,),
        kinetic,
        float(jnp.sum(1 / roots)) / 2,
        lambda x: -jnp.sum(roots * jnp.square(x)) / 2,
    )


def _half_square(x: Array) -> Array:
    return jnp.sum(jnp.square(x)) / 2


def trotter_energy(step_size: Scalar, dimension: int = 1) -> Array:
    r"""Energy of :func:`harmonic` at a finite step of the symmetric propagator, exactly.

    .. math:: E_0(h) = \frac d{2h}\,{\rm arcosh}(1 + h^2/2)
                     = \frac d2 (1 - h^2/24 + \dots)

    of :math:`e^{-hV/2}e^{-hK}e^{-hV/2}`: what the mean weight decays with, whatever the drift.

    Examples
    --------
    >>> round(float(trotter_energy(0.5)), 6)
    0.494933
    """
    # arccosh(1 + h²/2)/2, without the cancellation.
    return dimension * jnp.arcsinh(step_size / 2) / step_size


def coupled_oscillators(stiffness: Array) -> Hamiltonian:
    r"""Oscillators :math:`V = \frac12 x\cdot Kx`, :math:`E_0 = \frac12{\rm tr}\,K^{1/2}`.

    K is symmetric and positive definite, shape ``(d, d)``, else a ValueError.

    Examples
    --------
    >>> round(coupled_oscillators([[2.0, 1.0], [1.0, 2.0]]).ground_energy, 6)
    1.366025
    """
    matrix = np.asarray(stiffness, np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"stiffness must have shape (d, d); got {matrix.shape}")
    values, vectors = np.linalg.eigh(matrix)
    if not np.allclose(matrix, matrix.T) or values[0] <= 0:
        raise ValueError("stiffness must be symmetric and positive definite")
    root = vectors * np.sqrt(values) @ vectors.T
    return Hamiltonian(
        lambda x: x @ jnp.asarray(matrix, x.dtype) @ x / 2,
        (matrix.shape[0],),
        None,
        float(np.sum(np.sqrt(values)) / 2),
        lambda x: -x @ jnp.asarray(root, x.dtype) @ x / 2,
    )


def poschl_teller(strength: float = 1.0) -> Hamiltonian:
    r"""The well :math:`V = -\frac{l(l+1)}2\,{\rm sech}^2 x`, :math:`E_0 = -l^2/2`; l > 0.

    Pöschl and Teller, *Z. Phys.* 83 (1933) 143. :math:`\phi_0 = {\rm sech}^l x`.

    Examples
    --------
    >>> poschl_teller(2.0).ground_energy
    -2.0
    """
    check_positive("strength, l,", strength)
    depth = strength * (strength + 1) / 2
    return Hamiltonian(
        lambda x: -depth * jnp.sum(1 / jnp.square(jnp.cosh(x))),
        (1,),
        None,
        -(strength**2) / 2,
        lambda x: -strength * jnp.sum(jnp.logaddexp(x, -x)),
    )


def morse(depth: float = 8.0, width: float = 0.5) -> Hamiltonian:
    r"""The well :math:`V = D(1 - e^{-ax})^2` with at least one bound state.

    With :math:`\omega = a\sqrt{2D}` the ground energy is
    :math:`\omega/2 - \omega^2/(16 D)`. Morse, *Phys. Rev.* 34 (1929) 57. D and a are positive,
    and :math:`\lambda = \sqrt{2D}/a > \frac12`, else a ValueError.

    Examples
    --------
    >>> morse().ground_energy
    0.96875
    """
    check_positive("depth, D,", depth)
    check_positive("width, a,", width)
    scale, frequency = math.sqrt(2 * depth) / width, width * math.sqrt(2 * depth)
    if scale <= 0.5:
        raise ValueError(f"sqrt(2 D)/a must be above 1/2 for a bound state; got {scale:.3g}")
    return Hamiltonian(
        lambda x: depth * jnp.sum(jnp.square(1 - jnp.exp(-width * x))),
        (1,),
        None,
        frequency / 2 - frequency**2 / (16 * depth),
        lambda x: -jnp.sum(scale * jnp.exp(-width * x) + (scale - 0.5) * width * x),
    )


def quartic(square: float = 0.0, fourth: float = 1.0) -> Hamiltonian:
    """The well V = a x² + b x⁴, b > 0; two wells if a < 0.

    Its energies have no closed form: :func:`~jarzynski_jax.quantum.grid_energies`.

    Examples
    --------
    >>> float(quartic(-4.0).potential_fn(jnp.array([1.0])))
    -3.0
    """
    check_positive("fourth, b,", fourth)
    return Hamiltonian(
        lambda x: jnp.sum(square * jnp.square(x) + fourth * jnp.square(jnp.square(x))), (1,)
    )


def pair_differences(positions: Array) -> Array:
    """Differences of all pairs i < j, shape ``(n(n-1)/2, d)``: no particle with itself."""
    first, second = np.triu_indices(positions.shape[0], 1)
    return positions[first] - positions[second]


def calogero(num_particles: int, coupling: float = 2.0) -> Hamiltonian:
    r"""Particles on a line, :math:`V = \frac12\sum x_i^2 + l(l-1)\sum_{i<j}(x_i - x_j)^{-2}`.

    :math:`E_0 = N/2 + l N(N-1)/2` and :math:`\phi_0 = \prod_{i<j}|x_i - x_j|^l e^{-|x|^2/2}`.
    Calogero, *J. Math. Phys.* 12 (1971) 419. At least two particles, :math:`l \ge 1`, else a
    ValueError. Positions have shape ``(N, 1)``.

    Examples
    --------
    >>> calogero(3, 2.0).ground_energy
    7.5
    """
    if num_particles < 2 or not 1 <= coupling < math.inf:
        raise ValueError(
            "calogero needs at least 2 particles and a coupling of at least 1; got "
            f"{num_particles} and {coupling}"
        )

    def potential(x: Array) -> Array:
        return _half_square(x) + coupling * (coupling - 1) * jnp.sum(
            _inverse_square(pair_differences(x)[:, 0])
        )

    def log_ground_state(x: Array) -> Array:
        gaps = jnp.abs(pair_differences(x)[:, 0])
        return coupling * jnp.sum(jnp.log(gaps)) - _half_square(x)

    energy = num_particles / 2 + coupling * num_particles * (num_particles - 1) / 2
    return Hamiltonian(potential, (num_particles, 1), None, energy, log_ground_state)


def _inverse_square(x: Array) -> Array:
    is_zero = x == 0
    return jnp.where(is_zero, jnp.inf, 1 / jnp.square(jnp.where(is_zero, 1, x)))


def bosons_in_trap(
    num_particles: int, repulsion: float, width: float = 0.5, dimension: int = 2
) -> Hamiltonian:
    r"""Bosons in a trap that repel each other at a short distance.

    .. math:: V = \tfrac12\sum_i r_i^2
        + \frac g{(\pi s^2)^{d/2}} \sum_{i<j} e^{-r_{ij}^2/s^2}

    in d = 2 dimensions that of Mujal, Sarlé, Polls and Juliá-Díaz, *Phys. Rev. A* 96 (2017)
    043614, whose g is half of this. Without repulsion :math:`E_0 = Nd/2`. Positions have shape
    ``(N, d)``. ValueError if :math:`g < 0`, s is not positive, or there is no particle.

    Examples
    --------
    >>> bosons_in_trap(4, 0.0).ground_energy
    4.0
    """
    check_positive("width, s,", width)
    if num_particles < 1 or dimension < 1 or not 0 <= repulsion < math.inf:
        raise ValueError(
            "bosons need at least 1 particle and dimension and a repulsion that is not "
            f"negative; got {num_particles}, {dimension} and {repulsion}"
        )
    strength = repulsion / (math.pi * width**2) ** (dimension / 2)

    def potential(x: Array) -> Array:
        squares = jnp.sum(jnp.square(pair_differences(x)), axis=-1)
        return _half_square(x) + strength * jnp.sum(jnp.exp(-squares / width**2))

    is_free = repulsion == 0
    return Hamiltonian(
        potential,
        (num_particles, dimension),
        None,
        num_particles * dimension / 2 if is_free else None,
        (lambda x: -_half_square(x)) if is_free else None,
    )
