"""What can go wrong with any objective, and how training stops for it.

One sign is looked for whatever is learned: that losses or gradients are not finite any more.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "MAX_FAILED",
    "FiniteSummary",
    "TrainingDiverged",
    "Trouble",
    "count_in_a_row",
    "diagnose",
    "summarize",
]

#: Updates in a row that may fail before going on is useless.
MAX_FAILED = 20
_LOOKED_AT = ("loss", "gradient_norm")


class Trouble(NamedTuple):
    """What went wrong.

    sign
        Its name. Of any objective ``"not finite"``; of energy-based models ``"died"``,
        ``"some died"``, ``"no gradient"``, ``"below floor"``, ``"runs away"``,
        ``"collapsed"``, ``"held-out collapsed"`` or ``"worse than best"``.
    step
        The update at which it was seen.
    cause
        A sentence.
    advice
        What to try.
    is_fatal
        Whether going on is useless.
    is_of_cross_entropy
        Whether the held-out cross entropy is what was wrong, so that it tells no best
        checkpoint.
    """

    sign: str
    step: int
    cause: str
    advice: str
    is_fatal: bool
    is_of_cross_entropy: bool = False


class TrainingDiverged(RuntimeError):
    """Training went wrong and was stopped.

    Parameters
    ----------
    trouble
        The update at which it was seen, the cause and what to try.
    last_checkpoint
        The number of updates in the last checkpoint; None if there is none.
    best_checkpoint
        That in the best one by the held-out cross entropy; None if that is not known, or the
        cross entropy is what was wrong.
    """

    def __init__(
        self,
        trouble: Trouble,
        last_checkpoint: int | None,
        best_checkpoint: int | None = None,
    ) -> None:
        self.trouble = trouble
        self.last_checkpoint = last_checkpoint
        self.best_checkpoint = best_checkpoint
        kept = (
            ""
            if last_checkpoint is None
            else f" The checkpoint of update {last_checkpoint} is kept."
        )
        super().__init__(
            f"training was stopped at update {trouble.step}: {trouble.cause}. "
            f"{trouble.advice}{kept}{how_to_take(best_checkpoint)}"
        )

    def __reduce__(
        self,
    ) -> tuple[type["TrainingDiverged"], tuple[Trouble, int | None, int | None]]:
        """How it comes out of another process."""
        return type(self), (self.trouble, self.last_checkpoint, self.best_checkpoint)


def how_to_take(best_checkpoint: int | None) -> str:
    """Say which checkpoint is the best, and how to have it; nothing if that is not known."""
    if best_checkpoint is None:
        return ""
    return (
        f" By the held-out cross entropy the checkpoint of update {best_checkpoint} is the "
        f"best: the commands evaluate and sample take it with --checkpoint {best_checkpoint}, "
        f"checkpoint.restore with step={best_checkpoint}."
    )


class FiniteSummary(NamedTuple):
    """What is remembered of a chunk: its updates, and how many of the last ones failed."""

    last_step: int
    num_steps: int
    num_failed_at_end: int


def summarize(metrics: Any, first_step: int) -> FiniteSummary:
    """Count the updates at the end of a chunk that failed.

    Parameters
    ----------
    metrics
        A named tuple whose every field is a NumPy array of shape ``(C,)``. An update failed if
        its ``loss`` or its ``gradient_norm`` is not finite, as far as there are these fields.
    first_step
        The number of updates made before the chunk.

    Examples
    --------
    >>> from typing import NamedTuple
    >>> import numpy as np
    >>> class Metrics(NamedTuple):
    ...     loss: np.ndarray
    >>> summarize(Metrics(np.array([0.0, np.nan, 1.0, np.nan])), 10)
    FiniteSummary(last_step=14, num_steps=4, num_failed_at_end=1)
    """
    num_steps = len(metrics[0])
    is_finite = np.ones(num_steps, bool)
    for name in _LOOKED_AT:
        is_finite &= np.isfinite(getattr(metrics, name, is_finite))
    finite = np.flatnonzero(is_finite)
    first_failed = finite[-1] + 1 if len(finite) else 0
    return FiniteSummary(first_step + num_steps, num_steps, int(num_steps - first_failed))


def count_in_a_row(chunks: Iterable[tuple[int, int]]) -> int:
    """Count updates that failed one after the other, until there are enough of them.

    Chunks come from the last one back: how many updates at its end failed, of how many.

    Examples
    --------
    >>> count_in_a_row([(7, 7), (3, 7), (7, 7)])
    10
    """
    num_failed = 0
    for num_at_end, num_steps in chunks:
        num_failed += num_at_end
        if num_at_end < num_steps or num_failed >= MAX_FAILED:
            break
    return num_failed


def diagnose(chunks: Sequence[FiniteSummary], is_whole: bool) -> list[Trouble]:
    """See whether all updates have failed for a whole chunk, and for 20 updates in a row.

    Parameters
    ----------
    chunks
        Summaries in order of time, the last one new.
    is_whole
        Whether the last chunk was not interrupted.

    Examples
    --------
    >>> [trouble.is_fatal for trouble in diagnose([FiniteSummary(50, 50, 50)], True)]
    [True]
    >>> diagnose([FiniteSummary(50, 50, 49)], True)
    []
    """
    num_failed = count_in_a_row(
        (chunk.num_failed_at_end, chunk.num_steps) for chunk in reversed(chunks)
    )
    last = chunks[-1]
    if not is_whole or num_failed < max(last.num_steps, MAX_FAILED):
        return []
    return [
        Trouble(
            "not finite",
            last.last_step,
            f"the loss or its gradient has not been finite for {num_failed} updates",
            "Take a smaller learning rate, or see where the log-density is not finite.",
            is_fatal=True,
        )
    ]
