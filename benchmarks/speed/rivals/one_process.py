"""Rivals in JAX: they and ours by turns in one process, of their environment."""

import argparse
from collections.abc import Callable, Mapping, Sequence

from benchmarks.speed.rivals.clock import report
from benchmarks.speed.timing import Case, run_by_turns


def start(
    build: Callable[[int, int], Mapping[str, Case]],
    packages: Sequence[str],
) -> None:
    """Time what is built of a number of walkers and of steps, and print it as JSON."""
    parser = argparse.ArgumentParser()
    for option in ("--num-walkers", "--num-steps", "--num-repeats"):
        parser.add_argument(option, type=int, required=True)
    given = parser.parse_args()
    found = run_by_turns(build(given.num_walkers, given.num_steps), given.num_repeats)
    seconds = {
        name: [one / 1000 for one in repeats.milliseconds] for name, repeats in found.items()
    }
    report(seconds, packages)
