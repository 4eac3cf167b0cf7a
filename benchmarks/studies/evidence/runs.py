"""What a method of the study is: given a model it makes a function that runs it."""

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.studies.evidence.models import Model
from benchmarks.studies.evidence.settings import Settings

__all__ = ["LeftOut", "Method", "Result", "Run", "SumUp"]


class Result(NamedTuple):
    """A log evidence in nats, its own error, bounds if there are any, doubts, and calls.

    Calls are of the likelihood: with its gradient, of ours; alone, of nested samplers.
    """

    log_evidence: float
    error: float
    lower: float
    upper: float
    doubts: str
    num_calls: int


SumUp = Callable[[], Result]
Run = Callable[[int], SumUp]


class LeftOut(Exception):
    """A method is left out, and why."""


class Method(NamedTuple):
    """How a method is called, and ``make(model, settings) -> run``."""

    label: str
    make: Callable[[Model, Settings], Run]
