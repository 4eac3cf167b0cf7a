"""The experiment as tables and figures."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np

from benchmarks.harness import drawing
from benchmarks.harness.statistics import mean_and_error
from benchmarks.harness.tables import Results, markdown
from benchmarks.studies.mnist.problem import CLASSES
from benchmarks.studies.mnist.references import NAMES as REFERENCES
from benchmarks.studies.mnist.settings import Settings
from jarzynski_jax.formatting import format_with_error

LABELS = {
    "jarzynski": "weighted walkers",
    "pcd": "PCD",
    "unweighted": "weighted walk without its weights",
    "gaussian": "one Gaussian",
    "mixture": "best mixture of full Gaussians",
    "factors": "mixture of factor analysers, one a cluster of k-means",
    "coupling": "coupling flow",
    "flow": "masked autoregressive flow",
}
#: Whose shares of the classes are told.
ENSEMBLES = {
    "walker": "training walkers",
    "annealed": "annealed afresh",
    "relaxed": "relaxed from data",
}
MIXTURES = ("mixture", "factors")
_NUM_TEST_SHOWN = 64
# A cross entropy of one batch is too noisy to be compared.
_NUM_LAST_UPDATES = 100
# Beyond three standard errors a difference is not chance; a difference of this size is too much
# even if it is within its errors.
_NUM_STANDARD_ERRORS = 3
_TOO_FAR_APART = 0.1
_ON_AGREEMENT = (
    "Are the model's own shares known? Walkers annealed afresh and walkers relaxed from the "
    "data come to it from two sides. Total variation between their shares ± its standard error "
    "over replicates; where one has not reached the model, beyond "
    f"{_NUM_STANDARD_ERRORS} errors or {_TOO_FAR_APART}, they are NOT known, and where so many "
    "errors are more than that, nobody can tell. Crossed: the "
    "share of walkers relaxed from the data that after a quarter of the annealing's steps are "
    "classified otherwise than where they began (the classifier's own errors are in it):"
)
_ON_MARGIN = (
    "Total variation between shares of walkers and of test images, by seed: of walkers "
    "annealed afresh, what weighted ones gain in it over each rival, mean ± standard error "
    "over seeds, and of walkers relaxed from the data:"
)


def shares(arrays: dict[str, np.ndarray], ensemble: str) -> np.ndarray:
    """Share of each class, a mean over replicates where there are some."""
    return arrays[f"{ensemble}_shares"].reshape(-1, len(CLASSES)).mean(axis=0)


def share_error(arrays: dict[str, np.ndarray], ensemble: str) -> np.ndarray:
    """Relative error of each class's share, against the classifier's of the test images."""
    return shares(arrays, ensemble) / arrays["test_shares"] - 1


def distance_of_shares(arrays: dict[str, np.ndarray]) -> tuple[float, float]:
    """Total variation between annealed walkers and those relaxed from data; its error."""
    difference = shares(arrays, "annealed") - shares(arrays, "relaxed")
    replicates = arrays["annealed_shares"], arrays["relaxed_shares"]
    variances = sum(np.var(part, axis=0, ddof=1) / len(part) for part in replicates)
    return _total_variation(difference), float(np.sqrt(np.sum(variances)) / 2)


def distance_from_data(arrays: dict[str, np.ndarray], ensemble: str = "annealed") -> float:
    """Total variation between walkers and the test images, as classified."""
    return _total_variation(shares(arrays, ensemble) - arrays["test_shares"])


def _total_variation(difference: np.ndarray) -> float:
    return float(np.sum(np.abs(difference)) / 2)


def shortfall(arrays: dict[str, np.ndarray]) -> float:
    """Nats by which the training walkers' log Z is below the upper bound's, at the end."""
    of_training_images = float(arrays["upper"][0] - arrays["overfit"])
    return of_training_images - float(np.mean(arrays["cross_entropy"][-_NUM_LAST_UPDATES:]))


def bounds(arrays: dict[str, np.ndarray]) -> tuple[str, str]:
    """Bounds of the test cross entropy, with their standard errors."""
    return format_with_error(*arrays["lower"]), format_with_error(*arrays["upper"])


def _of(results: Results, algorithm: str, settings: Settings) -> list[dict[str, np.ndarray]]:
    return [results[f"{algorithm}_{seed}"] for seed in range(settings.num_seeds)]


def write_tables(results: Results, settings: Settings, folder: Path, preamble: str) -> None:
    """Write ``table.md``: shares, likelihoods, and the distance of features."""
    parts = [
        preamble,
        "Shares of the classes, means over seeds ± standard deviation, and relative errors:",
        markdown(("", *map(str, CLASSES), "relative error"), _share_rows(results, settings)),
        _ON_AGREEMENT,
        markdown(("", "apart by", "known", "crossed"), _agreement_rows(results, settings)),
        _ON_MARGIN,
        markdown(
            ("", "annealed afresh", "more than weighted", "relaxed from the data"),
            _margin_rows(results, settings),
        ),
        "Cross entropy of the test images with their noise, nats:",
        markdown(
            (
                "density",
                "lower bound",
                "upper bound",
                "the best mixture's less that",
                "relaxed alone",
                "of training images less of test images",
                "Fréchet",
                "doubts",
            ),
            [*_model_rows(results, settings), *_reference_rows(results, settings)],
        ),
    ]
    (folder / "table.md").write_text("\n\n".join(parts) + "\n")


def _share_rows(results: Results, settings: Settings) -> list[tuple[str, ...]]:
    first = results["jarzynski_0"]
    rows = [
        ("test images", *_shares(first["data_shares"]), ""),
        ("test images, as classified", *_shares(first["test_shares"]), ""),
    ]
    for algorithm in settings.algorithms:
        runs = _of(results, algorithm, settings)
        for ensemble, label in ENSEMBLES.items():
            found = np.array([shares(arrays, ensemble) for arrays in runs])
            spread = np.std(found, axis=0, ddof=1) if len(found) > 1 else None
            errors = [np.mean(np.abs(share_error(arrays, ensemble))) for arrays in runs]
            text = f"{np.mean(errors):.2f} (up to {np.max(errors):.2f})"
            name = f"{LABELS[algorithm]}, {label}"
            rows.append((name, *_shares(found.mean(axis=0), spread), text))
    return rows


def _shares(values: np.ndarray, spread: np.ndarray | None = None) -> tuple[str, ...]:
    if spread is None:
        return tuple(f"{value:.3f}" for value in values)
    return tuple(format_with_error(value, s) for value, s in zip(values, spread, strict=True))


def _agreement_rows(results: Results, settings: Settings) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for algorithm in settings.algorithms:
        for seed, arrays in enumerate(_of(results, algorithm, settings)):
            apart, error = distance_of_shares(arrays)
            label = f"{LABELS[algorithm]}, seed {seed}"
            rows.append(
                (
                    label,
                    format_with_error(apart, error),
                    _agreement(apart, error),
                    f"{np.mean(arrays['crossed']):.3f}",
                )
            )
    return rows


def _agreement(apart: float, error: float) -> str:
    tolerance = _NUM_STANDARD_ERRORS * error
    if apart > min(tolerance, _TOO_FAR_APART):
        return "NO"
    return "yes" if tolerance <= _TOO_FAR_APART else "too noisy"


def _margin_rows(results: Results, settings: Settings) -> list[tuple[str, ...]]:
    def distances(algorithm: str, ensemble: str) -> np.ndarray:
        runs = _of(results, algorithm, settings)
        return np.array([distance_from_data(arrays, ensemble) for arrays in runs])

    rows: list[tuple[str, ...]] = []
    weighted = distances("jarzynski", "annealed")
    for algorithm in settings.algorithms:
        found = distances(algorithm, "annealed")
        margin = ""
        if algorithm != "jarzynski" and len(found) > 1:
            margin = format_with_error(*mean_and_error(found - weighted))
        relaxed = distances(algorithm, "relaxed")
        rows.append((LABELS[algorithm], _listed(found), margin, _listed(relaxed)))
    return rows


def _listed(values: np.ndarray) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def _model_rows(results: Results, settings: Settings) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    mixture = min((results[name]["values"] for name in MIXTURES), key=np.mean)
    for algorithm in settings.algorithms:
        for seed, arrays in enumerate(_of(results, algorithm, settings)):
            paired = mean_and_error(mixture - arrays["values"])
            rows.append(
                (
                    f"{LABELS[algorithm]}, seed {seed}",
                    *bounds(arrays),
                    format_with_error(*paired),
                    f"{float(arrays['relaxed']):.2f}",
                    f"{-float(arrays['overfit']):.2f}",
                    f"{float(arrays['frechet']):.1f}",
                    str(arrays["doubts"]) or "none",
                )
            )
    return rows


def _reference_rows(results: Results, settings: Settings) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name in REFERENCES:
        value = f"{results[name]['values'].mean():.2f}"
        size = int(results[name]["size"])
        unit = "parameters" if name in ("coupling", "flow") else "components"
        if name == "mixture" and size == max(settings.num_components):
            unit = "components, the most tried"
        text = LABELS[name] if name == "gaussian" else f"{LABELS[name]} ({size} {unit})"
        rows.append((text, value, value, "", "", "", "", "none"))
    return rows


def draw(results: Results, settings: Settings, data: np.ndarray, folder: Path) -> None:
    """Draw shares, samples, samples in the order of their weights, and training curves."""
    _draw_shares(results, settings, folder)
    _draw_samples(results, settings, data, folder)
    _draw_ordered(results, folder)
    _draw_curves(results, settings, folder)


def _draw_shares(results: Results, settings: Settings, folder: Path) -> None:
    figure, axes = drawing.panels(len(ENSEMBLES), sharey=True)
    width = 0.8 / len(settings.algorithms)
    for axis, (ensemble, title) in zip(axes, ENSEMBLES.items(), strict=True):
        for number, algorithm in enumerate(settings.algorithms):
            errors = np.array(
                [share_error(run, ensemble) for run in _of(results, algorithm, settings)]
            )
            offset = number - (len(settings.algorithms) - 1) / 2
            places = np.arange(len(CLASSES)) + offset * width
            shade = str(0.15 + 0.35 * number)
            axis.bar(
                places, errors.mean(axis=0), 0.9 * width, color=shade, label=LABELS[algorithm]
            )
            for place, seeds in zip(places, errors.T, strict=True):
                axis.plot(np.full(len(seeds), place), seeds, "k_", markersize=8)
        axis.axhline(0, color="black", linewidth=0.8)
        axis.set(title=title, xticks=range(len(CLASSES)), xticklabels=CLASSES, xlabel="digit")
    axes[0].set_ylabel("relative error of its share")
    axes[0].legend(fontsize=8)
    drawing.save(figure, folder, "shares")


def _draw_samples(results: Results, settings: Settings, data: np.ndarray, folder: Path) -> None:
    shown = {
        "test images": data[:_NUM_TEST_SHOWN],
        **{
            LABELS[algorithm]: results[f"{algorithm}_0"]["annealed_images"]
            for algorithm in settings.algorithms
        },
    }
    figure, axes = drawing.panels(len(shown))
    for axis, (title, images) in zip(axes, shown.items(), strict=True):
        drawing.show_images(axis, images, -1, 1)
        axis.set_title(title)
    figure.suptitle("annealed afresh from the base; posterior means without the noise")
    drawing.save(figure, folder, "samples")


def _draw_ordered(results: Results, folder: Path) -> None:
    arrays = results["jarzynski_0"]
    figure, axis = drawing.panels(1)
    drawing.show_images(axis, arrays["ordered_images"], -1, 1)
    low, high = arrays["ordered_weights"][[0, -1]]
    axis.set_title(f"training walkers by weight,\nfrom {low:.2g} to {high:.2g} times the mean")
    drawing.save(figure, folder, "ordered")


def _draw_curves(results: Results, settings: Settings, folder: Path) -> None:
    figure, (left, right) = drawing.panels(2)
    for seed, style in zip(range(settings.num_seeds), cycle(drawing.STYLES), strict=False):
        arrays = results[f"jarzynski_{seed}"]
        left.plot(*_thin(arrays["cross_entropy"]), **style, label=f"seed {seed}")
        right.plot(*_thin(arrays["effective_sample_size"]), **style)
    left.set(
        xlabel="update", ylabel="cross entropy, nats", title="by the training walkers' log Z"
    )
    left.legend()
    right.set(xlabel="update", ylabel="fraction of the walkers", title="effective sample size")
    drawing.save(figure, folder, "curves")


def _thin(values: np.ndarray) -> tuple[Sequence[int], np.ndarray]:
    """Means over hundredths of the updates."""
    size = max(len(values) // 100, 1)
    count = len(values) // size
    return range(0, count * size, size), values[: count * size].reshape(count, size).mean(
        axis=1
    )
