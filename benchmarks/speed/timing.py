"""Timing functions by turns, so that a slow minute of the machine is slow for all of them."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np


class Case(NamedTuple):
    """What is timed: a function, its arguments, and how many steps one call makes."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    num_steps: int = 1


class Timing(NamedTuple):
    """Seconds to compile, and milliseconds a step: the median over rounds and their range."""

    compile_seconds: float
    median: float
    low: float
    high: float


def compare(cases: Mapping[str, Case], num_rounds: int) -> dict[str, Timing]:
    """Compile and warm all cases up, then run them by turns."""
    compiled, seconds = {}, {}
    for name, case in cases.items():
        start = time.perf_counter()
        compiled[name] = jax.jit(case.fn).lower(*case.args).compile()
        seconds[name] = time.perf_counter() - start
        jax.block_until_ready(compiled[name](*case.args))
    runs: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(num_rounds):
        for name, case in cases.items():
            start = time.perf_counter()
            jax.block_until_ready(compiled[name](*case.args))
            runs[name].append(1000 * (time.perf_counter() - start) / case.num_steps)
    return {
        name: Timing(seconds[name], *np.quantile(runs[name], [0.5, 0, 1])) for name in cases
    }
