"""φ⁴ theory along its hopping parameter: brackets, observables, the chain of simulations."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from benchmarks.studies.lattice import coverage
from benchmarks.studies.lattice.exact import QUARTIC, grid
from benchmarks.studies.lattice.settings import Settings
from jarzynski_jax.annealing import (
    Path,
    estimate,
    geometric_path,
    log_partition_bounds,
    multistage,
)
from jarzynski_jax.density import Density
from jarzynski_jax.free_energy import autocorrelation, log_partition_bracket
from jarzynski_jax.kernels import flip, generalized_hmc, sequence
from jarzynski_jax.targets import lattice
from jarzynski_jax.types import Array, LogDensityFn, Scalar
from jarzynski_jax.walkers import Dynamics
from jarzynski_jax.weights import log_mean_exp, normalize, relative_error

Found = dict[str, np.ndarray]
Shape = tuple[int, int]
NUM_MOVES = 3
LAST = 0.3


def names(settings: Settings) -> list[str]:
    return [f"field_{_text(shape)}" for shape in settings.field_shapes]


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))


def run(name: str, settings: Settings) -> Found:
    rows, columns = (int(of) for of in name.rpartition("_")[2].split("x"))
    shape, kappas = (rows, columns), grid(settings.grid_level)
    found = {"kappas": kappas} | _chain(shape, kappas, settings)
    ends = bracketed(kappas, settings)
    found |= {"ends": ends}
    found |= {"brackets": np.array([_bracket(shape, kappa, settings) for kappa in ends])}
    return found | _one_call(shape, num_gradients(kappas, settings), settings)


def bracketed(kappas: np.ndarray, settings: Settings) -> np.ndarray:
    """Those that have a bracket, the last one among them."""
    return kappas[:0:-1][:: settings.bracket_stride][::-1]


def num_gradients(kappas: np.ndarray, settings: Settings) -> int:
    """That the chain of simulations takes."""
    steps = settings.num_field_samples + _num_burn_in(settings)
    return (len(kappas) - 1) * settings.num_field_chains * steps * NUM_MOVES


def _num_burn_in(settings: Settings) -> int:
    return settings.num_field_samples // 10


@cache
def chain_move(shape: Shape) -> Any:
    """Three steps of generalized HMC, and a flip, so that both signs are visited."""
    hmc = generalized_hmc.as_move(NUM_MOVES, step_size(shape), 0.5)
    return sequence.as_move([hmc, flip.as_move()])


def step_size(shape: Shape) -> float:
    """The energy that a step misses grows with the root of the volume."""
    return 0.35 * min((64 / (shape[0] * shape[1])) ** 0.25, 1.0)


# ---------------------------------------------------------------- brackets and observables


def _chain(shape: Shape, kappas: np.ndarray, settings: Settings) -> Found:
    """Log Z by the chain over seeds; observables, and what a model covers, by the first."""
    simulate = partial(
        multistage,
        base=_phi4(shape, 0.0),
        path=_path(shape),
        times=jnp.asarray(kappas[1:] / LAST),
        move=chain_move(shape),
        num_chains=settings.num_field_chains,
        num_samples=settings.num_field_samples,
        num_burn_in=_num_burn_in(settings),
        observe=_observe_all if _is_covered(shape, settings) else _observe,
    )
    first = simulate(jax.random.key(0))
    found = {
        "steps": np.array(first.steps),
        "bar_steps": np.array(first.acceptance_ratio_steps),
        "log_z_0": np.array(_phi4(shape, 0.0).log_partition_function),
        "num_chain_doubts": np.array(len(first.doubts)),
    }
    for number, label in enumerate(("abs_m", "square_m", "square_phi")):
        stops = [autocorrelation(stop) for stop in np.asarray(first.observed[number])]
        found[label] = np.array([of.mean for of in stops])
        found[f"{label}_tau"] = np.array([of.time for of in stops])
        found[f"{label}_doubts"] = np.array([len(of.doubts) for of in stops])
    if _is_covered(shape, settings):
        found |= coverage.judge(shape, kappas[1:], first.observed[3], settings)
    others = [simulate(jax.random.key(seed)) for seed in range(1, settings.num_seeds)]
    runs = [first, *others]
    return found | {
        "chain": np.array([of.log_partition_function for of in runs]),
        "acceptance_ratio": np.array([of.acceptance_ratio for of in runs]),
    }


def _is_covered(shape: Shape, settings: Settings) -> bool:
    return shape[0] * shape[1] <= settings.coverage_volume


@cache
def _phi4(shape: Shape, kappa: float) -> Density:
    return lattice.phi4(shape, kappa, QUARTIC)


@cache
def _path(shape: Shape) -> Path:
    return geometric_path(_phi4(shape, 0.0).logdensity_fn, _phi4(shape, LAST).logdensity_fn)


def _observe(x: Array) -> tuple[Array, ...]:
    mean = jnp.mean(x)
    return jnp.abs(mean), jnp.square(mean), jnp.mean(jnp.square(x))


def _observe_all(x: Array) -> tuple[Array, ...]:
    return *_observe(x), x


def _bracket(shape: Shape, kappa: float, settings: Settings) -> list[float]:
    """Lower and upper bound with errors, the estimate with its error, number of doubts."""
    num_replicates, num_walkers = 16, 64
    key_start, key_run = jax.random.split(jax.random.key(round(1e6 * kappa)))
    base = _phi4(shape, 0.0)
    assert base.sample is not None
    assert base.log_partition_function is not None
    move = generalized_hmc.as_move(NUM_MOVES, step_size(shape), 0.5)
    bounds = log_partition_bounds(
        key_run,
        base.sample(key_start, num_replicates * num_walkers),
        Partial(along_hopping, jnp.asarray(kappa)),
        base.log_partition_function,
        Dynamics(move),
        settings.num_field_steps,
        num_replicates=num_replicates,
    )
    found = log_partition_bracket(bounds)
    value, error = log_mean_exp(bounds.forward), relative_error(normalize(bounds.forward))
    sides = (found.lower, found.lower_error, found.upper, found.upper_error)
    return [*map(float, sides), float(value), float(error), float(len(found.doubts))]


def along_hopping(kappa: Scalar, t: Scalar) -> LogDensityFn:
    return partial(coverage.target, t * kappa)


# ---------------------------------------------------------------- at equal numbers of gradients


def _one_call(shape: Shape, budget: int, settings: Settings) -> Found:
    """Log Z at κ = 0.3 by one call with the gradients of the chain, over seeds."""
    base, target = _phi4(shape, 0.0), _phi4(shape, LAST)
    runs = [
        estimate(jax.random.key(seed), base, target, num_gradients=budget)
        for seed in range(settings.num_seeds)
    ]
    return {
        "ours": np.array([(of.log_partition_function, of.standard_error) for of in runs]),
        "widths": np.array([of.bounds.upper - of.bounds.lower for of in runs]),
        "num_doubts": np.array([len(of.doubts) for of in runs]),
        "budget": np.array(budget),
    }
