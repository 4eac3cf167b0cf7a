"""``python -m benchmarks.studies.gaussian_mixture --out FOLDER``: run, draw, tabulate."""

import time
from typing import Annotated

import tyro

from benchmarks.harness import claims, command_line, jobs
from benchmarks.harness.command_line import Out, Processes, Quick
from benchmarks.harness.jobs import Job
from benchmarks.harness.tables import describe, machine
from benchmarks.studies.gaussian_mixture import (
    algorithms,
    divergences,
    lags,
    langevin_bias,
    line,
    no_resampling,
    scaling,
    thresholds,
    variants,
)
from benchmarks.studies.gaussian_mixture.report import EXACT, write_tables
from benchmarks.studies.gaussian_mixture.settings import QUICK, STANDARD, THESIS, Settings

_RUN = (variants, lags, line, divergences, langevin_bias, scaling)
_SHOWN = (
    algorithms,
    thresholds,
    no_resampling,
    lags,
    line,
    divergences,
    langevin_bias,
    scaling,
)


def main(
    out: Out,
    quick: Quick = False,
    thesis: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    processes: Processes = 2,
) -> None:
    """Reproduce the Gaussian-mixture study of the thesis with exact weights.

    Parameters
    ----------
    thesis
        The thesis' own sizes in Figures 4.5 and 4.6 too; days on a small machine.
    """
    if quick and thesis:
        raise ValueError("take --quick or --thesis, not both")
    settings = QUICK if quick else THESIS if thesis else STANDARD
    start = time.perf_counter()
    todo = [Job(part.__name__, name) for part in _RUN for name in part.names(settings)]
    results = jobs.run(todo, settings, out, processes)
    for part in _SHOWN:
        part.draw(results, out)
    rows = [row for part in _SHOWN for row in part.rows(results)]
    write_tables(rows, out, _preamble(settings))
    print(f"{out / 'table.md'}: {len(rows)} rows, in {time.perf_counter() - start:.0f} s")
    # At small sizes what is exact must hold; the rest is written down as it comes.
    claimed = [row for row in rows if row.part.startswith(EXACT)] if quick else rows
    claims.conclude([row.claim for row in claimed if row.holds is not None], out)


def _preamble(settings: Settings) -> str:
    return (
        f"{machine('jax', 'flax', 'optax')} Spread is the standard deviation over seeds."
        f"\n\n{describe(settings)}"
    )


if __name__ == "__main__":
    command_line.start(main)
