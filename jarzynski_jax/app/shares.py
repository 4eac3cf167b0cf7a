"""Shares of classes among a model's samples, by a classifier of noisy data.

A likelihood hardly tells whether a mode has its weight: with half of the data in one class and
half in another, a model that gives one of them three times the weight of the other is only 0.14
nats worse.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jarzynski_jax.types import Array

__all__ = ["Shares", "find_shares"]

_NUM_HIDDEN = 128
# Enough for MNIST's digits; some seconds.
_NUM_UPDATES = 2000
_BATCH_SIZE = 200
_NUM_IN_A_PASS = 5000


class Shares(NamedTuple):
    """Shares of classes.

    classes
        Their labels, in increasing order; so are the others.
    data
        Of the test data, by their labels.
    classified
        Of the test data with their noise, by the classifier: what to compare the model's with,
        as the classifier's mistakes are in both.
    model
        Of the model's samples, by the classifier; the mean over replicates.
    error
        Standard errors of these, over replicates; ``inf`` for one replicate.
    total_variation
        Half the sum of the distances of the model's from those of the classified test data, and
        its standard error.
    accuracy
        The fraction of the test data with their noise that is classified as labelled.
    """

    classes: tuple[int, ...]
    data: tuple[float, ...]
    classified: tuple[float, ...]
    model: tuple[float, ...]
    error: tuple[float, ...]
    total_variation: tuple[float, float]
    accuracy: float


def find_shares(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    samples: Array | np.ndarray,
    noise_scale: float,
    seed: int = 0,
) -> Shares:
    """Train a classifier on noisy data, and count the classes of a model's samples.

    The classifier is scikit-learn's multilayer perceptron with one hidden layer. ValueError if
    there are fewer than two classes or no samples.

    Parameters
    ----------
    train
        Clean training data, shape ``(n, ...)``; of numbers near one, e.g. in standard
        coordinates, for the classifier to learn well.
    train_labels
        Integers, shape ``(n,)``, of two classes or more.
    test
        Noisy test data, shape ``(m, C, ...)`` with C copies of each.
    samples
        Of the model, of equal weight, shape ``(replicates, walkers, ...)``.
    noise_scale
        σ of the noise, drawn afresh for each pass through the training data.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> labels = np.repeat([3, 8], [300, 100])
    >>> data = labels[:, None] / 5 + 0.1 * rng.normal(size=(400, 1))
    >>> samples = np.tile([[0.6], [1.6]], (4, 50, 1))  # the model's modes are alike
    >>> found = find_shares(data, labels, data[:, None], labels, samples, 0.1)
    >>> found.classes, found.data, found.model, found.total_variation
    ((3, 8), (0.75, 0.25), (0.5, 0.5), (0.25, 0.0))
    """
    classes = np.unique(train_labels)
    if len(classes) < 2:
        raise ValueError(f"shares need two classes or more; got labels {classes.tolist()}")
    samples = np.asarray(samples)
    if samples.size == 0:
        raise ValueError(f"shares need samples of the model; got shape {samples.shape}")
    classify = _train_classifier(train, train_labels, noise_scale, seed)

    def shares(labels: np.ndarray) -> np.ndarray:
        return np.mean(labels[:, None] == classes, axis=0)

    num_copies = test.shape[1]
    found = classify(test.reshape(-1, *test.shape[2:]))
    by_replicate = np.array([shares(classify(part)) for part in samples])
    model, classified = by_replicate.mean(axis=0), shares(found)
    difference = model - classified
    # By how much each replicate moves the sum of absolute values.
    distances = (by_replicate - classified) @ np.sign(difference) / 2
    return Shares(
        tuple(classes.tolist()),
        tuple(shares(test_labels).tolist()),
        tuple(classified.tolist()),
        tuple(model.tolist()),
        tuple(_standard_error(by_replicate).tolist()),
        (float(np.sum(np.abs(difference)) / 2), float(_standard_error(distances))),
        float(np.mean(found == np.repeat(test_labels, num_copies))),
    )


def _standard_error(values: np.ndarray) -> np.ndarray:
    """Return that of the mean over the first axis; one value has no known error."""
    count = len(values)
    if count == 1:
        return np.full(values.shape[1:], math.inf)
    return np.std(values, axis=0, ddof=1) / math.sqrt(count)


def _train_classifier(
    train: np.ndarray, labels: np.ndarray, noise_scale: float, seed: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Return what takes samples, shape ``(n, ...)``, to labels."""
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(seed)
    flat = np.asarray(train, np.float32).reshape(len(train), -1)
    # Many copies of few data: scikit-learn checks them at each pass, longer than it learns.
    num_copies = math.ceil(_NUM_IN_A_PASS / len(flat))
    flat, labels = np.tile(flat, (num_copies, 1)), np.tile(labels, num_copies)
    num_passes = math.ceil(_NUM_UPDATES * _BATCH_SIZE / len(flat))
    network = MLPClassifier(_NUM_HIDDEN, batch_size=_BATCH_SIZE, random_state=seed)
    # The matrices are small: threads would wait for one another.
    with threadpool_limits(1):
        for _ in range(num_passes):
            noise = rng.standard_normal(flat.shape, np.float32)
            network.partial_fit(flat + noise_scale * noise, labels, classes=np.unique(labels))
    return lambda samples: network.predict(samples.reshape(len(samples), -1))
