"""Compiled updates: a chunk of them runs in pieces short enough to look for Ctrl-C between."""

import time
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jarzynski_jax.data import draw_batch
from jarzynski_jax.training.refresh import Refresh, refresh_state
from jarzynski_jax.training.sharding import state_shardings
from jarzynski_jax.types import Array, PRNGKey

__all__ = ["Pieces", "compile_refresh", "compile_updates", "concatenate", "metric_shapes"]

#: Seconds between two looks for Ctrl-C, about.
_PIECE_SECONDS = 0.25

#: ``(rng_key, state, data, length, longest) -> (state, metrics)``, compiled; donates the state.
RunPiece = Callable[..., tuple[Any, Any]]


@lru_cache(maxsize=8)  # so that a second run of the same objective compiles nothing
def compile_updates(
    step: Callable, batch_size: int | None, noise_scale: float, mesh: Mesh | None
) -> RunPiece:
    """Compile updates by an objective's ``step``; without a size of batches, without data."""

    @partial(jax.jit, donate_argnums=1, static_argnums=4)
    def run_piece(
        rng_key: PRNGKey, state: Any, data: Any, length: Array, longest: int
    ) -> tuple[Any, Any]:
        """``length`` updates, and their metrics before others: one program for any length."""

        @jax.jit  # traced once
        def update(state: Any) -> tuple[Any, Any]:
            key_batch, key_step = jax.random.split(jax.random.fold_in(rng_key, state.step))
            batch = None
            if batch_size is not None:
                batch = draw_batch(key_batch, data, batch_size, noise_scale)
            state, metrics = step(key_step, state, batch)
            if mesh is not None:  # else the partitioner may move walkers from step to step
                state = jax.lax.with_sharding_constraint(state, state_shardings(state, mesh))
            return state, metrics

        _, one = jax.eval_shape(update, state)
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), one)

        def update_or_stay(state: Any, i: Array) -> tuple[Any, Any]:
            return jax.lax.cond(i < length, update, lambda state: (state, nothing), state)

        return jax.lax.scan(update_or_stay, state, jnp.arange(longest))

    return run_piece


@lru_cache(maxsize=8)
def compile_refresh(refresh: Refresh, mesh: Mesh | None) -> Callable[[PRNGKey, Any], Any]:
    """Compile ``(rng_key, state) -> state`` with fresh walkers."""

    def take_fresh(rng_key: PRNGKey, state: Any) -> Any:
        key = jax.random.fold_in(jax.random.fold_in(rng_key, state.step), 2)
        state = refresh_state(key, state, refresh.start)
        if mesh is not None:
            state = jax.lax.with_sharding_constraint(state, state_shardings(state, mesh))
        return state

    return jax.jit(take_fresh)


def metric_shapes(
    run_piece: RunPiece, rng_key: PRNGKey, state: Any, data: Array | None, chunk_size: int
) -> Any:
    """Shapes and dtypes of the metrics of one update, without a run."""
    traced: Any = run_piece
    _, metrics = traced.eval_shape(rng_key, state, data, 1, chunk_size)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), metrics)


class Pieces:
    """Runs chunks of updates in pieces, as long as is quick.

    Parameters
    ----------
    run_piece
        From :func:`compile_updates`.
    chunk_size
        Updates in the longest chunk.
    """

    def __init__(self, run_piece: RunPiece, chunk_size: int) -> None:
        self._run_piece = run_piece
        self._chunk_size = chunk_size
        # Several processes have to agree on the pieces.
        self._longest = 1 if jax.process_count() == 1 else chunk_size

    def run(
        self,
        rng_key: PRNGKey,
        state: Any,
        data: Array | None,
        num_updates: int,
        goes_on: Callable[[list[Any], int], bool],
    ) -> tuple[Any, Any]:
        """Run a chunk, or its beginning: at least one piece.

        Parameters
        ----------
        rng_key
            Of the run.
        state
            Is donated.
        data
            Or None.
        num_updates
            In the chunk.
        goes_on
            ``(metrics_of_pieces, length) -> bool``: told of each piece and of the updates in
            it, says whether to go on with the next.

        Returns
        -------
        tuple[Any, Any]
            The state, and the metrics of the updates that were made, NumPy arrays.
        """
        pieces: list[Any] = []
        done = 0
        while done < num_updates:
            length = min(self._longest, num_updates - done)
            start = time.perf_counter()
            state, metrics = self._run_piece(rng_key, state, data, length, self._chunk_size)
            metrics = jax.device_get(metrics)
            if jax.process_count() == 1:
                seconds = time.perf_counter() - start
                self._longest = max(1, int(length * _PIECE_SECONDS / seconds))
            pieces.append(jax.tree.map(partial(_head, length), metrics))
            done += length
            if not goes_on(pieces, length):
                break
        return state, concatenate(pieces)


def _head(length: int, values: np.ndarray) -> np.ndarray:
    return values[:length]


def concatenate(parts: list[Any]) -> Any:
    """Join the metrics of parts of a run, at least one."""
    return jax.tree.map(lambda *values: np.concatenate(values), *parts)
