"""Magnetic fields: reversals, correlators with their controls, work both ways at one field."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.studies.nonequilibrium.settings import Settings
from jarzynski_jax import annealing, free_energy
from jarzynski_jax.kernels import magnetic
from jarzynski_jax.kernels.move import Move
from jarzynski_jax.nonequilibrium import (
    correlators,
    kubo,
    linear_langevin,
    polynomial_fields,
    time_reversal,
)
from jarzynski_jax.nonequilibrium.polynomial_fields import Polynomial
from jarzynski_jax.types import LogDensityFn, Scalar
from jarzynski_jax.walkers import Dynamics

NAMES = ("reversals", "correlators", "oblique", "lattice", "crooks")
MIRROR = np.diag([1, -1])
ONE = (0, 0, 0)
#: Fields as polynomials, and how many of the 20 reversals go with them.
FIELDS: dict[str, tuple[tuple[Polynomial, ...], int]] = {
    "0": (({}, {}, {}), 20),
    "z": (({}, {}, {ONE: 1}), 8),
    "z (1 + r²)": (({}, {}, {ONE: 1, (2, 0, 0): 1, (0, 2, 0): 1}), 8),
    "z (1 + x²)": (({}, {}, {ONE: 1, (2, 0, 0): 1}), 4),
    "z (1 + x)": (({}, {}, {ONE: 1, (1, 0, 0): 1}), 2),
    "z (1 + x + y)": (({}, {}, {ONE: 1, (1, 0, 0): 1, (0, 1, 0): 1}), 2),
    "z (1 + x + 2y)": (({}, {}, {ONE: 1, (1, 0, 0): 1, (0, 1, 0): 2}), 0),
    "(1, 1, 1)": (({ONE: 1}, {ONE: 1}, {ONE: 1}), 6),
    "(1, 1, 0)": (({ONE: 1}, {ONE: 1}, {}), 4),
    "(1, 2, 3)": (({ONE: 1}, {ONE: 2}, {ONE: 3}), 0),
    "(x, y, z)": (({(1, 0, 0): 1}, {(0, 1, 0): 1}, {(0, 0, 1): 1}), 10),
}
NUM_TIMES, INTERVAL = 9, 0.5
#: The oblique trap's step, and its angle.
STEP, ANGLE = 0.05, np.pi / 6


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    if name == "reversals":
        with jax.enable_x64(True):
            return _reversals()
    if name == "lattice":
        return _lattice()
    return {"correlators": _correlators, "oblique": _oblique, "crooks": _crooks}[name](settings)


def _reversals() -> dict[str, np.ndarray]:
    twenty = time_reversal.reversals(3)
    points = np.random.default_rng(0).normal(size=(30, 3))
    start = magnetic.Charges(jnp.array([0.4, -0.2, 0.3]), jnp.array([0.7, 1.0, -0.5]))
    counts, agreed, kept, broken = [], [], 0.0, np.inf
    for polynomial, _ in FIELDS.values():

        def field_fn(x: jax.Array, terms: tuple = polynomial) -> jax.Array:
            return jnp.stack(
                [
                    sum((c * jnp.prod(x ** np.array(e)) for e, c in t.items()), 0 * x[0])
                    for t in terms
                ]
            )

        exact = polynomial_fields.is_compatible(twenty, polynomial)
        sampled = time_reversal.is_compatible(twenty, points, field_fn)
        counts.append(exact.sum())
        agreed.append(np.array_equal(exact, sampled))
        flow = jax.jit(magnetic.flow(lambda x: -jnp.sum(x**2) / 2, 0.05, field_fn, 60))
        for matrix, goes in zip(twenty, exact, strict=True):
            error = float(time_reversal.trajectory_error(matrix, flow, start))
            kept, broken = (max(kept, error), broken) if goes else (kept, min(broken, error))
    return {
        "listed": np.array([len(time_reversal.reversals(d)) for d in (3, 4, 6)]),
        "counts": np.array(counts),
        "agreed": np.array(agreed),
        "kept": np.asarray(kept),
        "broken": np.asarray(broken),
    }


def _gas(x: jax.Array) -> jax.Array:
    """Three charges in a round trap that repel each other softly."""
    gaps = jnp.sum((x[:, None] - x[None]) ** 2, axis=-1)[jnp.triu_indices(3, 1)]
    return -jnp.sum(x**2) / 2 - jnp.sum(jnp.exp(-gaps))


def _correlators(settings: Settings) -> dict[str, np.ndarray]:
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (2 * settings.num_walkers, 3, 2))
    excess = jax.vmap(_gas)(x) + jnp.sum(x**2, axis=(1, 2)) / 2
    x = x[
        jnp.log(jax.random.uniform(keys[1], excess.shape)) < excess
    ]  # the repulsion is bounded
    start = magnetic.Charges(x, jax.random.normal(keys[2], x.shape))
    free = jax.tree.map(lambda leaf: leaf[:, 0], start)
    steps = 10
    systems = {
        "free": (lambda x: 0 * x[0], lambda x: 1.0, free),
        "round": (_gas, lambda x: 1 + 0.5 * jnp.sum(x**2, axis=-1), start),
        "uneven": (_gas, lambda x: 1 + 0.5 * x[..., 0] + 0.8 * x[..., 1], start),
    }
    found = {}
    for name, (target, field, begin) in systems.items():
        flow = magnetic.flow(target, INTERVAL / steps, field, steps)
        seen = jax.jit(lambda s, flow=flow: correlators.along_trajectories(flow, s, NUM_TIMES))(
            begin
        )
        found[f"{name}_mean"] = np.asarray(seen.mean)
        found[f"{name}_error"] = np.asarray(seen.standard_error)
        found[f"{name}_scores"] = np.asarray(correlators.z_scores(seen, MIRROR))
    return found


def oblique_trap() -> linear_langevin.LinearLangevin:
    cos, sin = np.cos(ANGLE), np.sin(ANGLE)
    turn = np.array([[cos, -sin], [sin, cos]])
    return linear_langevin.trapped_charge(turn @ np.diag([1.0, 2.0]) @ turn.T, 1.0, 0.3)


def _oblique(settings: Settings) -> dict[str, np.ndarray]:
    """Langevin walkers in a trap that is no mirror image of itself, at times 0.5 and 2."""
    trap = oblique_trap()
    stiffness = jnp.asarray(-trap.drift[2:, :2], jnp.float32)
    spread = np.linalg.cholesky(np.linalg.inv(np.asarray(stiffness, np.float64)))
    target = lambda x: -x @ stiffness @ x / 2  # noqa: E731
    number = 2 * settings.num_walkers
    x = jax.random.normal(jax.random.key(1), (number, 2)) @ jnp.asarray(spread.T, jnp.float32)
    move = magnetic.as_move(STEP, 0.3, 1.0)

    def walk(key: jax.Array, x: jax.Array) -> jax.Array:
        def step(state: Any, key: jax.Array) -> tuple[Any, tuple[jax.Array, jax.Array]]:
            state, info = move.kernel(key, state, target, *move.args)
            return state, (info.drawn_velocity, state.velocity)

        _, seen = jax.lax.scan(step, move.init(x, target), jax.random.split(key, 40))
        drawn, after = seen
        return drawn[0][:, None] * after[jnp.array([9, 39])][:, None]

    products = jax.jit(jax.vmap(walk))(jax.random.split(jax.random.key(2), number), x)
    # Of the first and the last O step only a half is between the two moments.
    seen = correlators.Correlators(np.exp(-0.3 * STEP) * products)
    sums = correlators.Correlators(seen.samples + jnp.swapaxes(seen.samples, -1, -2))
    exact = linear_langevin.correlator(trap, [0.5, 2.0])[:, 2:, 2:]
    return {
        "sums": np.asarray(sums.mean[:, 0, 1]),
        "errors": np.asarray(sums.standard_error[:, 0, 1]),
        "exact": exact[:, 0, 1] + exact[:, 1, 0],
    }


def _lattice() -> dict[str, np.ndarray]:
    axis = np.arange(6) - 2.5
    x, y = np.meshgrid(axis, axis, indexing="ij")
    times = np.linspace(0, 6, 61)
    found = {"times": times}
    for name, values in {
        "bare": 0 * x,
        "even": 0.3 * x + 0.1 * y**2,
        "uneven": 0.3 * x + 0.2 * y + 0.05 * x * y,
    }.items():
        hamiltonian = kubo.lattice_hamiltonian(6, 0.4, 0.5, values)
        mirror = kubo.lattice_reflection(6)
        along, across = kubo.lattice_currents(hamiltonian)
        there = kubo.kubo_correlator(hamiltonian, along, across, times).real
        back = kubo.kubo_correlator(hamiltonian, across, along, times).real
        found |= {f"{name}_there": there, f"{name}_back": back}
        gap = np.abs(mirror @ hamiltonian.conj() @ mirror - hamiltonian).max()
        found[f"{name}_symmetry"] = np.asarray(gap)
    return found


def _crooks(settings: Settings) -> dict[str, np.ndarray]:
    """A trap that moves and stiffens as its own mirror image, in a field that is one too."""

    def path(t: Scalar) -> LogDensityFn:
        return lambda x: (
            -(1 + t) * (x[0] - 2 * t) ** 2 / 2
            - (1 + 2 * t) * x[1] ** 2 / 2
            - t * x[1] ** 4 / 10
        )

    def around(t: Scalar) -> LogDensityFn:
        centre = 1.5 * jnp.stack([jnp.sin(2.5 * t), 1 - jnp.cos(2.5 * t)])
        return lambda x: -(1 + t) * jnp.sum((x - centre) ** 2) / 2

    number = settings.num_walkers
    keys = jax.random.split(jax.random.key(3), 6)
    noise = jax.random.normal(keys[0], (2, 3 * number))
    y = noise[1] / jnp.sqrt(3.0)
    y = y[jnp.log(jax.random.uniform(keys[1], y.shape)) < -(y**4) / 10][:number]
    last = jnp.stack([2 + noise[0, : len(y)] / jnp.sqrt(2.0), y], axis=1)
    grid = np.linspace(-8, 8, 20_001)
    density = np.exp(-3 * grid**2 / 2 - grid**4 / 10)
    log_z = np.log(np.sqrt(np.pi) * np.trapezoid(density, grid)) - np.log(2 * np.pi)
    first = jax.random.normal(keys[2], (number, 2))
    times = jnp.linspace(0, 1, 21)[1:]

    def judge(
        key: jax.Array, move: Move, path: annealing.Path, last: jax.Array
    ) -> free_energy.FreeEnergy:
        work = annealing.work(key, first, last, path, times, Dynamics(move))
        return free_energy.estimate(*work)

    uneven = magnetic.as_move(0.25, 0.3, lambda x: 1 + x[1] ** 2, reversal=MIRROR)
    at_same = judge(keys[3], uneven, path, last)
    # Round a bend there is no reversal at one field: the field has to be turned.
    end = 1.5 * jnp.array([jnp.sin(2.5), 1 - jnp.cos(2.5)])
    around_last = end + jax.random.normal(keys[4], (number, 2)) / jnp.sqrt(2.0)
    turned = judge(keys[5], magnetic.as_move(0.25, 0.3, 2.0), around, around_last)
    plain = magnetic.as_move(0.25, 0.3, 2.0, reversal=np.eye(2))
    control = judge(keys[5], plain, around, around_last)
    return {
        "same": np.asarray(at_same.bar),
        "same_slope": np.asarray(at_same.slope),
        "same_exact": np.asarray(-log_z),
        "turned": np.asarray(turned.bar),
        "turned_exact": np.log(2.0),
        "control": np.asarray(control.bar),
        "num_doubts": np.array([len(f.doubts) for f in (at_same, turned, control)]),
    }
