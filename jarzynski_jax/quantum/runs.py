r"""Populations of walkers at a Hamiltonian at rest, and what they tell block by block.

A population moves and resamples by :func:`jarzynski_jax.annealing.anneal`, in blocks of K
steps. Its log-weights are rebased between blocks, in step, so that they stay near 0: a step
changes them by a few thousandths, which would drown in the rounding of a weight of hundreds of
nats.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax import weights
from jarzynski_jax.annealing.anneal import anneal
from jarzynski_jax.compiling import compiled_once
from jarzynski_jax.types import Array, KernelInit, LogDensityFn, Position, PRNGKey
from jarzynski_jax.walkers import Dynamics, Walkers, check_dynamics, shadow_log_weights

__all__ = ["Run", "run_populations"]


class Run(NamedTuple):
    """What R populations of N walkers told in B blocks of K steps; W windows of blocks.

    log_growth
        Of the logarithm of the mean weight over each block, shape ``(R, B)``; of the shadow
        weight, that is, which grows alike but for what fluctuates with the position.
    mean_growth
        Of the mean shadow log-weight, ``(R, B)``; it has a meaning where walkers are never
        resampled.
    observed
        Weighted means at the end of each block, leaves ``(R, B)``.
    genealogical_variance
        Of the growth over each window, by the spread of what the families of its first walkers
        weigh at its end, ``(R, W)``; exact for first walkers that are independent.
    num_families
        Of how many first walkers of each window descendants are left, ``(R, W)``.
    effective_sample_size
        The lowest of the shadow weights in each block, a fraction of N, ``(R, B)``.
    resampled_share
        In how many of its K steps walkers were resampled, ``(R, B)``.
    num_dead
        Walkers that died in each block, ``(R, B)``.
    walkers
        At the end, leaves ``(R, N, ...)``.
    """

    log_growth: Array
    mean_growth: Array
    observed: Any
    genealogical_variance: Array
    num_families: Array
    effective_sample_size: Array
    resampled_share: Array
    num_dead: Array
    walkers: Any


def run_populations(
    rng_key: PRNGKey,
    positions: Position | Run,
    logdensity_fn: LogDensityFn,
    dynamics: Dynamics,
    observe: Callable[[Any], Any],
    *,
    num_windows: int,
    blocks_per_window: int,
    steps_per_block: int,
) -> Run:
    """Run populations of walkers at a target at rest, each for itself.

    ValueError if positions have no two leading axes, a number is below one, the dynamics are
    none, or a run that goes on had windows of another size.

    Parameters
    ----------
    positions
        Leading axes ``(R, N)``. Or a run that goes on where it ended, W windows more: the whole
        comes back, bit for bit as in one go, if the key and all else are the same.
    logdensity_fn
        What the kernel of the dynamics takes: -V for :mod:`jarzynski_jax.kernels.feynman_kac`,
        log ψ² for unadjusted Langevin.
    observe
        ``state of one walker -> scalars``, any pytree.
    num_windows, blocks_per_window, steps_per_block
        W, B/W, and K.

    Examples
    --------
    An oscillator, whose walkers are guided by its ground state, has E = 1/2 at every block:

    >>> from jarzynski_jax.kernels import feynman_kac, guides
    >>> rate, guide = (lambda x: -jnp.sum(x**2) / 2), guides.wave_guide(lambda x: -x[0]**2 / 2)
    >>> x = jax.random.normal(jax.random.key(0), (2, 100, 1)) / jnp.sqrt(2)
    >>> run = run_populations(
    ...     jax.random.key(1), x, rate, Dynamics(feynman_kac.as_move(guide, 0.1)),
    ...     lambda state: state.energy, num_windows=2, blocks_per_window=3, steps_per_block=5)
    >>> run.log_growth.shape, bool(jnp.allclose(run.observed, 0.5))
    ((2, 6), True)

    It was too short:

    >>> longer = run_populations(
    ...     jax.random.key(1), run, rate, Dynamics(feynman_kac.as_move(guide, 0.1)),
    ...     lambda state: state.energy, num_windows=1, blocks_per_window=3, steps_per_block=5)
    >>> longer.log_growth.shape
    (2, 9)
    """
    check_dynamics(dynamics)
    sizes = {
        "num_windows": num_windows,
        "blocks_per_window": blocks_per_window,
        "steps_per_block": steps_per_block,
    }
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1; got {size}")
    args = logdensity_fn, dynamics, observe, (num_windows, blocks_per_window, steps_per_block)
    if isinstance(positions, Run):
        return _go_on(rng_key, positions, *args)
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(positions)]
    if any(len(shape) < 2 or 0 in shape[:2] for shape in shapes):
        raise ValueError(
            "positions must have the leading axes (R, N), of populations and of their walkers; "
            f"got shapes {shapes}"
        )
    start = _start(positions, logdensity_fn, dynamics.kernel_init)
    return _run(rng_key, start, jnp.asarray(0), *args)


def _go_on(
    rng_key: PRNGKey,
    before: Run,
    logdensity_fn: LogDensityFn,
    dynamics: Dynamics,
    observe: Callable[[Any], Any],
    sizes: tuple[int, int, int],
) -> Run:
    num_done = before.num_families.shape[1]
    num_blocks = before.log_growth.shape[1]
    if num_blocks != num_done * sizes[1]:
        raise ValueError(
            f"blocks_per_window must be {num_blocks // num_done}, as in the run that goes on; "
            f"got {sizes[1]}"
        )
    first = jnp.asarray(num_done)
    after = _run(rng_key, before.walkers, first, logdensity_fn, dynamics, observe, sizes)
    joined = jax.tree.map(
        lambda one, other: jnp.concatenate([one, other], axis=1),
        before._replace(walkers=()),
        after._replace(walkers=()),
    )
    return joined._replace(walkers=after.walkers)


@compiled_once
def _start(positions: Position, logdensity_fn: LogDensityFn, init: KernelInit) -> Walkers:
    return jax.vmap(lambda x: walkers_lib.init(x, logdensity_fn, init))(positions)


@compiled_once
def _run(
    rng_key: PRNGKey,
    start: Walkers,
    first_window: Array,
    logdensity_fn: LogDensityFn,
    dynamics: Dynamics,
    observe: Callable[[Any], Any],
    sizes: tuple[int, int, int],
) -> Run:
    num_windows, blocks_per_window, steps_per_block = sizes
    num_populations, num_walkers = start.log_weights.shape

    def block(walkers: Walkers, key: PRNGKey) -> tuple[Walkers, Run]:
        before = shadow_log_weights(walkers)
        # A target at rest is a path of which all times are the same.
        times = jnp.ones(steps_per_block, before.dtype)
        walkers, info = anneal(key, walkers, lambda _: logdensity_fn, times, dynamics)
        shadow = shadow_log_weights(walkers)
        seen = Run(
            log_growth=weights.log_mean_exp(shadow) - weights.log_mean_exp(before),
            mean_growth=jnp.mean(shadow) - jnp.mean(before),
            observed=weights.weighted_mean(
                walkers.log_weights, jax.vmap(observe)(walkers.state)
            ),
            genealogical_variance=jnp.zeros(()),
            num_families=jnp.zeros(()),
            effective_sample_size=jnp.min(info.shadow_effective_sample_size),
            resampled_share=jnp.mean(info.is_resampled),
            num_dead=jnp.sum(info.num_dead),
            walkers=(),
        )
        base = weights.log_mean_exp(shadow)
        base = jnp.where(jnp.isfinite(base), base, 0)
        return walkers._replace(log_weights=walkers.log_weights - base), seen

    def window(walkers: Walkers, key: PRNGKey) -> tuple[Walkers, Run]:
        first = jnp.arange(num_walkers, dtype=walkers.roots.dtype)
        shares = weights.normalize(shadow_log_weights(walkers))
        walkers, seen = jax.lax.scan(
            block, walkers._replace(roots=first), jax.random.split(key, blocks_per_window)
        )
        families = jax.ops.segment_sum(
            weights.normalize(shadow_log_weights(walkers)), walkers.roots, num_walkers
        )
        # By how much each first walker's share grew, whose mean is 0.
        variance = num_walkers / (num_walkers - 1) * jnp.sum(jnp.square(families - shares))
        return walkers, seen._replace(
            genealogical_variance=variance, num_families=jnp.sum(families > 0)
        )

    def population(inputs: tuple[PRNGKey, Walkers]) -> Run:
        key, start = inputs
        # Of each window by its number, so that a run that goes on has keys of its own.
        numbers = first_window + jnp.arange(num_windows)
        keys = jax.vmap(partial(jax.random.fold_in, key))(numbers)
        end, seen = jax.lax.scan(window, start, keys)
        per_window = {"genealogical_variance", "num_families", "walkers"}
        flat = {
            name: jax.tree.map(lambda leaf: leaf.reshape(-1), leaf)
            for name, leaf in seen._asdict().items()
            if name not in per_window
        }
        return seen._replace(walkers=end, **flat)

    keys = jax.random.split(rng_key, num_populations)
    # One after the other, so that a population stays in the cache.
    return jax.lax.map(population, (keys, start))
