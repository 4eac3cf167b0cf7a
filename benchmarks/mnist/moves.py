"""``python -m benchmarks.mnist.moves --data FOLDER --out FOLDER``: PCD at other settings."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro

from benchmarks import jobs
from benchmarks.jobs import Job
from benchmarks.mnist import problem, settings, show
from benchmarks.mnist import run as run_lib
from benchmarks.mnist.settings import Settings
from benchmarks.tables import describe, machine, markdown, plus_minus
from jarzynski_jax.training import TrainingDiverged


class Trial(NamedTuple):
    """All take as many gradients: more moves, fewer walkers."""

    algorithm: str
    num_moves: int
    learning_rate: float


TRIALS = (
    Trial("pcd", 1, 2.5e-4),
    Trial("pcd", 1, 5e-4),
    Trial("pcd", 4, 2.5e-4),
    Trial("pcd", 4, 5e-4),
    Trial("pcd", 4, 1e-3),
    Trial("jarzynski", 4, 5e-4),
)


def names() -> list[str]:
    return [f"trial_{number}" for number in range(len(TRIALS))]


def run(name: str, chosen: Settings) -> dict[str, np.ndarray]:
    """Train at a trial's settings, from seed 0, and judge as all others."""
    trial = TRIALS[int(name.removeprefix("trial_"))]
    num_walkers = chosen.num_walkers // trial.num_moves
    changes: dict[str, Any] = {
        "num_walkers": num_walkers,
        "num_touched": num_walkers,
        "num_moves": trial.num_moves,
        "learning_rate": trial.learning_rate,
        "adam_b1": 0.9,
        "pcd": (),
    }
    try:
        return run_lib.run(f"{trial.algorithm}_0", chosen._replace(**changes), judge=chosen)
    except TrainingDiverged as error:
        return {"trouble": np.array(str(error))}


def main(data: Path, out: Path, processes: int = 2) -> None:
    """Train at 28x28 with b1 0.9, more moves of fewer walkers, and other learning rates.

    Parameters
    ----------
    data
        Folder with MNIST's IDX files, gzipped or not.
    out
        Folder for moves.md and data. What was interrupted goes on with the runs that were not
        finished.
    processes
        How many runs go side by side, one core each.
    """
    chosen = settings.standard(str(data.resolve()))
    problem.load(chosen)  # so that what is wrong with the files is told at once
    todo = [Job("benchmarks.mnist.moves", name) for name in names()]
    jobs.prepare(out, chosen)
    jobs.run_all(todo, chosen, out, processes)
    header = (
        "algorithm",
        "walkers",
        "moves an update",
        "learning rate",
        "lower bound",
        "upper bound",
        "shares from the data's",
        "from relaxed walkers'",
        "Fréchet",
    )
    results = jobs.load(todo, out)
    found = (results[job.name] for job in todo)
    rows = [_row(*pair, chosen) for pair in zip(TRIALS, found, strict=True)]
    table = markdown(header, rows)
    text = f"{machine('jax')} {describe(chosen, 'data')}\n\n{table}\n"
    (out / "moves.md").write_text(text)
    print(text)


def _row(trial: Trial, arrays: dict[str, np.ndarray], chosen: Settings) -> tuple[str, ...]:
    label = (
        show.LABELS[trial.algorithm],
        str(chosen.num_walkers // trial.num_moves),
        str(trial.num_moves),
        f"{trial.learning_rate:g}",
    )
    if "trouble" in arrays:
        return (*label, str(arrays["trouble"]), *4 * [""])
    return (
        *label,
        *show.bounds(arrays),
        f"{show.distance_from_data(arrays):.3f}",
        plus_minus(*show.distance_of_shares(arrays)),
        f"{float(arrays['frechet']):.1f}",
    )


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except ValueError as error:
        sys.exit(f"error: {error}")
