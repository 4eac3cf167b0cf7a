r"""Chains with transitions too rare for a floating-point number: everything by its logarithm.

A probability of :math:`e^{-300}` is 0 in single precision, and entropy production of a chain
with it infinite, where it is a number: a flow of 0.2 one way and of :math:`e^{-300}` back
makes some 60 nats a step. The stationary law is by elimination without subtractions (Grassmann,
Taksar and Heyman, *Oper. Res.* 33 (1985) 1107), so that the smallest entry is as accurate as
the largest.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.nonequilibrium.markov_chains import check_irreducible
from jarzynski_jax.types import Array

__all__ = ["entropy_production", "log_stationary_distribution"]


def log_stationary_distribution(log_matrix: Array) -> Array:
    r"""Logarithm of the stationary law of a chain, from those of its matrix, ``(m, m)``.

    Rows are where a step starts, and ``-inf`` is for no transition. ValueError if the shape is
    wrong, a logarithm is positive, a row of probabilities does not sum to 1 within rounding
    (half of the digits, for logarithms may be large), or the states fall into classes that do
    not all reach each other; values that are traced are not looked at.

    Examples
    --------
    Two states, left with probabilities 1/2 and e^-300:

    >>> logs = log_stationary_distribution(jnp.array([[jnp.log(0.5)] * 2, [-300.0, 0.0]]))
    >>> round(float(logs[0]), 2)  # -300 + log 2
    -299.31
    """
    logs = jnp.asarray(log_matrix)
    if logs.ndim != 2 or logs.shape[0] != logs.shape[1] or logs.shape[0] < 2:
        raise ValueError(
            f"logs of a transition matrix must have shape (m, m), m ≥ 2; got {logs.shape}"
        )
    size = logs.shape[0]
    if not isinstance(logs, jax.core.Tracer):
        _check_chain(np.asarray(logs, np.float64), float(jnp.finfo(logs.dtype).eps))
    into = []
    for last in range(size - 1, 0, -1):
        # Without its last state: whoever goes there comes out again somewhere.
        leaves, enters = logs[last, :last], logs[:last, last]
        enters = enters - jax.nn.logsumexp(leaves)
        into.append(enters)
        logs = jnp.logaddexp(logs[:last, :last], enters[:, None] + leaves[None])
    law = jnp.zeros(1, logs.dtype)
    for enters in reversed(into):
        law = jnp.append(law, jax.nn.logsumexp(law + enters))
    return law - jax.nn.logsumexp(law)


def _check_chain(logs: np.ndarray, eps: float) -> None:
    largest = float(np.max(logs))  # NaN if an entry is
    if not largest <= 1e-5:
        raise ValueError(
            f"logs of probabilities are wanted, which are not positive; the largest is "
            f"{largest:.6g}"
        )
    sums = np.exp(logs).sum(axis=1)
    row = int(np.argmax(np.abs(sums - 1)))
    if abs(sums[row] - 1) > np.sqrt(eps):
        raise ValueError(
            f"rows of probabilities must sum to 1; row {row}, of which these are the logs, "
            f"sums to {sums[row]:.9g}"
        )
    check_irreducible(logs > -np.inf)


def entropy_production(log_matrix: Array) -> Array:
    r"""Entropy production of the steady state, in nats a step; the matrix is as above.

    Finite if no transition has the probability 0.

    Examples
    --------
    >>> ring = jnp.log(jnp.array([[0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.7, 0.1, 0.2]]))
    >>> round(float(entropy_production(ring)), 4)  # 0.6 log 7
    1.1675
    """
    flows = log_stationary_distribution(log_matrix)[:, None] + jnp.asarray(log_matrix)
    is_open = (flows > -jnp.inf) | (-jnp.inf < flows.T)
    ratios = jnp.where(is_open, flows - flows.T, 0)
    return jnp.sum(jnp.where(is_open, (jnp.exp(flows) - jnp.exp(flows.T)) * ratios, 0)) / 2
