"""Three resampling schemes at three pre-specified lags (Figure 4.6)."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.harness import drawing
from benchmarks.harness.tables import Results
from benchmarks.studies.gaussian_mixture.report import Row
from benchmarks.studies.gaussian_mixture.runs import Sizes, never_resampled, stack, train
from benchmarks.studies.gaussian_mixture.settings import Settings
from benchmarks.studies.gaussian_mixture.variants import RATES, STEP_SIZE, speed
from jarzynski_jax import training, walkers
from jarzynski_jax.resampling import adaptive, multinomial, stratified, systematic
from jarzynski_jax.training import Objective, TrainingState
from jarzynski_jax.types import Array, PRNGKey, Resampler
from jarzynski_jax.walkers import Dynamics

SCHEMES = {"multinomial": multinomial, "stratified": stratified, "systematic": systematic}


def names(settings: Settings) -> list[str]:
    return [f"lag_{scheme}" for scheme in SCHEMES]


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    """Run one scheme at all lags; arrays of shape ``(lags, seeds, R)`` and the lags."""
    resampler = SCHEMES[name.removeprefix("lag_")]
    sizes = Sizes(
        settings.dimension,
        num_walkers=settings.num_lag_walkers,
        num_held_out=None,
        num_data=settings.num_lag_walkers,
        num_updates=settings.num_lag_updates,
        stride=settings.stride,
    )
    rates = RATES.times(speed(settings.num_lag_updates))
    never = never_resampled(STEP_SIZE)

    @jax.jit
    def train_once(rng_key: PRNGKey, lag: Array) -> Any:
        build = partial(resampled_every, lag=lag, resampler=resampler)
        return train(rng_key, build, never, rates, sizes)

    keys = [jax.random.key(seed) for seed in range(settings.num_lag_seeds)]
    found = [stack([train_once(key, lag) for key in keys]) for lag in settings.lags]
    stacked = {field: np.stack([runs[field] for runs in found]) for field in found[0]}
    return {"lags": np.array(settings.lags), **stacked}


def resampled_every(
    energy_fn: Callable,
    optimizer: Any,
    dynamics: Dynamics,
    lag: Array,
    resampler: Resampler,
) -> Objective:
    """Jarzynski training that resamples at every ``lag``-th update, whatever the weights."""
    objective = training.jarzynski(energy_fn, optimizer, dynamics)
    always = adaptive(resampler, 1.0)

    def step(rng_key: PRNGKey, state: TrainingState, batch: Any) -> tuple[TrainingState, Any]:
        key_step, key_resample = jax.random.split(rng_key)
        state, metrics = objective.step(key_step, state, batch)
        is_due = state.step % lag == 0
        ensemble = jax.lax.cond(
            is_due,
            lambda ensemble: walkers.resample(key_resample, ensemble, always)[0],
            lambda ensemble: ensemble,
            state.walkers,
        )
        return state._replace(walkers=ensemble), metrics._replace(is_resampled=is_due)

    return objective._replace(step=step)


def draw(results: Results, folder: Path) -> None:
    figure, axes = drawing.panels(3, 2, sharex=True, sharey="row")
    for column, scheme in enumerate(SCHEMES):
        runs = results[f"lag_{scheme}"]
        num_seeds = runs["mass"].shape[1]
        for index, lag in enumerate(runs["lags"]):
            update, style = runs["update"][0, 0], drawing.STYLES[index]
            mean, deviation = (
                runs["mass"][index].mean(axis=0),
                runs["mass"][index].std(axis=0, ddof=1),
            )
            axes[0, column].plot(update, mean, **style, label=f"every {lag} updates")
            axes[1, column].plot(update, deviation / np.sqrt(num_seeds), **style)
        data = runs["mass_of_data"].mean()
        axes[0, column].axhline(data, color="0.0", linewidth=0.6, label="data")
        axes[0, column].set_title(scheme)
        axes[1, column].set(xlabel="update")
    axes[0, 0].set(ylabel="p, mass of the mode at a")
    axes[1, 0].set(ylabel=f"standard error of p over {num_seeds} seeds")
    axes[0, 0].legend(fontsize=8)
    drawing.save(figure, folder, "figure_4_6_resamplers")


def _spread(runs: dict[str, np.ndarray], index: int) -> np.ndarray:
    """How far each seed is from the mean over seeds, root mean square over training.

    Of p - p_data: seeds have data of their own, and what is asked for is the spread that the
    walkers make.
    """
    error = runs["mass"][index] - runs["mass_of_data"][index]
    return np.sqrt(np.mean(np.square(error - error.mean(axis=0)), axis=1))


def rows(results: Results) -> list[Row]:
    found = []
    for index, lag in enumerate(results["lag_systematic"]["lags"]):
        spreads = {scheme: _spread(results[f"lag_{scheme}"], index) for scheme in SCHEMES}
        smallest = min(SCHEMES, key=lambda scheme: np.mean(spreads[scheme]))
        for scheme in SCHEMES:
            row = partial(Row, f"4.6: {scheme}, every {lag} updates")
            runs = results[f"lag_{scheme}"]
            error = (runs["mass"] - runs["mass_of_data"])[index, :, -1]
            quantity = "deviation of p - p_data from its mean over seeds, rms over training"
            found.append(row("p - p_data at the end", "", error))
            if scheme == "systematic":
                is_smallest = smallest == scheme
                found.append(row(quantity, "the smallest", spreads[scheme], is_smallest))
            else:
                found.append(row(quantity, "", spreads[scheme]))
    return found
