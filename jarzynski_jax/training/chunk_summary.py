"""What is remembered of a chunk of updates of an energy-based model, and its cross entropy."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jarzynski_jax.training.metrics import Metrics
from jarzynski_jax.training.watch import Watch

__all__ = ["ChunkSummary", "believed_cross_entropy", "mean_cross_entropy", "summarize"]


class ChunkSummary(NamedTuple):
    """What is remembered of a chunk of updates; plain numbers."""

    first_step: int
    last_step: int
    first_dead_step: int | None
    num_dead: int
    num_skipped: int
    cross_entropy: float
    energy_gap: float
    effective_sample_size: float
    held_out_effective_sample_size: float


def summarize(metrics: Metrics, first_step: int) -> ChunkSummary:
    """Summarise the metrics of a chunk.

    Parameters
    ----------
    metrics
        Every field a NumPy array of shape ``(C,)``.
    first_step
        The number of updates made before the chunk.

    Returns
    -------
    ChunkSummary
        Plain numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from jarzynski_jax.training import Metrics
    >>> metrics = Metrics(*np.zeros((len(Metrics._fields), 10)))
    >>> summarize(metrics, first_step=20).last_step
    30
    """
    dead_steps = np.flatnonzero(metrics.is_dead)
    num_steps = len(metrics.is_dead)
    return ChunkSummary(
        first_step=first_step,
        last_step=first_step + num_steps,
        first_dead_step=first_step + int(dead_steps[0]) if len(dead_steps) else None,
        num_dead=int(np.sum(metrics.num_dead)),
        num_skipped=int(np.sum(metrics.is_skipped)),
        cross_entropy=float(np.mean(metrics.cross_entropy)),
        energy_gap=float(np.mean(metrics.data_energy - metrics.walker_energy)),
        effective_sample_size=float(np.median(metrics.shadow_effective_sample_size)),
        held_out_effective_sample_size=float(
            np.median(metrics.held_out_shadow_effective_sample_size)
        ),
    )


def mean_cross_entropy(chunks: Sequence[ChunkSummary], watch: Watch | None) -> float | None:
    """Average the held-out cross entropy over the updates of chunks.

    Parameters
    ----------
    chunks
        Summaries.
    watch
        What is not to be believed, if it is known: a value below the floor, and one of held-out
        walkers whose effective sample size has collapsed.

    Returns
    -------
    float | None
        Nats; None if there are no chunks, or one of them has no value to be believed.

    Examples
    --------
    >>> import numpy as np
    >>> from jarzynski_jax.training import Metrics, Watch
    >>> metrics = Metrics(*np.ones((len(Metrics._fields), 50)))
    >>> mean_cross_entropy([summarize(metrics, 0)], Watch(num_features=2))
    1.0
    """
    values = [believed_cross_entropy(chunk, watch) for chunk in chunks]
    if not values or not np.all(np.isfinite(values)):
        return None
    lengths = [chunk.last_step - chunk.first_step for chunk in chunks]
    return float(np.average(values, weights=lengths))


def believed_cross_entropy(chunk: ChunkSummary, watch: Watch | None) -> float:
    """Return the cross entropy of a chunk; NaN if it is not to be believed."""
    if watch is not None:
        is_collapsed = chunk.held_out_effective_sample_size < watch.min_effective_sample_size
        floor = watch.entropy_floor
        if is_collapsed or (floor is not None and chunk.cross_entropy < floor):
            return math.nan
    return chunk.cross_entropy
