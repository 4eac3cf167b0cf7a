"""All methods on one problem at one budget: chosen by some seeds, judged by others."""

import time
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.studies.log_partition.methods import (
    METHODS,
    Estimator,
    Option,
    build_blackjax,
    build_ours,
    size_for,
)
from benchmarks.studies.log_partition.problems import PROBLEMS, Problem
from benchmarks.studies.log_partition.settings import Settings
from jarzynski_jax.density import check_exact
from jarzynski_jax.types import PRNGKey

#: Temperatures after which BlackJAX's schedule is given up.
_MAX_TEMPERATURES = 5_000
#: A choice that takes more gradients than the budget, by more than rounding, is not allowed.
_ALLOWANCE = 1.05


class Choice(NamedTuple):
    """A method with its numbers: what it was compiled to, step size and option."""

    estimate: Estimator
    step_size: float
    option: Option


class Run(NamedTuple):
    """Error of log Z in nats, gradients a walker, and seconds."""

    error: float
    num_gradients: float
    seconds: float


def names(settings: Settings) -> list[str]:
    return [f"{problem}_{budget}" for problem in PROBLEMS for budget in settings.budgets]


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    """Compare on one problem; arrays of shape ``(seeds,)``, and what was chosen."""
    problem_name, budget = name.rsplit("_", 1)
    problem = PROBLEMS[problem_name]
    chosen: dict[str, Choice] = {}
    found: dict[str, np.ndarray] = {}
    for method in METHODS:
        tuned = _tune(method, problem, int(budget), settings)
        if tuned is not None:
            chosen[method], found[f"{method}_tuning_error"] = tuned
    # The methods take turns, so that a slow minute of the machine is slow for all of them.
    seeds = range(settings.num_tuning_seeds, settings.num_tuning_seeds + settings.num_seeds)
    runs: dict[str, list[Run]] = {method: [] for method in chosen}
    for seed in seeds:
        for method, choice in chosen.items():
            runs[method].append(_run_once(choice, problem, jax.random.key(seed)))
    for method, choice in chosen.items():
        found[f"{method}_step_size"] = np.array(choice.step_size)
        found[f"{method}_option"] = np.array(str(choice.option))
        for field, column in zip(Run._fields, zip(*runs[method], strict=True), strict=True):
            found[f"{method}_{field}"] = np.array(column)
    return found


def _tune(
    method: str, problem: Problem, budget: int, settings: Settings
) -> tuple[Choice, np.ndarray] | None:
    """Find the choice with the smallest root mean square error; None if none is allowed."""
    best: tuple[Choice, np.ndarray] | None = None
    keys = [jax.random.key(seed) for seed in range(settings.num_tuning_seeds)]
    for choice in _choices(method, problem, budget, settings):
        runs = [_run_once(choice, problem, key) for key in keys]
        error = np.array(root_mean_square(np.array([run.error for run in runs])))
        num_gradients = np.mean([run.num_gradients for run in runs])
        if num_gradients > _ALLOWANCE * budget or not np.isfinite(error):
            continue
        if best is None or error < best[1]:
            best = choice, error
    return best


def _choices(
    method: str, problem: Problem, budget: int, settings: Settings
) -> Iterator[Choice]:
    """All that is tried; what differs in numbers alone is compiled once."""
    num_walkers = settings.num_walkers
    if METHODS[method].is_ours:
        yield Choice(build_ours(problem, num_walkers, budget), np.nan, Option())
        return

    @cache
    def theirs(size: int, option: Option) -> Estimator:
        arguments = method, problem, num_walkers, size, option
        return jax.jit(build_blackjax(*arguments, _MAX_TEMPERATURES))

    # With the particles' spread as the unit of length, a step is a multiple of one.
    unit = 1.0 if method == "blackjax_tuned" else problem.step_size
    for option in METHODS[method].options[: settings.num_options]:
        kind = option._replace(value=0.0)
        scout_size = num_walkers // option.num_chain if option.num_chain else 1
        for multiple in settings.multiples:
            # The effective sample size sets the number of temperatures; what the budget leaves
            # for each of them goes into moves, or into chains.
            scout = Choice(theirs(scout_size, kind), multiple * unit, option)
            found = scout.estimate(jax.random.key(0), *_arguments(scout))
            size = size_for(option, num_walkers, budget / int(found.num_temperatures))
            yield Choice(theirs(size, kind), multiple * unit, option)


def _arguments(choice: Choice) -> tuple[jax.Array, jax.Array]:
    return jnp.float32(choice.step_size), jnp.float32(choice.option.value)


def _run_once(choice: Choice, problem: Problem, key: PRNGKey) -> Run:
    start = time.perf_counter()
    estimate = jax.block_until_ready(choice.estimate(key, *_arguments(choice)))
    seconds = time.perf_counter() - start
    _, exact = check_exact(problem.target)
    error = float(estimate.log_partition_function) - float(exact)
    return Run(error, float(estimate.num_gradients), seconds)


def root_mean_square(errors: np.ndarray) -> float:
    """Infinite if an estimate is not finite: a log Z of minus infinity is a failure."""
    return float(np.sqrt(np.mean(np.square(errors)))) if np.all(np.isfinite(errors)) else np.inf
