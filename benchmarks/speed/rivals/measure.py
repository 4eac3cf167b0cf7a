"""Rivals and ours by turns: a process of the rival's, our cases in this one, and again.

Of rivals in JAX ours are timed in the rival's process too, by turns.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.speed.resampling import resampling_cases
from benchmarks.speed.rivals import environment
from benchmarks.speed.timing import Case, Timing, compare
from benchmarks.speed.training import convnet, mixture_cases, mlp, network_cases

_OURS = ("Jarzynski", "PCD")


class Problem(NamedTuple):
    """What both sides do: the rival's module with its arguments, and our cases.

    ``cases`` builds ours when it is their turn, so that their arrays can be freed; ``dict`` if
    the module times ours too. ``requirements`` are those of the environment of the rival.
    """

    group: str
    name: str
    module: str
    arguments: tuple[str, ...]
    cases: Callable[[], Mapping[str, Case]]
    num_repeats: int
    requirements: Path = environment.REQUIREMENTS


class Sizes(NamedTuple):
    """How many walkers, weights, chains; how many steps and repeats a round has."""

    mixture: int
    mlp: int
    convnet: int
    resampling: tuple[int, ...]
    spins: tuple[int, ...]
    helium: int
    num_steps: int
    num_repeats: int


STANDARD = Sizes(
    mixture=10_000,
    mlp=1024,
    convnet=256,
    resampling=(10_000, 100_000, 1_000_000),
    spins=(100, 1000),
    helium=10_000,
    num_steps=20,
    num_repeats=7,
)
QUICK = Sizes(
    mixture=1000,
    mlp=64,
    convnet=16,
    resampling=(1000, 4000, 10_000),
    spins=(50,),
    helium=500,
    num_steps=5,
    num_repeats=2,
)


def problems(sizes: Sizes) -> Iterator[Problem]:
    few = max(sizes.num_steps // 4, 2)

    def training(
        case: str, name: str, size: int, num_steps: int, cases: Callable[[], Mapping[str, Case]]
    ) -> Problem:
        return Problem(
            "training",
            f"{name}, N = {size}",
            "benchmarks.speed.rivals.torch_ebm",
            (case, f"--num-steps={num_steps}", f"--num-walkers={size}"),
            # What else is timed beside them has no counterpart here.
            lambda: {name: case for name, case in cases().items() if name in _OURS},
            sizes.num_repeats,
        )

    def two_modes() -> Mapping[str, Case]:
        return mixture_cases(sizes.mixture, (), sizes.num_steps)

    def layers() -> Mapping[str, Case]:
        return network_cases(mlp, sizes.mlp, few)

    def convolutions() -> Mapping[str, Case]:
        return network_cases(convnet, sizes.convnet, few)

    yield training("mixture", "mixture, d = 50", sizes.mixture, sizes.num_steps, two_modes)
    yield training("mlp", "MLP 784-256-256-1", sizes.mlp, few, layers)
    yield training("convnet", "ConvNet, six layers", sizes.convnet, few, convolutions)
    for size in sizes.resampling:
        yield Problem(
            "resampling",
            f"systematic, N = {size}",
            "benchmarks.speed.rivals.particles_resampling",
            (f"--num-walkers={size}",),
            partial(resampling_cases, size),
            # A call takes a millisecond: more of them are affordable, and needed.
            3 * sizes.num_repeats,
        )
    for size in sizes.spins:
        yield _in_jax("spins", "Ising, 32 x 32", "thrml_sweep", size, sizes)
    yield _in_jax("helium", "helium", "deepqmc_step", sizes.helium, sizes)


def _in_jax(group: str, name: str, module: str, size: int, sizes: Sizes) -> Problem:
    return Problem(
        group,
        f"{name}, N = {size}",
        f"benchmarks.speed.rivals.{module}",
        (f"--num-steps={sizes.num_steps}", f"--num-walkers={size}"),
        dict,
        sizes.num_repeats,
        environment.JAX_REQUIREMENTS,
    )


def measure(problem: Problem, python: Path, num_rounds: int) -> dict[str, Any]:
    """Take turns, rival first.

    Returns
    -------
    dict[str, Any]
        ``group``, ``name``, ``versions`` of the rival, ``rounds``: for each name and round
        ``median``, ``low`` and ``high`` over repeats, in milliseconds; the rival's have all
        ``repeats`` too.
    """
    rounds: dict[str, list[dict[str, Any]]] = {}
    versions: dict[str, str] = {}
    for _ in range(num_rounds):
        for name, found in _run_rival(problem, python).items():
            versions = found["versions"]
            repeats = [1000 * seconds for seconds in found["repeat_seconds"]]
            timing = Timing(0.0, 1000 * found["median_seconds"], min(repeats), max(repeats))
            rounds.setdefault(name, []).append({**_times(timing), "repeats": repeats})
        for name, timing in compare(problem.cases(), problem.num_repeats).items():
            rounds.setdefault(name, []).append(_times(timing))
    return {
        "group": problem.group,
        "name": problem.name,
        "versions": versions,
        "rounds": rounds,
    }


def _run_rival(problem: Problem, python: Path) -> dict[str, Any]:
    arguments = (*problem.arguments, f"--num-repeats={problem.num_repeats}")
    return json.loads(environment.run_module(python, problem.module, *arguments))


def _times(timing: Timing) -> dict[str, float]:
    return {name: float(getattr(timing, name)) for name in ("median", "low", "high")}
