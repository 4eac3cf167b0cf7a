"""The training loop: compiled chunks, and what has to happen between them.

This is the one place with a loop on the host, for every objective. A piece of a chunk of
updates is one compiled loop with donated buffers; a chunk is one piece, unless it takes long.
Between pieces: the progress bar, and an eye on Ctrl-C. Between chunks: the objective's stop
rules, metrics to disk, a checkpoint.
"""

import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
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
from jarzynski_jax.training.objective import (
    Monitor,
    Objective,
    check_data,
    check_metrics,
    check_objective,
)
from jarzynski_jax.training.pieces import (
    Pieces,
    compile_refresh,
    compile_updates,
    concatenate,
    metric_shapes,
)
from jarzynski_jax.training.recording import Record
from jarzynski_jax.training.refresh import Refresh, check_refreshable
from jarzynski_jax.training.sharding import spread_state
from jarzynski_jax.training.stop_rules import TrainingDiverged, Trouble, how_to_take
from jarzynski_jax.types import Array, PRNGKey
from jarzynski_jax.walkers import on_mesh, spread_data, spread_key

__all__ = ["FitResult", "fit"]


class FitResult(NamedTuple):
    """What :func:`fit` returns.

    state
        The last state.
    metrics
        Of the updates made by this call, every field a NumPy array.
    is_interrupted
        Whether Ctrl-C ended it early; everything is saved then, if there is a folder.
    """

    state: Any
    metrics: Any
    is_interrupted: bool


def fit(
    rng_key: PRNGKey,
    objective: Objective,
    state: Any,
    data: Array | None = None,
    *,
    num_steps: int,
    batch_size: int | None = None,
    noise_scale: float = 0.0,
    chunk_size: int = 100,
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
    gives. Calls with the same objective, shapes and settings compile once: make the objective
    once, and keep it.

    Ctrl-C ends it within about a second, or one update if that takes longer. A second one
    interrupts at once if nothing would be lost, a third one in any case.

    Parameters
    ----------
    rng_key
        A key of ``jax.random``; the same for all parts of a run.
    objective
        E.g. from :func:`jarzynski_jax.training.jarzynski`. Its monitor looks for trouble.
    state
        From ``objective.init``, or from an earlier part of the run. It is copied, so it
        stays valid.
    data
        Shape ``(n, ...)``; :func:`jarzynski_jax.data.as_samples` says of which numbers. None
        if the objective takes none.
    num_steps
        How many updates the run has in all, those already in ``state`` included.
    batch_size
        Data drawn for an update, with replacement; None without data.
    noise_scale
        σ of fresh Gaussian noise on the data drawn.
    chunk_size
        Updates in one chunk, after which trouble is looked for.
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
        :func:`jarzynski_jax.training.refresh_from_base`; None for never. For energy-based
        models alone.

    Returns
    -------
    FitResult
        State and metrics.

    Raises
    ------
    ValueError
        If a number is not positive, the state has more updates than ``num_steps``, or the
        folder's last checkpoint is of another update than the state; or data are not finite,
        no real numbers, or vary by less than their precision can hold, or are missing where the
        objective learns from them, or given where it takes none; or metrics are no named tuple
        of scalars, or not those of the folder; or inside ``jax.jit`` or ``jax.vmap``, where
        ``objective.step`` can be scanned.
    TrainingDiverged
        If trouble was seen; the last checkpoint before it stays.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax
    >>> from jarzynski_jax import training
    >>> from jarzynski_jax.walkers import langevin
    >>> energy_fn = lambda params, x: jnp.sum((x - params) ** 2) / 2
    >>> objective = training.jarzynski(energy_fn, optax.sgd(0.1), langevin(0.1))
    >>> x = jax.random.normal(jax.random.key(0), (500, 2))
    >>> state = objective.init(jax.random.key(1), jnp.zeros(2), x, x, jnp.log(2 * jnp.pi))
    >>> key = jax.random.key(2)
    >>> result = fit(key, objective, state, x + 1, num_steps=100, batch_size=100)
    >>> int(result.state.step), result.metrics.gradient_norm.shape
    (100, (100,))
    """
    check_known("training.fit", (rng_key, state, data))
    check_objective(objective, state)
    check_data(objective, data, batch_size, noise_scale)
    for name, value in (
        ("num_steps", num_steps),
        ("batch_size", batch_size),
        ("chunk_size", chunk_size),
        ("checkpoint_every", checkpoint_every),
    ):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}")
    if not 0 <= noise_scale < float("inf"):
        raise ValueError(f"noise_scale must be finite and not negative; got {noise_scale}")
    step = int(state.step)
    if step > num_steps:
        raise ValueError(f"the state has {step} updates already; num_steps is {num_steps}")
    if refresh is not None:
        check_refreshable(state)

    data = None if data is None else as_samples(data)
    state = jax.tree.map(jnp.copy, state)  # so that donation takes no buffer of the caller
    if mesh is not None:
        state, rng_key = spread_state(state, mesh), spread_key(rng_key, mesh)
        data = None if data is None else spread_data(data, mesh)
    run_piece = compile_updates(objective.step, batch_size, float(noise_scale), mesh)
    with on_mesh(mesh):
        shapes = metric_shapes(run_piece, rng_key, state, data, chunk_size)
    check_metrics(shapes)
    monitor = objective.monitor
    record = Record(folder, config or {}, checkpoint_every, state, shapes._fields, monitor)
    pieces = Pieces(run_piece, chunk_size)
    chunks: list[Any] = []
    collected: list[Any] = []
    warned: set[str] = set()
    describe = _describe_progress(step, monitor)
    is_shown = progress and jax.process_index() == 0
    with (
        show_progress("training", "updates", num_steps, step, is_shown=is_shown) as show,
        interruption.watched() as watched,
    ):
        watched.last_saved = record.last_checkpoint

        def goes_on(found: list[Any], length: int) -> bool:
            nonlocal step
            step += length
            watched.num_unsaved += length
            show(step, describe(step, found))
            return not watched.is_asked

        while step < num_steps and not watched.is_asked:
            first_step, end = step, min(step + chunk_size, num_steps)
            with on_mesh(mesh):
                if refresh is not None:
                    end = min(end, step + refresh.every - step % refresh.every)
                    # Of a run that is resumed here, the checkpoint is from before.
                    if step > 0 and step % refresh.every == 0:
                        state = compile_refresh(refresh, mesh)(rng_key, state)
                state, metrics = pieces.run(rng_key, state, data, end - step, goes_on)
            collected.append(metrics)
            chunks.append(monitor.summarize(metrics, first_step))
            record.write_metrics(metrics, chunks[-1])
            troubles = monitor.diagnose(chunks, step == end)
            if troubles:
                key = jax.random.fold_in(rng_key, state.step)
                draw = partial(_draw, data, noise_scale)
                troubles = monitor.explain(troubles, key, state.params, draw)
            warned |= _raise_or_warn(troubles, record, warned)
            record.write_checkpoint(state, is_last=step == num_steps)
            if record.last_checkpoint == step:
                watched.last_saved, watched.num_unsaved = step, 0
        if watched.num_unsaved > 0:
            record.write_checkpoint(state, is_last=True)
            watched.last_saved = record.last_checkpoint
    none = jax.tree.map(lambda leaf: np.zeros((0, *leaf.shape), leaf.dtype), shapes)
    return FitResult(state, concatenate([none, *collected]), is_interrupted=step < num_steps)


def _draw(data: Any, noise_scale: float, rng_key: PRNGKey, num_samples: int) -> Array:
    return draw_batch(rng_key, data, num_samples, noise_scale)


def _raise_or_warn(troubles: list[Trouble], record: Record, warned: set[str]) -> set[str]:
    """Stop at fatal trouble; warn of each other sign once. Return the signs seen."""
    for trouble in troubles:
        if trouble.is_fatal:
            best = None if trouble.is_of_cross_entropy else record.best_checkpoint
            raise TrainingDiverged(trouble, record.last_checkpoint, best)
        if trouble.sign not in warned:
            message = f"update {trouble.step}: {trouble.cause}. {trouble.advice}"
            warnings.warn(message + how_to_take(record.best_checkpoint), stacklevel=3)
    return {trouble.sign for trouble in troubles}


def _describe_progress(first_step: int, monitor: Monitor) -> Callable[[int, list[Any]], str]:
    start = time.perf_counter()

    def describe(step: int, pieces: list[Any]) -> str:
        rate = (step - first_step) / (time.perf_counter() - start)
        said = monitor.describe(concatenate(pieces))
        return f"{rate:.0f} updates/s" + (f", {said}" if said else "")

    return describe
