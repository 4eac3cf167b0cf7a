"""What the weights mend in unadjusted Langevin: the time step's bias, and lagging behind.

The bias is that of Example 3 (thesis, eq. 2.3.16); the walkers that lag behind those of its
Figure 3.1.
"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import drawing
from benchmarks.harness.statistics import mean_and_error
from benchmarks.harness.tables import Results
from benchmarks.studies.gaussian_mixture.report import Row
from benchmarks.studies.gaussian_mixture.runs import never_resampled
from benchmarks.studies.gaussian_mixture.settings import Settings
from jarzynski_jax import walkers, weights
from jarzynski_jax.types import Array, PRNGKey
from jarzynski_jax.walkers import Walkers, advance

#: Stiffness 1, so h is in units of the variance. At h = 1 the weights' variance is infinite.
STEP_SIZES = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
NUM_STEPS = 100
#: The translated well: U = (x - vt)²/2, walkers with an h that is small beside its variance.
SPEED = 1.0
WELL_STEP_SIZE = 0.05
SNAPSHOTS = (0.0, 0.5, 1.0, 2.0)


def names(settings: Settings) -> list[str]:
    return ["langevin_bias", "translated_well"]


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    simulate = {"langevin_bias": _equilibrium, "translated_well": _translation}[name]
    simulate_once = jax.jit(partial(simulate, num_walkers=settings.num_langevin_walkers))
    runs = [simulate_once(jax.random.key(seed)) for seed in range(settings.num_seeds)]
    return {field: np.stack([np.asarray(found[field]) for found in runs]) for field in runs[0]}


def _equilibrium(rng_key: PRNGKey, num_walkers: int) -> dict[str, Array]:
    """Variances at a fixed target, from exact samples, without and with weights."""

    def at_step_size(inputs: tuple[PRNGKey, Array]) -> dict[str, Array]:
        key, step_size = inputs
        key_start, key_path = jax.random.split(key)
        dynamics = never_resampled(step_size)
        well = _well(0.0)
        x = jax.random.normal(key_start, (num_walkers,))
        ensemble = walkers.init(x, well, dynamics.kernel_init)
        ensemble, _ = jax.lax.scan(
            lambda ensemble, key: (advance(key, ensemble, well, dynamics)[0], None),
            ensemble,
            jax.random.split(key_path, NUM_STEPS),
        )
        square = jnp.square(ensemble.position)
        return {
            "unweighted": jnp.mean(square),
            "weighted": weights.weighted_mean(ensemble.log_weights, square),
            "effective_sample_size": weights.effective_sample_size(ensemble.log_weights),
        }

    keys = jax.random.split(rng_key, len(STEP_SIZES))
    return jax.lax.map(at_step_size, (keys, jnp.array(STEP_SIZES)))


def _well(centre: Array | float) -> Callable[[Array], Array]:
    return lambda x: -jnp.square(x - centre) / 2


def _translation(rng_key: PRNGKey, num_walkers: int) -> dict[str, Array]:
    """Walkers behind a moving well: means and histograms, without and with weights."""
    key_start, key_path = jax.random.split(rng_key)
    dynamics = never_resampled(WELL_STEP_SIZE)
    start = jax.random.normal(key_start, (num_walkers,))
    ensemble = walkers.init(start, _well(0.0), dynamics.kernel_init)
    num_steps = round(SNAPSHOTS[-1] / WELL_STEP_SIZE)

    def step(ensemble: Walkers, inputs: tuple[PRNGKey, Array]) -> tuple[Walkers, dict]:
        key, time = inputs
        ensemble, _ = advance(key, ensemble, _well(SPEED * time), dynamics)
        return ensemble, _see(ensemble)

    times = WELL_STEP_SIZE * jnp.arange(1, num_steps + 1)
    keys = jax.random.split(key_path, num_steps)
    seen = jax.lax.scan(step, ensemble, (keys, times))[1]
    first = _see(ensemble)
    return {field: jnp.concatenate([first[field][None], seen[field]]) for field in first}


BINS = np.linspace(-4, 6, 51)


def _see(ensemble: Walkers) -> dict[str, Array]:
    x, share = ensemble.position, weights.normalize(ensemble.log_weights)
    width = BINS[1] - BINS[0]
    return {
        "unweighted_mean": jnp.mean(x),
        "weighted_mean": weights.weighted_mean(ensemble.log_weights, x),
        "log_partition_function": walkers.log_partition_function(ensemble),
        "effective_sample_size": weights.effective_sample_size(ensemble.log_weights),
        "unweighted_density": jnp.histogram(x, BINS)[0] / x.size / width,
        "weighted_density": jnp.histogram(x, BINS, weights=share)[0] / width,
    }


def draw(results: Results, folder: Path) -> None:
    _draw_bias(results["langevin_bias"], folder)
    _draw_well(results["translated_well"], folder)


def _draw_bias(found: dict[str, np.ndarray], folder: Path) -> None:
    figure, (left, right) = drawing.panels(2)
    h = np.linspace(0, 0.85, 100)
    left.plot(h, 1 / (1 - h / 2), **drawing.STYLES[2], label="eq. 2.3.16: 1/(1 - h/2)")
    left.axhline(1, color="0.0", linewidth=0.8, label="target: 1")
    for name, marker in (("unweighted", "s"), ("weighted", "o")):
        mean, spread = found[name].mean(axis=0), found[name].std(axis=0, ddof=1)
        left.errorbar(
            STEP_SIZES, mean, 2 * spread, fmt=marker, color="0.3", label=name, capsize=3
        )
    right.plot(STEP_SIZES, found["effective_sample_size"].mean(axis=0), "o-", color="0.0")
    left.set(xlabel="h (variance of the target)", ylabel="variance of the walkers")
    right.set(xlabel="h (variance of the target)", ylabel="ESS (fraction of N)", ylim=(0, 1))
    left.legend(fontsize=8)
    drawing.save(figure, folder, "example_3_bias_of_the_time_step")


def _draw_well(found: dict[str, np.ndarray], folder: Path) -> None:
    figure, axes = drawing.panels(len(SNAPSHOTS), sharey=True)
    centres = (BINS[1:] + BINS[:-1]) / 2
    for axis, time in zip(axes, SNAPSHOTS, strict=True):
        index = round(time / WELL_STEP_SIZE)
        for name, style in (("unweighted", drawing.STYLES[1]), ("weighted", drawing.STYLES[0])):
            axis.step(centres, found[f"{name}_density"][0, index], where="mid", **style)
            axis.lines[-1].set_label(f"{name} walkers")
        exact = np.exp(-np.square(centres - SPEED * time) / 2) / math.sqrt(2 * math.pi)
        axis.plot(centres, exact, **drawing.STYLES[3], label="target")
        axis.set(xlabel="x", title=f"t = {time:g}")
    axes[0].set(ylabel="density")
    axes[0].legend(fontsize=8)
    drawing.save(figure, folder, "figure_3_1_translated_well")


def rows(results: Results) -> list[Row]:
    return [*_rows_of_bias(results["langevin_bias"]), *_rows_of_well(results)]


def _rows_of_bias(found: dict[str, np.ndarray]) -> list[Row]:
    rows = []
    for index, h in enumerate(STEP_SIZES):
        row = partial(Row, f"Example 3: h = {h:g}")
        biased, weighted = found["unweighted"][:, index], found["weighted"][:, index]
        ess = found["effective_sample_size"][:, index]
        stationary = 1 / (1 - h / 2)
        rows += [
            row(
                "variance, unweighted",
                f"{stationary:.4g}",
                biased,
                _is_consistent(biased, stationary),
            ),
            row("variance, weighted", "1", weighted, _is_consistent(weighted, 1.0)),
            row("ESS (fraction of N)", "", ess),
        ]
    return rows


def _is_consistent(values: np.ndarray, expected: float) -> bool:
    """Whether the mean over seeds is within 4 standard errors, or 8 for the few of `quick`."""
    mean, error = mean_and_error(values)
    return bool(abs(mean - expected) < (4 if len(values) > 4 else 8) * error)


def _rows_of_well(results: Results) -> list[Row]:
    found = results["translated_well"]
    time = SNAPSHOTS[-1]
    # With x' = x - h (x - v t_old) the mean falls behind by v (1 - (1 - h)^k) after k steps.
    num_steps = round(time / WELL_STEP_SIZE)
    lag = SPEED * (1 - (1 - WELL_STEP_SIZE) ** num_steps)
    row = partial(Row, f"3.1: well moved to {SPEED * time:g}")
    unweighted, weighted = found["unweighted_mean"][:, -1], found["weighted_mean"][:, -1]
    log_z = found["log_partition_function"][:, -1]
    ess = found["effective_sample_size"][:, -1]
    mean = SPEED * time - lag
    return [
        row(
            "mean, unweighted",
            f"{mean:.4g}",
            unweighted,
            _is_consistent(unweighted, mean),
        ),
        row("mean, weighted", f"{time:g}", weighted, _is_consistent(weighted, SPEED * time)),
        row("log Z/Z₀ (nats)", "0", log_z, _is_consistent(log_z, 0.0)),
        row("ESS (fraction of N)", "", ess),
    ]
