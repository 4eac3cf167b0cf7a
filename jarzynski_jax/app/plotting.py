"""Pictures of a run: data beside samples, and curves. Readable in greyscale."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jarzynski_jax import interruption

__all__ = ["plot_curves", "plot_samples"]

_NUM_COLUMNS = 10
_NUM_IMAGES = 100


def _figure(num_columns: int, num_rows: int, size: tuple[float, float], **kwargs: Any) -> Any:
    # A figure of its own, not pyplot's: no global state and no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(num_rows, num_columns, **kwargs)


def _save(figure: Any, path: Path) -> None:
    with interruption.writing(path) as unfinished:
        figure.savefig(unfinished, dpi=150)


def plot_samples(
    data: np.ndarray,
    samples: np.ndarray,
    path: Path,
    denoise: Callable[[np.ndarray], np.ndarray] | None = None,
) -> None:
    """Draw data beside samples.

    Images are drawn as such, a hundred of each, in colour if they have channels; vectors as a
    histogram (d = 1), in their own x and y (d = 2), or along the first two principal axes of
    the data.

    Parameters
    ----------
    data
        Shape ``(n, h, w)``, ``(n, h, w, channels)`` with three or four of them, or ``(n, d)``;
        with the noise that the model was trained on.
    samples
        Shape ``(m, ...)`` likewise, of equal weight.
    denoise
        Takes noisy images to clean ones; draws a second row of both without their noise.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "samples.png"
    >>> plot_samples(np.zeros((100, 8, 8)), np.ones((100, 8, 8)), path)
    >>> path.is_file()
    True
    """
    if data.ndim > 2:
        figure = _draw_images(data[:_NUM_IMAGES], samples[:_NUM_IMAGES], denoise)
    else:
        figure, axes = _figure(2, 1, (9, 4.8))
        # As many of each, so that they can be compared by eye.
        samples = samples[: len(data)]
        titles = (f"data ({len(data)})", f"model, annealed ({len(samples)} walkers)")
        draw = _draw_histograms if data.shape[1] == 1 else _draw_scatter
        draw(axes, titles, data, samples)
    _save(figure, path)


def _draw_images(
    data: np.ndarray, samples: np.ndarray, denoise: Callable[[np.ndarray], np.ndarray] | None
) -> Any:
    rows = [("data", data, "model, annealed from the base", samples)]
    if denoise is not None:
        mean = "posterior mean without the noise"
        rows.append(
            (f"data, {mean}", denoise(data), f"model, {mean}", denoise(samples)),
        )
    figure, axes = _figure(2, len(rows), (9, 4.8 * len(rows)), squeeze=False)
    low, high = np.quantile(data, (0.01, 0.99))
    extent = high - low if high > low else 1.0
    for (left, right), (title, images, other_title, others) in zip(axes, rows, strict=True):
        left.set_title(title)
        right.set_title(other_title)
        for axis, shown in ((left, images), (right, others)):
            shades = np.clip((shown - low) / extent, 0, 1)
            axis.imshow(_tile(shades), cmap="gray", vmin=0, vmax=1)
            axis.axis("off")
    return figure


def _tile(images: np.ndarray) -> np.ndarray:
    """Put images side by side with a line of one pixel between them."""
    count, height, width, *channels = images.shape
    num_rows = math.ceil(count / _NUM_COLUMNS)
    padded = np.zeros((num_rows * _NUM_COLUMNS, height + 1, width + 1, *channels))
    padded[:count, 1:, 1:] = images
    grid = padded.reshape(num_rows, _NUM_COLUMNS, height + 1, width + 1, *channels)
    rows = grid.swapaxes(1, 2)
    return rows.reshape(num_rows * (height + 1), _NUM_COLUMNS * (width + 1), *channels)


def _draw_histograms(axes: Any, titles: tuple[str, str], *arrays: np.ndarray) -> None:
    bins = np.histogram_bin_edges(np.concatenate(arrays), 60)
    for axis, title, values in zip(axes, titles, arrays, strict=True):
        axis.hist(values.ravel(), bins=bins, density=True, color="0.4")
        axis.set(title=title, xlabel="x", ylabel="density")


def _draw_scatter(axes: Any, titles: tuple[str, str], *arrays: np.ndarray) -> None:
    if arrays[0].shape[1] == 2:
        labels, shown = ("x", "y"), arrays
    else:
        mean = arrays[0].mean(axis=0)
        _, _, directions = np.linalg.svd(arrays[0] - mean, full_matrices=False)
        labels = "first principal axis of the data", "second principal axis"
        shown = tuple((values - mean) @ directions[:2].T for values in arrays)
    low, high = np.concatenate(shown).min(axis=0), np.concatenate(shown).max(axis=0)
    for axis, title, points in zip(axes, titles, shown, strict=True):
        axis.plot(points[:, 0], points[:, 1], ".", color="black", markersize=2, alpha=0.5)
        axis.set(
            title=title,
            xlabel=labels[0],
            ylabel=labels[1],
            xlim=(low[0], high[0]),
            ylim=(low[1], high[1]),
        )


def plot_curves(metrics: Mapping[str, np.ndarray], path: Path, units: str = "nats") -> None:
    """Draw the cross entropy and the effective sample size over training.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from jarzynski_jax.training import Metrics
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "curves.png"
    >>> plot_curves({name: np.ones(5) for name in ("step", *Metrics._fields)}, path)
    >>> path.is_file()
    True
    """
    figure, (top, bottom) = _figure(1, 2, (8, 7), sharex=True)
    step = _windows(metrics["step"]).mean(axis=1)
    held_out = _windows(metrics["cross_entropy"]).mean(axis=1)
    training = _windows(metrics["training_cross_entropy"]).mean(axis=1)
    top.plot(step, held_out, color="black", label="from held-out walkers")
    top.plot(step, training, "--", color="0.5", label="from training walkers (biased)")
    top.set(ylabel=f"cross entropy of mini-batches\n({units})")
    top.legend()

    shadow = _windows(metrics["shadow_effective_sample_size"])
    spread = (shadow.min(axis=1), shadow.max(axis=1))
    bottom.fill_between(step, *spread, color="0.85", label="training, shadow: range")
    for name, style, label in (
        ("shadow_effective_sample_size", "-", "training, shadow: median"),
        ("effective_sample_size", ":", "training, full weight: median"),
        ("held_out_shadow_effective_sample_size", "--", "held-out, shadow: median"),
    ):
        median = np.median(_windows(metrics[name]), axis=1)
        bottom.plot(step, median, style, color="black", label=label)
    for name, height, marker, label in (
        ("is_resampled", 0.03, "|", "training walkers resampled"),
        ("held_out_is_resampled", 0.09, "2", "held-out walkers resampled"),
    ):
        at = metrics["step"][metrics[name] > 0]
        heights = np.full(len(at), height)
        bottom.plot(at, heights, marker, color="black", markersize=6, label=label)
    bottom.set(
        xlabel="update", ylabel="effective sample size (fraction of walkers)", ylim=(0, 1)
    )
    figure.legend(*bottom.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    _save(figure, path)


def _windows(values: np.ndarray, count: int = 200) -> np.ndarray:
    """Cut a series into about ``count`` windows, shape ``(windows, width)``, the rest left out.

    Mini-batches are noisy, and the effective sample size is a saw with too many teeth.
    """
    width = max(1, len(values) // count)
    return values[: len(values) // width * width].reshape(-1, width)
