"""The training runs in 50 dimensions, one a curve of Figures 4.1 to 4.5 of the thesis."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.studies.gaussian_mixture.model import Rates
from benchmarks.studies.gaussian_mixture.runs import Build, Sizes, never_resampled, stack, train
from benchmarks.studies.gaussian_mixture.settings import Settings
from jarzynski_jax import training
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.walkers import Dynamics, langevin

STEP_SIZE = 0.1
#: The thesis' learning rates and number of updates (§4.3.1), as its code multiplies them.
RATES = Rates(z=0.125 * STEP_SIZE, means=0.2 * 0.125 * STEP_SIZE)
NUM_UPDATES = 8_000
#: ESS thresholds of the thesis' five constants c, 1/(1 + c).
THRESHOLDS = {c: 1 / (1 + c) for c in (0.1, 0.2, 0.4, 0.8, 1.0)}
#: The threshold of Figure 4.1.
MAIN_THRESHOLD = 1 / 1.05
#: Held-out walkers of runs whose KL from walkers is not asked for.
NUM_FEW_HELD_OUT = 500


class Variant(NamedTuple):
    """One curve of a figure: an algorithm with all its numbers."""

    build: Build
    dynamics: Dynamics
    rates: Rates
    sizes: Sizes
    num_seeds: int


def variants(settings: Settings) -> dict[str, Variant]:
    """All training runs of the study, by name."""
    sizes = Sizes(
        settings.dimension,
        settings.num_walkers,
        min(NUM_FEW_HELD_OUT, settings.num_walkers),
        settings.num_data,
        settings.num_updates,
        settings.stride,
    )
    main_sizes = sizes._replace(num_held_out=settings.num_walkers)
    rates = RATES.times(speed(settings.num_updates))
    half = langevin(STEP_SIZE)
    main = langevin(STEP_SIZE, resampler=adaptive(systematic, MAIN_THRESHOLD))

    def variant(
        build: Build, dynamics: Dynamics = half, rates: Rates = rates, sizes: Sizes = sizes
    ) -> Variant:
        return Variant(build, dynamics, rates, sizes, settings.num_seeds)

    pool = partial(training.jarzynski_pool, block_size=settings.num_walkers)
    pool_sizes = main_sizes._replace(num_walkers=settings.pool_size)
    found = {
        "algorithm_3": variant(training.jarzynski, main, sizes=main_sizes),
        "algorithm_3_on_weight": variant(
            training.jarzynski, without_shadow(main), sizes=main_sizes
        ),
        "pool": variant(pool, main, sizes=pool_sizes),
        "pool_late": variant(pool, half, sizes=pool_sizes),
    }
    for threshold in THRESHOLDS.values():
        dynamics = langevin(STEP_SIZE, resampler=adaptive(systematic, threshold))
        found[f"threshold_{threshold:.2f}"] = variant(training.jarzynski, dynamics)
    found["pcd"] = variant(training.persistent_contrastive_divergence)
    four_moves, tenfold = langevin(STEP_SIZE, num_moves=4), rates.times(10)
    found["cd"] = variant(training.contrastive_divergence, four_moves, tenfold)
    # CD's gradient is about h a move times that of score matching (thesis, eq. 3.1.6).
    hutchinson = partial(training.score_matching, num_probes=1)
    found["score_matching"] = variant(hutchinson, rates=tenfold.times(4 * STEP_SIZE))
    found["unweighted"] = variant(training.unweighted)

    found["collapse"] = variant(
        training.persistent_contrastive_divergence,
        langevin(0.2),
        Rates(z=5 * 0.2, means=0.2 * 5 * 0.2),
        sizes._replace(num_updates=settings.num_collapse_updates),
    )

    never = never_resampled(STEP_SIZE)
    long = sizes._replace(
        num_walkers=settings.num_long_walkers,
        num_held_out=settings.num_long_walkers,
        num_data=settings.num_long_walkers,
        num_updates=settings.num_long_updates,
        stride=5 * settings.stride,
    )
    found["no_resampling"] = variant(training.jarzynski, never, RATES, long)
    fast = RATES.times(1 / STEP_SIZE)
    found["no_resampling_fast"] = variant(training.jarzynski, never, fast, long)
    return found


def speed(num_updates: int) -> float:
    """With fewer updates than the thesis has, larger ones: the path has the same length."""
    return max(1.0, NUM_UPDATES / num_updates)


def without_shadow(dynamics: Dynamics) -> Dynamics:
    """Resample on A itself: the walkers are told that ULA has no endpoint factor."""

    def kernel(*args: Any) -> tuple[Any, Any]:
        state, info = dynamics.move.kernel(*args)
        return state._replace(log_endpoint=jnp.zeros_like(state.log_endpoint)), info

    return dynamics._replace(move=dynamics.move._replace(kernel=kernel))


def names(settings: Settings) -> list[str]:
    return list(variants(settings))


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    """Run one variant for all seeds; arrays of shape ``(seeds, R)``."""
    variant = variants(settings)[name]
    train_once = jax.jit(
        lambda key: train(key, variant.build, variant.dynamics, variant.rates, variant.sizes)
    )
    # The same seed means the same data, first model and walkers in all variants.
    return stack([train_once(jax.random.key(seed)) for seed in range(variant.num_seeds)])
