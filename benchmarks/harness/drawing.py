"""Figures that are readable in greyscale: lines differ in dashes and shade."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

STYLES: tuple[dict[str, Any], ...] = (
    {"color": "0.0", "linestyle": "-"},
    {"color": "0.55", "linestyle": "-", "linewidth": 3},
    {"color": "0.0", "linestyle": "--"},
    {"color": "0.35", "linestyle": ":"},
    {"color": "0.35", "linestyle": "-."},
    {"color": "0.7", "linestyle": (0, (8, 2))},
    {"color": "0.0", "linestyle": (0, (1, 3))},
)
MARKERS = ("o", "s", "^", "D", "v", "x")


def panels(num_columns: int, num_rows: int = 1, **kwargs: Any) -> tuple[Figure, Any]:
    figure = Figure(figsize=(4.6 * num_columns, 3.7 * num_rows), layout="constrained")
    return figure, figure.subplots(num_rows, num_columns, **kwargs)


def show_images(axis: Any, images: np.ndarray, low: float, high: float) -> None:
    """Lay images, shape ``(n, h, w)`` or ``(n, h, w, 3)``, out in a square; low is dark.

    A dark line is between them. The last ones that do not fill the square are left out.
    """
    side = math.isqrt(len(images))
    edges = [(0, 0), (1, 1), (1, 1), (0, 0)][: images.ndim]
    images = np.pad(images[: side**2], edges, constant_values=low)
    height, width = images.shape[1:3]
    grid = images.reshape(side, side, *images.shape[1:]).swapaxes(1, 2)
    grid = grid.reshape(side * height, side * width, *images.shape[3:])
    axis.imshow(np.clip((grid - low) / (high - low), 0, 1), cmap="gray", vmin=0, vmax=1)
    axis.axis("off")


def save(figure: Figure, folder: Path, name: str) -> None:
    figure.savefig(folder / f"{name}.png", dpi=130)


def plot_mean_and_range(
    axis: Any, x: np.ndarray, runs: np.ndarray, style: dict[str, Any], label: str
) -> None:
    """Draw the mean of runs, shape (seeds, R), in the band from the least to the greatest."""
    axis.fill_between(
        x, runs.min(axis=0), runs.max(axis=0), color=style["color"], alpha=0.15, linewidth=0
    )
    axis.plot(x, runs.mean(axis=0), **style, label=label)
