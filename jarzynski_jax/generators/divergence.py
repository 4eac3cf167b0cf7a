r"""The divergence of a vector field, exactly or by Hutchinson's estimate.

.. math:: \nabla\cdot f = {\rm tr}\,\frac{\partial f}{\partial x}
          = E[\epsilon^T\,\partial f\,\epsilon], \qquad E[\epsilon\epsilon^T] = 1
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jarzynski_jax.types import Array, PRNGKey

__all__ = ["divergence", "estimated_divergence", "rademacher"]


def divergence(field: Callable[[Array], Array], x: Array) -> tuple[Array, Array]:
    """A field at one point and its exact divergence, by d directional derivatives.

    Examples
    --------
    >>> field = lambda x: jnp.array([[1.0, 2.0], [0.0, 3.0]]) @ x
    >>> float(divergence(field, jnp.ones(2))[1])
    4.0
    """
    value, differential = jax.linearize(field, x)
    columns = jax.vmap(differential)(jnp.eye(x.size, dtype=x.dtype).reshape(-1, *x.shape))
    return value, jnp.trace(columns.reshape(x.size, x.size))


def estimated_divergence(
    field: Callable[[Array], Array], x: Array, probes: Array
) -> tuple[Array, Array]:
    """The same by probes, leading axis m: their mean, unbiased, of m directional derivatives.

    Examples
    --------
    >>> field = lambda x: jnp.array([[1.0, 2.0], [0.0, 3.0]]) @ x
    >>> probes = jnp.array([[1.0, 1.0], [1.0, -1.0]])  # each says 6 or 2
    >>> float(estimated_divergence(field, jnp.ones(2), probes)[1])
    4.0
    """
    value, differential = jax.linearize(field, x)
    return value, jnp.mean(jax.vmap(lambda e: jnp.vdot(e, differential(e)))(probes))


def rademacher(rng_key: PRNGKey, num_probes: int, x: Array) -> Array:
    """Probes of signs, shape ``(num_probes, *x.shape)``, in the dtype of x."""
    return jax.random.rademacher(rng_key, (num_probes, *x.shape), x.dtype)
