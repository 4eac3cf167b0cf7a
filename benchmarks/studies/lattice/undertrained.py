"""Networks that were trained too little: how often log Z is wrong, and how often it is told.

``python -m benchmarks.studies.lattice.undertrained`` prints the table of the README, in some
ten minutes. The sizes are those of the quick form but for the number of updates.
"""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from benchmarks.studies.lattice.network import BETA, Annealing, make_network, make_objective
from benchmarks.studies.lattice.settings import QUICK
from jarzynski_jax import training
from jarzynski_jax.density import draw
from jarzynski_jax.free_energy import ImportanceEstimate, importance_estimate
from jarzynski_jax.generators import autoregressive
from jarzynski_jax.targets import lattice
from jarzynski_jax.types import Array, Params, PRNGKey

SHAPE = (8, 8)
NUM_RUNS = 16
#: Updates, and how many networks are trained by as many.
NUM_SEEDS = {200: 16, 300: 16, 1000: 6, 3000: 6}
#: Of its errors, beyond which an estimate is wrong.
TOO_LOW = -3

Sides = tuple[Array, Array]


def log_weights(num_updates: int, num_seeds: int, num_runs: int) -> Iterator[dict[str, Sides]]:
    """By method, of the model's samples and of those of the target, of each run."""
    target, settings = lattice.ising(SHAPE, BETA), QUICK._replace(num_updates=num_updates)
    model, _ = autoregressive(make_network(SHAPE[0], settings), is_symmetric=True)
    objective = make_objective(model, target, settings)
    num_walkers = settings.num_network_samples // settings.num_network_steps

    @jax.jit
    def run(key: PRNGKey, params: Params) -> dict[str, Sides]:
        network = model.density(params)
        walk = Annealing(network, target, settings.num_network_steps)
        key_samples, key_start, key_run, key_end = jax.random.split(key, 4)
        key_back, _, _ = jax.random.split(jax.random.fold_in(key, 7), 3)
        spins, log_q = draw(key_samples, network, settings.num_network_samples)
        of_network = jax.vmap(target.logdensity_fn)(spins) - log_q
        end = walk.forward(key_start, key_run, num_walkers)
        at_end, of_paths = walk.back(key_end, key_back, end)
        return {
            "samples": (of_network, at_end),
            "annealed on": (end.log_weights, of_paths),
        }

    for seed in range(num_seeds):
        _, params = autoregressive(make_network(SHAPE[0], settings, seed), is_symmetric=True)
        state = objective.init(jax.random.key(seed), params)
        key = jax.random.key(1 + seed)
        trained = training.fit(key, objective, state, num_steps=num_updates).state.params
        for number in range(num_runs):
            yield run(jax.random.key(1000 * seed + number), trained)


def rates(sides: list[Sides], truth: float) -> dict[str, float]:
    """Of runs that are wrong, that are doubted, and of the wrong ones that are."""
    alone = [importance_estimate(of_model) for of_model, _ in sides]
    both = [importance_estimate(*of) for of in sides]
    is_wrong = np.array([_z(found, truth) < TOO_LOW for found in alone])
    told = {
        "by the shape": [any("Pareto" in doubt for doubt in of.doubts) for of in alone],
        "with samples of the target": [of.doubts != () for of in both],
    }
    found = {"effective sample size": np.median([of.effective_sample_size for of in alone])}
    found["too low"] = is_wrong.mean()
    for name, is_told in told.items():
        found[name] = np.mean(is_told)
        found[f"of the wrong, {name}"] = _mean(np.array(is_told)[is_wrong])
    return {name: float(value) for name, value in found.items()}


def _mean(values: np.ndarray) -> Any:
    return values.mean() if len(values) else np.nan


def _z(found: ImportanceEstimate, truth: float) -> float:
    value, error = (float(of) for of in found.log_partition_function)
    return (value - truth) / error


def main() -> None:
    truth = float(lattice.ising_thermodynamics(SHAPE, BETA).log_partition_function)
    for num_updates, num_seeds in NUM_SEEDS.items():
        runs = list(log_weights(num_updates, num_seeds, NUM_RUNS))
        for method in ("samples", "annealed on"):
            found = rates([run[method] for run in runs], truth)
            shown = ", ".join(f"{name} {value:.3g}" for name, value in found.items())
            print(f"{num_updates} updates, {method}: {shown}", flush=True)


if __name__ == "__main__":
    main()
