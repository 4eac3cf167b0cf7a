r"""One dimension, only z learned: each algorithm beside the equation for it (thesis, §4.2).

Modes at ∓5, mass 0.25 at a. Time is the number of updates times the learning rate; the
walkers' time runs at the rate α = h / (learning rate).
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.integrate import solve_ivp

from benchmarks.harness import drawing
from benchmarks.harness.tables import Results
from benchmarks.studies.gaussian_mixture.model import TARGET_MASS
from benchmarks.studies.gaussian_mixture.report import Row
from benchmarks.studies.gaussian_mixture.runs import never_resampled
from benchmarks.studies.gaussian_mixture.settings import Settings
from jarzynski_jax import training
from jarzynski_jax.energies import mixture
from jarzynski_jax.types import Array, Params, PRNGKey

STEP_SIZE = 0.05
RATE = 0.05
Z_STAR = np.log(TARGET_MASS / (1 - TARGET_MASS))
_STRIDE = 10
_MODES = {"a": jnp.array([-5.0]), "b": jnp.array([5.0])}

#: Until when the equations are meant to hold: |z| stays moderate (thesis, eq. 4.2.21).
VALID_UNTIL = 20.0


def energy(z: Params, x: Array) -> Array:
    return mixture.energy({**_MODES, "z": z}, x)


def logit(q: np.ndarray | float) -> np.ndarray:
    """The z whose mass at b is q = e^{-z} / (1 + e^{-z})."""
    return np.log1p(-q) - np.log(q)


# Right-hand sides of the equations; q_star and q_start are shares near b of the data and of
# the first walkers.


def _jarzynski(
    t: float, z: np.ndarray, q_star: float, q_start: float
) -> np.ndarray:  # eq. 4.2.12
    lifted = q_start * np.exp(-z)
    return lifted / (1 - q_start + lifted) - q_star


def _unweighted(
    t: float, z: np.ndarray, q_star: float, q_start: float
) -> np.ndarray:  # eq. 4.2.9
    return np.full_like(z, q_start - q_star)


def _nothing(
    t: float, z: np.ndarray, q_star: float, q_start: float
) -> np.ndarray:  # 4.2.10, 4.2.11
    return np.zeros_like(z)


def _ideal(t: float, z: np.ndarray, q_star: float, q_start: float) -> np.ndarray:  # eq. 4.2.19
    q = 1 / (1 + np.exp(z))
    return q - (1 - TARGET_MASS)


class Case(NamedTuple):
    """An algorithm, the equation that it should follow, and where its walkers start."""

    label: str
    build: Callable
    equation: Callable
    starts_at_data: bool = False


CASES = {
    "jarzynski": Case("Jarzynski", training.jarzynski, _jarzynski),
    "unweighted": Case("unweighted", training.unweighted, _unweighted),
    # Not random members of the data are its first walkers but all, as in eq. 4.2.10: it is the
    # unweighted walk, started at the data.
    "pcd": Case("PCD from all data", training.unweighted, _nothing, starts_at_data=True),
    "cd": Case("CD", training.contrastive_divergence, _nothing),
    "score_matching": Case("score matching", training.score_matching, _nothing),
    "hutchinson": Case(  # in one dimension it is the exact Laplacian
        "score matching, Hutchinson", partial(training.score_matching, num_probes=1), _nothing
    ),
}


def names(settings: Settings) -> list[str]:
    return [*(f"line_{name}" for name in CASES), "line_shift"]


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    """Run one algorithm for all seeds; z of shape ``(seeds, R)`` and the shares near b."""
    name = name.removeprefix("line_")
    if name == "shift":
        # Few walkers, so that the shift is large; no resampling, as in the equation.
        case, num_seeds, num_walkers = (
            CASES["jarzynski"],
            settings.num_shift_seeds,
            settings.num_line_walkers // 10,
        )
    else:
        case, num_seeds, num_walkers = (
            CASES[name],
            settings.num_seeds,
            settings.num_line_walkers,
        )
    simulate_once = jax.jit(
        lambda key: _simulate(key, case, num_walkers, settings.num_line_updates)
    )
    runs = [simulate_once(jax.random.key(seed)) for seed in range(num_seeds)]
    fields = ("z", "q_star", "q_start")
    return {
        field: np.stack([np.asarray(values) for values in column])
        for field, column in zip(fields, zip(*runs, strict=True), strict=True)
    }


def _simulate(
    rng_key: PRNGKey, case: Case, num_walkers: int, num_updates: int
) -> tuple[Array, Array, Array]:
    key_data, key_start, key_init, key_steps = jax.random.split(rng_key, 4)
    data = mixture.sample(key_data, {**_MODES, "z": jnp.array(Z_STAR)}, num_walkers)
    z = jnp.array(0.0)
    start = mixture.sample(key_start, {**_MODES, "z": z}, num_walkers)
    objective = case.build(energy, optax.sgd(RATE), never_resampled(STEP_SIZE))
    log_z = mixture.log_partition_function({**_MODES, "z": z})
    state = objective.init(key_init, z, data if case.starts_at_data else start, data, log_z)

    def update(state: Any, keys: PRNGKey) -> tuple[Any, Array]:
        z = state.params
        state, _ = jax.lax.scan(
            lambda state, key: (objective.step(key, state, data)[0], None), state, keys
        )
        return state, z

    keys = jax.random.split(key_steps, num_updates).reshape(-1, _STRIDE)
    z = jax.lax.scan(update, state, keys)[1]
    return z, jnp.mean(data > 0), jnp.mean(start > 0)


def _time(runs: dict[str, np.ndarray]) -> np.ndarray:
    return np.arange(runs["z"].shape[1]) * _STRIDE * RATE


def _solve(equation: Callable, runs: dict[str, np.ndarray], until: float) -> np.ndarray:
    """Solve the equation with each seed's shares, shape ``(seeds, times)``."""
    time = _time(runs)
    time = time[time <= until]
    shares = zip(runs["q_star"], runs["q_start"], strict=True)
    return np.stack(
        [
            solve_ivp(
                equation, (0, time[-1]), [0.0], t_eval=time, args=share, rtol=1e-8, atol=1e-8
            ).y[0]
            for share in shares
        ]
    )


def draw(results: Results, folder: Path) -> None:
    figure, axes = drawing.panels(3, 2)
    _draw_learning(results, axes[0, 0])
    _draw_long(results["line_unweighted"], axes[0, 1])
    _draw_shift(results["line_shift"], axes[0, 2])
    for axis, name in zip(axes[1], ("pcd", "cd", "score_matching"), strict=True):
        _draw_no_learning(results, axis, name)
    drawing.save(figure, folder, "section_4_2_one_dimension")


def _draw_learning(results: Results, axis: Any) -> None:
    runs = results["line_jarzynski"]
    time = _time(runs)
    drawing.plot_mean_and_range(axis, time, runs["z"], drawing.STYLES[1], "simulated")
    equation = _solve(_jarzynski, runs, time[-1]).mean(axis=0)
    axis.plot(time, equation, **drawing.STYLES[2], label="eq. 4.2.12")
    ideal = _solve(_ideal, runs, time[-1])[0]
    axis.plot(time, ideal, **drawing.STYLES[3], label="eq. 4.2.19, ideal")
    axis.axhline(Z_STAR, color="0.0", linewidth=0.6, label="z*")
    axis.set(xlabel="time (updates × learning rate)", ylabel="z", title="Jarzynski")
    axis.legend(fontsize=8)


def _draw_long(runs: dict[str, np.ndarray], axis: Any) -> None:
    time = _time(runs)
    for z in runs["z"]:
        axis.plot(time, z, color="0.55", linewidth=1)
    drift = _solve(_unweighted, runs, time[-1]).mean(axis=0)
    axis.plot(time, drift, **drawing.STYLES[2], label="eq. 4.2.9: linear drift")
    axis.set(xlabel="time (updates × learning rate)", ylabel="z", title="unweighted, long")
    axis.set(ylim=(1.3 * runs["z"].min(), 1.3 * max(runs["z"].max(), 1.0)))
    axis.legend(fontsize=8)


def _draw_shift(runs: dict[str, np.ndarray], axis: Any) -> None:
    predicted, found = _fixed_points(runs)
    axis.plot(predicted, found, "o", color="0.3", markersize=4, label="one seed each")
    ends = np.array([predicted.min(), predicted.max()])
    axis.plot(ends, ends, color="0.0", linewidth=0.8, label="equal")
    axis.set(xlabel="ẑ* + log(q̂(0)/p̂(0)), eq. 4.2.13", ylabel="z at rest, 30 < t ≤ 60")
    axis.set_title("Jarzynski's fixed point, few walkers")
    axis.legend(fontsize=8)


def _draw_no_learning(results: Results, axis: Any, name: str) -> None:
    runs = results[f"line_{name}"]
    drawing.plot_mean_and_range(axis, _time(runs), runs["z"], drawing.STYLES[1], "simulated")
    if name == "score_matching":
        other = results["line_hutchinson"]
        mean = other["z"].mean(axis=0)
        axis.plot(_time(other), mean, **drawing.STYLES[3], label="Hutchinson")
    axis.axhline(0, **drawing.STYLES[2], label="no learning: z = 0")
    axis.axhline(Z_STAR, color="0.0", linewidth=0.6, label="z*")
    axis.set(xlabel="time (updates × learning rate)", ylabel="z", title=CASES[name].label)
    axis.set(ylim=(-1.3, 0.5))
    axis.legend(fontsize=8)


def _fixed_points(runs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Predicted by eq. 4.2.13, and found: z averaged where eq. 4.2.12 has come to rest."""
    q_start = runs["q_start"]
    predicted = logit(runs["q_star"]) + np.log(q_start / (1 - q_start))
    time = _time(runs)
    is_late = (time > 30) & (time <= 60)
    return predicted, runs["z"][:, is_late].mean(axis=1)


def rows(results: Results) -> list[Row]:
    found = []
    for name, case in CASES.items():
        runs = results[f"line_{name}"]
        expected = _solve(case.equation, runs, VALID_UNTIL)
        simulated = runs["z"][:, : expected.shape[1]]
        distance = np.abs(simulated - expected).max(axis=1)
        row = partial(Row, f"4.2: {case.label}")
        quantity = f"greatest |z - equation| until t = {VALID_UNTIL:.0f}"
        found.append(row(quantity, "≤ 0.02", distance, np.all(distance <= 0.02)))
        found.append(row(f"z at t = {VALID_UNTIL:.0f}", "", simulated[:, -1]))
    predicted, fixed = _fixed_points(results["line_shift"])
    # Both have a spread of their own; only what the prediction explains counts.
    slope = np.polyfit(predicted - Z_STAR, fixed - Z_STAR, 1)[0]
    residual = fixed - predicted
    row = partial(Row, "4.2: Jarzynski's finite-sample shift")
    correlation = np.corrcoef(predicted, fixed)[0, 1]
    return [
        *found,
        row("predicted fixed point - z*, eq. 4.2.13", "", predicted - Z_STAR),
        row("z at rest - predicted fixed point", "", residual),
        row("slope of z at rest over the prediction", "1", [slope], abs(slope - 1) < 0.2),
        row("correlation with the prediction", "", [correlation]),
    ]
