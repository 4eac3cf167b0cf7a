"""The folder of a run: names of its files, and JSON that any parser can read.

JSON has no numbers that are not finite. They are written as the strings ``"Infinity"``,
``"-Infinity"`` and ``"NaN"``, which Python's ``float`` takes back.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args, get_type_hints

from jarzynski_jax import interruption

__all__ = ["ResultFiles", "RunFolder", "from_plain", "read_json", "write_json", "write_whole"]

_NOT_FINITE = ("Infinity", "-Infinity", "NaN")
_Record = TypeVar("_Record")


class ResultFiles(NamedTuple):
    """Where the result of bounding a likelihood goes.

    report
        The table, JSON.
    picture
        Data beside samples.
    """

    report: Path
    picture: Path


class RunFolder(NamedTuple):
    """Where the files of a run are."""

    path: Path

    @property
    def config(self) -> Path:
        """What the run is, JSON."""
        return self.path / "config.json"

    @property
    def base(self) -> Path:
        """The Gaussian, and the coordinates and axes that it is in: arrays of NumPy."""
        return self.path / "base.npz"

    @property
    def metrics(self) -> Path:
        """One row an update, CSV."""
        return self.path / "metrics.csv"

    @property
    def checkpoints(self) -> Path:
        """Orbax's folder."""
        return self.path / "checkpoints"

    @property
    def report(self) -> Path:
        """The table, JSON; written once, at the end of the run."""
        return self.path / "report.json"

    @property
    def samples(self) -> Path:
        """Data beside samples, drawn with the report."""
        return self.path / "samples.png"

    @property
    def curves(self) -> Path:
        """Cross entropy and effective sample size."""
        return self.path / "curves.png"

    def new_evaluation(self) -> ResultFiles:
        """Files for one more evaluation, with the first free number."""
        return ResultFiles(*self._first_free("evaluation", ".json", ".png"))

    def new_samples(self) -> Path:
        """A ``.npz`` file, with the first number that is free for it and its picture."""
        return self._first_free("samples", ".npz", ".png")[0]

    def _first_free(self, name: str, *suffixes: str) -> list[Path]:
        number = 1
        while True:
            paths = [self.path / f"{name}-{number}{suffix}" for suffix in suffixes]
            if not any(path.exists() for path in paths):
                return paths
            number += 1


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file whole or not at all.

    Parameters
    ----------
    write
        Writes to a path that it is given, beside the file and with its suffix.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "words.txt"
    >>> write_whole(path, lambda unfinished: unfinished.write_text("whole"))
    >>> path.read_text()
    'whole'
    """
    with interruption.writing(path) as unfinished:
        write(unfinished)


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON: numbers that are not finite become strings.

    Named tuples become objects, other tuples arrays.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "values.json"
    >>> write_json(path, {"error": math.inf, "counts": (1, 2)})
    >>> "Infinity" in path.read_text(), read_json(path)
    (True, {'error': inf, 'counts': [1, 2]})
    """
    text = json.dumps(_to_plain(value), indent=2, allow_nan=False) + "\n"
    write_whole(path, lambda unfinished: unfinished.write_text(text))


def read_json(path: Path) -> Any:
    """Read what :func:`write_json` wrote.

    Objects are dictionaries, arrays lists; numbers that are not finite are numbers. ValueError
    if the file cannot be read as JSON.
    """
    try:
        return _with_numbers(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}") from error


def from_plain(record: type[_Record], values: dict[str, Any]) -> _Record:
    """Make a named tuple, and those in its fields, of what :func:`read_json` gives back.

    Lists become tuples; fields with defaults may be missing. TypeError if the names are not
    those of its fields.

    Examples
    --------
    >>> class Interval(NamedTuple):
    ...     ends: tuple[float, float]
    ...     files: ResultFiles | None = None
    >>> from_plain(Interval, {"ends": [0.0, 1.0], "files": {"report": "a", "picture": "b"}})
    Interval(ends=(0.0, 1.0), files=ResultFiles(report='a', picture='b'))
    """
    hints = get_type_hints(record)
    return record(**{name: _part(hints.get(name), part) for name, part in values.items()})


def _part(hint: Any, value: Any) -> Any:
    if isinstance(value, dict):
        # Of a union, such as that with None, the one that is a named tuple.
        records = [kind for kind in (hint, *get_args(hint)) if hasattr(kind, "_fields")]
        return from_plain(records[0], value) if records else value
    return tuple(value) if isinstance(value, list) else value


def _to_plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {name: _to_plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_to_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    return value


def _with_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_numbers(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_with_numbers(part) for part in value]
    return float(value) if value in _NOT_FINITE else value
