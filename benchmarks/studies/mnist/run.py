"""One algorithm from one seed: train, then judge the model by walkers that took no part."""

from collections.abc import Callable
from functools import partial
from typing import cast

import jax
import numpy as np

from benchmarks.studies.mnist import classifier as classifier_lib
from benchmarks.studies.mnist import problem as problem_lib
from benchmarks.studies.mnist.classifier import Classifier
from benchmarks.studies.mnist.problem import Model, Problem
from benchmarks.studies.mnist.settings import Settings, num_rival_moves
from jarzynski_jax import free_energy, training
from jarzynski_jax.app import model as app_model
from jarzynski_jax.app.config import AlgorithmName
from jarzynski_jax.app.model import build_objective, build_optimizer, first_state
from jarzynski_jax.data.noise import add_noise, noise_entropy
from jarzynski_jax.energies import denoising
from jarzynski_jax.training import Annealing, Bounding, TrainingState, bound_from_base
from jarzynski_jax.types import Array, Params, PRNGKey
from jarzynski_jax.weights import normalize

_NUM_SHOWN = 64


def names(settings: Settings) -> list[str]:
    return [
        f"{name}_{seed}" for seed in range(settings.num_seeds) for name in settings.algorithms
    ]


def run(name: str, settings: Settings, judge: Settings | None = None) -> dict[str, np.ndarray]:
    """Run one job, named by algorithm and seed.

    Its model is judged by walkers that move as ``judge`` says; as those in training, if None.
    """
    algorithm_name, seed = name.rsplit("_", 1)
    judge = judge or settings
    if algorithm_name == "pcd":
        settings = settings._replace(**dict(settings.pcd))
    problem = problem_lib.load(settings)
    is_weighted = algorithm_name == "jarzynski"
    num_moves = settings.num_moves if is_weighted else num_rival_moves(settings)
    model = problem_lib.build_model(settings, problem.base, int(seed), num_moves)
    keys = jax.random.split(jax.random.key(int(seed)), 3)
    state, metrics = _train(keys[0], algorithm_name, settings, problem, model)
    assert state.walkers is not None  # all three algorithms have walkers
    found = bound_from_base(
        keys[1],
        problem.base,
        model.energy_fn,
        state.params,
        problem.to_positions(problem.train),
        judge.noise,
        problem_lib.build_dynamics(judge, problem.base),
        Annealing(judge.annealing_steps, judge.annealing_walkers, judge.num_replicates),
    )
    walkers = np.asarray(state.walkers.position)
    weights = np.asarray(normalize(state.walkers.log_weights), np.float64)
    denoise = partial(
        denoising.posterior_mean, model.energy_fn, state.params, noise_scale=settings.noise
    )
    return {
        **_likelihood(problem, model, state.params, found, settings.noise),
        **_shares(problem, classifier_lib.train_once(settings), walkers, weights, found),
        **_images(keys[2], problem, walkers, weights, found, denoise),
        "acceptance_rate": np.asarray(found.acceptance_rate),
        "cross_entropy": np.asarray(metrics.training_cross_entropy),
        "effective_sample_size": np.asarray(metrics.effective_sample_size),
    }


def _train(
    key: PRNGKey, name: str, settings: Settings, problem: Problem, model: Model
) -> tuple[TrainingState, training.Metrics]:
    is_weighted = name == "jarzynski"
    optimizer = build_optimizer(
        settings.learning_rate, settings.num_updates, settings.adam_b1, settings.adam_eps
    )
    touched = settings.num_touched if is_weighted else None
    watch = training.Watch(problem.base.mean.size)
    objective = build_objective(
        cast(AlgorithmName, name), model.energy_fn, optimizer, model.dynamics, touched, watch
    )
    first = app_model.Model(
        model.energy_fn, model.params, problem.fitted, model.dynamics, objective
    )
    num_walkers = settings.num_walkers if is_weighted else settings.num_touched
    keys = jax.random.split(key, 3)
    state = first_state(first, problem.train, keys[0], keys[1], num_walkers)
    refresh = None
    if is_weighted and settings.refresh_every > 0:
        refresh = training.refresh_from_base(
            model.energy_fn,
            problem.base,
            model.dynamics,
            settings.refresh_steps,
            settings.refresh_every,
        )
    result = training.fit(
        keys[2],
        objective,
        state,
        problem.to_positions(problem.train),
        num_steps=settings.num_updates,
        batch_size=settings.batch_size,
        noise_scale=settings.noise,
        refresh=refresh,
    )
    return result.state, result.metrics


def _test_energies(model: Model, params: Params, noisy: Array) -> np.ndarray:
    """Energy of each test image, the mean over its copies."""
    energies = jax.jit(jax.vmap(model.energy_fn, (None, 0)))
    copies = [np.asarray(energies(params, noisy[:, c])) for c in range(noisy.shape[1])]
    return np.mean(copies, axis=0)


def _likelihood(
    problem: Problem, model: Model, params: Params, found: Bounding, noise: float
) -> dict[str, np.ndarray]:
    energies = _test_energies(model, params, problem.to_positions(problem.noisy_test))
    floor = noise_entropy(problem.base.mean.size, noise)
    bracket = free_energy.bracket(energies, found.bounds, floor)
    noisy_train = add_noise(problem.train[: len(problem.test)], noise, 1, 1)
    train_energy = float(
        _test_energies(model, params, problem.to_positions(noisy_train)).mean()
    )
    return {
        "lower": np.array([bracket.lower, bracket.lower_error]),
        "upper": np.array([bracket.upper, bracket.upper_error]),
        "relaxed": np.array(bracket.relaxed),
        "doubts": np.array("; ".join(bracket.doubts)),
        # Cross entropy of each test image, with the upper bound's log Z.
        "values": energies + (bracket.upper - float(energies.mean())),
        "overfit": np.array(float(energies.mean()) - train_energy),
    }


def _shares(
    problem: Problem,
    classifier: Classifier,
    walkers: np.ndarray,
    weights: np.ndarray,
    found: Bounding,
) -> dict[str, np.ndarray]:
    """Share of each class, by a classifier; of each replicate where there are some.

    ``crossed``: the share of walkers relaxed from data that end in another class.
    """
    test = problem.noisy_test[:, 0]
    walkers = problem.to_images(walkers)
    annealed, starts, relaxed = (
        problem.to_images(part)
        for part in (found.bounds.end_points, found.starts, found.relaxed)
    )
    every = annealed.reshape(-1, *annealed.shape[2:])
    return {
        "accuracy": np.array(classifier.accuracy),
        "data_shares": np.bincount(problem.test_labels) / len(problem.test_labels),
        "test_shares": classifier.shares(test),
        "walker_shares": classifier.shares(walkers, weights),
        "annealed_shares": np.array([classifier.shares(part) for part in annealed]),
        "relaxed_shares": np.array([classifier.shares(part) for part in relaxed]),
        "crossed": np.array(
            [
                np.mean(classifier.classify(start) != classifier.classify(end))
                for start, end in zip(starts, relaxed, strict=True)
            ]
        ),
        "frechet": np.array(
            classifier_lib.frechet_distance(
                classifier.features(every), classifier.features(test)
            )
        ),
    }


def _images(
    key: PRNGKey,
    problem: Problem,
    walkers: np.ndarray,
    weights: np.ndarray,
    found: Bounding,
    denoise: Callable[[np.ndarray], np.ndarray],
) -> dict[str, np.ndarray]:
    """Choose images for the figures, without their noise."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    some = rng.choice(len(walkers), _NUM_SHOWN, replace=False)
    ordered = some[np.argsort(weights[some])]
    annealed = found.bounds.end_points.reshape(-1, *walkers.shape[1:])
    return {
        "annealed_images": problem.to_images(denoise(rng.permutation(annealed)[:_NUM_SHOWN])),
        "ordered_images": problem.to_images(denoise(walkers[ordered])),
        "ordered_weights": weights[ordered] * len(walkers),
    }
