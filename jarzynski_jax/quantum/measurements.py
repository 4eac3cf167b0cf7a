r"""Measurements of a ground-state energy: cost, variational, by diffusion Monte Carlo."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.annealing import relax
from jarzynski_jax.free_energy import Estimate
from jarzynski_jax.kernels import feynman_kac, ula
from jarzynski_jax.kernels.guides import Guide, local_energy
from jarzynski_jax.quantum.doubts import doubts_of_relaxation, doubts_of_run
from jarzynski_jax.quantum.estimates import cost_bound, growth_energy, mixed_mean
from jarzynski_jax.quantum.hamiltonian import Hamiltonian
from jarzynski_jax.quantum.runs import Run, run_populations
from jarzynski_jax.resampling import AdaptiveResampler, adaptive, systematic
from jarzynski_jax.types import Array, LogDensityFn, PRNGKey
from jarzynski_jax.walkers import Dynamics

__all__ = [
    "AtStep",
    "Sampling",
    "measure_at_step",
    "measure_variational",
    "relax_to_square",
]


class Sampling(NamedTuple):
    """Sizes of the runs: of each step size as many steps, in units of blocks of K steps.

    num_blocks, num_warmup
        Of which energies are taken, and what is left out before.
    steps_per_block
        K, between two observations.
    blocks_per_window
        After which genealogies begin anew; divides both numbers of blocks.
    memory
        How far back, in imaginary time, the growth of a population weighs in means: longer than
        the correlation.
    relaxation_steps
        Metropolis-adjusted steps before the runs, towards ψ² of a wave.
    resampler
        Of diffusion Monte Carlo and of the variational energy.
    """

    num_blocks: int = 400
    num_warmup: int = 100
    steps_per_block: int = 10
    blocks_per_window: int = 10
    memory: float = 2.0
    relaxation_steps: int = 200
    resampler: AdaptiveResampler = adaptive(systematic, 0.5)

    @property
    def sizes(self) -> dict[str, int]:
        """What ``run_populations`` takes; ValueError if windows do not fit."""
        windows = [of / self.blocks_per_window for of in (self.num_blocks, self.num_warmup)]
        if not all(of.is_integer() for of in windows):
            raise ValueError(
                f"blocks_per_window, {self.blocks_per_window}, must divide num_blocks and "
                f"num_warmup; got {self.num_blocks} and {self.num_warmup}"
            )
        return {
            "num_windows": int(sum(windows)),
            "blocks_per_window": self.blocks_per_window,
            "steps_per_block": self.steps_per_block,
        }

    def num_past(self, step_size: float) -> int:
        """How many blocks the memory takes."""
        return math.ceil(self.memory / (self.steps_per_block * step_size))


class AtStep(NamedTuple):
    """Energies at one step h: the cost, and two of diffusion Monte Carlo, None without it."""

    step_size: float
    cost: Estimate
    growth: Estimate | None
    mixed: Estimate | None


_NEVER = adaptive(systematic, 0.0)


def relax_to_square(
    rng_key: PRNGKey,
    hamiltonian: Hamiltonian,
    positions: Array,
    log_wave_fn: LogDensityFn,
    step_size: float,
    num_steps: int,
) -> tuple[Array, list[str]]:
    r"""Relax walkers to :math:`\psi^2` by Metropolis-adjusted steps; say if few are taken."""
    if num_steps == 0:
        return positions, []
    move = ula.as_move(jnp.asarray(step_size / 2), hamiltonian.inverse_masses)
    flat = positions.reshape(-1, *hamiltonian.shape)
    square = jax.tree_util.Partial(_square, log_wave_fn)
    relaxed, rate = relax(rng_key, flat, square, Dynamics(move), num_steps)
    return relaxed.reshape(positions.shape), doubts_of_relaxation(float(rate), step_size)


def measure_at_step(
    rng_key: PRNGKey,
    hamiltonian: Hamiltonian,
    positions: Array,
    guide: Guide,
    step_size: float,
    sampling: Sampling,
) -> tuple[AtStep, list[str]]:
    """The cost of a guide and the energies of diffusion Monte Carlo at one step; doubts."""
    key_cost, key_diffusion = jax.random.split(rng_key)
    block_time = sampling.steps_per_block * step_size
    warmup, num_past = sampling.num_warmup, sampling.num_past(step_size)

    def run(key: PRNGKey, resampler: AdaptiveResampler) -> Run:
        move = feynman_kac.as_move(guide, jnp.asarray(step_size), hamiltonian.inverse_masses)
        dynamics = Dynamics(move, resampler=resampler)
        return run_populations(
            key, positions, hamiltonian.rate, dynamics, _energy_of, **sampling.sizes
        )

    walked = run(key_cost, _NEVER)
    cost = cost_bound(walked, block_time, warmup)
    doubts = doubts_of_run(walked, f"the cost's walkers at h = {step_size:g}", warmup)
    if hamiltonian.is_unbounded and not guide.is_wave:
        return AtStep(step_size, cost, None, None), doubts
    projected = run(key_diffusion, sampling.resampler)
    name = f"diffusion Monte Carlo at h = {step_size:g}"
    doubts += doubts_of_run(projected, name, warmup)
    growth = growth_energy(projected, block_time, warmup, num_past)
    mixed = mixed_mean(projected.observed, projected, warmup, num_past)
    return AtStep(step_size, cost, growth, mixed), doubts


def measure_variational(
    rng_key: PRNGKey,
    hamiltonian: Hamiltonian,
    positions: Array,
    log_wave_fn: LogDensityFn,
    step_size: float,
    sampling: Sampling,
) -> tuple[Estimate, list[str]]:
    r"""The variational energy from weighted walkers of :math:`\psi^2`, exact at any h."""
    move = ula.as_move(jnp.asarray(step_size / 2), hamiltonian.inverse_masses)
    energy = local_energy(log_wave_fn, hamiltonian.potential_fn, hamiltonian.inverse_masses)
    run = run_populations(
        rng_key,
        positions,
        jax.tree_util.Partial(_square, log_wave_fn),
        Dynamics(move, resampler=sampling.resampler),
        jax.tree_util.Partial(_at_position, energy),
        **sampling.sizes,
    )
    doubts = doubts_of_run(run, "the variational energy's walkers", sampling.num_warmup)
    num_past = sampling.num_past(step_size)
    return mixed_mean(run.observed, run, sampling.num_warmup, num_past), doubts


def _square(log_wave_fn: LogDensityFn, x: Array) -> Array:
    return 2 * log_wave_fn(x)


def _energy_of(state: feynman_kac.FeynmanKacState) -> Array:
    return state.energy


def _at_position(energy: LogDensityFn, state: ula.ULAState) -> Array:
    return energy(state.position)
