"""``python -m benchmarks.speed.rivals --out FOLDER``: other libraries beside ours."""

import json
import os
from pathlib import Path
from typing import Annotated

import jax
import tyro

from benchmarks.harness import command_line
from benchmarks.harness.tables import machine
from benchmarks.speed.rivals import environment, show
from benchmarks.speed.rivals.measure import QUICK, STANDARD, measure, problems


def main(
    out: Path,
    quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    environment_folder: Annotated[Path | None, tyro.conf.arg(name="environment")] = None,
    rounds: int = 3,
) -> None:
    """Time training, resampling, sweeps of spins and steps of helium beside other libraries.

    They are torchebm, particles, thrml and deepqmc.

    Parameters
    ----------
    out
        Folder for rivals.json and rivals.md.
    quick
        Small sizes, to see that it works.
    environment_folder
        Folder of the rivals' virtual environment, 1.4 GB or more; built if it is not there,
        else reused. By default ``environment`` in the folder above. That of the rivals in JAX,
        1 GB, stands beside it, with ``-jax`` at the end of its name.
    rounds
        How often rivals and ours take turns.
    """
    folder = environment_folder or out / "environment"
    beside = folder.with_name(f"{folder.name}-jax")
    pythons = {
        requirements: environment.prepare(where, requirements)
        for requirements, where in (
            (environment.REQUIREMENTS, folder),
            (environment.JAX_REQUIREMENTS, beside),
        )
    }
    out.mkdir(parents=True, exist_ok=True)
    record = []
    for problem in problems(QUICK if quick else STANDARD):
        record.append(measure(problem, pythons[problem.requirements], rounds))
        print(" | ".join(show.row(record[-1])), flush=True)
    preamble = (
        f"{machine('jax', 'blackjax')} Device: {jax.devices()[0].device_kind}. Rivals: "
        f"{show.versions(record)}, {os.cpu_count()} threads; particles in float64.\n\n"
        "Milliseconds an update, a resampling from log-weights, a sweep or a step of all "
        f"walkers: the median over {rounds} rounds, in which rival and ours take turns, of a "
        "round's median; in brackets the range over all repeats."
    )
    (out / "rivals.md").write_text(show.write(record, preamble))
    (out / "rivals.json").write_text(
        json.dumps({"machine": preamble, "problems": record}, indent=1)
    )


if __name__ == "__main__":
    command_line.start(main)
