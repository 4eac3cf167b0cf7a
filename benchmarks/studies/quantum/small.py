"""Systems with closed forms: an oscillator of any drift, hydrogen, and two wells."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.studies.quantum.measuring import Found, three_numbers
from benchmarks.studies.quantum.settings import Settings
from jarzynski_jax import quantum
from jarzynski_jax.kernels import feynman_kac, guides
from jarzynski_jax.kernels.move import Move
from jarzynski_jax.types import Array, LogDensityFn
from jarzynski_jax.walkers import Dynamics

STRENGTHS = (0.6, 1.0, 1.5)
STEP = 0.2
WELLS_STEP = 0.05


def names(settings: Settings) -> list[str]:
    return ["oscillator", "hydrogen", *(["double_well"] if settings.double_well else [])]


def run(name: str, settings: Settings) -> Found:
    if name == "hydrogen":
        return _hydrogen(settings)
    return _oscillator(settings) if name == "oscillator" else _double_well(settings)


def _linear(strength: Array, x: Array) -> Array:
    return -strength * x


def _energy(state: feynman_kac.FeynmanKacState) -> Array:
    return state.energy


def _with_wrong_sign(
    key: Array,
    state: Any,
    logdensity_fn: LogDensityFn,
    guide: guides.Guide,
    step_size: Array,
    masses: None,
    is_wrong: Array,
) -> tuple[Any, Any]:
    """The kernel, or, where that is told, the one with +v.dB in its weight."""
    new, info = feynman_kac.build_kernel()(key, state, logdensity_fn, guide, step_size, masses)
    d_brownian = new.position - state.position - step_size * state.drift
    change = jnp.where(is_wrong, 2 * jnp.sum(state.drift * d_brownian), 0)
    return new, info._replace(log_weight_increment=info.log_weight_increment + change)


def _oscillator(settings: Settings) -> Found:
    """Growth energies (value, error) of three drifts, and of the first with a wrong sign."""
    hamiltonian = quantum.harmonic(1)
    shape = settings.populations, settings.walkers, 1
    x = jax.random.normal(jax.random.key(0), shape)

    def growth(strength: float, is_wrong: bool) -> list[float]:
        guide = guides.drift_guide(jax.tree_util.Partial(_linear, jnp.asarray(strength)))
        right = feynman_kac.as_move(guide, jnp.asarray(STEP))
        move = Move(right.init, _with_wrong_sign, (*right.args, jnp.asarray(is_wrong)))
        found = quantum.run_populations(
            jax.random.key(1),
            x,
            hamiltonian.rate,
            Dynamics(move),
            _energy,
            num_windows=(settings.blocks + settings.warmup) // 10,
            blocks_per_window=10,
            steps_per_block=10,
        )
        energy = quantum.growth_energy(found, 10 * STEP, settings.warmup, num_past=4)
        return [float(energy.value), float(energy.standard_error)]

    return {
        "growth": np.array([growth(strength, False) for strength in STRENGTHS]),
        "wrong_sign": np.array(growth(STRENGTHS[0], True)),
        "expected": np.asarray(quantum.trotter_energy(STEP), np.float64),
    }


def _hydrogen(settings: Settings) -> Found:
    proton = quantum.nuclei_of([[0, 0, 0]], [1])
    hydrogen = quantum.molecule(proton, 1)
    small = settings._replace(blocks=settings.blocks // 2)
    return three_numbers(
        0, hydrogen, small, (0.02, 0.04), log_wave_fn=quantum.exponential_wave(proton, 1.0)
    )


def _two_bumps(x: Array) -> Array:
    """A Gaussian in each well of x⁴ - 4x²: curvature 16 at ±√2, so φ₀ ~ exp(-2 (x ∓ √2)²)."""
    centre = 1.3
    bumps = jnp.logaddexp(-1.7 * (x - centre) ** 2, -1.7 * (x + centre) ** 2)
    return jnp.sum(bumps)


def _energy_and_side(state: Any) -> tuple[Array, Array]:
    return state.energy, state.position[0]


def _double_well(settings: Settings) -> Found:
    """Energy by diffusion Monte Carlo, and the gap from walkers that all begin on the right.

    The mean of x decays as exp(-(E_1 - E_0) t), for the first excited state is odd. Without a
    guide: the error of the step is then of second order, 3e-4 at this h. With the wave as
    guide it would be 0.04, of first order.
    """
    wells = quantum.quartic(-4.0)
    found = three_numbers(
        1, wells, settings, (WELLS_STEP / 2, WELLS_STEP), log_wave_fn=_two_bumps
    )
    populations = 32
    x = jnp.full((populations, settings.walkers, 1), 1.3)
    windows, block_time = 12, 10 * WELLS_STEP
    run = quantum.run_populations(
        jax.random.key(3),
        x,
        wells.rate,
        Dynamics(feynman_kac.as_move(guides.FREE, WELLS_STEP)),
        _energy_and_side,
        num_windows=windows,
        blocks_per_window=5,
        steps_per_block=10,
    )
    side = np.asarray(run.observed[1], np.float64)
    weights = np.exp(np.cumsum(np.asarray(run.log_growth, np.float64), axis=1))
    time = block_time * np.arange(1, side.shape[1] + 1)

    def gap(chosen: np.ndarray) -> float:
        """Slope of log x between t = 1 and 12, all populations as one."""
        w = weights[chosen] / weights[chosen].mean(axis=0)
        mean = (w * side[chosen]).mean(axis=0)
        inside = (time > 1) & (time < 12)
        return -np.polyfit(time[inside], np.log(mean[inside]), 1)[0]

    every = np.arange(populations)
    left_out = np.array([gap(np.delete(every, i)) for i in every])
    error = np.sqrt((populations - 1) * np.mean((left_out - left_out.mean()) ** 2))
    exact = quantum.grid_energies(wells.potential_fn, -5, 5, 200)
    return {
        **found,
        "gap": np.array([gap(every), error]),
        "exact": exact,
        "time": time,
        "side": (weights / weights.mean(axis=0) * side).mean(axis=0),
    }
