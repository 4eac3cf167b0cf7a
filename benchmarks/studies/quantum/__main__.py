"""``python -m benchmarks.studies.quantum --out FOLDER``: run, draw, claim."""

import time
from importlib.util import find_spec

from benchmarks.harness import claims, command_line, jobs
from benchmarks.harness.command_line import Out, Processes, Quick
from benchmarks.harness.jobs import Job
from benchmarks.studies.quantum import bosons, electrons, figures, small
from benchmarks.studies.quantum.results import claims_of
from benchmarks.studies.quantum.settings import QUICK, STANDARD

_PARTS = (small, electrons, bosons)


def main(out: Out, quick: Quick = False, processes: Processes = 2) -> None:
    """Ground-state energies: bounds, and diffusion Monte Carlo beside exact ones.

    The quick form takes the oscillator, hydrogen, and helium with a fixed wave.
    """
    settings = QUICK if quick else STANDARD
    start = time.perf_counter()
    todo = [Job(part.__name__, name) for part in _PARTS for name in part.names(settings)]
    results = jobs.run(todo, settings, out, processes)
    has_curve = bool(settings.distances) and find_spec("pyscf") is not None
    figures.draw(results, electrons.curve(settings) if has_curve else None, out)
    print(f"{len(todo)} systems in {time.perf_counter() - start:.0f} s")
    claims.conclude(claims_of(results), out)


if __name__ == "__main__":
    command_line.start(main)
