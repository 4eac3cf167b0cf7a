r"""Finite Markov chains out of equilibrium: currents, affinities, entropy production.

Rows are where a step starts: :math:`P_{ij}` is the probability to go from i to j. In the steady
state :math:`\pi` the flow over an edge is :math:`\pi_i P_{ij}`, its current
:math:`J_{ij} = \pi_i P_{ij} - \pi_j P_{ji}`, its affinity
:math:`A_{ij} = \log\frac{\pi_i P_{ij}}{\pi_j P_{ji}}`, and entropy is produced at the rate

.. math:: \sigma = \sum_{i<j} J_{ij} A_{ij} \ge 0 \quad\text{nats a step},

zero if and only if detailed balance, :math:`J = 0`, holds. That is a property of
:math:`\pi_i P_{ij}`, not of P: a matrix that is not symmetric can be reversible, and a doubly
stochastic one irreversible.

References: Schnakenberg, *Rev. Mod. Phys.* 48 (1976) 571; Gaspard, *J. Stat. Phys.* 117 (2004)
599; Esposito, *Phys. Rev. E* 85 (2012) 041125.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.types import Array

__all__ = [
    "affinities",
    "check_irreducible",
    "check_stochastic",
    "check_transition_matrix",
    "coarse_grain",
    "currents",
    "cycle_affinity",
    "entropy_production",
    "entropy_rate",
    "flows",
    "relaxation_time",
    "stationary_distribution",
    "time_reversal",
]


def check_transition_matrix(matrix: Array, is_irreducible: bool = True) -> Array:
    """Check that a matrix is stochastic and, if so is said, irreducible; return it.

    Irreducible: every state is reached from every other, so that there is one stationary law
    and it is positive (a period does no harm). ValueError if it is not square, of at least two
    states, with finite entries that are not negative in rows that sum to one; values that are
    traced are not looked at.

    Examples
    --------
    >>> check_transition_matrix(jnp.eye(2))
    Traceback (most recent call last):
        ...
    ValueError: a transition matrix must be irreducible; of this one the 2 states fall into 2
    classes that do not all reach each other, such as [0] and [1]
    """
    matrix = jnp.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] < 2:
        raise ValueError(
            f"a transition matrix must have shape (m, m) with m ≥ 2; got shape {matrix.shape}"
        )
    matrix = matrix.astype(jnp.promote_types(matrix.dtype, jnp.float32))
    if isinstance(matrix, jax.core.Tracer):
        return matrix
    values = np.asarray(matrix, np.float64)
    check_stochastic(values, matrix.dtype)
    if is_irreducible:
        check_irreducible(values > 0)
    return matrix


def check_stochastic(values: np.ndarray, dtype: jnp.dtype) -> None:
    """Check that matrices ``(..., m, m)`` are of probabilities, in rows that sum to 1."""
    if not np.all(np.isfinite(values)) or np.any(values < 0):
        raise ValueError(
            "entries of a transition matrix must be finite and not negative; got values from "
            f"{values.min()} to {values.max()}"
        )
    sums = values.sum(axis=-1).reshape(-1)
    gap = np.abs(sums - 1)
    if gap.max() > 10 * values.shape[-1] * float(jnp.finfo(dtype).eps):
        row = int(np.argmax(gap))
        raise ValueError(
            f"rows of a transition matrix must sum to 1; row {row % values.shape[-1]} sums to "
            f"{sums[row]:.9g}. (Rows are where a step starts; of counts take "
            "counts.transition_matrix)"
        )


def classes_of(is_edge: np.ndarray, is_directed: bool = True) -> tuple[int, np.ndarray]:
    """Number the classes of states that all reach each other, and label each state."""
    from scipy.sparse import csr_array  # slow to import, and asked for by few
    from scipy.sparse.csgraph import connected_components

    return connected_components(csr_array(is_edge), is_directed, connection="strong")


def check_irreducible(is_edge: np.ndarray) -> None:
    """Check that every state reaches every other by transitions that there are, ``(m, m)``."""
    number, labels = classes_of(is_edge)
    if number > 1:
        classes = [np.flatnonzero(labels == label).tolist() for label in range(2)]
        raise ValueError(
            f"a transition matrix must be irreducible; of this one the {len(is_edge)} states "
            f"fall into {number} classes that do not all reach each other, such as "
            f"{classes[0]} and {classes[1]}"
        )


def stationary_distribution(matrix: Array) -> Array:
    r"""The law that a step leaves as it is, :math:`\pi P = \pi`.

    By elimination without subtractions (Grassmann, Taksar and Heyman, *Oper. Res.* 33 (1985)
    1107), so that its smallest entry is as accurate as the largest, and none is negative.
    Exact for periodic chains too, where powers of P do not converge; it can be differentiated.
    The matrix is as of :func:`check_transition_matrix`, here and below.

    Examples
    --------
    >>> [round(float(p), 4) for p in stationary_distribution(jnp.array([[0, 1], [0.5, 0.5]]))]
    [0.3333, 0.6667]
    """
    matrix = check_transition_matrix(matrix)
    numbers = jnp.arange(matrix.shape[0])

    def leave_out(matrix: Array, last: Array) -> tuple[Array, Array]:
        """Without its last state: whoever goes there comes out again somewhere."""
        is_left = numbers < last
        out = jnp.where(is_left, matrix[last], 0)
        enters = jnp.where(is_left, matrix[:, last], 0) / jnp.sum(out)
        return matrix + enters[:, None] * out, enters

    _, entering = jax.lax.scan(leave_out, matrix, numbers[:0:-1])

    def put_back(law: Array, of: tuple[Array, Array]) -> tuple[Array, None]:
        number, enters = of
        return law.at[number].set(law @ enters), None

    first = jnp.zeros_like(matrix[0]).at[0].set(1)
    law, _ = jax.lax.scan(put_back, first, (numbers[1:], entering[::-1]))
    return law / jnp.sum(law)


def flows(matrix: Array) -> Array:
    r"""Steady flows :math:`\pi_i P_{ij}`, shape ``(m, m)``: the law of two steps in a row."""
    matrix = check_transition_matrix(matrix)
    return stationary_distribution(matrix)[:, None] * matrix


def currents(matrix: Array) -> Array:
    r"""Steady currents :math:`\pi_i P_{ij} - \pi_j P_{ji}`, antisymmetric; 0 at equilibrium.

    Examples
    --------
    A matrix that is not symmetric, and reversible:

    >>> bool(jnp.abs(currents(jnp.array([[0.0, 1.0], [0.5, 0.5]]))).max() < 1e-6)
    True
    """
    flow = flows(matrix)
    return flow - flow.T


def affinities(matrix: Array) -> Array:
    r"""Affinities :math:`\log(\pi_i P_{ij}/\pi_j P_{ji})`, antisymmetric.

    0 where there is no edge; of an edge that goes one way alone ``inf``, and ``-inf`` back.
    """
    return log_ratios(flows(matrix))


def log_ratios(flow: Array) -> Array:
    """Log f_ij/f_ji; 0 for 0/0, and infinite where one of them is 0."""
    is_open = flow > 0
    logs = jnp.log(jnp.where(is_open, flow, 1))
    one_way = jnp.where(is_open, jnp.inf, -jnp.inf)
    return jnp.where(is_open == is_open.T, logs - logs.T, one_way)


def cycle_affinity(matrix: Array, cycle: Array) -> Array:
    r"""Affinity of a cycle of states, :math:`\sum_k \log(P_{c_k c_{k+1}}/P_{c_{k+1} c_k})`.

    The cycle, integers of shape ``(n,)``, closes by itself. By Kolmogorov's criterion all
    cycles have the affinity 0 if and only if the chain is reversible.

    Examples
    --------
    >>> ring = jnp.array([[0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.7, 0.1, 0.2]])
    >>> round(float(cycle_affinity(ring, jnp.arange(3))), 4)  # 3 log 7
    5.8377
    """
    cycle = jnp.asarray(cycle)
    if cycle.ndim != 1 or cycle.shape[0] < 2 or not jnp.issubdtype(cycle.dtype, jnp.integer):
        raise ValueError(
            "a cycle must be integers of shape (n,) with n ≥ 2; got shape "
            f"{cycle.shape} of {cycle.dtype}"
        )
    ratios = log_ratios(check_transition_matrix(matrix))
    cycle = jnp.where(cycle < 0, ratios.shape[0], cycle)  # JAX takes it from the end
    return jnp.sum(ratios.at[cycle, jnp.roll(cycle, -1)].get(mode="fill", fill_value=jnp.nan))


def entropy_production(matrix: Array) -> Array:
    r"""Entropy production of the steady state, :math:`\sigma = \sum_{i<j} J_{ij}A_{ij}`.

    In nats a step; ``inf`` if an edge goes one way alone.

    Examples
    --------
    >>> ring = jnp.array([[0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.7, 0.1, 0.2]])
    >>> round(float(entropy_production(ring)), 4)  # 0.6 log 7
    1.1675
    """
    return production_of(flows(matrix))


def production_of(flow: Array) -> Array:
    """Entropy production of flows f_ij: half of the sum over all pairs, both ways."""
    return jnp.sum((flow - flow.T) * log_ratios(flow)) / 2


def entropy_rate(matrix: Array) -> Array:
    r"""Entropy of a step given where it starts, :math:`-\sum_{ij} \pi_i P_{ij}\log P_{ij}`.

    In nats. It is not what is produced: a coin tossed afresh has a rate and no arrow of time.
    """
    matrix = check_transition_matrix(matrix)
    return stationary_distribution(matrix) @ jnp.sum(jax.scipy.special.entr(matrix), axis=1)


def relaxation_time(matrix: Array) -> Array:
    r"""Steps in which the slowest mode falls to 1/e, :math:`-1/\log|\lambda_2|`.

    With :math:`\lambda_2` the eigenvalue of second largest modulus; ``inf`` for a periodic
    chain, which never forgets its phase, and 0 where one step forgets all.

    Examples
    --------
    >>> ring = jnp.array([[0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.7, 0.1, 0.2]])
    >>> round(float(relaxation_time(ring)), 4)
    1.7077
    """
    return relaxation_time_of(check_transition_matrix(matrix))


def relaxation_time_of(matrix: Array) -> Array:
    """Relaxation time of a matrix that was checked, or need not be: irreducible but for 0s."""
    second = jnp.sort(jnp.abs(jnp.linalg.eigvals(matrix)))[-2]
    eps = matrix.shape[0] * jnp.finfo(matrix.dtype).eps
    return jnp.where(second > 1 - eps, jnp.inf, -1 / jnp.log(jnp.minimum(second, 1 - eps)))


def time_reversal(matrix: Array) -> Array:
    r"""The chain seen backwards, :math:`P^*_{ij} = \pi_j P_{ji}/\pi_i`, with the same law.

    Examples
    --------
    >>> ring = jnp.array([[0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.7, 0.1, 0.2]])
    >>> bool(jnp.allclose(time_reversal(ring), ring.T))
    True
    """
    flow = flows(matrix)
    return flow.T / jnp.sum(flow, axis=1, keepdims=True)


def coarse_grain(matrix: Array, groups: Array) -> Array:
    r"""The chain of groups of states, of which only the group is seen.

    :math:`\sum_{i\in a, j\in b} \pi_i P_{ij} / \pi_a`: its entropy production is at most that
    of the whole chain (the log-sum inequality), and may be 0 where that one is not. As a chain
    by itself it has the right flows, and forgets what the true one remembers within a group.

    ``groups`` are integers from 0 to g - 1, shape ``(m,)``, none left out; else a ValueError.

    Examples
    --------
    Of two groups nothing can circulate:

    >>> ring = jnp.array([[0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.7, 0.1, 0.2]])
    >>> bool(entropy_production(coarse_grain(ring, jnp.array([0, 0, 1]))) < 1e-6)
    True
    """
    matrix, labels = check_transition_matrix(matrix), np.asarray(groups)
    if labels.shape != matrix.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"groups must be integers of shape {matrix.shape[:1]}, one a state; got shape "
            f"{labels.shape} of {labels.dtype}"
        )
    number = int(labels.max()) + 1
    if not np.array_equal(np.unique(labels), np.arange(number)):
        raise ValueError(
            f"groups must be numbered from 0 without gaps; got {np.unique(labels).tolist()}"
        )
    member = jnp.asarray(labels[:, None] == np.arange(number), matrix.dtype)
    flow = member.T @ flows(matrix) @ member
    return flow / jnp.sum(flow, axis=1, keepdims=True)
