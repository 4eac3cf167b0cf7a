r"""A Hamiltonian: what is known of a quantum system before its ground state is found."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.kernels.preconditioning import Preconditioner, preconditioner
from jarzynski_jax.types import Array, LogDensityFn, Position

__all__ = ["Hamiltonian", "check_hamiltonian", "inverse_masses"]


class Hamiltonian(NamedTuple):
    r""":math:`H = -\frac12\nabla\cdot C\nabla + V`, with :math:`\hbar = 1`.

    potential_fn
        V, ``position -> scalar``; infinite where particles that repel or attract each other
        without bound coincide.
    shape
        Of a position: ``(d,)``, or ``(n, d)`` for n particles in d dimensions.
    inverse_masses
        C, from :func:`inverse_masses`; None where all masses are 1.
    ground_energy
        :math:`E_0` where it has a closed form, else None.
    log_ground_state
        :math:`\log\phi_0` up to a constant where it has one, else None.
    is_unbounded
        Whether V falls to :math:`-\infty` somewhere, as an attractive Coulomb potential: then
        weights with V itself have no mean, and a guide must have the cusp.
    """

    potential_fn: LogDensityFn
    shape: tuple[int, ...]
    inverse_masses: Preconditioner | None = None
    ground_energy: float | None = None
    log_ground_state: LogDensityFn | None = None
    is_unbounded: bool = False

    def rate(self, position: Position) -> Array:
        """-V, the rate at which weights grow: the log-density of the kernels."""
        return -self.potential_fn(position)


def inverse_masses(masses: Array, shape: tuple[int, ...]) -> Preconditioner:
    """Take masses, of a shape that broadcasts to a position's, for the kinetic energy.

    ValueError if one is not positive and finite.

    Examples
    --------
    Two particles in one dimension, one of them twice as heavy:

    >>> inverse_masses(jnp.array([[1.0], [2.0]]), (2, 1)).matrix.tolist()
    [1.0, 0.5]
    """
    check_all_positive("masses", masses)
    spread = jnp.broadcast_to(jnp.asarray(masses, jnp.result_type(float)), shape)
    return preconditioner(1 / spread.reshape(-1))


def check_all_positive(name: str, values: Any) -> None:
    """Raise a ``ValueError`` unless all values are positive and finite, if they are known."""
    if isinstance(values, jax.core.Tracer):
        return
    array = np.asarray(values, np.float64)
    if not np.all((array > 0) & np.isfinite(array)):
        raise ValueError(f"{name} must be positive and finite; got {array.tolist()}")


def check_hamiltonian(hamiltonian: Any) -> None:
    """Check that this is a Hamiltonian, and not the function that makes one."""
    if not isinstance(hamiltonian, Hamiltonian):
        name = getattr(hamiltonian, "__name__", type(hamiltonian).__name__)
        raise ValueError(f"a Hamiltonian is what e.g. quantum.harmonic(1) returns; got {name}")
