"""Runs at changed settings, a row of a table each."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from benchmarks.harness import jobs
from benchmarks.harness.jobs import Job
from benchmarks.harness.tables import describe, machine, markdown
from benchmarks.studies.mnist import problem
from benchmarks.studies.mnist import run as run_lib
from benchmarks.studies.mnist.settings import Settings
from jarzynski_jax.training import TrainingDiverged


def run(name: str, changed: Settings, judge: Settings) -> dict[str, np.ndarray]:
    """Train at changed settings; the same walkers judge all. Divergence is a finding."""
    try:
        return run_lib.run(name, changed, judge=judge)
    except TrainingDiverged as error:
        return {"trouble": np.array(str(error))}


def tabulate(
    module: str,
    labels: Mapping[str, tuple[str, ...]],
    columns: Callable[[dict[str, np.ndarray]], tuple[str, ...]],
    header: tuple[str, ...],
    chosen: Settings,
    path: Path,
    processes: int,
) -> None:
    """Run a module's jobs in the folder of ``path`` and write their table there.

    ``labels`` are the first cells of each job's row, and ``columns`` tells the others.
    """
    problem.load(chosen)  # so that what is wrong with the files is told at once
    todo = [Job(module, name) for name in labels]
    results = jobs.run(todo, chosen, path.parent, processes)
    rows = [row(label, results[name], columns, len(header)) for name, label in labels.items()]
    text = f"{machine('jax')} {describe(chosen, 'data')}\n\n{markdown(header, rows)}\n"
    path.write_text(text)
    print(text)


def row(
    label: tuple[str, ...],
    arrays: dict[str, np.ndarray],
    columns: Callable[[dict[str, np.ndarray]], tuple[str, ...]],
    size: int,
) -> tuple[str, ...]:
    """Lay out one of so many cells; a run that diverged has its reason in place of figures."""
    if "trouble" in arrays:
        return (*label, str(arrays["trouble"]), *[""] * (size - len(label) - 1))
    return (*label, *columns(arrays))
