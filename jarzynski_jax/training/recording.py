"""What a run keeps on disk: metrics and checkpoints."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from jarzynski_jax.training import checkpoint
from jarzynski_jax.training.metrics_file import MetricsFile
from jarzynski_jax.training.objective import Monitor

__all__ = ["Record"]


class Record:
    """Metrics and checkpoints of a run in its folder, or nothing.

    Parameters
    ----------
    folder
        Where they go; None for nowhere.
    config
        Saved with the checkpoints.
    checkpoint_every
        Updates between two checkpoints, at least.
    state
        The first one; a checkpoint of it is written.
    names
        Of the metrics.
    monitor
        Tells the cross entropy by which the best checkpoint is kept.

    Raises
    ------
    ValueError
        If the folder's last checkpoint is of another update than the state, or its metrics are
        others.
    """

    def __init__(
        self,
        folder: Path | None,
        config: Mapping[str, Any],
        checkpoint_every: int,
        state: Any,
        names: Sequence[str],
        monitor: Monitor,
    ) -> None:
        self._monitor = monitor
        self._chunks: list[Any] = []  # since the last checkpoint
        self._config = config
        self._checkpoint_every = checkpoint_every
        self._folder = folder
        self.last_checkpoint: int | None = None
        if folder is not None:
            step = int(state.step)
            _check_that_it_goes_on(folder / "checkpoints", step)
            if jax.process_index() == 0:
                folder.mkdir(parents=True, exist_ok=True)
                self._metrics = MetricsFile(folder / "metrics.csv", step, names)
            self.write_checkpoint(state, is_last=True)

    @property
    def best_checkpoint(self) -> int | None:
        """The update of the checkpoint whose cross entropy is lowest, if that is known."""
        if self._folder is None:
            return None
        return checkpoint.best_step(self._folder / "checkpoints")

    def write_metrics(self, metrics: Any, chunk: Any) -> None:
        """Write the metrics of a chunk, and remember its summary until the checkpoint."""
        if self._folder is None:
            return
        self._chunks.append(chunk)
        # All processes have the same metrics, and write their part of a checkpoint.
        if jax.process_index() == 0:
            self._metrics.append(metrics)

    def write_checkpoint(self, state: Any, is_last: bool) -> None:
        """Write a checkpoint, if it is the last or one is due."""
        if self._folder is None:
            return
        step = int(state.step)
        if is_last or step - (self.last_checkpoint or 0) >= self._checkpoint_every:
            cross_entropy = self._monitor.cross_entropy(self._chunks)
            checkpoint.save(self._folder / "checkpoints", state, self._config, cross_entropy)
            self.last_checkpoint = step
            self._chunks.clear()


def _check_that_it_goes_on(checkpoints: Path, step: int) -> None:
    """Two runs in one folder would be mixed."""
    saved = checkpoint.latest_step(checkpoints)
    if saved not in (None, step):
        raise ValueError(
            f"{checkpoints} holds a run at update {saved}, and the state is at update {step}; "
            "go on from what checkpoint.restore gives, or take another folder"
        )
