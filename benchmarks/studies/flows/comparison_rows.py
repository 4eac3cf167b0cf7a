"""What a method of the comparison came to on a problem, over all of its runs."""

from typing import NamedTuple

import numpy as np

from benchmarks.harness.statistics import mean_and_error
from benchmarks.harness.tables import Results


class Row(NamedTuple):
    """What a method came to on a problem, over its seeds of training and repeats.

    ``log_z`` is the root mean square error in nats, ``shares`` that of the regions' shares, the
    mean over regions; ``ess`` is what n walkers are worth by the spread of the estimates of Z
    alone, 1/(1 + n var Z/Z²): it does not see what all have missed.
    """

    log_z: float
    log_z_error: float
    shares: float
    ess: float
    num_training: float
    num_sampling: float


def row(results: Results, problem: str, method: str) -> Row:
    """Sum up all seeds."""
    found = [
        value for name, value in results.items() if name.startswith(f"{problem}-{method}-")
    ]
    errors = np.concatenate([one["log_z_errors"] for one in found])
    mean_square, spread = mean_and_error(errors**2)
    gaps = np.concatenate([one["shares"] - one["exact_shares"] for one in found])
    ess = [_effective(one["log_z_errors"], float(one["num_walkers"])) for one in found]
    rms = float(np.sqrt(mean_square))
    return Row(
        rms,
        spread / (2 * rms),
        float(np.sqrt(np.mean(gaps**2))),
        float(np.mean(ess)),
        float(np.mean([one["num_training"] for one in found])),
        float(np.mean([one["num_sampling"] for one in found])),
    )


def _effective(errors: np.ndarray, num_walkers: float) -> float:
    weights = np.exp(errors - errors.max())
    relative = np.var(weights, ddof=1) / np.mean(weights) ** 2
    return float(1 / (1 + num_walkers * relative))
