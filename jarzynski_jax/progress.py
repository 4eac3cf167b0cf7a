"""How far a long computation has come.

On a terminal a bar with the remaining time. A log file wants few lines rather than a moving
bar.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jarzynski_jax import interruption

__all__ = ["show_fraction", "show_progress"]


@contextmanager
def show_progress(
    title: str, unit: str, total: int, completed: int = 0, *, is_shown: bool = True
) -> Iterator[Callable[[int, str], None]]:
    """Show progress on standard error, if that is a terminal, else on standard output.

    Yields ``show(completed, description)``; ``unit`` is in the plural.

    Examples
    --------
    >>> with show_progress("walking", "steps", 20) as show:
    ...     for step in (1, 11, 12, 20):
    ...         show(step, "on foot")
    walking: 11/20 steps, on foot
    walking: 12/20 steps, on foot
    walking: 20/20 steps, on foot
    """
    if not is_shown:
        yield lambda completed, description: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(title, unit, total, completed)
        return
    columns = (
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console) as bar, interruption.left_cleanly(bar.stop):
        task = bar.add_task("compiling", total=total, completed=completed)
        yield lambda completed, description: bar.update(
            task, completed=completed, description=description
        )


@contextmanager
def show_fraction(title: str, num_steps: int) -> Iterator[Callable[[float], None]]:
    """Show the progress of annealing, for its argument ``progress``.

    That is called with the share of the ``num_steps`` that were made since the call before.

    Examples
    --------
    >>> with show_fraction("walking", 20) as progress:
    ...     progress(0.5)
    ...     progress(0.5)
    walking: 10/20 steps
    walking: 20/20 steps
    """
    made = 0.0
    with show_progress(title, "steps", num_steps) as show:

        def progress(share: float) -> None:
            nonlocal made
            made += share
            show(round(made * num_steps), "")

        yield progress


def _lines(title: str, unit: str, total: int, completed: int) -> Callable[[int, str], None]:
    tenth = max(1, total // 10)
    shown = completed

    def show(completed: int, description: str) -> None:
        nonlocal shown
        if completed // tenth > shown // tenth or completed == total > shown:
            shown = completed
            described = f", {description}" if description else ""
            print(f"{title}: {completed}/{total} {unit}{described}", flush=True)

    return show
