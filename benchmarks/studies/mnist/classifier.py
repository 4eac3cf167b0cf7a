"""A small convolutional classifier of noisy images: shares of the classes, and features."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.studies.mnist import problem as problem_lib
from benchmarks.studies.mnist import settings as settings_lib
from benchmarks.studies.mnist.problem import CLASSES, Problem
from benchmarks.studies.mnist.settings import Settings
from jarzynski_jax.data import draw_batch
from jarzynski_jax.types import Array, PRNGKey

_NUM_FEATURES = 64
_NUM_UPDATES = 1500
_BATCH_SIZE = 256


class Network(nnx.Module):
    def __init__(self, num_pixels: int, rngs: nnx.Rngs) -> None:
        self.convolutions = nnx.List(
            [
                nnx.Conv(1, 16, (3, 3), strides=2, rngs=rngs),
                nnx.Conv(16, 32, (3, 3), strides=2, rngs=rngs),
            ]
        )
        side = math.ceil(num_pixels / 4)
        self.features = nnx.Linear(32 * side**2, _NUM_FEATURES, rngs=rngs)
        self.last = nnx.Linear(_NUM_FEATURES, len(CLASSES), rngs=rngs)

    def __call__(self, images: Array) -> tuple[Array, Array]:
        """Features and logits of a batch."""
        y = images[..., None]
        for convolution in self.convolutions:
            y = nnx.relu(convolution(y))
        features = nnx.relu(self.features(y.reshape(len(y), -1)))
        return features, self.last(features)


class Classifier(NamedTuple):
    """Trained; ``accuracy`` is on noisy test images."""

    network: nnx.Module
    accuracy: float

    def classify(self, images: np.ndarray) -> np.ndarray:
        """Places in ``CLASSES``."""
        return np.argmax(_apply(self.network, images)[1], axis=1)

    def shares(self, images: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Share of each class, of images of these weights."""
        counts = np.bincount(self.classify(images), weights, minlength=len(CLASSES))
        return counts / counts.sum()

    def features(self, images: np.ndarray) -> np.ndarray:
        return _apply(self.network, images)[0]


def _apply(network: nnx.Module, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    features, logits = nnx.jit(lambda network, x: network(x))(network, jnp.asarray(images))
    return np.asarray(features, np.float64), np.asarray(logits)


def train_once(settings: Settings) -> Classifier:
    """Train, or take the one that this process has trained on the same images."""
    only_images = settings_lib.standard(settings.data, settings.factor)._replace(
        num_samples=settings.num_samples, noise=settings.noise
    )
    return _train_and_keep(only_images)


@functools.lru_cache(maxsize=1)
def _train_and_keep(settings: Settings) -> Classifier:
    return train(problem_lib.load(settings), settings.noise)


def train(problem: Problem, noise: float) -> Classifier:
    """Train on noisy images, the noise drawn afresh."""
    network = Network(problem.train.shape[1], nnx.Rngs(0))
    graph, params = nnx.split(network)
    optimizer = optax.adam(1e-3)
    images, labels = jnp.asarray(problem.train), jnp.asarray(problem.train_labels)

    def loss(params: nnx.State, images: Array, labels: Array) -> Array:
        _, logits = nnx.merge(graph, params)(images)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

    def update(carry: tuple, key: PRNGKey) -> tuple[tuple, None]:
        params, state = carry
        batch = draw_batch(key, images, _BATCH_SIZE, noise)
        chosen = draw_batch(key, labels, _BATCH_SIZE)  # the same key draws the same ones
        gradient = jax.grad(loss)(params, batch, chosen)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(params, updates), state), None

    keys = jax.random.split(jax.random.key(0), _NUM_UPDATES)
    start = params, optimizer.init(params)
    (params, _), _ = jax.jit(lambda start: jax.lax.scan(update, start, keys))(start)
    classifier = Classifier(nnx.merge(graph, params), 0.0)
    found = classifier.classify(problem.noisy_test[:, 0])
    return classifier._replace(accuracy=float(np.mean(found == problem.test_labels)))


def frechet_distance(left: np.ndarray, right: np.ndarray) -> float:
    r"""Fréchet distance of two Gaussians fitted to features of shape ``(n, f)``.

    .. math:: |m - m'|^2 + {\rm tr}(C + C' - 2 (C C')^{1/2})
    """
    difference = left.mean(axis=0) - right.mean(axis=0)
    first, second = (np.cov(features, rowvar=False) for features in (left, right))
    values, axes = np.linalg.eigh(first)
    root = axes * np.sqrt(np.maximum(values, 0))  # C = R Rᵀ; features that are never on give 0
    overlap = np.sum(np.sqrt(np.maximum(np.linalg.eigvalsh(root.T @ second @ root), 0)))
    return float(difference @ difference + np.trace(first + second) - 2 * overlap)
