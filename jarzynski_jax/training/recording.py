"""What a run keeps on disk: its metrics, and checkpoints."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from jarzynski_jax.training import checkpoint
from jarzynski_jax.training.metrics_file import MetricsFile

__all__ = ["Record"]


class Record:
    """What is kept on disk: metrics and checkpoints, or nothing."""

    def __init__(
        self,
        folder: Path | None,
        config: Mapping[str, Any],
        checkpoint_every: int,
        state: Any,
        merit: Callable[[list[Any]], float | None],
    ) -> None:
        self._merit = merit
        self._summaries: list[Any] = []  # since the last checkpoint
        self._config = config
        self._checkpoint_every = checkpoint_every
        self._folder = folder
        self.last_checkpoint: int | None = None
        if folder is not None:
            _check_that_it_goes_on(folder / "checkpoints", int(state.step))
            if jax.process_index() == 0:
                folder.mkdir(parents=True, exist_ok=True)
                self._metrics = MetricsFile(folder / "metrics.csv", int(state.step))
            self.write_checkpoint(state, is_last=True)

    @property
    def best_checkpoint(self) -> int | None:
        """The number of updates of the best checkpoint that is kept."""
        if self._folder is None:
            return None
        return checkpoint.best_step(self._folder / "checkpoints")

    def write_metrics(self, metrics: Any, summary: Any) -> None:
        """Keep those of a chunk, and its summary for the next checkpoint."""
        if self._folder is None:
            return
        self._summaries.append(summary)
        # All processes have the same metrics, and write their part of a checkpoint.
        if jax.process_index() == 0:
            self._metrics.append(metrics)

    def write_checkpoint(self, state: Any, is_last: bool) -> None:
        """Save the state if it is time."""
        if self._folder is None:
            return
        step = int(state.step)
        if is_last or step - (self.last_checkpoint or 0) >= self._checkpoint_every:
            merit = self._merit(self._summaries)
            checkpoint.save(self._folder / "checkpoints", state, self._config, merit)
            self.last_checkpoint = step
            self._summaries.clear()


def _check_that_it_goes_on(checkpoints: Path, step: int) -> None:
    """Two runs in one folder would be mixed."""
    saved = checkpoint.latest_step(checkpoints)
    if saved not in (None, step):
        raise ValueError(
            f"{checkpoints} holds a run at update {saved}, and the state is at update {step}; "
            "go on from what checkpoint.restore gives, or take another folder"
        )
