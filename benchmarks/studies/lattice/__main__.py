"""``python -m benchmarks.studies.lattice --out FOLDER``: run, draw, claim."""

import time

from benchmarks.harness import claims, command_line, jobs
from benchmarks.harness.command_line import Out, Processes, Quick
from benchmarks.harness.jobs import Job
from benchmarks.harness.tables import describe, machine, markdown
from benchmarks.studies.lattice import (
    field,
    free_flow,
    from_gaussian,
    gauge,
    ising,
    network,
    show,
    verdicts,
)
from benchmarks.studies.lattice.settings import FULL, QUICK

#: Longest first.
_PARTS = (field, network, gauge, from_gaussian, ising, free_flow)


def main(out: Out, quick: Quick = False, processes: Processes = 2) -> None:
    """Free energies of lattice systems by walkers, networks and chains, beside exact ones."""
    settings = QUICK if quick else FULL
    start = time.perf_counter()
    todo = [Job(part.__name__, name) for part in _PARTS for name in part.names(settings)]
    results = jobs.run(todo, settings, out, processes)
    show.draw(results, settings, out)
    header = ("Ising, β = 0.44", "method", "CPU seconds to an error of 0.01 nats", "measured")
    table = markdown(header, verdicts.equal_error_rows(results, settings))
    observed = ("φ⁴, λ = 0.022", "κ", "⟨|M|⟩", "χ = V⟨M²⟩", "⟨φ²⟩", "τ of |M|, samples")
    observables = markdown(observed, verdicts.observable_rows(results, settings))
    text = "\n\n".join([machine("jax", "flax"), describe(settings), table, observables])
    (out / "table.md").write_text(f"{text}\n")
    print(f"{out / 'table.md'}, in {time.perf_counter() - start:.0f} s")
    claims.conclude(verdicts.all_claims(results, settings, quick), out)


if __name__ == "__main__":
    command_line.start(main)
