r"""The Ising model on a ring, exactly: Ising's own solution.

With N sites and :math:`x = \tanh\beta`, from the eigenvalues :math:`2\cosh\beta` and
:math:`2\sinh\beta` of the transfer matrix,

.. math:: \log Z = N\log(2\cosh\beta) + \log(1 + x^N).

Reference: Ising, *Z. Phys.* 31 (1925) 253.
"""

import math

__all__ = ["ring_log_z"]


def ring_log_z(num_sites: int, beta: float) -> tuple[float, float, float]:
    """Log Z and its first and second derivatives by β, for β ≥ 0.

    Examples
    --------
    >>> [round(of, 6) for of in ring_log_z(3, 0.0)]  # eight states, no energy
    [2.079442, 0.0, 3.0]
    """
    n, x = num_sites, math.tanh(beta)
    decay = math.exp(-2 * beta)
    slope, power = 4 * decay / (1 + decay) ** 2, x**n  # the slope of x without cancellation
    log_cosh = beta + math.log1p(decay)  # of twice it
    ratio = n * x ** (n - 1) * slope / (1 + power)
    of_ratio = n * ((n - 1) * x ** (n - 2) * slope**2 - 2 * power * slope) / (1 + power)
    return (
        n * log_cosh + math.log1p(power),
        n * x + ratio,
        n * slope + of_ratio - ratio**2,
    )
