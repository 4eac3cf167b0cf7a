"""What benchmarks write beside their figures: tables in Markdown, and on what machine."""

import datetime
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

#: What the jobs found: ``results[job][field]``.
Results = dict[str, dict[str, np.ndarray]]


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table; a bar in a cell is escaped, as it would end the cell."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


def describe(settings: Any, *left_out: str) -> str:
    """Write settings, a NamedTuple, but for those left out."""
    sizes = (
        f"{name} = {value}"
        for name, value in settings._asdict().items()
        if name not in left_out
    )
    return f"Settings: {', '.join(sizes)}."


def machine(*packages: str) -> str:
    """Say when and on what a table was made, with the versions of these packages."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"Written on {datetime.date.today()} on {os.cpu_count()} cores ({platform.machine()}, "
        f"Python {platform.python_version()}, {versions}), float32."
    )
