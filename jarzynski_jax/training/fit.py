"""The training loop: compiled chunks, and what has to happen between them.

This is the one place with a loop on the host. A piece of a chunk of updates is one compiled
loop with donated buffers; a chunk is one piece, unless it takes long. Between pieces: the
progress bar, and an eye on Ctrl-C. Between chunks: the check for trouble, metrics to disk, a
checkpoint.
"""

import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
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
from jarzynski_jax.training.objective import Objective, check_objective
from jarzynski_jax.training.pieces import compile_piece, compile_refresh
from jarzynski_jax.training.recording import Record
from jarzynski_jax.training.refresh import Refresh
from jarzynski_jax.training.sharding import spread_state
from jarzynski_jax.training.stop_rules import Moment, TrainingDiverged, Trouble, how_to_take
from jarzynski_jax.training.watch import Watch
from jarzynski_jax.types import Array, PRNGKey
from jarzynski_jax.walkers import spread_data, spread_key

__all__ = ["FitResult", "fit"]

#: Seconds between two looks for Ctrl-C, about.
_PIECE_SECONDS = 0.25


class FitResult(NamedTuple):
    """What :func:`fit` returns.

    state
        The last state.
    metrics
        Of the updates made by this call: the objective's, every field a NumPy array.
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
    gives. Calls with the same objective, shapes and settings compile once: make the objective
    once, and keep it.

    Ctrl-C ends it within about a second, or one update if that takes longer. A second one
    interrupts at once if nothing would be lost, a third one in any case.

    Parameters
    ----------
    rng_key
        A key of ``jax.random``; the same for all parts of a run.
    objective
        What to learn and how, e.g. from :func:`jarzynski_jax.training.jarzynski`.
    state
        From ``objective.init``, or from an earlier part of the run. It is copied, so it
        stays valid.
    data
        Shape ``(n, ...)``; :func:`jarzynski_jax.data.as_samples` says of which numbers. None
        for an objective that takes none.
    num_steps
        How many updates the run has in all, those already in ``state`` included.
    batch_size
        Data drawn for an update, with replacement.
    noise_scale
        σ of fresh Gaussian noise on the data drawn.
    chunk_size
        Updates in one chunk, after which trouble is looked for.
    watch
        What to look for between chunks when an energy-based model learns; None for nothing.
    folder
        Where ``metrics.csv`` and ``checkpoints`` go; None to keep nothing on disk.
    config
        Saved with the checkpoints.
    checkpoint_every
        A checkpoint is written at the first chunk's end after so many updates, at the start
        and at the end. The last three are kept, and the best: by the held-out cross entropy or
        the loss, averaged over the updates since the checkpoint before.
    progress
        Whether to show a progress bar.
    mesh
        Devices to spread walkers and data over, e.g. from
        :func:`jarzynski_jax.walkers.make_mesh`; None for the one where they are. The result is
        the same but for the order of sums. With several processes (``jax.distributed``) each
        calls this with the same arguments, and all see the same folder.
    refresh
        When an energy-based model goes on with fresh walkers, e.g. from
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
        no real numbers, or vary by less than their precision can hold; or are given to an
        objective that takes none, or not to one that does; or a watch or a refresh to one that
        has no use for it; or inside ``jax.jit`` or ``jax.vmap``, where ``objective.step`` can
        be scanned.
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
    check_objective(objective)
    _check_numbers(
        num_steps=num_steps, chunk_size=chunk_size, checkpoint_every=checkpoint_every
    )
    _check_use(objective, state, data, batch_size, noise_scale, watch, refresh)
    step, rules = int(state.step), objective.stop_rules
    if step > num_steps:
        raise ValueError(f"the state has {step} updates already; num_steps is {num_steps}")

    data = None if data is None else as_samples(data)
    state = jax.tree.map(jnp.copy, state)  # so that donation takes no buffer of the caller
    if mesh is not None:
        state, rng_key = spread_state(state, mesh), spread_key(rng_key, mesh)
        data = None if data is None else spread_data(data, mesh)
    run_piece = compile_piece(objective, batch_size, float(noise_scale), mesh)
    take_fresh = compile_refresh(refresh, mesh)
    record = Record(
        folder,
        config or {},
        checkpoint_every,
        state,
        lambda summaries: rules.merit(summaries, watch),
    )
    summaries: list[Any] = []
    collected: list[Any] = []
    warned: set[str] = set()
    is_shown = progress and jax.process_index() == 0
    describe = _describe_progress(step, rules.describe)
    # Several processes have to agree on the pieces.
    longest = 1 if jax.process_count() == 1 else chunk_size
    with (
        show_progress("training", "updates", num_steps, step, is_shown=is_shown) as show,
        interruption.watched() as watched,
    ):
        watched.last_saved = record.last_checkpoint
        while step < num_steps and not watched.is_asked:
            first_step, end = step, min(step + chunk_size, num_steps)
            pieces: list[Any] = []
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
            summaries.append(rules.summarize(metrics, first_step))
            record.write_metrics(metrics, summaries[-1])
            draw = _draw_from(rng_key, state, data, noise_scale)
            moment = Moment(step == end, state.params, draw)
            troubles = rules.diagnose(summaries, watch, moment)
            warned |= _raise_or_warn(troubles, record, warned, rules.judged_by)
            record.write_checkpoint(state, is_last=step == num_steps)
            if record.last_checkpoint == step:
                watched.last_saved, watched.num_unsaved = step, 0
        if watched.num_unsaved > 0:
            record.write_checkpoint(state, is_last=True)
            watched.last_saved = record.last_checkpoint
    if not collected:  # nothing was left to do
        _, shapes = run_piece.eval_shape(rng_key, state, data, 0, chunk_size)
        collected.append(jax.tree.map(lambda leaf: np.zeros(0, leaf.dtype), shapes))
    return FitResult(state, _concatenate(collected), is_interrupted=step < num_steps)


def _check_numbers(**numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}")


def _check_use(
    objective: Objective,
    state: Any,
    data: Array | None,
    batch_size: int | None,
    noise_scale: float,
    watch: Watch | None,
    refresh: Refresh | None,
) -> None:
    """Check that the objective has a use for all that was given, and has what it needs."""
    if not 0 <= noise_scale < float("inf"):
        raise ValueError(f"noise_scale must be finite and not negative; got {noise_scale}")
    if objective.takes_data:
        if data is None or batch_size is None:
            raise ValueError(
                "this objective learns from data: give data, and batch_size; got "
                f"{'none' if data is None else 'data'} and batch_size={batch_size}"
            )
        _check_numbers(batch_size=batch_size)
    elif data is not None or batch_size is not None or noise_scale > 0:
        raise ValueError(
            "this objective takes no data: leave out data, batch_size and noise_scale; got "
            f"{'none' if data is None else 'data'}, batch_size={batch_size} and "
            f"noise_scale={noise_scale}"
        )
    if watch is not None and not objective.stop_rules.takes_watch:
        raise ValueError(
            "this objective has no use for a watch, which is for energy-based models: leave it "
            "out"
        )
    if refresh is not None and not hasattr(state, "walkers"):
        raise ValueError(
            "refresh takes fresh walkers, and the state of this objective has none: "
            "leave it out"
        )


def _draw_from(
    rng_key: PRNGKey, state: Any, data: Array | None, noise_scale: float
) -> Callable[[int], tuple[PRNGKey, Array]]:
    """Make the draws of a moment, which follow from the number of the update alone."""

    def draw(num_samples: int) -> tuple[PRNGKey, Array]:
        assert data is not None
        key_batch, key = jax.random.split(jax.random.fold_in(rng_key, state.step))
        return key, draw_batch(key_batch, data, num_samples, noise_scale)

    return draw


def _raise_or_warn(
    troubles: list[Trouble], record: Record, warned: set[str], judged_by: str
) -> set[str]:
    """Stop at fatal trouble; warn of each other sign once. Return the signs seen."""
    for trouble in troubles:
        if trouble.is_fatal:
            # Before it came below the floor the cross entropy was too low already.
            best = None if trouble.sign == "below floor" else record.best_checkpoint
            raise TrainingDiverged(trouble, record.last_checkpoint, best, judged_by)
        if trouble.sign not in warned:
            message = f"update {trouble.step}: {trouble.cause}. {trouble.advice}"
            how = how_to_take(record.best_checkpoint, judged_by)
            warnings.warn(message + how, stacklevel=3)
    return {trouble.sign for trouble in troubles}


def _concatenate(collected: list[Any]) -> Any:
    return jax.tree.map(lambda *parts: np.concatenate(parts), *collected)


def _describe_progress(
    first_step: int, describe_metrics: Callable[[Any], str]
) -> Callable[[int, list[Any]], str]:
    start = time.perf_counter()

    def describe(step: int, pieces: list[Any]) -> str:
        rate = (step - first_step) / (time.perf_counter() - start)
        described = describe_metrics(_concatenate(pieces))
        return ", ".join(filter(None, (f"{rate:.0f} updates/s", described)))

    return describe
