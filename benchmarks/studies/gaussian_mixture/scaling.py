"""Where it stops holding: errors of log Z and of p against N, the speed of training, and d.

The same training as in 50 dimensions, of the same path length, with one thing varied. log Z
as the training walkers have it, to which the model reacts, and as many held-out ones; and
the model's p against the data's.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.harness import drawing
from benchmarks.harness.tables import Results
from benchmarks.studies.gaussian_mixture.report import Row
from benchmarks.studies.gaussian_mixture.runs import Sizes, stack, train
from benchmarks.studies.gaussian_mixture.settings import Settings
from benchmarks.studies.gaussian_mixture.variants import NUM_UPDATES, RATES, STEP_SIZE, speed
from jarzynski_jax import training
from jarzynski_jax.formatting import format_with_error, two_digits
from jarzynski_jax.walkers import langevin

_LABELS = {
    "walkers": "N, walkers",
    "speed": "learning rate (the thesis' is 1)",
    "dimension": "d, dimensions",
}
_SOURCES = {
    "training": "log Z of training walkers (nats)",
    "held_out": "log Z of held-out walkers (nats)",
    "mass": "p of the model",
}


def _cases(settings: Settings) -> dict[str, Sizes]:
    base = Sizes(
        settings.dimension,
        settings.num_scaling_walkers,
        settings.num_scaling_walkers,
        settings.num_scaling_walkers,
        settings.num_scaling_updates,
        settings.stride,
    )
    return {
        **{
            f"walkers_{number}": base._replace(num_walkers=number, num_held_out=number)
            for number in settings.scaling_walkers
        },
        **{
            f"speed_{number}": base._replace(num_updates=number)
            for number in settings.scaling_updates
        },
        **{
            f"dimension_{number}": base._replace(dimension=number)
            for number in settings.scaling_dimensions
        },
    }


def names(settings: Settings) -> list[str]:
    return list(_cases(settings))


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    """Train once a seed; arrays of shape ``(seeds, R)``."""
    sizes = _cases(settings)[name]
    rates = RATES.times(speed(sizes.num_updates))
    dynamics = langevin(STEP_SIZE)
    train_once = jax.jit(lambda key: train(key, training.jarzynski, dynamics, rates, sizes))
    return stack(
        [train_once(jax.random.key(seed)) for seed in range(settings.num_scaling_seeds)]
    )


def _errors(runs: dict[str, np.ndarray], source: str) -> np.ndarray:
    """Errors over the last quarter of training, shape ``(seeds, R/4)``."""
    if source == "mass":
        error = runs["mass"] - runs["mass_of_data"]
    else:
        error = runs[f"divergence_of_{source}"] - runs["divergence"]
    return error[:, -max(1, error.shape[1] // 4) :]


def _rms(errors: np.ndarray, seeds: np.ndarray | slice = slice(None)) -> float:
    return float(np.sqrt(np.mean(np.square(errors[seeds]))))


def _sweep(results: Results, kind: str) -> tuple[np.ndarray, list[dict[str, np.ndarray]]]:
    """What was varied, ascending, and the runs."""
    found = {
        int(name.removeprefix(f"{kind}_")): runs
        for name, runs in results.items()
        if name.startswith(f"{kind}_")
    }
    x = np.array(sorted(found), np.float64)
    runs = [found[int(number)] for number in x]
    # Twice the updates are half the speed.
    return (NUM_UPDATES / x[::-1], runs[::-1]) if kind == "speed" else (x, runs)


def _exponent(
    x: np.ndarray, errors: Sequence[np.ndarray], num_resamples: int = 200
) -> tuple[float, float]:
    """Slope of log rms error over log x, and its standard error by the bootstrap over seeds."""
    rng = np.random.default_rng(0)
    num_seeds = len(errors[0])

    def slope(*seeds: Any) -> float:
        values = [_rms(error, *seeds) for error in errors]
        return float(np.polyfit(np.log(x), np.log(values), 1)[0])

    resampled = [slope(rng.integers(0, num_seeds, num_seeds)) for _ in range(num_resamples)]
    return slope(), float(np.std(resampled))


def draw(results: Results, folder: Path) -> None:
    figure, axes = drawing.panels(len(_LABELS), sharey=True)
    for axis, (kind, label) in zip(axes, _LABELS.items(), strict=True):
        x, runs = _sweep(results, kind)
        for source, marker, style in zip(
            _SOURCES, drawing.MARKERS, drawing.STYLES[::2], strict=False
        ):
            errors = [_errors(run, source) for run in runs]
            exponent, error = _exponent(x, errors)
            axis.plot(
                x,
                [_rms(error) for error in errors],
                marker=marker,
                **style,
                label=f"{_SOURCES[source]}: exponent {format_with_error(exponent, error)}",
            )
        axis.set(xlabel=label, xscale="log", yscale="log")
        axis.legend(fontsize=7)
    axes[0].set(ylim=(5e-3, 100))  # room for the legends
    axes[0].set(ylabel="rms error over the last quarter of training")
    drawing.save(figure, folder, "log_z_error")


def rows(results: Results) -> list[Row]:
    rows = []
    for kind, label in _LABELS.items():
        x, runs = _sweep(results, kind)
        for source, name in _SOURCES.items():
            errors = [_errors(run, source) for run in runs]
            row = partial(Row, f"{name} against {label}")
            for value, error in zip(x, errors, strict=True):
                quantity = f"mean error over the last quarter at {value:.4g}"
                rows.append(row(quantity, "", error.mean(axis=1)))
            exponent, uncertainty = _exponent(x, errors)
            spread = two_digits(uncertainty)
            quantity = f"exponent of the rms error (± {spread} by the bootstrap)"
            rows.append(row(quantity, "", [exponent]))
    return rows
