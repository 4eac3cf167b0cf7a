"""One algorithm from one seed: train, then judge the model by walkers that took no part."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.mnist import classifier as classifier_lib
from benchmarks.mnist import problem as problem_lib
from benchmarks.mnist.problem import Model, Problem
from benchmarks.mnist.settings import Settings, num_rival_moves
from jarzynski_jax import annealing, evaluation, training
from jarzynski_jax.data import draw_batch
from jarzynski_jax.energies import gaussian_base
from jarzynski_jax.training import TrainingAlgorithm, TrainingState
from jarzynski_jax.types import Array, Params, PRNGKey
from jarzynski_jax.weights import normalize

_NUM_SHOWN = 64

ALGORITHMS = ("jarzynski", "pcd", "unweighted")


def names(settings: Settings) -> list[str]:
    return [f"{name}_{seed}" for seed in range(settings.num_seeds) for name in ALGORITHMS]


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    """Run one job, named by algorithm and seed."""
    algorithm_name, seed = name.rsplit("_", 1)
    problem = problem_lib.load(settings)
    num_moves = 1 if algorithm_name == "jarzynski" else num_rival_moves(settings)
    model = problem_lib.build_model(settings, problem.base, int(seed), num_moves)
    keys = jax.random.split(jax.random.key(int(seed)), 3)
    state, metrics = _train(keys[0], algorithm_name, settings, problem, model)
    classifier = classifier_lib.train(problem, settings.noise)
    bounds, relaxed = _bound(keys[1], settings, problem, model, state.params)
    annealed = bounds.end_points.reshape(-1, *problem.train.shape[1:])
    energies = _test_energies(model, state.params, problem.noisy_test)
    floor = evaluation.noise_entropy(problem.base.mean.size, settings.noise)
    bracket = evaluation.bracket(energies, bounds, floor)
    noisy_train = evaluation.add_noise(problem.train[: len(problem.test)], settings.noise, 1, 1)
    train_energy = float(_test_energies(model, state.params, noisy_train).mean())
    assert state.walkers is not None  # all three algorithms have walkers
    walkers = np.asarray(state.walkers.position)
    weights = np.asarray(normalize(state.walkers.log_weights), np.float64)
    shown = _show(keys[2], walkers, weights, annealed, model, state.params, settings.noise)
    test_features = classifier.features(problem.noisy_test[:, 0])
    return {
        "lower": np.array([bracket.lower, bracket.lower_error]),
        "upper": np.array([bracket.upper, bracket.upper_error]),
        "relaxed": np.array(bracket.relaxed),
        "doubts": np.array("; ".join(bracket.doubts)),
        "test_error": np.array(bracket.test_error),
        "overfit": np.array(float(energies.mean()) - train_energy),
        "accuracy": np.array(classifier.accuracy),
        "data_shares": np.bincount(problem.test_labels) / len(problem.test_labels),
        "test_shares": classifier.shares(problem.noisy_test[:, 0]),
        "walker_shares": classifier.shares(walkers, weights),
        "annealed_shares": np.array([classifier.shares(part) for part in bounds.end_points]),
        "relaxed_shares": np.array(
            [classifier.shares(part) for part in relaxed.reshape(bounds.end_points.shape)]
        ),
        "frechet": np.array(
            classifier_lib.frechet_distance(classifier.features(annealed), test_features)
        ),
        "cross_entropy": np.asarray(metrics.training_cross_entropy),
        "effective_sample_size": np.asarray(metrics.effective_sample_size),
        "is_resampled": np.asarray(metrics.is_resampled),
        **shown,
    }


def _train(
    key: PRNGKey, name: str, settings: Settings, problem: Problem, model: Model
) -> tuple[TrainingState, training.Metrics]:
    schedule = optax.cosine_decay_schedule(
        settings.learning_rate, settings.num_updates, alpha=0.02
    )
    optimizer = optax.adam(schedule, eps=settings.adam_eps)
    build: dict[str, Callable[[], TrainingAlgorithm]] = {
        "jarzynski": lambda: training.jarzynski_pool(
            model.energy_fn, optimizer, model.dynamics, settings.num_touched
        ),
        "pcd": lambda: training.persistent_contrastive_divergence(
            model.energy_fn, optimizer, model.dynamics
        ),
        "unweighted": lambda: training.unweighted(model.energy_fn, optimizer, model.dynamics),
    }
    algorithm = build[name]()
    is_weighted = name == "jarzynski"
    num_walkers = settings.num_walkers if is_weighted else settings.num_touched
    keys = jax.random.split(key, 3)
    positions, log_z = gaussian_base.exact_start(
        keys[0], problem.base, model.energy_fn, model.params, num_walkers
    )
    data = jnp.asarray(problem.train)
    state = jax.jit(algorithm.init)(keys[1], model.params, positions, data, log_z)
    watch = training.Watch(problem.base.mean.size, None, is_weighted=is_weighted)
    refresh = training.refresh_from_base(
        model.energy_fn,
        problem.base,
        model.dynamics,
        settings.refresh_steps,
        settings.refresh_every,
    )
    result = training.fit(
        keys[2],
        algorithm,
        state,
        data,
        num_steps=settings.num_updates,
        batch_size=settings.batch_size,
        noise_scale=settings.noise,
        watch=watch,
        refresh=refresh if is_weighted else None,
    )
    return result.state, result.metrics


def _bound(
    key: PRNGKey, settings: Settings, problem: Problem, model: Model, params: Params
) -> tuple[annealing.LogPartitionBounds, np.ndarray]:
    """Anneal from the base, and back from there and from walkers relaxed from the data."""
    keys = jax.random.split(key, 4)
    num_walkers = settings.num_replicates * settings.annealing_walkers
    path = problem_lib.path_to(model, params, problem.base)
    dynamics = model.dynamics._replace(num_moves=1)  # the same for all algorithms

    def by_replicate(positions: Array) -> Array:
        count = settings.num_replicates
        return positions.reshape(count, num_walkers // count, *positions.shape[1:])

    @jax.jit
    def run(train: Array) -> tuple[annealing.LogPartitionBounds, Array]:
        noisy = draw_batch(keys[0], train, num_walkers, settings.noise)
        relaxed, _ = annealing.relax(
            keys[1], noisy, path(1.0), dynamics, settings.annealing_steps // 2
        )
        bounds = annealing.log_partition_bounds(
            keys[2],
            by_replicate(gaussian_base.sample(keys[3], problem.base, num_walkers)),
            path,
            gaussian_base.log_partition_function(problem.base),
            dynamics,
            settings.annealing_steps,
            by_replicate(relaxed),
        )
        return bounds, relaxed

    return jax.device_get(run(jnp.asarray(problem.train)))


def _test_energies(model: Model, params: Params, noisy: np.ndarray) -> np.ndarray:
    """Energy of each test image, the mean over its copies."""
    energies = jax.jit(jax.vmap(model.energy_fn, (None, 0)))
    copies = [
        np.asarray(energies(params, jnp.asarray(noisy[:, c]))) for c in range(noisy.shape[1])
    ]
    return np.mean(copies, axis=0)


def _show(
    key: PRNGKey,
    walkers: np.ndarray,
    weights: np.ndarray,
    annealed: np.ndarray,
    model: Model,
    params: Params,
    noise: float,
) -> dict[str, np.ndarray]:
    """Choose images for the figures, without their noise."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    some = rng.choice(len(walkers), _NUM_SHOWN, replace=False)
    ordered = some[np.argsort(weights[some])]
    return {
        "annealed_images": problem_lib.denoise(
            model, params, rng.permutation(annealed)[:_NUM_SHOWN], noise
        ),
        "ordered_images": problem_lib.denoise(model, params, walkers[ordered], noise),
        "ordered_weights": weights[ordered] * len(walkers),
    }
