"""Ways to an evidence; a rival is one more function in METHODS, of the same signature."""

import time
from typing import NamedTuple

import jax

from benchmarks.studies.evidence.models import Model
from jarzynski_jax import annealing
from jarzynski_jax.interop.numpyro import from_model

__all__ = ["METHODS", "Result"]


class Result(NamedTuple):
    """A log evidence in nats, its own error, what bounds it, seconds with compilation."""

    log_evidence: float
    error: float
    bounds: str
    doubts: tuple[str, ...]
    seconds: float


def ours(seed: int, model: Model, num_gradients: int) -> Result:
    """``annealing.estimate`` as it is."""
    start = time.perf_counter()
    problem = from_model(model.model, *model.args)
    found = annealing.estimate(
        jax.random.key(seed), problem.prior, path=problem.path, num_gradients=num_gradients
    )
    return Result(
        found.log_partition_function,
        found.standard_error,
        str(found.bounds).partition("\n")[0],
        found.doubts,
        time.perf_counter() - start,
    )


METHODS = {"ours": ours}
