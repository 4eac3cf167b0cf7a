"""What is made of an objective's metrics while it runs: when to stop, and what to show.

The rules belong to the objective, for only it knows what its numbers mean. They look between
chunks of updates, at summaries of these.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jarzynski_jax.types import Array, Params, PRNGKey

__all__ = ["NO_RULES", "Moment", "StopRules", "TrainingDiverged", "Trouble", "how_to_take"]


class Trouble(NamedTuple):
    """What went wrong.

    sign
        Its name, such as ``"no gradient"``. Of energy-based models: ``"died"``, ``"some
        died"``, ``"below floor"``, ``"runs away"``, ``"collapsed"``, ``"held-out collapsed"``
        or ``"worse than best"``.
    step
        The update at which it was seen.
    cause
        A sentence.
    advice
        What to try.
    is_fatal
        Whether going on is useless.
    """

    sign: str
    step: int
    cause: str
    advice: str
    is_fatal: bool


class Moment(NamedTuple):
    """Where a run stands when its rules look at it.

    is_whole
        Whether the last chunk is whole. Of a part, noise is easily taken for trouble.
    params
        As they are.
    draw
        ``n -> (rng_key, batch)``: data with their noise, shape ``(n, ...)``, and a key.
    """

    is_whole: bool
    params: Params
    draw: Callable[[int], tuple[PRNGKey, Array]]


class StopRules(NamedTuple):
    """How an objective's metrics are read.

    summarize
        ``(metrics, first_step) -> summary`` of a chunk whose metrics are NumPy arrays of shape
        ``(C,)``.
    diagnose
        ``(summaries, watch, moment) -> troubles``, the last summary new.
    merit
        ``(summaries, watch) -> float``: how good the parameters were, the smaller the better,
        for the best checkpoint; None if that is not known.
    judged_by
        What that is, in words.
    describe
        ``metrics -> str`` for the progress bar.
    takes_watch
        Whether :func:`~jarzynski_jax.training.fit` must be told in ``watch`` what to look for.
    """

    summarize: Callable[[Any, int], Any]
    diagnose: Callable[[Sequence[Any], Any, Moment], list[Trouble]]
    merit: Callable[[Sequence[Any], Any], float | None]
    judged_by: str
    describe: Callable[[Any], str]
    takes_watch: bool = False


#: Of an objective that does not say what its metrics mean.
NO_RULES = StopRules(
    summarize=lambda metrics, first_step: None,
    diagnose=lambda summaries, watch, moment: [],
    merit=lambda summaries, watch: None,
    judged_by="",
    describe=lambda metrics: "",
)


class TrainingDiverged(RuntimeError):
    """Training went wrong and was stopped.

    Parameters
    ----------
    trouble
        The update at which it was seen, the cause and what to try.
    last_checkpoint
        The number of updates in the last checkpoint; None if there is none.
    best_checkpoint
        That in the best one; None if that is not known, or what tells it was wrong.
    judged_by
        What tells the best, in words.
    """

    def __init__(
        self,
        trouble: Trouble,
        last_checkpoint: int | None,
        best_checkpoint: int | None = None,
        judged_by: str = "",
    ) -> None:
        self.judged_by = judged_by
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
            f"{trouble.advice}{kept}{how_to_take(best_checkpoint, judged_by)}"
        )

    def __reduce__(
        self,
    ) -> tuple[type["TrainingDiverged"], tuple[Trouble, int | None, int | None, str]]:
        """How it comes out of another process."""
        found = self.trouble, self.last_checkpoint, self.best_checkpoint, self.judged_by
        return type(self), found


def how_to_take(best_checkpoint: int | None, judged_by: str) -> str:
    """Say how to go back to the best checkpoint."""
    if best_checkpoint is None:
        return ""
    return (
        f" By {judged_by} the checkpoint of update {best_checkpoint} is the "
        f"best: the commands evaluate and sample take it with --checkpoint {best_checkpoint}, "
        f"checkpoint.restore with step={best_checkpoint}."
    )
