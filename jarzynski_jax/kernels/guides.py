r"""What guides a walker in imaginary time: nothing, a drift, or a wave function.

Of the Hamiltonian :math:`H = -\frac12\nabla\cdot C\nabla + V`, C the inverse masses, a wave
function :math:`\psi > 0` has the drift and the local energy

.. math:: v = C\nabla\log\psi, \qquad
          E_L = \frac{H\psi}\psi = V - \tfrac12\left[\nabla\cdot v + v\cdot C^{-1}v\right].

(v is the gradient of :math:`\log\phi_0` at best, not of :math:`\phi_0`.)
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jarzynski_jax.kernels.arithmetic import lift
from jarzynski_jax.kernels.preconditioning import Preconditioner, apply
from jarzynski_jax.types import Array, ArrayTree, LogDensityFn, Position

__all__ = ["FREE", "DriftFn", "Evaluated", "Guide", "drift_guide", "local_energy", "wave_guide"]

#: ``drift_fn(position) -> drift``, in the structure of the position.
DriftFn: TypeAlias = Callable[[Position], ArrayTree]


class Evaluated(NamedTuple):
    r"""A guide at a position: v; V or :math:`E_L`; :math:`\log\psi`, 0 without a wave."""

    drift: ArrayTree
    energy: Array
    log_wave: Array


class Guide(NamedTuple):
    """What leads the walkers, and which form of the weight goes with it.

    From :func:`drift_guide`, :func:`wave_guide`, or :data:`FREE`.

    evaluate
        ``(position, potential, inverse_masses) -> Evaluated``.
    is_wave
        Whether it is a wave function, and the weight of the form with the local energy.
    """

    evaluate: Callable[[Position, Array, Preconditioner | None], Evaluated]
    is_wave: bool = False


def drift_guide(drift_fn: DriftFn) -> Guide:
    """Guide by any drift v; the weight is of the form with v·dB.

    ValueError, in the kernel, if the drift is not of the shape of a position.

    Examples
    --------
    >>> guide = drift_guide(lambda x: -x)
    >>> guide.evaluate(jnp.array([2.0]), jnp.array(2.0), None).drift.tolist()
    [-2.0]
    """
    return Guide(jax.tree_util.Partial(_evaluate_drift, drift_fn))


def wave_guide(log_wave_fn: LogDensityFn) -> Guide:
    r"""Guide by a positive wave function, :math:`v = C\nabla\log\psi`; the weight has E_L.

    ``log_wave_fn(position) -> scalar`` is :math:`\log\psi` for one walker.

    Examples
    --------
    An oscillator and its ground state: the local energy is 1/2 wherever the walker stands.

    >>> guide = wave_guide(lambda x: -jnp.sum(x**2) / 2)
    >>> float(guide.evaluate(jnp.array([3.0]), jnp.array(4.5), None).energy)
    0.5
    """
    return Guide(jax.tree_util.Partial(_evaluate_wave, log_wave_fn), is_wave=True)


def _evaluate_drift(
    drift_fn: DriftFn, position: Position, potential: Array, masses: Preconditioner | None
) -> Evaluated:
    del masses
    drift = drift_fn(position)
    shapes = jax.tree.map(jnp.shape, (drift, position))
    if shapes[0] != shapes[1]:
        raise ValueError(
            "a drift must have the structure and shapes of the position, "
            f"{shapes[1]}; got {shapes[0]}"
        )
    return Evaluated(drift, potential, jnp.zeros_like(potential))


def _no_drift(position: Position) -> ArrayTree:
    return jax.tree.map(jnp.zeros_like, position)


#: No guide: the form with the potential alone.
FREE = drift_guide(_no_drift)


def _evaluate_wave(
    log_wave_fn: LogDensityFn,
    position: Position,
    potential: Array,
    masses: Preconditioner | None,
) -> Evaluated:
    flat, unravel = ravel_pytree(position)

    def of_flat(flat: Array) -> Array:
        log_wave = log_wave_fn(unravel(flat))
        if jnp.shape(log_wave) != ():
            raise ValueError(
                "log_wave_fn must return a scalar for one walker; it returned shape "
                f"{jnp.shape(log_wave)}"
            )
        return log_wave

    # Forward over reverse: d derivatives of one gradient, of which the trace is kept.
    (log_wave, force), along = jax.linearize(jax.value_and_grad(of_flat), flat)
    directions = jnp.eye(flat.shape[0], dtype=flat.dtype)
    weighted: Any = jax.vmap(partial(apply, masses))(directions)
    curvature = jnp.sum(jax.vmap(lambda e: along(e)[1])(weighted) * directions)
    drift: Any = apply(masses, force)
    energy = potential - (curvature + jnp.sum(drift * force)) / 2
    return Evaluated(unravel(drift), energy, log_wave)


def local_energy(
    log_wave_fn: LogDensityFn,
    potential_fn: LogDensityFn,
    inverse_masses: Preconditioner | None = None,
) -> LogDensityFn:
    r"""Make the local energy :math:`E_L = H\psi/\psi` a function of one position.

    Examples
    --------
    >>> length = jnp.linalg.norm
    >>> hydrogen = local_energy(lambda r: -length(r), lambda r: -1 / length(r))
    >>> round(float(hydrogen(jnp.array([0.3, -0.1, 2.0]))), 5)
    -0.5
    """
    return jax.tree_util.Partial(_local_energy, log_wave_fn, potential_fn, inverse_masses)


def _local_energy(
    log_wave_fn: LogDensityFn,
    potential_fn: LogDensityFn,
    inverse_masses: Preconditioner | None,
    position: Position,
) -> Array:
    position = lift(position)
    potential = potential_fn(position)
    return _evaluate_wave(log_wave_fn, position, potential, inverse_masses).energy
