"""particles' systematic resampling, timed in the rivals' environment: no JAX here."""

import argparse

import numpy as np
from particles import resampling

from benchmarks.speed.rivals.clock import report, time_repeats


def time_all(num_walkers: int, num_repeats: int) -> dict[str, list[float]]:
    """From log-weights, as its users do; and its compiled loop alone, from sorted points.

    Each repeat has other weights: the loop branches at each of them, and the processor learns
    the branches of 1e4 weights by heart if they come again.
    """
    rng = np.random.default_rng(0)

    def draw() -> tuple[np.ndarray]:
        return (rng.normal(size=num_walkers),)

    def draw_points() -> tuple[np.ndarray, np.ndarray]:
        points = (rng.uniform() + np.arange(num_walkers)) / num_walkers
        return points, resampling.exp_and_normalise(*draw())

    def from_log_weights(log_weights: np.ndarray) -> np.ndarray:
        return resampling.systematic(resampling.exp_and_normalise(log_weights))

    # The first call, which compiles, is the one that is not counted.
    return {
        "particles": time_repeats(from_log_weights, num_repeats, prepare=draw),
        "its compiled loop": time_repeats(
            resampling.inverse_cdf, num_repeats, prepare=draw_points
        ),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("--num-walkers", "--num-repeats"):
        parser.add_argument(option, type=int, required=True)
    given = parser.parse_args()
    found = time_all(given.num_walkers, given.num_repeats)
    report(found, ("particles", "numba", "numpy"))
