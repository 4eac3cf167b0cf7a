"""Chains, thermostats: what is known exactly, and fluctuation theorems by paths."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.studies.nonequilibrium.settings import Settings
from jarzynski_jax import free_energy
from jarzynski_jax.kernels import nose_hoover
from jarzynski_jax.kernels.bijection import Bijection
from jarzynski_jax.kernels.nose_hoover import Thermostatted
from jarzynski_jax.nonequilibrium import fluctuation, markov_chains

NAMES = ("chains", "thermostat")
#: Forward and back, a ring of three; and slips of 1 % in a ring of six.
RINGS = ((3, 0.7, 0.1), (3, 0.8, 0.1), (3, 0.9, 0.05), (3, 0.6, 0.2), (6, 0.98, 0.01))
UNEVEN = ((0.2, 0.7, 0.1), (0.1, 0.3, 0.6), (0.8, 0.15, 0.05))
NUM_STEPS = 5


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    with jax.enable_x64(True):
        return _chains(settings) if name == "chains" else _thermostat()


def _ring(size: int, forward: float, back: float) -> jax.Array:
    unit = np.eye(size)
    matrix = (1 - forward - back) * unit + forward * np.roll(unit, 1, axis=1)
    return jnp.asarray(matrix + back * np.roll(unit, -1, axis=1))


def _chains(settings: Settings) -> dict[str, np.ndarray]:
    gaps = []
    for size, forward, back in RINGS:
        matrix = _ring(size, forward, back)
        around = np.exp(2j * np.pi * np.arange(1, size) / size)
        eigenvalues = 1 - forward - back + forward * around + back / around
        gaps += [
            markov_chains.entropy_production(matrix)
            - (forward - back) * np.log(forward / back),
            markov_chains.relaxation_time(matrix) + 1 / np.log(np.abs(eigenvalues).max()),
        ]
    uneven = jnp.array(UNEVEN)
    sigma = markov_chains.entropy_production(uneven)
    affinity = markov_chains.cycle_affinity(uneven, jnp.arange(3))
    gaps.append(sigma - markov_chains.currents(uneven)[0, 1] * affinity)

    law = markov_chains.stationary_distribution(uneven)
    matrices = jnp.stack([uneven] * NUM_STEPS)
    paths = jnp.array(list(itertools.product(range(3), repeat=NUM_STEPS + 1)))
    production = fluctuation.path_entropy_production(paths, law, matrices, law)
    steps = jnp.arange(NUM_STEPS)
    probability = law[paths[:, 0]] * jnp.prod(matrices[steps, paths[:, :-1], paths[:, 1:]], 1)
    work = fluctuation.sample_entropy_production(
        jax.random.key(0), law, matrices, law, settings.num_paths
    )
    found = free_energy.estimate(*work)
    coarse = []
    for seed in range(20):
        whole = jnp.asarray(np.random.default_rng(seed).dirichlet(np.ones(6), 6))
        seen = markov_chains.coarse_grain(whole, jnp.array([0, 0, 1, 1, 2, 2]))
        coarse.append([markov_chains.entropy_production(m) for m in (whole, seen)])
    return {
        "gaps": np.asarray(gaps),
        "integral": np.asarray(probability @ jnp.exp(-production)),
        "mean_gap": np.asarray(probability @ production - NUM_STEPS * sigma),
        "bar": np.asarray(found.bar),
        "forward_average": np.asarray(found.forward),
        "slope": np.asarray(found.slope),
        "forward": np.asarray(work.forward),
        "reverse": np.asarray(work.reverse),
        "coarse": np.asarray(coarse),
    }


def _oscillator(x: jax.Array) -> jax.Array:
    return -jnp.sum(x**2) / 2


def _thermostat() -> dict[str, np.ndarray]:
    start = Thermostatted(jnp.array([0.7]), jnp.array([-1.2]), jnp.array([0.4 / 1.5]))
    ends = []
    for num_steps in (600, 1200, 2400):
        image, heat = nose_hoover.flow(_oscillator, 6 / num_steps, (1.5,), num_steps)(start)
        ends.append([image.position[0], image.velocity[0], 1.5 * image.friction[0], heat])
    coarse, middle, fine = np.asarray(ends)
    end = (16 * (4 * fine - middle) / 3 - (4 * middle - coarse) / 3) / 15
    drift = (end[0] ** 2 + end[1] ** 2) / 2 + end[2] ** 2 / 3 - end[3]
    drift -= (0.7**2 + 1.2**2) / 2 + 0.4**2 / 3
    averages, traces = [], []
    for masses in ((1.0,), (1.0, 1.0, 1.0)):
        for x in (1.0, 2.5):
            flow = nose_hoover.flow(_oscillator, 0.1, masses)
            point = Thermostatted(jnp.array([x]), jnp.zeros(1), jnp.zeros(len(masses)))
            trace = _trace(flow, point)
            averages.append(jnp.mean(trace[:, 0] ** 2))
            traces.append(trace[:4000])
    return {
        "end": end,
        "drift": np.asarray(drift),
        "averages": np.asarray(averages),
        "traces": np.asarray(traces),
    }


def _trace(flow: Bijection, start: Thermostatted) -> jax.Array:
    def step(point: Thermostatted, _: None) -> tuple[Thermostatted, jax.Array]:
        moved, _log_determinant = flow(point)
        return moved, jnp.stack([moved.position[0], moved.velocity[0]])

    return jax.jit(lambda point: jax.lax.scan(step, point, length=60_000)[1])(start)
