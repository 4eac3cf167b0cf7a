"""``python -m benchmarks.studies.mnist --data FOLDER --out FOLDER``: train, judge, draw."""

import math
import time
from pathlib import Path
from typing import Annotated, Literal

import tyro

from benchmarks.harness import claims as harness_claims
from benchmarks.harness import command_line, jobs
from benchmarks.harness.command_line import Out, Processes
from benchmarks.harness.jobs import Job
from benchmarks.harness.tables import describe, machine
from benchmarks.studies.mnist import claims, problem, references, run, settings, show


def main(
    data: Path,
    out: Out,
    quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    shrink: int | None = None,
    seeds: int | None = None,
    learning_rate: float | None = None,
    network: Literal["mlp", "conv"] = "mlp",
    rivals: tuple[Literal["pcd", "unweighted"], ...] = ("pcd", "unweighted"),
    processes: Processes = 2,
) -> None:
    """Train on MNIST's 2, 3 and 6 in shares of 4:2:1, with weights, by PCD and without weights.

    Parameters
    ----------
    data
        Folder with MNIST's IDX files, gzipped or not.
    quick
        14x14, one seed, fewer walkers and updates.
    shrink
        Average images over blocks of so many pixels a side; 1, or 2 in the quick form, if not
        given.
    seeds
        Runs of each algorithm: 3, or 1 in the quick form, if not given.
    learning_rate
        Of Adam, which decays to 2 %: 1e-3 at 28x28 and 2e-3 at fewer pixels, if not given.
    network
        A multilayer perceptron, or the thesis' ConvNet, far slower on a CPU.
    rivals
        Algorithms beside the weighted walkers.
    """
    form, factor = (settings.quick, 2) if quick else (settings.standard, 1)
    factor = factor if shrink is None else shrink
    if factor < 1:
        raise ValueError(f"shrink must be at least 1; got {factor}")
    chosen = form(str(data.resolve()), factor)._replace(
        network=network, algorithms=("jarzynski", *rivals)
    )
    if seeds is not None:
        if seeds < 1:
            raise ValueError(f"seeds must be at least 1; got {seeds}")
        chosen = chosen._replace(num_seeds=seeds)
    if learning_rate is not None:
        if not 0 < learning_rate < math.inf:
            raise ValueError(f"learning_rate must be positive and finite; got {learning_rate}")
        chosen = chosen._replace(learning_rate=learning_rate)
    loaded = problem.load(chosen)  # so that what is wrong with the files is told at once
    start = time.perf_counter()
    todo = [
        *(Job(run.__name__, name) for name in run.names(chosen)),
        *(Job(references.__name__, name) for name in references.names()),
    ]
    results = jobs.run(todo, chosen, out, processes)
    accuracy = float(results["jarzynski_0"]["accuracy"])
    preamble = (
        f"{machine('jax', 'scikit-learn', 'flowjax')} {describe(chosen, 'data')}\n\n"
        f"The classifier is right on {100 * accuracy:.1f} % of the noisy test images. ± is the "
        "standard error of log Z over replicates, or of a mean over test images. Of the moves "
        "that relax walkers from data, Metropolis accepts "
        f"{100 * float(results['jarzynski_0']['acceptance_rate']):.0f} %."
    )
    show.write_tables(results, chosen, out, preamble)
    show.draw(results, chosen, loaded.test, out)
    print((out / "table.md").read_text())
    print(f"{out}, in {time.perf_counter() - start:.0f} s")
    harness_claims.conclude(claims.find(results, chosen), out)


if __name__ == "__main__":
    command_line.start(main)
