"""The compiled pieces of a run: so many updates, and fresh walkers between them."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jarzynski_jax.data import draw_batch
from jarzynski_jax.training.objective import Objective
from jarzynski_jax.training.refresh import Refresh, refresh_state
from jarzynski_jax.training.sharding import state_shardings
from jarzynski_jax.types import Array, PRNGKey

__all__ = ["compile_piece", "compile_refresh"]


@lru_cache(maxsize=8)  # so that a second run of the same objective compiles nothing
def compile_piece(
    objective: Objective, batch_size: int | None, noise_scale: float, mesh: Mesh | None
) -> Any:
    """Make a jitted ``(rng_key, state, data, length, longest) -> (state, metrics)``.

    Metrics are of shape ``(longest,)``, zeros behind the first ``length``.
    """

    @partial(jax.jit, donate_argnums=1, static_argnums=4)
    def run_piece(
        rng_key: PRNGKey, state: Any, data: Array | None, length: Array, longest: int
    ) -> tuple[Any, Any]:
        """``length`` updates, and their metrics before others: one program for any length."""

        @jax.jit  # traced once
        def update(state: Any) -> tuple[Any, Any]:
            key_batch, key_step = jax.random.split(jax.random.fold_in(rng_key, state.step))
            batch = None
            if data is not None and batch_size is not None:
                batch = draw_batch(key_batch, data, batch_size, noise_scale)
            state, metrics = objective.step(key_step, state, batch)
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
def compile_refresh(refresh: Refresh | None, mesh: Mesh | None) -> Callable:
    """Make a jitted ``(rng_key, state) -> state`` with fresh walkers."""

    def take_fresh(rng_key: PRNGKey, state: Any) -> Any:
        assert refresh is not None
        key = jax.random.fold_in(jax.random.fold_in(rng_key, state.step), 1)
        state = refresh_state(key, state, refresh.start)
        if mesh is not None:
            state = jax.lax.with_sharding_constraint(state, state_shardings(state, mesh))
        return state

    return jax.jit(take_fresh)
