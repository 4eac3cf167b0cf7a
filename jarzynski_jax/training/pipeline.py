"""Ensembles on all steps of a path at once, each of which moves on by its step.

An objective that learns how to go along a path of K steps needs walkers on every step of it.
Here K ensembles of n walkers stand on the way, one before each step; at an update each makes
its step, fresh samples of the base come in at the start, and those that have arrived leave. So
an update costs K n moves and teaches all steps, and no walker is moved for nothing. The k-th
ensemble was moved by the parameters of the k updates before, and its weights are exact for
these, as far as these did not depend on it; it is not there before update k.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax import weights
from jarzynski_jax.density import Density, check_density, check_exact
from jarzynski_jax.training.gradient_descent import DescentMetrics, start
from jarzynski_jax.types import Array, KernelInit, LogDensityFn, Params, PRNGKey
from jarzynski_jax.walkers import Walkers

__all__ = ["PipelineMetrics", "PipelineState", "begin", "check_sizes", "enter", "look", "push"]


class PipelineState(NamedTuple):
    """The number of updates made, int32; parameters; their optimizer's state; the ensembles.

    ``ensembles`` have the leading axes ``(K, n)``, and ``offsets``, shape ``(K,)``, are
    the random numbers in [0, 1) by which their stops were chosen.
    """

    step: Array
    params: Params
    opt_state: Any
    ensembles: Walkers
    offsets: Array


class PipelineMetrics(NamedTuple):
    """What one update saw, by the parameters before it.

    loss, gradient_norm, is_skipped
        As of any objective; the loss of the ensembles that are there.
    effective_sample_size
        What each ensemble had left when its step was made, before it was resampled, the mean;
        a fraction.
    log_partition_function
        In nats, by the walkers that have arrived; NaN as long as there are none. Not to be
        believed: the parameters that moved them have learned from them.
    """

    loss: Array
    gradient_norm: Array
    is_skipped: Array
    effective_sample_size: Array
    log_partition_function: Array


def check_sizes(num_walkers: int, base: Any) -> None:
    """Check that there are walkers, and a density to draw them from; else a ValueError."""
    if num_walkers < 1:
        raise ValueError(f"num_walkers must be at least 1; got {num_walkers}")
    check_density("the base", base)
    check_exact(base)


def enter(
    rng_key: PRNGKey,
    base: Density,
    logdensity_fn: LogDensityFn,
    kernel_init: KernelInit,
    num_walkers: int,
) -> Walkers:
    """Start an ensemble from the base, weighed by the start of the path."""
    sample, log_z = check_exact(base)
    return walkers_lib.init(sample(rng_key, num_walkers), logdensity_fn, kernel_init, log_z)


def begin(
    params: Params,
    optimizer: optax.GradientTransformation,
    fresh: Walkers,
    offset: Array,
    num_steps: int,
) -> PipelineState:
    """Begin with walkers before the first step; all other places are of no account yet."""
    descent = start(params, optimizer)
    ensembles, offsets = jax.tree.map(
        lambda leaf: jnp.repeat(leaf[None], num_steps, axis=0), (fresh, offset)
    )
    return PipelineState(descent.step, descent.params, descent.opt_state, ensembles, offsets)


def push(fresh: Any, moved: Any) -> Any:
    """Let fresh ones in before the first step, and those out that made the last one."""
    return jax.tree.map(lambda new, old: jnp.concatenate([new[None], old[:-1]]), fresh, moved)


def look(
    seen: DescentMetrics, moved: Walkers, effective_sample_sizes: Array, is_there: Array
) -> PipelineMetrics:
    """Sum up an update: ``moved`` have made their steps, ``is_there`` is of shape ``(K,)``."""
    last = jax.tree.map(lambda leaf: leaf[-1], moved)
    log_z = weights.log_mean_exp(last.log_weights) + last.initial_log_partition_function
    return PipelineMetrics(
        loss=seen.loss,
        gradient_norm=seen.gradient_norm,
        is_skipped=seen.is_skipped,
        effective_sample_size=jnp.mean(effective_sample_sizes, where=is_there),
        log_partition_function=jnp.where(is_there[-1], log_z, jnp.nan),
    )
