"""Timing functions by turns, so that a slow minute of the machine is slow for all of them."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Case(NamedTuple):
    """What is timed: a function, its arguments, and how many steps one call makes.

    If ``is_carried`` the first argument is a state whose buffers the call may take, and what
    it returns is the next call's: as in a training loop, which copies nothing.
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    num_steps: int = 1
    is_carried: bool = False


class Timing(NamedTuple):
    """Seconds to compile, and milliseconds a step: the median over rounds and their range.

    And bytes that a call holds, its arguments and what it needs beside them, as XLA has laid
    it out; NaN where that is not told.
    """

    compile_seconds: float
    median: float
    low: float
    high: float
    num_bytes: float = math.nan


class Repeats(NamedTuple):
    """Seconds to compile, milliseconds a step of every call, and bytes that it holds."""

    compile_seconds: float
    milliseconds: list[float]
    num_bytes: float


def compare(cases: Mapping[str, Case], num_rounds: int) -> dict[str, Timing]:
    """Compile and warm all cases up, then run them by turns."""
    found = run_by_turns(cases, num_rounds)
    return {name: _sum_up(repeats) for name, repeats in found.items()}


def _sum_up(repeats: Repeats) -> Timing:
    median, low, high = np.quantile(repeats.milliseconds, [0.5, 0, 1])
    return Timing(repeats.compile_seconds, median, low, high, repeats.num_bytes)


def run_by_turns(cases: Mapping[str, Case], num_rounds: int) -> dict[str, Repeats]:
    """The same, with what every round took."""
    compiled, seconds, args = {}, {}, {}
    for name, case in cases.items():
        start = time.perf_counter()
        donated = (0,) if case.is_carried else ()
        compiled[name] = jax.jit(case.fn, donate_argnums=donated).lower(*case.args).compile()
        seconds[name] = time.perf_counter() - start
        # Cases may share arrays, and a donated one is gone.
        args[name] = jax.tree.map(jnp.copy, case.args) if case.is_carried else case.args
    runs: dict[str, list[float]] = {name: [] for name in cases}
    for round_number in range(num_rounds + 1):
        for name, case in cases.items():
            start = time.perf_counter()
            result = jax.block_until_ready(compiled[name](*args[name]))
            if round_number > 0:  # the first call warms up
                runs[name].append(1000 * (time.perf_counter() - start) / case.num_steps)
            if case.is_carried:
                args[name] = (result, *args[name][1:])
    return {
        name: Repeats(seconds[name], runs[name], _num_bytes(compiled[name])) for name in cases
    }


def _num_bytes(compiled: Any) -> float:
    layout = compiled.memory_analysis()
    if layout is None:
        return math.nan
    return float(layout.temp_size_in_bytes + layout.argument_size_in_bytes)
