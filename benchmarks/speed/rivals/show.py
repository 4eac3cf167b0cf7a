"""The tables of the comparison with the rivals."""

from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

from benchmarks.harness.tables import markdown


class _Columns(NamedTuple):
    """Which times are shown, and of which pairs of them the ratio."""

    times: tuple[str, ...]
    ratios: tuple[tuple[str, str], ...]


_COLUMNS = {
    "training": _Columns(
        ("Jarzynski", "PCD", "torchebm"), (("Jarzynski", "torchebm"), ("PCD", "torchebm"))
    ),
    "resampling": _Columns(
        ("ours", "BlackJAX", "particles", "its compiled loop"),
        (("ours", "BlackJAX"), ("ours", "particles"), ("ours", "its compiled loop")),
    ),
    "spins": _Columns(
        ("weighted", "textbook, in one array", "thrml"),
        (("weighted", "textbook, in one array"), ("weighted", "thrml")),
    ),
    "helium": _Columns(
        (
            "weighted",
            "weighted and resampled",
            "deepqmc, step alone",
            "deepqmc, with energy",
            "deepqmc, forward Laplacian",
        ),
        (
            ("weighted", "deepqmc, step alone"),
            ("weighted", "deepqmc, with energy"),
            ("weighted", "deepqmc, forward Laplacian"),
        ),
    ),
}


def write(record: Sequence[dict[str, Any]], preamble: str) -> str:
    """Lay out a table for each group that was measured, under where it was."""
    parts = [preamble]
    for group, columns in _COLUMNS.items():
        times = (f"{name} (ms)" for name in columns.times)
        ratios = (f"{one} / {other}" for one, other in columns.ratios)
        rows = [row(entry) for entry in record if entry["group"] == group]
        if rows:
            parts.append(markdown(("case", *times, *ratios), rows))
    return "\n\n".join(parts) + "\n"


def row(entry: dict[str, Any]) -> tuple[str, ...]:
    """Lay out what :func:`benchmarks.speed.rivals.measure.measure` found."""
    columns, rounds = _COLUMNS[entry["group"]], entry["rounds"]
    medians = {name: median(found["median"] for found in rounds[name]) for name in rounds}
    times = (
        f"{medians[name]:.3g} ({min(found['low'] for found in rounds[name]):.3g} to "
        f"{max(found['high'] for found in rounds[name]):.3g})"
        for name in columns.times
    )
    ratios = (f"{medians[one] / medians[other]:.3g}" for one, other in columns.ratios)
    return (entry["name"], *times, *ratios)


def versions(record: Sequence[dict[str, Any]]) -> str:
    """List the rivals' packages, each once."""
    found = {name: text for entry in record for name, text in entry["versions"].items()}
    return ", ".join(f"{name} {text}" for name, text in found.items())
