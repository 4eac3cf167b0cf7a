"""``python -m benchmarks.studies.log_partition --out FOLDER``: compare, draw, tabulate."""

import math
import time

from benchmarks.harness import claims, command_line, jobs
from benchmarks.harness.claims import Claim
from benchmarks.harness.command_line import Out, Processes, Quick
from benchmarks.harness.jobs import Job
from benchmarks.harness.tables import describe, machine
from benchmarks.studies.log_partition import comparison, show
from benchmarks.studies.log_partition.settings import QUICK, STANDARD, Settings


def main(out: Out, quick: Quick = False, processes: Processes = 2) -> None:
    """Compare errors of log Z at equal numbers of gradients with BlackJAX's tempered SMC."""
    settings = QUICK if quick else STANDARD
    start = time.perf_counter()
    todo = [Job(comparison.__name__, name) for name in comparison.names(settings)]
    results = jobs.run(todo, settings, out, processes)
    show.draw(results, settings, out)
    show.write_tables(results, settings, out, _preamble(settings))
    print(f"{out / 'table.md'}, in {time.perf_counter() - start:.0f} s")
    verdicts = show.verdicts(results, settings)
    for verdict in verdicts:
        print(
            f"{verdict.problem}, {verdict.budget} gradients a walker: ours is {verdict.text}, "
            f"error {verdict.ratio:.2f} of BlackJAX's ({verdict.low:.2f} to {verdict.high:.2f})"
        )
    if not quick:  # of four seeds there is nothing to claim but that it ran
        claims.conclude(_claims(verdicts), out)


def _preamble(settings: Settings) -> str:
    return (
        f"{machine('jax', 'blackjax')} {describe(settings)}\n\n"
        "Errors of log Z are in nats. Gradients are those a walker took on average, of ours "
        "with the pilot's and with those that go back for the bracket. Milliseconds are the "
        "median of a whole run without its compilation, all methods by turns in one process "
        "on one core. Ours is one call with its defaults. BlackJAX's step size and option "
        "(effective sample size of a temperature; leapfrog steps L; length of waste-free "
        "chains, of which there are as many as the budget pays for) were chosen by the "
        "smallest error over the tuning seeds, and so was the best of its methods; other "
        "seeds judge. In brackets: 90 % interval by the bootstrap over these; level is "
        "where it holds 1. Values without gradients are not counted: to find a temperature "
        "our pilot takes 26 of each of its walkers, BlackJAX one of each."
    )


def _claims(verdicts: list[show.Verdict]) -> list[Claim]:
    """No cell significantly above 1; two in three below 0.8."""
    compared = [verdict for verdict in verdicts if math.isfinite(verdict.ratio)]
    each = [
        claims.below(
            f"{verdict.problem}, {verdict.budget} gradients: lower end of the 90 % interval of "
            "our error over BlackJAX's best",
            verdict.low,
            1.0,
        )
        for verdict in compared
    ]
    share = sum(verdict.ratio < 0.8 for verdict in compared) / len(compared)
    return [*each, claims.above("share of ratios below 0.8", share, 0.7)]


if __name__ == "__main__":
    command_line.start(main)
