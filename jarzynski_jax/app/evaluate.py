"""The likelihood of a run's model: log Z from both sides, on test data, beside baselines."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from jarzynski_jax import free_energy
from jarzynski_jax.app import baselines, plotting
from jarzynski_jax.app.config import read_config
from jarzynski_jax.app.model import Keys, entropy_floor
from jarzynski_jax.app.report import Evaluation, Moves, Report, read_report
from jarzynski_jax.app.restore import Run, restore
from jarzynski_jax.app.run_folder import ResultFiles, RunFolder, write_json
from jarzynski_jax.app.shares import Shares, find_shares
from jarzynski_jax.data import noise
from jarzynski_jax.energies import denoising
from jarzynski_jax.progress import show_fraction
from jarzynski_jax.training.bounding import (
    Annealing,
    Bounding,
    bound_from_base,
    check_annealing,
)

__all__ = ["denoiser", "evaluate", "finish", "settings_of"]

_NUM_NOISE_COPIES = 20
# Full covariances of many features take long to fit, and many data.
_MANY_COMPONENTS, _MANY_FEATURES = (1, 2, 3, 5, 7, 10, 15, 20, 30), 100
_FEW_COMPONENTS = (1, 5, 10, 20, 50)


def settings_of(
    folder: RunFolder,
    steps: int | None = None,
    walkers: int | None = None,
    replicates: int | None = None,
) -> Annealing:
    """Return how log Z of a run is bounded, each number as the run was started with if None.

    ValueError if the folder holds no run, or a setting is not positive.
    """
    given = {"steps": steps, "walkers": walkers, "replicates": replicates}
    changes = {name: value for name, value in given.items() if value is not None}
    settings = read_config(folder).annealing._replace(**changes)
    check_annealing(settings)
    return settings


def finish(folder: RunFolder, annealing_steps: int | None = None) -> Evaluation:
    """Bound the likelihood of a run that was trained to its end, once, in ``report.json``.

    If that is there already it is read, unless ``annealing_steps`` other than those of the run
    are asked for: then this is one more evaluation. ValueError as :func:`evaluate`, or if
    ``report.json`` is no report.
    """
    files = ResultFiles(folder.report, folder.samples)
    report = read_report(folder)
    settings = settings_of(folder, annealing_steps)
    if report is None:
        return _evaluate(folder, settings, None, lambda: files)
    if annealing_steps in (None, report.annealing.steps):
        return Evaluation(report, files)
    return evaluate(folder, settings)


def evaluate(folder: RunFolder, settings: Annealing, update: int | None = None) -> Evaluation:
    """Bound the likelihood of a run's model, compare, and write report and picture.

    They are new files beside those of the run: ``evaluation-1.json`` and ``evaluation-1.png``,
    or with the next number that is free. ``update`` is that of a kept checkpoint, None for the
    last one. ValueError as :func:`~jarzynski_jax.app.restore.restore`, or if a setting is not
    positive.
    """
    return _evaluate(folder, settings, update, folder.new_evaluation)


def _evaluate(
    folder: RunFolder,
    settings: Annealing,
    update: int | None,
    choose_files: Callable[[], ResultFiles],
) -> Evaluation:
    check_annealing(settings)
    run = restore(folder, update)
    bounds = _bound(run, settings).bounds
    parts = _standard_parts(run)
    energies = _test_energies(run, parts.test)
    bracket = free_energy.bracket(energies, bounds, _floor(run))
    # End points of a replicate whose walkers all died are copies of one point.
    end_points = bounds.end_points[np.isfinite(bounds.forward)]
    baseline = _baselines(run, parts)
    log_z = bracket.upper - float(np.mean(energies))
    report = Report(
        model=bracket,
        gaussian=float(baseline.gaussian.mean()) + run.model.problem.log_volume,
        mixture=float(baseline.mixture.mean()),
        num_components=baseline.num_components,
        most_components=baseline.most_components,
        mixture_difference=_mean_and_error(baseline.mixture - energies, log_z),
        noise=_floor(run),
        num_test=len(parts.test),
        updates=int(run.state.step),
        log_volume=run.model.problem.log_volume,
        annealing=settings,
        moves=Moves.of(run.config),
        shares=_shares(run, parts, end_points),
    )
    # Chosen at the end, for another evaluation may have ended in the meantime.
    files = choose_files()
    if len(end_points):
        _draw_samples(run, parts, end_points, files)
    write_json(files.report, report)
    return Evaluation(report, files)


def _bound(run: Run, settings: Annealing) -> Bounding:
    # Forward, backward and backward from relaxed samples.
    num_steps = 3 * settings.replicates * settings.steps
    with show_fraction("bounding log Z", num_steps) as progress:
        return bound_from_base(
            Keys.of(run.config.seed).evaluation,
            run.model.problem.base,
            run.model.energy_fn,
            run.state.params,
            run.model.problem.to_positions(run.data.samples.train),
            run.config.noise,
            run.model.annealing,
            settings,
            progress=progress,
        )


class _Parts(NamedTuple):
    """In standard coordinates; those of test with their noise, shape ``(m, copies, ...)``."""

    train: np.ndarray
    test: np.ndarray


def _standard_parts(run: Run) -> _Parts:
    train, test = map(run.model.problem.to_standard, run.data.samples)
    noisy = noise.add_noise(test, run.config.noise, _NUM_NOISE_COPIES, run.config.seed)
    return _Parts(train, noisy)


def _test_energies(run: Run, test: np.ndarray) -> np.ndarray:
    """Energy of each test sample in the units of the data, the mean over its copies."""
    energies = jax.jit(jax.vmap(jax.vmap(run.model.energy_fn, (None, 0)), (None, 0)))
    found = np.asarray(energies(run.state.params, run.model.problem.rotate(test)))
    return found.mean(axis=1) + run.model.problem.log_volume


def _floor(run: Run) -> float | None:
    floor = entropy_floor(run.config, run.model.problem)
    return None if floor is None else floor + run.model.problem.log_volume


class _Baselines(NamedTuple):
    """Cross entropy of each test sample: of one Gaussian in standard coordinates."""

    gaussian: np.ndarray
    mixture: np.ndarray
    num_components: int
    most_components: int


def _baselines(run: Run, parts: _Parts) -> _Baselines:
    train = parts.train.reshape(len(parts.train), -1)
    test = parts.test.reshape(*parts.test.shape[:2], -1)
    is_small = train.shape[1] <= _MANY_FEATURES
    candidates = _MANY_COMPONENTS if is_small else _FEW_COMPONENTS
    print("fitting mixtures of Gaussians, to compare ...", flush=True)
    mixture, num_components = baselines.mixture_cross_entropy(
        train, test, run.config.noise, candidates, run.config.seed
    )
    return _Baselines(
        baselines.gaussian_cross_entropy(train, test, run.config.noise),
        mixture + run.model.problem.log_volume,
        num_components,
        max(candidates),
    )


def _mean_and_error(paired: np.ndarray, less: float) -> tuple[float, float]:
    return (
        float(paired.mean()) - less,
        float(np.std(paired, ddof=1) / math.sqrt(len(paired))),
    )


def _shares(run: Run, parts: _Parts, end_points: np.ndarray) -> Shares | None:
    labels = run.data.labels
    if labels is None or len(np.unique(labels.train)) < 2 or not len(end_points):
        return None
    return find_shares(
        *(parts.train, labels.train, parts.test, labels.test),
        run.model.problem.rotate_back(end_points),
        run.config.noise,
        run.config.seed,
    )


def _draw_samples(run: Run, parts: _Parts, end_points: np.ndarray, files: ResultFiles) -> None:
    flat = end_points.reshape(-1, *end_points.shape[2:])
    shuffled = np.random.default_rng(0).permutation(flat)
    plotting.plot_samples(
        run.model.problem.from_standard(parts.test[:, 0]),
        run.model.problem.to_samples(shuffled),
        files.picture,
        denoiser(run),
    )


def denoiser(run: Run) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return what takes samples to the mean of the data given them; None without noise."""
    if run.config.noise == 0:
        return None

    def denoise(samples: np.ndarray) -> np.ndarray:
        problem = run.model.problem
        positions = np.asarray(problem.to_positions(samples))
        mean = denoising.posterior_mean(
            run.model.energy_fn, run.state.params, positions, run.config.noise
        )
        return problem.to_samples(mean)

    return denoise
