"""A file of metrics, whatever their names, in step with the checkpoints."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["MetricsFile", "read_metrics"]


class MetricsFile:
    """A CSV file with one row an update, in step with the checkpoints.

    Parameters
    ----------
    path
        The file. Rows of updates that the state has not made are dropped, as a run that was
        killed may leave them: they will be made again.
    step
        How many updates the state has made.
    names
        Of the metrics, in order.

    Raises
    ------
    ValueError
        If the file lacks the metrics of updates that were made, or has others.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "metrics.csv"
    >>> MetricsFile(path, 0, ("loss",)).append((np.array([5.0, 4.0]),))
    >>> MetricsFile(path, 1, ("loss",)).append((np.array([3.0, 2.0]),))
    >>> {name: column.tolist() for name, column in read_metrics(path).items()}
    {'step': [0.0, 1.0, 2.0], 'loss': [5.0, 3.0, 2.0]}
    """

    def __init__(self, path: Path, step: int, names: Sequence[str]) -> None:
        self._path = path
        self._step = step
        lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
        kept = [line for line in lines[1 : step + 1] if line.endswith("\n")]
        if len(kept) < step:
            raise ValueError(f"{path} lacks the metrics of {step - len(kept)} updates")
        header = ",".join(("step", *names))
        if kept and lines[0].rstrip("\n") != header:
            raise ValueError(
                f"{path} has the columns {lines[0].strip()}, not {header}; take another folder"
            )
        partial = path.with_suffix(".partial")
        partial.write_text(header + "\n" + "".join(kept))
        os.replace(partial, path)

    def append(self, metrics: Sequence[Any]) -> None:
        """Append the metrics of further updates, every one of shape ``(C,)``."""
        columns = [np.asarray(column, np.float64) for column in metrics]
        num_rows = len(columns[0])
        steps = range(self._step, self._step + num_rows)
        with self._path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(
                [step, *(f"{value:.9g}" for value in row)]
                for step, row in zip(steps, zip(*columns, strict=True), strict=True)
            )
        self._step += num_rows


def read_metrics(path: Path) -> dict[str, np.ndarray]:
    """Read what :class:`MetricsFile` wrote.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    dict[str, numpy.ndarray]
        The column ``step``, then one a metric, float64.

    Examples
    --------
    See :class:`MetricsFile`.
    """
    with path.open() as file:
        names = file.readline().strip().split(",")
    table = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
    return dict(zip(names, table.reshape(-1, len(names)).T, strict=True))
