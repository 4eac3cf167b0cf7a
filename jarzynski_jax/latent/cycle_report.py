"""What a trained machine of two kernels is: how it circulates, and how likely it makes data."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.latent.cycle_machine import (
    HiddenUnits,
    Machine,
    log_hidden_transitions,
    log_likelihood,
)
from jarzynski_jax.nonequilibrium import rare_transitions
from jarzynski_jax.nonequilibrium.markov_chains import relaxation_time_of
from jarzynski_jax.types import Array, PRNGKey

__all__ = ["CycleReport", "class_divergence", "class_shares", "report"]


class CycleReport(NamedTuple):
    r"""A machine of S hidden states; entropy production and time are those of double steps.

    log_law
        :math:`\log\bar p`, shape ``(S,)``.
    entropy_production
        Of the hidden chain M, in nats: a lower bound of the machine's own, in which the visible
        states count too.
    relaxation_time
        :math:`-1/\log|\lambda_2|` of M.
    persistence
        :math:`{\rm Tr} M/S`; 1/S where each step draws afresh.
    log_likelihood
        In nats a datum.
    transition_matrix
        M, shape ``(S, S)``, rows from.
    """

    log_law: Array
    entropy_production: Array
    relaxation_time: Array
    persistence: Array
    log_likelihood: Array
    transition_matrix: Array


def report(
    rng_key: PRNGKey,
    machine: Machine,
    data: Array,
    num_samples: int,
    hidden_units: HiddenUnits = "one-hot",
) -> CycleReport:
    """Report on a machine, M from so many samples for each hidden state; to be vmapped.

    The law is the eigenvector of M, which is estimated without bias, and nothing is counted.
    Independent units have 2^L states, so that it is for a few of them, and to be jitted.
    ValueError if data are not 0 or 1.

    Examples
    --------
    >>> weights = jnp.array([[4.0, -4.0], [-4.0, 4.0]])
    >>> machine = Machine(weights, jnp.zeros(2), weights, jnp.zeros(2))
    >>> found = report(jax.random.key(0), machine, jnp.eye(2), num_samples=500)
    >>> bool(found.persistence > 0.8), bool(found.entropy_production < 0.01)
    (True, True)
    """
    logs = log_hidden_transitions(rng_key, machine, num_samples, hidden_units)
    log_law = rare_transitions.log_stationary_distribution(logs)
    matrix = jnp.exp(logs)
    return CycleReport(
        log_law=log_law,
        entropy_production=rare_transitions.entropy_production(logs),
        relaxation_time=relaxation_time_of(matrix),
        persistence=jnp.trace(matrix) / matrix.shape[0],
        log_likelihood=log_likelihood(machine, log_law, data, hidden_units),
        transition_matrix=matrix,
    )


def class_shares(law: Array, classes: Array, num_classes: int) -> Array:
    """Shares of classes under a law of hidden units, of which each draws one class.

    ``law`` and ``classes`` are of shape ``(L,)``, these integers from 0 to ``num_classes - 1``;
    else a ValueError, or NaN where they are traced.

    Examples
    --------
    >>> class_shares(jnp.array([0.25, 0.25, 0.5]), jnp.array([0, 2, 0]), 3).tolist()
    [0.75, 0.0, 0.25]
    """
    law, classes = jnp.asarray(law), jnp.asarray(classes)
    if law.ndim != 1 or classes.shape != law.shape:
        raise ValueError(
            f"a law and classes must have one shape (L,); got {law.shape} and {classes.shape}"
        )
    if not jnp.issubdtype(classes.dtype, jnp.integer):
        raise ValueError(f"classes must be integers; got {classes.dtype}")
    # JAX takes a negative index from the end, and drops one that is too large.
    is_class = (classes >= 0) & (classes < num_classes)
    if not isinstance(classes, jax.core.Tracer) and not np.all(is_class):
        raise ValueError(
            f"classes must be between 0 and {num_classes - 1}; got {np.asarray(classes)}"
        )
    shares = jnp.zeros(num_classes, law.dtype).at[classes].add(law)
    return jnp.where(jnp.all(is_class), shares, jnp.nan)


def class_divergence(expected: Array, shares: Array) -> Array:
    """Divergence of the expected shares from those found, in nats; ``inf`` if one is lost.

    Examples
    --------
    >>> float(class_divergence(jnp.array([0.5, 0.5]), jnp.array([1.0, 0.0])))
    inf
    """
    return jnp.sum(jax.scipy.special.rel_entr(expected, shares))
