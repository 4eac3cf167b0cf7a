"""U(1) gauge theory: chains that freeze in a topological sector, and walkers that do not."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from benchmarks.studies.lattice.ising import estimate_of
from benchmarks.studies.lattice.settings import Settings
from jarzynski_jax.annealing import log_partition_bounds
from jarzynski_jax.compiling import compiled_once
from jarzynski_jax.free_energy import autocorrelation, log_partition_bracket
from jarzynski_jax.kernels import generalized_hmc
from jarzynski_jax.targets import lattice
from jarzynski_jax.types import Array, LogDensityFn, PRNGKey, Scalar
from jarzynski_jax.walkers import Dynamics
from jarzynski_jax.weights import normalize

Found = dict[str, np.ndarray]
_NUM_MOVES, _FRICTION = 5, 0.5
_NUM_REPLICATES, _NUM_WALKERS = 16, 64


def names(settings: Settings) -> list[str]:
    return [f"gauge_{length}" for length in settings.gauge_lengths]


def run(name: str, settings: Settings) -> Found:
    length = int(name.rpartition("_")[2])
    rows = [_row(length, beta, settings) for beta in settings.gauge_betas]
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


def _step_size(beta: Scalar, length: int) -> Any:
    """Of one over the root of the steepest curvature, 8 β, in volumes that are not small."""
    return 0.6 * (8 / length) ** 0.5 / jnp.sqrt(1 + 8 * beta)


def _row(length: int, beta: float, settings: Settings) -> dict[str, object]:
    exact = lattice.gauge_values((length, length), beta)
    key_start, key_run, key_chain = jax.random.split(jax.random.key(round(10 * beta)), 3)
    base = lattice.u1_gauge((length, length), 0.0)
    assert base.sample is not None
    steps = jnp.arange(1, settings.num_gauge_steps + 1) / settings.num_gauge_steps
    bounds = log_partition_bounds(
        key_run,
        base.sample(key_start, _NUM_REPLICATES * _NUM_WALKERS),
        Partial(_along_coupling, jnp.asarray(beta)),
        0.0,
        Dynamics(_MOVE),
        settings.num_gauge_steps,
        num_replicates=_NUM_REPLICATES,
        step_args=(_step_size(beta * steps, length), jnp.full_like(steps, _FRICTION)),
    )
    value, error = estimate_of(bounds.forward)
    bracket = log_partition_bracket(bounds)
    cosine, cosine_error = _weighted(bounds, lambda x: jnp.mean(jnp.cos(lattice.plaquettes(x))))
    charge, charge_error = _weighted(bounds, _square_charge)
    charges, cosines, rate = _chains(
        key_chain, jnp.asarray(beta), length, settings.num_gauge_samples
    )
    of_charge, of_cosine = autocorrelation(charges), autocorrelation(cosines)
    squared = np.asarray(jnp.square(charges))
    return {
        "exact": [exact.log_partition_function, exact.mean_plaquette, exact.mean_square_charge],
        "log_z": [value, error],
        "bracket": [bracket.lower, bracket.upper],
        "num_doubts": len(bracket.doubts),
        "cosine": [cosine, cosine_error],
        "charge": [charge, charge_error],
        "chain_tau": [float(of) for of in of_charge.time],
        "chain_cosine_tau": [float(of) for of in of_cosine.time],
        "chain_doubts": len(of_charge.doubts),
        "chain_charge": [squared.mean(), squared.mean(1).std(ddof=1) / np.sqrt(len(squared))],
        "chain_rate": float(rate),
        "history": np.asarray(charges[0])[:2000],
    }


def _weighted(bounds: Any, observe: Any) -> tuple[float, float]:
    """Mean over the end points of replicates, weighed by their Z, with their spread."""
    means = np.asarray(jax.vmap(jax.vmap(observe))(bounds.end_points).mean(1), np.float64)
    shares = np.asarray(normalize(bounds.forward), np.float64)
    mean = float(shares @ means)
    spread = np.sum((shares * (means - mean)) ** 2) * len(means) / (len(means) - 1)
    return mean, float(np.sqrt(spread))


def _square_charge(x: Array) -> Array:
    return jnp.square(lattice.topological_charge(x))


@compiled_once
def _chains(key: PRNGKey, beta: Array, length: int, num_samples: int) -> tuple:
    """Charges and mean cosines of four chains, started at charge 0, after burn-in."""
    target = _along_coupling(beta, 1.0)
    kernel = _MOVE.kernel
    arguments = (_step_size(beta, length), _FRICTION)

    def chain(key: PRNGKey) -> tuple[Array, Array, Array]:
        def step(state: Any, key: PRNGKey) -> tuple[Any, Any]:
            state, info = kernel(key, state, target, *arguments)
            x = state.position
            charge = lattice.topological_charge(x)
            return state, (
                charge,
                jnp.mean(jnp.cos(lattice.plaquettes(x))),
                info.acceptance_rate,
            )

        state = _MOVE.init(jnp.zeros((2, length, length)), target)
        num_burn_in = num_samples // 10
        _, seen = jax.lax.scan(step, state, jax.random.split(key, num_burn_in + num_samples))
        return jax.tree.map(lambda leaf: leaf[num_burn_in:], seen)

    charges, cosines, rates = jax.vmap(chain)(jax.random.split(key, 4))
    return charges, cosines, jnp.mean(rates)


_MOVE = generalized_hmc.as_move(_NUM_MOVES)


def _along_coupling(beta: Scalar, t: Scalar) -> LogDensityFn:
    return partial(_logdensity, t * beta)


def _logdensity(beta: Scalar, x: Array) -> Array:
    return beta * lattice.plaquette_sum(x)
