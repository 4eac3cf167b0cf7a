"""All methods on one model, by turns, so that a slow minute is slow for all of them."""

import time
from typing import Any, NamedTuple

import numpy as np

from benchmarks.studies.evidence.methods import METHODS
from benchmarks.studies.evidence.models import MODELS
from benchmarks.studies.evidence.runs import LeftOut, Result, Run
from benchmarks.studies.evidence.settings import Settings

__all__ = ["run"]


class Times(NamedTuple):
    """Of one run: on the clock, and of all cores of this process."""

    seconds: float
    cpu_seconds: float


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    """What each method found, arrays of shape ``(runs,)``, and what is known of the model.

    The first run of a method is with the making of its functions and their compilation.
    """
    model = MODELS[name]()
    found: dict[str, np.ndarray] = {
        "log_evidence": np.array(model.log_evidence.value),
        "log_evidence_error": np.array(model.log_evidence.error),
    }
    runs: dict[str, Run] = {}
    making: dict[str, Times] = {}
    for method in settings.methods:
        clock = _Clock()
        try:
            runs[method] = METHODS[method].make(model, settings)
        except LeftOut as reason:
            found[f"{method}_left_out"] = np.array(str(reason))
        making[method] = clock.times()

    rows: dict[str, list[dict[str, Any]]] = {method: [] for method in runs}
    for seed in range(settings.num_seeds):
        for method, run_once in runs.items():
            behind_the_first = [row["cpu_seconds"] for row in rows[method][1:]]
            if sum(behind_the_first) >= settings.seconds:
                continue
            clock = _Clock()
            sum_up = run_once(seed)
            times = clock.times()
            if seed == 0:
                times = Times(*map(sum, zip(times, making[method], strict=True)))
            rows[method].append({**sum_up()._asdict(), **times._asdict()})
    for method, of_method in rows.items():
        for field in (*Result._fields, *Times._fields):
            found[f"{method}_{field}"] = np.array([row[field] for row in of_method])
    return found


class _Clock:
    """Both clocks, from now on."""

    def __init__(self) -> None:
        self._start = Times(time.perf_counter(), time.process_time())

    def times(self) -> Times:
        return Times(
            time.perf_counter() - self._start.seconds,
            time.process_time() - self._start.cpu_seconds,
        )
