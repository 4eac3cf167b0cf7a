"""The training loop: compiled chunks, and what has to happen between them.

This is the one place with a loop on the host. A chunk of updates is one compiled
``lax.scan`` with donated buffers. Between chunks: the check for trouble, metrics to disk, a
checkpoint, the progress bar, and an eye on Ctrl-C.
"""

import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jarzynski_jax import checkpoint
from jarzynski_jax.checks import check_known
from jarzynski_jax.data import as_samples, draw_batch
from jarzynski_jax.sharding import spread_data, spread_key, spread_state, state_shardings
from jarzynski_jax.training.algorithm import Metrics, TrainingAlgorithm, TrainingState
from jarzynski_jax.training.refresh import Refresh, refresh_state
from jarzynski_jax.training.trouble import ChunkSummary, Trouble, Watch, diagnose, summarize
from jarzynski_jax.types import Array, PRNGKey

__all__ = ["FitResult", "TrainingDiverged", "fit"]


class FitResult(NamedTuple):
    """What :func:`fit` returns.

    state
        The last state.
    metrics
        Of the updates made by this call, every field a NumPy array.
    is_interrupted
        Whether Ctrl-C ended it early; everything is saved then.
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
    """

    def __init__(self, trouble: Trouble, last_checkpoint: int | None) -> None:
        self.trouble = trouble
        self.last_checkpoint = last_checkpoint
        kept = (
            ""
            if last_checkpoint is None
            else f" The checkpoint of update {last_checkpoint} is kept."
        )
        super().__init__(
            f"training was stopped at update {trouble.step}: {trouble.cause}. "
            f"{trouble.advice}{kept}"
        )

    def __reduce__(self) -> tuple[type["TrainingDiverged"], tuple[Trouble, int | None]]:
        """How it comes out of another process."""
        return type(self), (self.trouble, self.last_checkpoint)


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
        Updates in one compiled chunk.
    watch
        What to look for between chunks; None for nothing.
    folder
        Where ``metrics.csv`` and ``checkpoints`` go; None to keep nothing on disk.
    config
        Saved with the checkpoints.
    checkpoint_every
        A checkpoint is written at the first chunk's end after so many updates, at the start
        and at the end.
    progress
        Whether to show a progress bar.
    mesh
        Devices to spread walkers and data over, e.g. from
        :func:`jarzynski_jax.sharding.make_mesh`; None for the one where they are. The result is
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
    >>> from jarzynski_jax.dynamics import langevin
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
    run_chunk = _compile(algorithm, batch_size, float(noise_scale), mesh)
    take_fresh = _compile_refresh(refresh, mesh)
    record = _Record(folder, config or {}, checkpoint_every, state)
    chunks: list[ChunkSummary] = []
    collected: list[Metrics] = []
    warned: set[str] = set()
    is_shown = progress and jax.process_index() == 0
    with _progress_bar(is_shown, step, num_steps) as show, _interruption() as is_interrupted:
        while step < num_steps and not is_interrupted():
            length = min(chunk_size, num_steps - step)
            with nullcontext() if mesh is None else jax.set_mesh(mesh):
                if refresh is not None:
                    length = min(length, refresh.every - step % refresh.every)
                    # Of a run that is resumed here, the checkpoint is from before.
                    if step > 0 and step % refresh.every == 0:
                        state = take_fresh(rng_key, state)
                state, metrics = run_chunk(rng_key, state, data, length)
            metrics = jax.tree.map(np.asarray, jax.device_get(metrics))
            collected.append(metrics)
            chunks.append(summarize(metrics, step))
            record.write_metrics(metrics)
            warned |= _raise_or_warn(chunks, watch, record, warned)
            step += length
            record.write_checkpoint(state, is_last=step == num_steps or is_interrupted())
            show(step, chunks[-1])
    return FitResult(state, _concatenate(collected), is_interrupted=step < num_steps)


@lru_cache(maxsize=8)  # so that a second run of the same algorithm compiles nothing
def _compile(
    algorithm: TrainingAlgorithm, batch_size: int, noise_scale: float, mesh: Mesh | None
) -> Callable:
    @partial(jax.jit, donate_argnums=1, static_argnums=3)
    def run_chunk(
        rng_key: PRNGKey, state: TrainingState, data: Array, length: int
    ) -> tuple[TrainingState, Metrics]:
        def update(state: TrainingState, _: None) -> tuple[TrainingState, Metrics]:
            key_batch, key_step = jax.random.split(jax.random.fold_in(rng_key, state.step))
            batch = draw_batch(key_batch, data, batch_size, noise_scale)
            state, metrics = algorithm.step(key_step, state, batch)
            if mesh is not None:  # else the partitioner may move walkers from step to step
                state = jax.lax.with_sharding_constraint(state, state_shardings(state, mesh))
            return state, metrics

        return jax.lax.scan(update, state, length=length)

    return run_chunk


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
    ) -> None:
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

    def write_metrics(self, metrics: Metrics) -> None:
        # All processes have the same metrics, and write their part of a checkpoint.
        if self._folder is not None and jax.process_index() == 0:
            self._metrics.append(metrics)

    def write_checkpoint(self, state: TrainingState, is_last: bool) -> None:
        if self._folder is None:
            return
        step = int(state.step)
        if is_last or step - (self.last_checkpoint or 0) >= self._checkpoint_every:
            checkpoint.save(self._folder / "checkpoints", state, self._config)
            self.last_checkpoint = step


def _check_that_it_goes_on(checkpoints: Path, step: int) -> None:
    """Two runs in one folder would be mixed."""
    saved = checkpoint.latest_step(checkpoints)
    if saved not in (None, step):
        raise ValueError(
            f"{checkpoints} holds a run at update {saved}, and the state is at update {step}; "
            "go on from what checkpoint.restore gives, or take another folder"
        )


def _raise_or_warn(
    chunks: list[ChunkSummary], watch: Watch | None, record: _Record, warned: set[str]
) -> set[str]:
    """Stop at fatal trouble; warn of each other sign once. Return the signs seen."""
    troubles = [] if watch is None else diagnose(chunks, watch)
    for trouble in troubles:
        if trouble.is_fatal:
            raise TrainingDiverged(trouble, record.last_checkpoint)
        if trouble.sign not in warned:
            message = f"update {trouble.step}: {trouble.cause}. {trouble.advice}"
            warnings.warn(message, stacklevel=3)
    return {trouble.sign for trouble in troubles}


def _concatenate(collected: list[Metrics]) -> Metrics:
    if not collected:
        return Metrics(*(jnp.zeros(0) for _ in Metrics._fields))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *collected)


@contextmanager
def _interruption() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a flag, so that the chunk under way is not lost.

    A second one interrupts at once. Outside the main thread signals cannot be caught.
    """
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag.is_set
        return

    def handle(signum: int, frame: Any) -> None:
        flag.set()
        signal.signal(signal.SIGINT, previous)

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield flag.is_set
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def _progress_bar(
    is_shown: bool, first_step: int, num_steps: int
) -> Iterator[Callable[[int, ChunkSummary], None]]:
    if not is_shown:
        yield lambda step, chunk: None
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
    start = time.perf_counter()

    def describe(step: int, chunk: ChunkSummary) -> str:
        rate = (step - first_step) / (time.perf_counter() - start)
        return (
            f"{rate:.0f} updates/s, ESS {chunk.effective_sample_size:.2f}, "
            f"cross entropy {chunk.cross_entropy:.2f} nats"
        )

    if not console.is_terminal:
        # A log file wants few lines rather than a moving bar.
        tenth = max(1, num_steps // 10)

        def show_line(step: int, chunk: ChunkSummary) -> None:
            if step // tenth > chunk.first_step // tenth or step == num_steps:
                print(f"update {step}/{num_steps}: {describe(step, chunk)}", flush=True)

        yield show_line
        return
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("compiling", total=num_steps, completed=first_step)

        def show_bar(step: int, chunk: ChunkSummary) -> None:
            bar.update(task, completed=step, description=describe(step, chunk))

        yield show_bar
