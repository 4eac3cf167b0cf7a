"""Being interrupted: Ctrl-C ends a command soon, and loses nothing that can be saved.

Python handles signals in the main thread, between two of its instructions, and a computation of
XLA that takes minutes is one instruction. So the command line works in a second thread, while
the main thread does nothing but wait. After Ctrl-C work that looks for it (training) ends by
itself; any other is left alone, and the process ends with it, but not while something is being
saved.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = [
    "EXIT_STATUS",
    "Interruption",
    "left_cleanly",
    "run",
    "shielded",
    "watched",
    "writing",
]

#: 128 and the number of the signal, as shells have it.
EXIT_STATUS = 130

#: Seconds for work to end by itself, and between two looks.
_PATIENCE, _POLL = 1.0, 0.05


@dataclass
class Interruption:
    """What the thread that waits and the one that works tell each other.

    ``num_asked`` is how many times Ctrl-C was pressed, ``num_unsaved`` how many updates of
    training would be lost, ``num_writing`` how many files are being written; ``last_saved`` is
    the number of updates in the last checkpoint, None before there is one.
    """

    num_asked: int = 0
    num_unsaved: int = 0
    num_writing: int = 0
    last_saved: int | None = None
    written: list[Path] = field(default_factory=list)

    @property
    def is_asked(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self.num_asked > 0

    @property
    def is_at_stake(self) -> bool:
        """Whether something would be lost now."""
        return self.num_unsaved > 0 or self.num_writing > 0


#: That of :func:`run`, while it runs: signals are the process's, so there is one.
_of_the_process: Interruption | None = None

#: What a terminal needs before the process is left.
_clean_up: list[Callable[[], None]] = []


def run(work: Callable[[], int], describe: Callable[[Interruption], str]) -> int:
    """Work in a second thread, so that Ctrl-C can end the process; returns the exit status.

    When Ctrl-C was pressed and the work has not ended a second later, the process ends at once
    with status 130, and what ``describe`` says is left behind; but while something is at stake
    (updates not saved, a file half written) only after a notice and a third Ctrl-C. Exceptions
    of the work pass. In another thread than the main one ``work`` is simply called.

    Examples
    --------
    >>> run(lambda: 0, lambda interruption: "interrupted")
    0
    """
    global _of_the_process
    if threading.current_thread() is not threading.main_thread():
        return work()
    interruption = _of_the_process = Interruption()

    def handle(signum: int, frame: Any) -> None:
        interruption.num_asked += 1

    previous = signal.signal(signal.SIGINT, handle)
    try:
        with ThreadPoolExecutor(1) as executor:
            future = executor.submit(work)
            _wait(lambda: bool(wait([future], _POLL).done), interruption, describe)
            return future.result()
    finally:
        signal.signal(signal.SIGINT, previous)
        _of_the_process = None


def _wait(
    is_done: Callable[[], bool],
    interruption: Interruption,
    describe: Callable[[Interruption], str],
) -> None:
    """Return when the work is done, or end the process."""
    while not is_done() and not interruption.is_asked:
        pass
    asked = free_since = time.monotonic()
    num_when_told: int | None = None
    while not is_done():
        now = time.monotonic()
        if not interruption.is_at_stake:
            if now - free_since > _PATIENCE:
                _leave(describe(interruption))
            continue
        free_since = now
        if num_when_told is None and now - asked > 2 * _PATIENCE:
            num_when_told = interruption.num_asked
            print(_notice(interruption), file=sys.stderr, flush=True)
        # A key that is held down is no answer to the notice.
        if num_when_told is not None and interruption.num_asked > max(2, num_when_told):
            _leave(describe(interruption))


def _notice(interruption: Interruption) -> str:
    press = "press Ctrl-C twice more" if interruption.num_asked == 1 else "press Ctrl-C again"
    what = f"{interruption.num_unsaved} updates" if interruption.num_unsaved else "a file"
    return f"\ninterrupted; waiting until {what} can be saved. To leave without, {press}."


def _leave(words: str) -> None:
    """End the process, whatever XLA is doing, which ``sys.exit`` would wait for."""
    for clean_up in _clean_up:
        clean_up()
    print(f"\n{words}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_STATUS)


@contextmanager
def left_cleanly(clean_up: Callable[[], None]) -> Iterator[None]:
    """Have something done first, if the process is left here: a terminal needs its cursor.

    It is done in the main thread, while the work goes on.

    Examples
    --------
    >>> with left_cleanly(lambda: print("good bye")):
    ...     pass
    """
    _clean_up.append(clean_up)
    try:
        yield
    finally:
        _clean_up.remove(clean_up)


@contextmanager
def watched() -> Iterator[Interruption]:
    """Look out for Ctrl-C, without being interrupted by it.

    Outside :func:`run`, in the main thread, a second Ctrl-C interrupts as ever unless something
    is at stake, and a third one in any case. In another thread Ctrl-C cannot be seen.

    Examples
    --------
    >>> with watched() as interruption:
    ...     interruption.is_asked
    False
    """
    if _of_the_process is not None:
        try:
            yield _of_the_process
        finally:  # who fails will not save them any more
            _of_the_process.num_unsaved = 0
        return
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return

    def handle(signum: int, frame: Any) -> None:
        interruption.num_asked += 1
        if interruption.num_asked > (2 if interruption.is_at_stake else 1):
            signal.signal(signal.SIGINT, previous)
            signal.raise_signal(signal.SIGINT)

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield interruption
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def shielded() -> Iterator[None]:
    """Keep the process from being left in the middle of what belongs together."""
    interruption = _of_the_process or Interruption()
    interruption.num_writing += 1
    try:
        yield
    finally:
        interruption.num_writing -= 1


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Write a file whole or not at all.

    Yields a path in the same folder, which gets its name when all went well.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "numbers.txt"
    >>> with writing(path) as unfinished:
    ...     _ = unfinished.write_text("1 2 3")
    >>> [file.name for file in path.parent.iterdir()]
    ['numbers.txt']
    """
    path = path.absolute()
    unfinished = path.with_name("partial-" + path.name)
    with shielded():
        yield unfinished
        os.replace(unfinished, path)
        if _of_the_process is not None:
            _of_the_process.written.append(path)
