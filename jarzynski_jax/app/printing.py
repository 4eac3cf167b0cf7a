"""The tables that the command line prints of a report."""

import sys

from rich.console import Console
from rich.table import Table

from jarzynski_jax.app.report import Moves, Report
from jarzynski_jax.app.shares import Shares
from jarzynski_jax.formatting import format_with_error, two_digits

__all__ = ["count", "describe_moves", "print_report"]


def count(number: int, noun: str) -> str:
    """So many of something.

    Examples
    --------
    >>> count(1, "step"), count(2, "step")
    ('1 step', '2 steps')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def describe_moves(moves: Moves) -> str:
    """Say how walkers moved.

    Examples
    --------
    >>> describe_moves(Moves("kinetic", 0.1, 2.0))
    'kinetic dynamics, step size 0.1, friction 2'
    """
    friction = "" if moves.friction is None else f", friction {moves.friction:g}"
    return f"{moves.dynamics} dynamics, step size {moves.step_size:g}{friction}"


def print_report(report: Report) -> None:
    """Print cross entropies, how they were found, reasons for doubt, and shares of classes."""
    # As wide in files, whatever the terminal is.
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(_table(report))
    _print_errors(report)
    _print_origin(report)
    _print_doubts(report)
    if report.shares is not None:
        _print_shares(report.shares, console)


def _table(report: Report) -> Table:
    bracket = report.model
    table = Table(title="Cross entropy of the test data (nats; smaller is better)")
    table.add_column("density", justify="left")
    table.add_column("lower bound", justify="right")
    table.add_column("upper bound", justify="right")
    mark = " (not to be believed)" if bracket.doubts else ""
    table.add_row(
        f"energy-based model, {report.updates} updates{mark}",
        format_with_error(bracket.lower, bracket.lower_error),
        format_with_error(bracket.upper, bracket.upper_error),
    )
    largest = ", the most tried" if report.num_components == report.most_components else ""
    table.add_row("one full Gaussian", *2 * [f"{report.gaussian:.2f}"])
    table.add_row(
        f"best mixture of full Gaussians ({report.num_components}{largest})",
        *2 * [f"{report.mixture:.2f}"],
    )
    if report.noise is not None:
        table.add_row("entropy of the noise: the floor", *2 * [f"{report.noise:.2f}"])
    return table


def _print_errors(report: Report) -> None:
    difference, error = report.mixture_difference
    side = "below" if difference < 0 else "above"
    away = format_with_error(abs(difference), error)
    print(
        f"± is the standard error of log Z. The {report.num_test} test samples add one of "
        f"{two_digits(report.model.test_error)}, common to all rows;\n"
        f"the mixture lies {away} {side} the model's upper bound "
        "(paired over test samples)."
    )


def _print_origin(report: Report) -> None:
    steps, walkers, replicates = report.annealing
    print(
        f"Bounds from {count(replicates, 'replicate')} of {count(walkers, 'walker')} and "
        f"{count(steps, 'step')} each way: {describe_moves(report.moves)}."
    )
    if report.log_volume != 0:
        side = "lower" if report.log_volume > 0 else "higher"
        print(
            f"metrics.csv and curves.png are of standard coordinates: {side} by "
            f"{abs(report.log_volume):.2f}."
        )
    if report.model.relaxed is not None:
        print(f"Backward from samples relaxed from data: {report.model.relaxed:.2f}.")


def _print_doubts(report: Report) -> None:
    bracket = report.model
    if not bracket.doubts:
        apart = bracket.upper - bracket.lower
        agree = ", within their errors" if apart < 0 else ""
        print(f"The two bounds are {two_digits(abs(apart))} nats apart{agree}.")
    for doubt in bracket.doubts:
        print(f"NOT TO BE BELIEVED: {doubt}.")


def _print_shares(shares: Shares, console: Console) -> None:
    table = Table(title="Shares of the classes")
    for name in ("class", "test data", "test data, classified", "model, classified"):
        table.add_column(name, justify="right")
    columns = shares.classes, shares.data, shares.classified, shares.model, shares.error
    for label, data, classified, model, error in zip(*columns, strict=True):
        table.add_row(
            *(f"{label}", f"{data:.3f}", f"{classified:.3f}", format_with_error(model, error))
        )
    console.print(table)
    print(
        f"The classifier is right on {100 * shares.accuracy:.1f} % of the test data with their "
        "noise; ± is over replicates.\n"
        "Total variation between the model and the test data, both as classified: "
        f"{format_with_error(*shares.total_variation)}."
    )
