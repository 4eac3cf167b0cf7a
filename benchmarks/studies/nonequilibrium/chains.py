"""Chains, driven walkers, thermostats: exact numbers, and fluctuation theorems by paths."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness.statistics import mean_and_error
from benchmarks.studies.nonequilibrium.settings import Settings
from jarzynski_jax import annealing, free_energy, walkers
from jarzynski_jax.kernels import nose_hoover
from jarzynski_jax.kernels.bijection import Bijection
from jarzynski_jax.kernels.nose_hoover import Thermostatted
from jarzynski_jax.nonequilibrium import driven_langevin, fluctuation, markov_chains
from jarzynski_jax.types import LogDensityFn, Scalar
from jarzynski_jax.walkers import Dynamics

NAMES = ("chains", "driven", "thermostat")
#: Forward and back, a ring of three; and slips of 1 % in a ring of six.
RINGS = ((3, 0.7, 0.1), (3, 0.8, 0.1), (3, 0.9, 0.05), (3, 0.6, 0.2), (6, 0.98, 0.01))
UNEVEN = ((0.2, 0.7, 0.1), (0.1, 0.3, 0.6), (0.8, 0.15, 0.05))
#: Of the uneven chain: its law, current, affinity, production, |λ₂|, time and Tr P/3.
UNEVEN_NUMBERS = (
    *(0.329512893983, 0.389684813754, 0.280802292264, 0.191690544413, 5.411646051855),
    *(1.037361377848, 0.543139024560, 1.638296930434, 0.55 / 3),
)
NUM_STEPS = 5
#: Of driven walkers: how fast the force turns them, and the time step.
TURNING, STEP_SIZE, NUM_MOVES = 1.5, 0.05, 4


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    with jax.enable_x64(True):
        if name == "thermostat":
            return _thermostat()
        return {"chains": _chains, "driven": _driven}[name](settings)


def _ring(size: int, forward: float, back: float) -> jax.Array:
    unit = np.eye(size)
    matrix = (1 - forward - back) * unit + forward * np.roll(unit, 1, axis=1)
    return jnp.asarray(matrix + back * np.roll(unit, -1, axis=1))


def _chains(settings: Settings) -> dict[str, np.ndarray]:
    # Compiled once for each shape, and not at each call anew.
    production_of = jax.jit(markov_chains.entropy_production)
    gaps = []
    for size, forward, back in RINGS:
        matrix = _ring(size, forward, back)
        around = np.exp(2j * np.pi * np.arange(1, size) / size)
        eigenvalues = 1 - forward - back + forward * around + back / around
        gaps += [
            production_of(matrix) - (forward - back) * np.log(forward / back),
            markov_chains.relaxation_time(matrix) + 1 / np.log(np.abs(eigenvalues).max()),
        ]
    uneven = jnp.array(UNEVEN)
    sigma = production_of(uneven)
    affinity = markov_chains.cycle_affinity(uneven, jnp.arange(3))
    current = markov_chains.currents(uneven)[0, 1]
    law = markov_chains.stationary_distribution(uneven)
    tau = markov_chains.relaxation_time(uneven)
    modulus = jnp.exp(-1 / tau)
    seen = [*law, current, affinity, sigma, modulus, tau, jnp.trace(uneven) / 3]
    gaps.append(sigma - current * affinity)

    matrices = jnp.stack([uneven] * NUM_STEPS)
    paths = jnp.array(list(itertools.product(range(3), repeat=NUM_STEPS + 1)))
    production = fluctuation.path_entropy_production(paths, law, matrices, law)
    steps = jnp.arange(NUM_STEPS)
    probability = law[paths[:, 0]] * jnp.prod(matrices[steps, paths[:, :-1], paths[:, 1:]], 1)
    work = fluctuation.sample_entropy_production(
        jax.random.key(0), law, matrices, law, settings.num_paths
    )
    found = free_energy.estimate(*work)
    groups = jnp.array([0, 0, 1, 1, 2, 2])
    coarse_grain = jax.jit(lambda whole: markov_chains.coarse_grain(whole, groups))
    coarse = []
    for seed in range(20):
        whole = jnp.asarray(np.random.default_rng(seed).dirichlet(np.ones(6), 6))
        grouped = coarse_grain(whole)
        coarse.append([production_of(m) for m in (whole, grouped)])
    return {
        "gaps": np.asarray(gaps),
        "uneven_gaps": np.asarray(seen) - np.array(UNEVEN_NUMBERS),
        "integral": np.asarray(probability @ jnp.exp(-production)),
        "mean_gap": np.asarray(probability @ production - NUM_STEPS * sigma),
        "bar": np.asarray(found.bar),
        "forward_average": np.asarray(found.forward),
        "slope": np.asarray(found.slope),
        "forward": np.asarray(work.forward),
        "reverse": np.asarray(work.reverse),
        "coarse": np.asarray(coarse),
    }


def _turning(stiffness: float) -> driven_langevin.ForceFn:
    """A trap's force and one that turns, which is no gradient."""
    return lambda x: -stiffness * x + TURNING * jnp.stack([x[1], -x[0]])


def _driven(settings: Settings) -> dict[str, np.ndarray]:
    """Walkers that a force turns: in their steady state, and in a trap that stiffens."""
    # The steady law of the steps as they are, not of the limit of small ones.
    shrinkage = (1 - STEP_SIZE) ** 2 + (STEP_SIZE * TURNING) ** 2
    variance = 2 * STEP_SIZE / (1 - shrinkage)

    def steady(x: jax.Array) -> jax.Array:
        return -jnp.sum(x**2) / (2 * variance)

    def path(t: Scalar) -> LogDensityFn:
        return lambda x: -(1 + 3 * t) * jnp.sum(x**2) / 2

    move = driven_langevin.as_move(_turning(1.0), STEP_SIZE)
    keys = jax.random.split(jax.random.key(1), 4)
    noise = jax.random.normal(keys[0], (3, settings.num_walkers, 2))
    ensemble = walkers.init(jnp.sqrt(variance) * noise[0], steady, move.init)

    def step(ensemble: walkers.Walkers, key: jax.Array) -> tuple[walkers.Walkers, None]:
        return walkers.move(key, ensemble, steady, move.kernel, *move.args)[0], None

    ensemble, _ = jax.jit(lambda e, k: jax.lax.scan(step, e, k))(
        ensemble, jax.random.split(keys[1], NUM_MOVES)
    )
    weights = jnp.exp(ensemble.log_weights)
    times = jnp.linspace(0, 1, 11)[1:]
    dynamics = Dynamics(driven_langevin.as_move(_turning(2.0), 0.02))
    found = free_energy.estimate(
        *annealing.work(keys[2], noise[1], noise[2] / 2, path, times, dynamics)
    )
    return {
        "integral": np.array(mean_and_error(np.asarray(weights))),
        "production": np.asarray(-ensemble.log_weights.mean()),
        "bar": np.asarray(found.bar),
        "slope": np.asarray(found.slope),
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
