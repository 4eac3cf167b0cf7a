r"""Entropy production from what was counted on a trajectory, with what is to be doubted of it.

From the numbers :math:`N_{ij}` of steps from i to j, n in all, the plug-in estimate is

.. math:: \hat\sigma = \frac1n \sum_{i<j} (N_{ij} - N_{ji}) \log\frac{N_{ij}}{N_{ji}} \ge 0.

It is positive for a reversible chain too: there :math:`n\hat\sigma/2` is, for a long
trajectory, a :math:`\chi^2` of as many degrees of freedom as the graph has independent cycles,
:math:`c = E - V + 1`. (Currents of one trajectory live on cycles: on a tree each edge is
crossed as often in one direction as in the other, but for one.) So it comes out as
:math:`2c/n` on average, with a standard deviation of :math:`\sqrt{8c}/n`, and what is not far
above that is no sign of an arrow of time.

An edge that was seen in one direction alone gives no number: its :math:`\log N/0` is infinite
for every finite trajectory that misses a rare step back. It is left out, and told; the affinity
of the edge itself is NaN.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jarzynski_jax.checks import check_known
from jarzynski_jax.formatting import disbelief
from jarzynski_jax.nonequilibrium.markov_chains import (
    classes_of,
    log_ratios,
    production_of,
    relaxation_time_of,
)
from jarzynski_jax.types import Array

__all__ = [
    "CountedProduction",
    "CountedSteadyState",
    "count_transitions",
    "entropy_production",
    "steady_state",
    "transition_matrix",
]

#: Steps over an edge, in either direction, below which its logarithm is badly biased.
_FEW = 5
#: What is done about edges that were seen in one direction alone.
_LEFT_OUT = "What was seen so is left out, and the value is too low"
_NO_AFFINITY = "What was seen so has the affinity NaN"


class CountedProduction(NamedTuple):
    """Entropy production that was counted, in nats a step; ``print`` it.

    value
        The plug-in estimate, of the edges that were seen in both directions.
    reversible_mean, reversible_deviation
        What a reversible chain would show on average on a trajectory as long, by chance, and
        with what standard deviation.
    doubts
        Why the value is not to be believed; empty if there is no reason.
    """

    value: float
    reversible_mean: float
    reversible_deviation: float
    doubts: tuple[str, ...]

    def __str__(self) -> str:
        """The value beside what chance gives, and a line for each doubt."""
        by_chance = f"{self.reversible_mean:.3g} ± {self.reversible_deviation:.2g}"
        first = (
            f"entropy production {self.value:.5g} nats a step; a reversible chain would show "
            f"{by_chance} by chance"
        )
        return "\n".join([first, *map(disbelief, self.doubts)])


class CountedSteadyState(NamedTuple):
    r"""What was counted of a steady state.

    currents
        :math:`(N_{ij} - N_{ji})/n` a step, shape ``(m, m)``, antisymmetric.
    affinities
        :math:`\log(N_{ij}/N_{ji})` in nats; NaN of an edge that was seen in one direction
        alone, 0 where there was no step either way.
    relaxation_time
        In steps, of the most likely transition matrix of the states that were visited; NaN if
        the trajectory did not come back to all of them.
    doubts
        Why these are not to be believed; empty if there is no reason.
    """

    currents: Array
    affinities: Array
    relaxation_time: float
    doubts: tuple[str, ...]


def count_transitions(states: Array, num_states: int) -> Array:
    """Count steps from i to j along a trajectory of states, shape ``(n + 1,)``.

    int32, shape ``(num_states, num_states)``. ValueError unless they are integers; a state
    that is not between 0 and ``num_states - 1`` counts in nothing, nor do its steps.

    Examples
    --------
    >>> count_transitions(jnp.array([0, 1, 1, 0]), 2).tolist()
    [[0, 1], [1, 1]]
    """
    states = jnp.asarray(states)
    if states.ndim != 1 or states.shape[0] < 2 or not jnp.issubdtype(states.dtype, jnp.integer):
        raise ValueError(
            "states must be integers of shape (n + 1,), n ≥ 1; got shape "
            f"{states.shape} of {states.dtype}"
        )
    counts = jnp.zeros((num_states, num_states), jnp.int32)
    # JAX takes a negative index from the end.
    states = jnp.where((states < 0) | (states >= num_states), num_states, states)
    return counts.at[states[:-1], states[1:]].add(1, mode="drop")


def transition_matrix(counts: Array) -> Array:
    """Most likely transition matrix, rows of counts over their sums; float32 or as JAX has it.

    ValueError if counts are negative or not finite, or a state was never left: take it out.

    Examples
    --------
    >>> transition_matrix(jnp.array([[1, 3], [2, 2]])).tolist()
    [[0.25, 0.75], [0.5, 0.5]]
    """
    values = _check(counts)
    totals = values.sum(axis=1)
    if np.any(totals == 0):
        raise ValueError(
            f"state {int(np.argmin(totals))} was never left, and has no probabilities to go "
            "anywhere: take it out of the counts"
        )
    return jnp.asarray(values / totals[:, None])


def entropy_production(counts: Array) -> CountedProduction:
    """Entropy production of a steady state, from counts of one trajectory, shape ``(m, m)``.

    Doubted is: an edge that was seen in one direction alone, which is left out, so that the
    value is too low; edges seen fewer than 5 times in one direction; states that were not
    visited, or parts of the graph that the trajectory did not come back to. ValueError inside
    ``jax.jit``: it looks at values.

    Examples
    --------
    >>> found = entropy_production(jnp.array([[0, 60, 40], [40, 0, 60], [60, 40, 0]]))
    >>> round(found.value, 4), found.doubts
    (0.0811, ())
    >>> print(entropy_production(jnp.array([[0, 60, 40], [40, 0, 60], [60, 0, 40]])).doubts[0])
    1 of 3 edges was seen in one direction alone, 60 steps of 300, as from 1 to 2: a rare step
    back, or none at all, for which entropy production is infinite. What was seen so is left
    out, and the value is too low
    """
    values = _check(counts)
    total = float(np.sum(values))
    between = values - np.diag(np.diag(values))
    is_seen = (between > 0) & (between.T > 0)
    doubts = [
        *(f"{told}. {_LEFT_OUT}" for told in _one_way(between, total)),
        *_scarce(between, is_seen),
        *_unvisited(values),
    ]
    value = float(production_of(jnp.asarray(np.where(is_seen, between, 0) / total)))
    num_cycles = _count_cycles(between > 0)
    mean, deviation = 2 * num_cycles / total, math.sqrt(8 * num_cycles) / total
    return CountedProduction(value, mean, deviation, tuple(doubts))


def steady_state(counts: Array) -> CountedSteadyState:
    """Currents, affinities and relaxation time from counts of one trajectory, ``(m, m)``.

    (Those of :func:`transition_matrix` would have infinite affinities without a word.) It
    doubts what :func:`entropy_production` does, which is half of the sum of currents times
    affinities where these are numbers. ValueError inside ``jax.jit``.

    Examples
    --------
    >>> found = steady_state(jnp.array([[0, 60, 40], [40, 0, 60], [60, 0, 40]]))
    >>> print(found.affinities[2].round(2))
    [0.41  nan 0.  ]
    >>> len(found.doubts)
    1
    """
    values = _check(counts)
    total = float(np.sum(values))
    between = values - np.diag(np.diag(values))
    is_seen = (between > 0) & (between.T > 0)
    is_one_way = (between > 0) ^ (between.T > 0)
    doubts = [
        *(f"{told}. {_NO_AFFINITY}" for told in _one_way(between, total)),
        *_scarce(between, is_seen),
        *_unvisited(values),
    ]
    affinities = log_ratios(jnp.asarray(between))
    part, number = _visited(values)
    time = math.nan
    if number == 1 and len(part) > 1:
        matrix = part / part.sum(axis=1, keepdims=True)
        time = float(relaxation_time_of(jnp.asarray(matrix)))
    return CountedSteadyState(
        jnp.asarray((values - values.T) / total),
        jnp.where(is_one_way, jnp.nan, affinities),
        time,
        tuple(doubts),
    )


def _check(counts: Array) -> np.ndarray:
    check_known("entropy production from counts", counts)
    values = np.asarray(counts, np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or values.shape[0] < 2:
        raise ValueError(f"counts must have shape (m, m) with m ≥ 2; got shape {values.shape}")
    if not np.all(np.isfinite(values)) or np.any(values < 0) or values.sum() == 0:
        raise ValueError(
            "counts must be finite, not negative and not all 0; got values from "
            f"{np.min(values)} to {np.max(values)}"
        )
    return values


def _one_way(between: np.ndarray, total: float) -> list[str]:
    one_way = np.argwhere((between > 0) & (between.T == 0))
    if not len(one_way):
        return []
    num_edges = int(np.sum(np.triu((between > 0) | (between.T > 0))))
    steps = int(sum(between[i, j] for i, j in one_way))
    origin, target = one_way[0]
    verb = "was" if len(one_way) == 1 else "were"
    told = (
        f"{len(one_way)} of {num_edges} edges {verb} seen in one direction alone, {steps} "
        f"steps of {int(total)}, as from {origin} to {target}: a rare step back, or none at "
        "all, for which entropy production is infinite"
    )
    return [told]


def _scarce(between: np.ndarray, is_seen: np.ndarray) -> list[str]:
    least = np.triu(np.minimum(between, between.T))
    scarce = np.argwhere((least > 0) & (least < _FEW) & is_seen)
    if not len(scarce):
        return []
    origin, target = scarce[0]
    doubt = (
        f"{len(scarce)} edges were seen fewer than {_FEW} times in one direction, as that "
        f"between {origin} and {target}: the logarithm of so small a count is biased"
    )
    return [doubt]


def _unvisited(values: np.ndarray) -> list[str]:
    is_visited = (values.sum(axis=0) > 0) | (values.sum(axis=1) > 0)
    doubts = []
    if not is_visited.all():
        doubts.append(f"{int(np.sum(~is_visited))} of {len(values)} states were never visited")
    _, number = _visited(values)
    if number > 1:
        doubts.append(
            f"the states fall into {number} classes between which the trajectory did not come "
            "back: it was no steady state"
        )
    return doubts


def _visited(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Counts of the states that were visited, and into how many classes these fall."""
    is_visited = (values.sum(axis=0) > 0) | (values.sum(axis=1) > 0)
    part = values[np.ix_(is_visited, is_visited)]
    return part, classes_of(part > 0)[0]


def _count_cycles(is_edge: np.ndarray) -> int:
    """Independent cycles of the graph, E - V + 1 of each of its parts."""
    linked = is_edge | is_edge.T
    number, _ = classes_of(linked, is_directed=False)
    return int(np.sum(np.triu(linked))) - len(linked) + number
