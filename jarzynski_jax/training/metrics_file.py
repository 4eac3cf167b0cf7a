"""The metrics of a run on disk, one row an update, whatever their names."""

import csv
import os
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

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "metrics.csv"
    >>> from typing import NamedTuple
    >>> Loss = NamedTuple("Loss", [("loss", np.ndarray)])
    >>> rows = Loss(np.zeros(2))
    >>> MetricsFile(path, step=0).append(rows)
    >>> MetricsFile(path, step=1).append(rows)
    >>> read_metrics(path)["step"].tolist()
    [0.0, 1.0, 2.0]
    """

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        self._step = step
        lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
        kept = [line for line in lines[1 : step + 1] if line.endswith("\n")]
        if len(kept) < step:
            raise ValueError(f"{path} lacks the metrics of {step - len(kept)} updates")
        if not kept:  # the first rows will say what they are
            path.unlink(missing_ok=True)
            return
        partial = path.with_suffix(".partial")
        partial.write_text(lines[0] + "".join(kept))
        os.replace(partial, path)

    def append(self, metrics: Any) -> None:
        """Append metrics of further updates, a NamedTuple of arrays of shape ``(C,)``."""
        header = ",".join(("step", *metrics._fields)) + "\n"
        if not self._path.is_file():
            self._path.write_text(header)
        with self._path.open() as file:
            found = file.readline()
        if found != header:
            raise ValueError(
                f"{self._path} has the columns {found.strip()}, and this objective's are "
                f"{header.strip()}; take another folder"
            )
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
        The column ``step``, then one a field of the objective's metrics, float64.

    Examples
    --------
    See :class:`MetricsFile`.
    """
    with path.open() as file:
        names = file.readline().strip().split(",")
    table = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
    return dict(zip(names, table.reshape(-1, len(names)).T, strict=True))
