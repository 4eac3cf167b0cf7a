"""φ⁴ theory along its hopping parameter: brackets, observables, the chain of simulations."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from benchmarks.studies.lattice.exact import QUARTIC, grid
from benchmarks.studies.lattice.settings import Settings
from jarzynski_jax.annealing import estimate, geometric_path, log_partition_bounds, multistage
from jarzynski_jax.free_energy import autocorrelation, log_partition_bracket
from jarzynski_jax.kernels import flip, generalized_hmc, sequence
from jarzynski_jax.targets import lattice
from jarzynski_jax.types import Array, LogDensityFn, PRNGKey, Scalar
from jarzynski_jax.walkers import Dynamics
from jarzynski_jax.weights import log_mean_exp, normalize, relative_error

Found = dict[str, np.ndarray]
Shape = tuple[int, int]
NUM_MOVES = 3
LAST = 0.3


def names(settings: Settings) -> list[str]:
    shapes = ["x".join(map(str, shape)) for shape in settings.field_shapes]
    return [f"{kind}_{shape}" for shape in shapes for kind in ("field", "budget")]


def run(name: str, settings: Settings) -> Found:
    kind, _, text = name.partition("_")
    rows, columns = (int(of) for of in text.split("x"))
    return {"field": _field, "budget": _budget}[kind]((rows, columns), settings)


def chain_move(shape: Shape) -> Any:
    """Three steps of generalized HMC, and a flip, so that both signs are visited."""
    hmc = generalized_hmc.as_move(NUM_MOVES, step_size(shape), 0.5)
    return sequence.as_move([hmc, flip.as_move()])


def step_size(shape: Shape) -> float:
    """The energy that a step misses grows with the root of the volume."""
    return 0.35 * min((64 / (shape[0] * shape[1])) ** 0.25, 1.0)


# ---------------------------------------------------------------- brackets and observables


def _field(shape: Shape, settings: Settings) -> Found:
    kappas = grid(settings.grid_level)
    chain = _simulate(jax.random.key(0), shape, kappas, settings)
    found = {
        "kappas": kappas,
        "chain": np.array([chain.log_partition_function, chain.acceptance_ratio]),
        "chain_steps": np.array(chain.steps),
        "num_chain_doubts": np.array(len(chain.doubts)),
    }
    for number, label in enumerate(("abs_m", "square_m", "square_phi")):
        stops = [autocorrelation(stop) for stop in np.asarray(chain.observed[number])]
        found[label] = np.array([of.mean for of in stops])
        found[f"{label}_tau"] = np.array([of.time for of in stops])
        found[f"{label}_doubts"] = np.array([len(of.doubts) for of in stops])
    ends = kappas[1:] if len(kappas) < 10 else kappas[1::2]
    rows = [_bracket(shape, kappa, settings) for kappa in ends]
    return found | {"ends": ends, "brackets": np.array(rows)}


def _simulate(key: PRNGKey, shape: Shape, kappas: np.ndarray, settings: Settings) -> Any:
    base, target = (lattice.phi4(shape, kappa, QUARTIC) for kappa in (0.0, LAST))
    return multistage(
        key,
        base,
        geometric_path(base.logdensity_fn, target.logdensity_fn),
        jnp.asarray(kappas[1:] / LAST),
        chain_move(shape),
        num_chains=settings.num_field_chains,
        num_samples=settings.num_field_samples,
        num_burn_in=settings.num_field_samples // 10,
        observe=_observe,
    )


def _observe(x: Array) -> tuple[Array, Array, Array]:
    mean = jnp.mean(x)
    return jnp.abs(mean), jnp.square(mean), jnp.mean(jnp.square(x))


def _bracket(shape: Shape, kappa: float, settings: Settings) -> list[float]:
    """Lower and upper bound with errors, the estimate with its error, number of doubts."""
    num_replicates, num_walkers = 16, 64
    key_start, key_run = jax.random.split(jax.random.key(round(1e6 * kappa)))
    base = lattice.phi4(shape, 0.0, QUARTIC)
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
    return partial(_logdensity, t * kappa)


def _logdensity(kappa: Scalar, x: Array) -> Array:
    square = jnp.square(x)
    sites = (1 - 2 * QUARTIC) * square + QUARTIC * jnp.square(square)
    return 2 * kappa * lattice.bond_sum(x) - jnp.sum(sites)


# ---------------------------------------------------------------- at equal numbers of gradients


def _budget(shape: Shape, settings: Settings) -> Found:
    """Log Z at κ = 0.3 by one call and by the chain, the same gradients, over seeds."""
    budget = settings.num_gradients[settings.field_shapes.index(shape)]
    base, target = (lattice.phi4(shape, kappa, QUARTIC) for kappa in (0.0, LAST))
    num_stops = len(grid(1)) - 1
    num_chains = 16
    per_stop = budget // (num_stops * num_chains * NUM_MOVES)
    num_samples = per_stop - per_stop // 10
    path = geometric_path(base.logdensity_fn, target.logdensity_fn)
    ours, chains, ratios, widths, doubts = [], [], [], [], []
    for seed in range(settings.num_seeds):
        key = jax.random.key(seed)
        one = estimate(key, base, target, num_gradients=budget)
        ours.append((one.log_partition_function, one.standard_error))
        widths.append(one.bounds.upper - one.bounds.lower)
        doubts.append(len(one.doubts))
        chain = multistage(
            key,
            base,
            path,
            jnp.asarray(grid(1)[1:] / LAST),
            chain_move(shape),
            num_chains=num_chains,
            num_samples=num_samples,
            num_burn_in=per_stop // 10,
        )
        chains.append(chain.log_partition_function)
        ratios.append(chain.acceptance_ratio)
    return {
        "ours": np.array(ours),
        "chain": np.array(chains),
        "acceptance_ratio": np.array(ratios),
        "widths": np.array(widths),
        "num_doubts": np.array(doubts),
        "budget": np.array(budget),
    }
