"""The training loop: compiled chunks, and what has to happen between them.

This is the one place with a loop on the host. A piece of a chunk of updates is one compiled
loop with donated buffers; a chunk is one piece, unless it takes long. Between pieces: the
progress bar, and an eye on Ctrl-C. Between chunks: the check for trouble, metrics to disk, a
checkpoint.
"""

import math
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jarzynski_jax import interruption
from jarzynski_jax.checks import check_known
from jarzynski_jax.data import as_samples, draw_batch
from jarzynski_jax.progress import show_progress
from jarzynski_jax.training import checkpoint
from jarzynski_jax.training.algorithm import Metrics, TrainingAlgorithm, TrainingState
from jarzynski_jax.training.refresh import Refresh, refresh_state
from jarzynski_jax.training.sharding import spread_state, state_shardings
from jarzynski_jax.training.trouble import (
    ChunkSummary,
    Trouble,
    Watch,
    blame_step_size,
    diagnose,
    mean_cross_entropy,
    summarize,
)
from jarzynski_jax.types import Array, PRNGKey
from jarzynski_jax.walkers import spread_data, spread_key

__all__ = ["FitResult", "TrainingDiverged", "fit"]

#: Seconds between two looks for Ctrl-C, about.
_PIECE_SECONDS = 0.25
# Data among which a move is measured when there is trouble.
_NUM_MEASURED = 500


class FitResult(NamedTuple):
    """What :func:`fit` returns.

    state
        The last state.
    metrics
        Of the updates made by this call, every field a NumPy array.
    is_interrupted
        Whether Ctrl-C ended it early; everything is saved then, if there is a folder.
    """

    state: TrainingState
    metrics: Metrics
    is_interrupted: bool


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
            f"{trouble.advice}{kept}{_how_to_take(best_checkpoint)}"
        )

    def __reduce__(
        self,
    ) -> tuple[type["TrainingDiverged"], tuple[Trouble, int | None, int | None]]:
        """How it comes out of another process."""
        return type(self), (self.trouble, self.last_checkpoint, self.best_checkpoint)


def _how_to_take(best_checkpoint: int | None) -> str:
    if best_checkpoint is None:
        return ""
    return (
        f" By the held-out cross entropy the checkpoint of update {best_checkpoint} is the "
        f"best: the commands evaluate and sample take it with --checkpoint {best_checkpoint}, "
        f"checkpoint.restore with step={best_checkpoint}."
    )


def fit(
    rng_key: PRNGKey,
    algorithm: TrainingAlgorithm,
    state: TrainingState,
    data: Array,
    *,
    num_steps: int,
    batch_size: int,
    noise_scale: float = 0.0,
    chunk_size: int = 100,
    watch: Watch | None = None,
    folder: Path | None = None,
    config: Mapping[str, Any] | None = None,
    checkpoint_every: int = 500,
    progress: bool = False,
    mesh: Mesh | None = None,
    refresh: Refresh | None = None,
) -> FitResult:
    """Train until ``num_steps`` updates have been made in all.

    The random numbers of an update follow from ``rng_key`` and the number of the update
    alone. So going on from a restored state gives bit for bit what an uninterrupted run
    gives. Calls with the same algorithm, shapes and settings compile once: make the algorithm
    once, and keep it.

    Ctrl-C ends it within about a second, or one update if that takes longer. A second one
    interrupts at once if nothing would be lost, a third one in any case.

    Parameters
    ----------
    rng_key
        A key of ``jax.random``; the same for all parts of a run.
    algorithm
        ``(init, step)``, e.g. from :func:`jarzynski_jax.training.jarzynski`.
    state
        From ``algorithm.init``, or from an earlier part of the run. It is copied, so it
        stays valid.
    data
        Shape ``(n, ...)``; :func:`jarzynski_jax.data.as_samples` says of which numbers.
    num_steps
        How many updates the run has in all, those already in ``state`` included.
    batch_size
        Data drawn for an update, with replacement.
    noise_scale
        σ of fresh Gaussian noise on the data drawn.
    chunk_size
        Updates in one chunk, after which trouble is looked for.
    watch
        What to look for between chunks; None for nothing.
    folder
        Where ``metrics.csv`` and ``checkpoints`` go; None to keep nothing on disk.
    config
        Saved with the checkpoints.
    checkpoint_every
        A checkpoint is written at the first chunk's end after so many updates, at the start
        and at the end. The last three are kept, and the best by the held-out cross entropy,
        averaged over the updates since the checkpoint before.
    progress
        Whether to show a progress bar.
    mesh
        Devices to spread walkers and data over, e.g. from
        :func:`jarzynski_jax.walkers.make_mesh`; None for the one where they are. The result is
        the same but for the order of sums. With several processes (``jax.distributed``) each
        calls this with the same arguments, and all see the same folder.
    refresh
        When to go on with fresh walkers, e.g. from
        :func:`jarzynski_jax.training.refresh_from_base`; None for never.

    Returns
    -------
    FitResult
        State and metrics.

    Raises
    ------
    ValueError
        If a number is not positive, the state has more updates than ``num_steps``, or the
        folder's last checkpoint is of another update than the state; or data are not finite,
        no real numbers, or vary by less than their precision can hold; or inside ``jax.jit`` or
        ``jax.vmap``, where ``algorithm.step`` can be scanned.
    TrainingDiverged
        If trouble was seen; the last checkpoint before it stays.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax
    >>> from jarzynski_jax import training
    >>> from jarzynski_jax.walkers import langevin
    >>> energy_fn = lambda params, x: jnp.sum((x - params) ** 2) / 2
    >>> algorithm = training.jarzynski(energy_fn, optax.sgd(0.1), langevin(0.1))
    >>> x = jax.random.normal(jax.random.key(0), (500, 2))
    >>> state = algorithm.init(jax.random.key(1), jnp.zeros(2), x, x, jnp.log(2 * jnp.pi))
    >>> key = jax.random.key(2)
    >>> result = fit(key, algorithm, state, x + 1, num_steps=100, batch_size=100)
    >>> int(result.state.step), result.metrics.gradient_norm.shape
    (100, (100,))
    """
    check_known("training.fit", (rng_key, state, data))
    for name, value in (
        ("num_steps", num_steps),
        ("batch_size", batch_size),
        ("chunk_size", chunk_size),
        ("checkpoint_every", checkpoint_every),
    ):
        if value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}")
    if not 0 <= noise_scale < float("inf"):
        raise ValueError(f"noise_scale must be finite and not negative; got {noise_scale}")
    step = int(state.step)
    if step > num_steps:
        raise ValueError(f"the state has {step} updates already; num_steps is {num_steps}")

    data = as_samples(data)
    state = jax.tree.map(jnp.copy, state)  # so that donation takes no buffer of the caller
    if mesh is not None:
        state, data = spread_state(state, mesh), spread_data(data, mesh)
        rng_key = spread_key(rng_key, mesh)
    run_piece = _compile(algorithm, batch_size, float(noise_scale), mesh)
    take_fresh = _compile_refresh(refresh, mesh)
    record = _Record(folder, config or {}, checkpoint_every, state, watch)
    chunks: list[ChunkSummary] = []
    collected: list[Metrics] = []
    warned: set[str] = set()
    is_shown = progress and jax.process_index() == 0
    describe = _describe_progress(step)
    # Several processes have to agree on the pieces.
    longest = 1 if jax.process_count() == 1 else chunk_size
    with (
        show_progress("training", "updates", num_steps, step, is_shown=is_shown) as show,
        interruption.watched() as watched,
    ):
        watched.last_saved = record.last_checkpoint
        while step < num_steps and not watched.is_asked:
            first_step, end = step, min(step + chunk_size, num_steps)
            pieces: list[Metrics] = []
            with nullcontext() if mesh is None else jax.set_mesh(mesh):
                if refresh is not None:
                    end = min(end, step + refresh.every - step % refresh.every)
                    # Of a run that is resumed here, the checkpoint is from before.
                    if step > 0 and step % refresh.every == 0:
                        state = take_fresh(rng_key, state)
                while step == first_step or (step < end and not watched.is_asked):
                    length = min(longest, end - step)
                    start = time.perf_counter()
                    state, metrics = run_piece(rng_key, state, data, length, chunk_size)
                    metrics = jax.device_get(metrics)
                    if jax.process_count() == 1:
                        seconds = time.perf_counter() - start
                        longest = max(1, int(length * _PIECE_SECONDS / seconds))
                    pieces.append(jax.tree.map(lambda values: values[:length], metrics))
                    step += length
                    watched.num_unsaved += length
                    show(step, describe(step, pieces))
            metrics = _concatenate(pieces)
            collected.append(metrics)
            chunks.append(summarize(metrics, first_step))
            record.write_metrics(metrics, chunks[-1])
            troubles = _find_trouble(
                chunks,
                watch,
                step == end,
                partial(_measure_step, rng_key, state, data, noise_scale, watch),
            )
            warned |= _raise_or_warn(troubles, record, warned)
            record.write_checkpoint(state, is_last=step == num_steps)
            if record.last_checkpoint == step:
                watched.last_saved, watched.num_unsaved = step, 0
        if watched.num_unsaved > 0:
            record.write_checkpoint(state, is_last=True)
            watched.last_saved = record.last_checkpoint
    return FitResult(state, _concatenate(collected), is_interrupted=step < num_steps)


@lru_cache(maxsize=8)  # so that a second run of the same algorithm compiles nothing
def _compile(
    algorithm: TrainingAlgorithm, batch_size: int, noise_scale: float, mesh: Mesh | None
) -> Callable:
    @partial(jax.jit, donate_argnums=1, static_argnums=4)
    def run_piece(
        rng_key: PRNGKey, state: TrainingState, data: Array, length: Array, longest: int
    ) -> tuple[TrainingState, Metrics]:
        """``length`` updates, and their metrics before others: one program for any length."""

        @jax.jit  # traced once
        def update(state: TrainingState) -> tuple[TrainingState, Metrics]:
            key_batch, key_step = jax.random.split(jax.random.fold_in(rng_key, state.step))
            batch = draw_batch(key_batch, data, batch_size, noise_scale)
            state, metrics = algorithm.step(key_step, state, batch)
            if mesh is not None:  # else the partitioner may move walkers from step to step
                state = jax.lax.with_sharding_constraint(state, state_shardings(state, mesh))
            return state, metrics

        _, one = jax.eval_shape(update, state)
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), one)

        def update_or_stay(state: TrainingState, i: Array) -> tuple[TrainingState, Metrics]:
            return jax.lax.cond(i < length, update, lambda state: (state, nothing), state)

        return jax.lax.scan(update_or_stay, state, jnp.arange(longest))

    return run_piece


@lru_cache(maxsize=8)
def _compile_refresh(refresh: Refresh | None, mesh: Mesh | None) -> Callable:
    def take_fresh(rng_key: PRNGKey, state: TrainingState) -> TrainingState:
        assert refresh is not None
        key = jax.random.fold_in(jax.random.fold_in(rng_key, state.step), 1)
        state = refresh_state(key, state, refresh.start)
        if mesh is not None:
            state = jax.lax.with_sharding_constraint(state, state_shardings(state, mesh))
        return state

    return jax.jit(take_fresh)


class _Record:
    """What is kept on disk: metrics and checkpoints, or nothing."""

    def __init__(
        self,
        folder: Path | None,
        config: Mapping[str, Any],
        checkpoint_every: int,
        state: TrainingState,
        watch: Watch | None,
    ) -> None:
        self._watch = watch
        self._chunks: list[ChunkSummary] = []  # since the last checkpoint
        self._config = config
        self._checkpoint_every = checkpoint_every
        self._folder = folder
        self.last_checkpoint: int | None = None
        if folder is not None:
            _check_that_it_goes_on(folder / "checkpoints", int(state.step))
            if jax.process_index() == 0:
                folder.mkdir(parents=True, exist_ok=True)
                self._metrics = checkpoint.MetricsFile(folder / "metrics.csv", int(state.step))
            self.write_checkpoint(state, is_last=True)

    @property
    def best_checkpoint(self) -> int | None:
        if self._folder is None:
            return None
        return checkpoint.best_step(self._folder / "checkpoints")

    def write_metrics(self, metrics: Metrics, chunk: ChunkSummary) -> None:
        if self._folder is None:
            return
        self._chunks.append(chunk)
        # All processes have the same metrics, and write their part of a checkpoint.
        if jax.process_index() == 0:
            self._metrics.append(metrics)

    def write_checkpoint(self, state: TrainingState, is_last: bool) -> None:
        if self._folder is None:
            return
        step = int(state.step)
        if is_last or step - (self.last_checkpoint or 0) >= self._checkpoint_every:
            cross_entropy = mean_cross_entropy(self._chunks, self._watch)
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


def _find_trouble(
    chunks: list[ChunkSummary],
    watch: Watch | None,
    is_whole: bool,
    measure_step: Callable[[], float],
) -> list[Trouble]:
    troubles = [] if watch is None else diagnose(chunks, watch)
    if not is_whole:  # too few updates to tell anything but a death from their noise
        troubles = [trouble for trouble in troubles if trouble.sign == "died"]
    if not troubles:
        return []
    quality = measure_step()
    return [blame_step_size(trouble, quality) for trouble in troubles]


def _measure_step(
    rng_key: PRNGKey, state: TrainingState, data: Array, noise_scale: float, watch: Watch | None
) -> float:
    if watch is None or watch.step_quality is None:
        return math.nan
    key_batch, key_move = jax.random.split(jax.random.fold_in(rng_key, state.step))
    positions = draw_batch(key_batch, data, _NUM_MEASURED, noise_scale)
    return float(watch.step_quality(key_move, state.params, positions))


def _raise_or_warn(troubles: list[Trouble], record: _Record, warned: set[str]) -> set[str]:
    """Stop at fatal trouble; warn of each other sign once. Return the signs seen."""
    for trouble in troubles:
        if trouble.is_fatal:
            # Before it came below the floor the cross entropy was too low already.
            best = None if trouble.sign == "below floor" else record.best_checkpoint
            raise TrainingDiverged(trouble, record.last_checkpoint, best)
        if trouble.sign not in warned:
            message = f"update {trouble.step}: {trouble.cause}. {trouble.advice}"
            warnings.warn(message + _how_to_take(record.best_checkpoint), stacklevel=3)
    return {trouble.sign for trouble in troubles}


def _concatenate(collected: list[Metrics]) -> Metrics:
    if not collected:
        return Metrics(*(jnp.zeros(0) for _ in Metrics._fields))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *collected)


def _describe_progress(first_step: int) -> Callable[[int, list[Metrics]], str]:
    start = time.perf_counter()

    def describe(step: int, pieces: list[Metrics]) -> str:
        chunk = _concatenate(pieces)
        rate = (step - first_step) / (time.perf_counter() - start)
        return (
            f"{rate:.0f} updates/s, ESS {np.median(chunk.effective_sample_size):.2f}, "
            f"cross entropy {np.mean(chunk.cross_entropy):.2f} nats"
        )

    return describe
