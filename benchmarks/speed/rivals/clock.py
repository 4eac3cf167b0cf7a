"""Timing with the standard library alone, as the rivals' environment has no JAX."""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any


def time_repeats(
    call: Callable[..., Any],
    num_repeats: int,
    num_steps: int = 1,
    prepare: Callable[[], tuple[Any, ...]] = tuple,
) -> list[float]:
    """Seconds a step of each repeat of ``num_steps`` calls; one more before them warms up.

    The arguments are prepared anew for each repeat, and that is not timed.
    """
    seconds = []
    for repeat in range(num_repeats + 1):
        arguments = prepare()
        start = time.perf_counter()
        for _ in range(num_steps):
            call(*arguments)
        if repeat > 0:
            seconds.append((time.perf_counter() - start) / num_steps)
    return seconds


def report(seconds: dict[str, list[float]], packages: Sequence[str]) -> None:
    """Print what was found as JSON, for the process that compares."""
    versions = {name: version(name) for name in packages}
    found = {
        name: {
            "median_seconds": statistics.median(repeats),
            "repeat_seconds": repeats,
            "versions": versions,
        }
        for name, repeats in seconds.items()
    }
    print(json.dumps(found))
