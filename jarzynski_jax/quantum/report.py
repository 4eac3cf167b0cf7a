r"""The ground-state energy in three numbers, which must come in order.

.. math:: \text{cost} \;\ge\; \text{variational energy} \;\ge\; E_0

The cost of a guide's paths and the variational energy are bounds; of a wave they are the same
number but for the time step, found in two ways. The third, diffusion Monte Carlo, is
:math:`E_0` itself: the weights take whatever is wrong with the guide out again, up to the time
step, which is extrapolated.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.free_energy import Estimate
from jarzynski_jax.kernels.arithmetic import check_step_size
from jarzynski_jax.kernels.guides import DriftFn, Guide, drift_guide, wave_guide
from jarzynski_jax.quantum.doubts import doubts_of_order
from jarzynski_jax.quantum.estimates import Extrapolation, extrapolate
from jarzynski_jax.quantum.hamiltonian import Hamiltonian, check_hamiltonian
from jarzynski_jax.quantum.measurements import (
    AtStep,
    Sampling,
    measure_at_step,
    measure_variational,
    relax_to_square,
)
from jarzynski_jax.types import Array, LogDensityFn, PRNGKey

__all__ = ["GroundState", "ground_state_report"]


class GroundState(NamedTuple):
    """Three numbers of a ground-state energy, each with its error, in units of energy.

    cost
        Of the guide, extrapolated to h = 0: an upper bound; None where it is not finite.
    variational
        Of the wave: an upper bound, exact at any step; None of a drift without a wave.
    diffusion
        :math:`E_0` by diffusion Monte Carlo, extrapolated to h = 0; None where weights
        would have no mean.
    at_steps
        What was extrapolated.
    doubts
        Why not to believe it; empty if there is no reason.
    """

    cost: Estimate | None
    variational: Estimate | None
    diffusion: Estimate | None
    at_steps: tuple[AtStep, ...]
    doubts: tuple[str, ...]

    def __str__(self) -> str:
        rows = (
            ("cost of the guide, a bound", self.cost),
            ("variational energy, a bound", self.variational),
            ("diffusion Monte Carlo", self.diffusion),
        )
        lines = [
            f"{name:28s} {float(of.value):.6f} ± {float(of.standard_error):.6f}"
            for name, of in rows
            if of is not None
        ]
        return "\n".join([*lines, *(f"doubt: {doubt}" for doubt in self.doubts)])


def ground_state_report(
    rng_key: PRNGKey,
    hamiltonian: Hamiltonian,
    positions: Array,
    *,
    step_sizes: tuple[float, ...],
    log_wave_fn: LogDensityFn | None = None,
    drift_fn: DriftFn | None = None,
    sampling: Sampling = Sampling(),  # noqa: B008
) -> GroundState:
    r"""Bound the ground-state energy from above twice, and find it by diffusion Monte Carlo.

    Parameters
    ----------
    positions
        Where walkers start, shape ``(R, N, ...)``: R populations of N. They relax to
        :math:`\psi^2` of a wave; with a drift alone only the warm-up makes them forget.
    step_sizes
        At least two, h of imaginary time: E(h) is extrapolated to 0, linearly of a wave, in
        h² of diffusion Monte Carlo with a drift. The cost of three or more is a parabola: in h
        alone it comes out too low by more than its error.
    log_wave_fn, drift_fn
        One of them: :math:`\log\psi`, or a drift that need not be a gradient. With
        ``jax.tree_util.Partial(fn, params)`` other parameters need no other program.

    Raises
    ------
    ValueError
        If there is no Hamiltonian, positions are of another shape, a step is not positive,
        there are fewer than two, or not just one of wave and drift is given.

    Examples
    --------
    An oscillator in two dimensions, with a wave that is too narrow:

    >>> from jarzynski_jax import quantum
    >>> found = ground_state_report(
    ...     jax.random.key(0), quantum.harmonic(2), jnp.zeros((4, 100, 2)),
    ...     log_wave_fn=lambda x: -0.7 * jnp.sum(x**2), step_sizes=(0.1, 0.2))
    >>> bool(abs(found.diffusion.value - 1) < 4.5 * found.diffusion.standard_error)
    True
    """
    guide = _check(hamiltonian, positions, step_sizes, log_wave_fn, drift_fn)
    key_relax, key_variational, key_steps = jax.random.split(rng_key, 3)
    doubts: list[str] = []
    variational = None
    if log_wave_fn is not None:
        smallest = min(step_sizes)
        positions, doubts = relax_to_square(
            key_relax, hamiltonian, positions, log_wave_fn, smallest, sampling.relaxation_steps
        )
        variational, more = measure_variational(
            key_variational, hamiltonian, positions, log_wave_fn, smallest, sampling
        )
        doubts += more
    at_steps = []
    for key, step_size in zip(
        jax.random.split(key_steps, len(step_sizes)), step_sizes, strict=True
    ):
        found, more = measure_at_step(key, hamiltonian, positions, guide, step_size, sampling)
        at_steps.append(found)
        doubts += more
    powers = (1,) if guide.is_wave else (2,)
    of_cost = (1, 2) if len(set(step_sizes)) > 2 else (1,)
    cost = _extrapolated(step_sizes, [found.cost for found in at_steps], of_cost)
    growth = _extrapolated(step_sizes, [found.growth for found in at_steps], powers)
    mixed = _extrapolated(step_sizes, [found.mixed for found in at_steps], powers)
    doubts += doubts_of_order(cost, variational, growth, mixed)
    return GroundState(
        cost=None if cost is None else cost.value,
        variational=variational,
        diffusion=None if mixed is None else mixed.value,
        at_steps=tuple(at_steps),
        doubts=tuple(dict.fromkeys(doubts)),
    )


def _extrapolated(
    step_sizes: Sequence[float], found: Sequence[Estimate | None], powers: tuple[int, ...]
) -> Extrapolation | None:
    """Take energies to h = 0; None if some are not there, or not finite."""
    known = [of for of in found if of is not None]
    numbers = np.array([[float(of.value), float(of.standard_error)] for of in known])
    if len(known) < len(found) or not np.all(np.isfinite(numbers)):
        return None
    return extrapolate(step_sizes, numbers[:, 0], numbers[:, 1], powers)


def _check(
    hamiltonian: Hamiltonian,
    positions: Array,
    step_sizes: tuple[float, ...],
    log_wave_fn: LogDensityFn | None,
    drift_fn: DriftFn | None,
) -> Guide:
    check_hamiltonian(hamiltonian)
    if len(step_sizes) < 2:
        raise ValueError(f"an extrapolation needs at least two step sizes; got {step_sizes}")
    for step_size in step_sizes:
        check_step_size(step_size)
    shape = jnp.shape(positions)
    if shape[2:] != hamiltonian.shape or len(shape) < 2:
        raise ValueError(
            f"positions must have shape (R, N, *{hamiltonian.shape}), R populations of N "
            f"walkers; got {shape}"
        )
    if log_wave_fn is not None and drift_fn is None:
        return wave_guide(log_wave_fn)
    if drift_fn is not None and log_wave_fn is None:
        return drift_guide(drift_fn)
    given = "neither" if drift_fn is None else "both"
    raise ValueError(f"one of log_wave_fn and drift_fn must be given; got {given}")
