r"""Linear Langevin dynamics, exactly: covariance, correlators, entropy production.

.. math:: dX = L X\,dt + \sqrt{2D}\,dW, \qquad L\Sigma + \Sigma L^\top + 2D = 0,
    \qquad E[X(t) X(0)^\top] = e^{Lt}\Sigma

for any L whose eigenvalues have negative real parts. Among these are charges in a harmonic trap
in a magnetic field, of which :func:`trapped_charge` makes L and D. Here and in
:mod:`~jarzynski_jax.nonequilibrium.correlators` ``C[a, b]`` is :math:`E[X_a(0) X_b(t)]`.

In NumPy, float64: these are what sampled numbers are held against.
"""

from typing import Any, NamedTuple

import numpy as np

from jarzynski_jax.nonequilibrium.time_reversal import check_reversal

__all__ = [
    "LinearLangevin",
    "correlator",
    "covariance",
    "entropy_production",
    "trapped_charge",
]


class LinearLangevin(NamedTuple):
    """Drift matrix L and diffusion matrix D, both of shape ``(n, n)``."""

    drift: np.ndarray
    diffusion: np.ndarray


def trapped_charge(
    stiffness: Any, frequency: float, friction: float, temperature: float = 1.0
) -> LinearLangevin:
    r"""A charge of mass 1 in the plane, in a trap and a uniform field along z.

    .. math:: \ddot x = -K x + \omega J \dot x - \gamma \dot x + \sqrt{2\gamma T}\,\xi,
        \qquad J = \begin{pmatrix} 0 & 1 \\ -1 & 0\end{pmatrix}

    The state is :math:`(x, y, v_x, v_y)`; :math:`\omega = qB/m`, which turns clockwise as seen
    from +z if it is positive. ValueError unless K is symmetric, of shape ``(2, 2)``, friction
    and temperature are positive, and all are finite.

    Examples
    --------
    >>> charge = trapped_charge(np.eye(2), frequency=1.0, friction=0.3)
    >>> covariance(charge).round(6).tolist() == np.eye(4).tolist()  # knows of no field
    True
    """
    stiffness = np.asarray(stiffness, np.float64)
    is_finite = bool(np.all(np.isfinite(stiffness)))
    if stiffness.shape != (2, 2) or not is_finite or not np.allclose(stiffness, stiffness.T):
        raise ValueError(
            "stiffness must be a finite symmetric matrix of shape (2, 2); got "
            f"{stiffness.tolist()}"
        )
    if not np.isfinite(frequency):
        raise ValueError(f"frequency must be finite; got {frequency}")
    if not 0 < friction < np.inf or not 0 < temperature < np.inf:
        raise ValueError(
            "friction and temperature must be positive and finite; got "
            f"friction={friction}, temperature={temperature}"
        )
    turn = frequency * np.array([[0.0, 1.0], [-1.0, 0.0]]) - friction * np.eye(2)
    drift = np.block([[np.zeros((2, 2)), np.eye(2)], [-stiffness, turn]])
    return LinearLangevin(drift, np.diag([0, 0, 1, 1]) * friction * temperature)


def covariance(process: LinearLangevin) -> np.ndarray:
    r"""The stationary covariance :math:`\Sigma`; ValueError if there is none."""
    from scipy.linalg import solve_continuous_lyapunov  # slow to import, and asked for by few

    _check_stable(process.drift)
    return solve_continuous_lyapunov(process.drift, -2 * process.diffusion)


def _check_stable(drift: np.ndarray) -> None:
    fastest = float(np.max(np.linalg.eigvals(drift).real))
    if not fastest < 0:
        raise ValueError(
            "there is a steady state only if all eigenvalues of the drift have negative real "
            f"parts; the largest is {fastest:.3g}"
        )


def correlator(process: LinearLangevin, times: Any) -> np.ndarray:
    r"""Steady correlators ``C[k, a, b]`` :math:`= E[X_a(0) X_b(t_k)]`, t ≥ 0, shape (K, n, n).

    Examples
    --------
    A trap whose axes are at 30 degrees to x and y: the sum of C_xy and C_yx of the velocities.

    >>> angle = np.pi / 6
    >>> turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    >>> trap = trapped_charge(turn @ np.diag([1.0, 2.0]) @ turn.T, frequency=1.0, friction=0.3)
    >>> of_velocities = correlator(trap, [0.5, 2.0])[:, 2:, 2:]
    >>> (of_velocities[:, 0, 1] + of_velocities[:, 1, 0]).round(5).tolist()
    [0.09006, 0.1754]
    """
    spread = covariance(process)
    return np.stack([(_propagator(process, t) @ spread).T for t in np.asarray(times)])


def _propagator(process: LinearLangevin, time: float) -> np.ndarray:
    if not time >= 0:
        raise ValueError(f"times must be at least 0; got {time}")
    from scipy.linalg import expm

    return expm(process.drift * time)


def entropy_production(
    process: LinearLangevin, time: float, reversal: Any, reversed_drift: Any = None
) -> float:
    r"""Entropy production of the steady process seen at two moments, in nats.

    The divergence of :math:`(X(0), X(t))` from :math:`(M X^*(t), M X^*(0))`, of the process X*
    with the ``reversed_drift``, the same by default: with a magnetic field that of the field -B
    or, at the same field, of one reversal M or another, of shape ``(n, n)``. It is 0 if M turns
    the one into the other seen backwards. M is an involution; else a ValueError. Both processes
    must have noise enough that their laws have densities.

    Examples
    --------
    A free charge's velocities, seen every 0.1: with plain reversal at the same field, with the
    field turned, and with the reversal of one component alone at the same field.

    >>> turn = np.array([[0.0, 2.0], [-2.0, 0.0]])
    >>> free = LinearLangevin(turn - np.eye(2), np.eye(2))
    >>> round(entropy_production(free, 0.1, -np.eye(2)), 4)
    0.7131
    >>> abs(entropy_production(free, 0.1, -np.eye(2), -turn - np.eye(2))) < 1e-12
    True
    >>> abs(entropy_production(free, 0.1, np.diag([1.0, -1.0]))) < 1e-12
    True
    """
    if not time > 0:
        raise ValueError(f"the time between two moments must be positive; got {time}")
    size = len(process.drift)
    reversal = check_reversal(reversal, size)
    other = process
    if reversed_drift is not None:
        other = process._replace(drift=np.asarray(reversed_drift, np.float64))
    forward = _two_times(process, time)
    backward = _two_times(other, time)
    # (M X*(t), M X*(0)): exchanged, and turned.
    exchange = np.block(
        [[np.zeros((size, size)), reversal], [reversal, np.zeros((size, size))]]
    )
    backward = exchange @ backward @ exchange.T
    ratio = np.linalg.solve(backward, forward)
    return float((np.trace(ratio) - 2 * size - np.linalg.slogdet(ratio)[1]) / 2)


def _two_times(process: LinearLangevin, time: float) -> np.ndarray:
    spread = covariance(process)
    later = _propagator(process, time) @ spread
    return np.block([[spread, later.T], [later, spread]])
