"""What the study found: rows of a table, as CSV and as Markdown."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.harness.claims import Claim
from benchmarks.harness.tables import markdown

#: Parts in which weights are exact at any size: the bias of the time step, and the lag.
EXACT = ("Example 3", "3.1")


class Row(NamedTuple):
    """One line of the table.

    part
        Which figure or equation of the thesis, or which question.
    quantity
        What was measured, with its unit.
    expected
        What it should be, in words.
    values
        One number a seed.
    holds
        Whether it came out; None where nothing was expected.
    """

    part: str
    quantity: str
    expected: str
    values: Sequence[float] | np.ndarray
    holds: bool | np.bool | None = None

    @property
    def claim(self) -> Claim:
        """The mean over seeds with its standard error; an error of 0 for one seed."""
        values = np.atleast_1d(np.asarray(self.values, np.float64))
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
        text = f"{self.part}: {self.quantity}"
        return Claim(text, float(values.mean()), float(error), self.expected, bool(self.holds))


_COLUMNS = ("part", "quantity", "expected", "seeds", "mean", "spread", "min", "max", "holds")


def _cells(row: Row) -> tuple[str, ...]:
    values = np.atleast_1d(np.asarray(row.values, np.float64))
    spread = values.std(ddof=1) if len(values) > 1 else np.nan
    statistics = (values.mean(), spread, np.min(values), np.max(values))
    numbers = (f"{number:.4g}" for number in statistics)
    holds = "" if row.holds is None else "yes" if row.holds else "NO"
    return (row.part, row.quantity, row.expected, str(len(values)), *numbers, holds)


def write_tables(rows: Sequence[Row], folder: Path, preamble: str) -> None:
    """Write ``table.csv`` and ``table.md``; spread is the standard deviation over seeds."""
    cells = [_cells(row) for row in rows]
    with (folder / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([_COLUMNS, *cells])
    (folder / "table.md").write_text(f"{preamble}\n\n{markdown(_COLUMNS, cells)}\n")
