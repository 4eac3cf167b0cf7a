"""From the name of data to their training part and their test part."""

from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np

from jarzynski_jax.data.arrays import Split, load, load_labels, split
from jarzynski_jax.data.images import LabelledImages, Part, choose_of_classes, shrink
from jarzynski_jax.data.mnist import Name, load_mnist

__all__ = [
    "LabelledSplit",
    "Source",
    "is_file",
    "is_image_set",
    "load_labelled_split",
    "load_split",
]

_TEST_FRACTION = 0.15


class Source(NamedTuple):
    """Which data, and which of them.

    name
        ``"digits"``, the path of a file for :func:`~jarzynski_jax.data.load_array`, ``"mnist"``
        or ``"fashion-mnist"``.
    folder
        Of the IDX files of the last two; None to fetch them.
    classes
        Labels to choose; all samples, labelled or not, if empty.
    proportions
        A whole number for each class; equal ones if empty.
    shrink
        Images are averaged over blocks of so many pixels a side.
    """

    name: str
    folder: str | None = None
    classes: tuple[int, ...] = ()
    proportions: tuple[int, ...] = ()
    shrink: int = 1


class LabelledSplit(NamedTuple):
    """Samples in two parts, and the class of each sample.

    ``labels`` are integers, each part of shape ``(n,)``; None if no classes were asked for.
    """

    samples: Split
    labels: Split | None


def is_image_set(name: str) -> bool:
    """Whether a name is that of MNIST's files."""
    return name in get_args(Name)


def is_file(name: str) -> bool:
    """Whether a name is the path of a file, rather than that of a known data set.

    Examples
    --------
    >>> is_file("samples.npy"), is_file("mnist"), is_file("digits")
    (True, False, False)
    """
    return name != "digits" and not is_image_set(name)


def load_split(source: Source) -> Split:
    """Load the training part and the test part, as :func:`load_labelled_split` without labels.

    Examples
    --------
    >>> [part.shape for part in load_split(Source("digits"))]
    [(1527, 8, 8), (270, 8, 8)]
    """
    return load_labelled_split(source).samples


def load_labelled_split(source: Source) -> LabelledSplit:
    """Load the training part and the test part, and the classes of both.

    Of MNIST these are its own parts, of others 85 % and 15 %: without classes by
    :func:`~jarzynski_jax.data.split`, with classes of each of them. ValueError as the loaders,
    or if classes are asked for where there are no labels, a folder where it says nothing, or
    shrinking of what are not images.

    Examples
    --------
    >>> found = load_labelled_split(Source("digits", classes=(0, 1), proportions=(2, 1)))
    >>> [part.shape for part in found.samples]
    [(227, 8, 8), (40, 8, 8)]
    >>> [np.bincount(part).tolist() for part in found.labels]
    [[152, 75], [26, 14]]
    """
    if source.proportions and not source.classes:
        raise ValueError(f"proportions {source.proportions} need classes; got none")
    if is_image_set(source.name):
        return _load_mnist_split(source)
    if source.folder is not None:
        raise ValueError(
            f"a folder is that of the files of {get_args(Name)}; got {source.folder} for "
            f"{source.name}"
        )
    samples = _shrunk(source, load(source.name))
    if not source.classes:
        return LabelledSplit(split(samples, _TEST_FRACTION), None)
    labels = load_labels(source.name)
    chosen = _choose(source, labels)
    if len(chosen) < 10:
        raise ValueError(
            f"{source.name} must hold at least 10 samples of classes {source.classes} in their "
            f"proportions; it holds {len(chosen)}"
        )
    return _split_each_class(samples[chosen], labels[chosen])


def _load_mnist_split(source: Source) -> LabelledSplit:
    train, test = (_load_part(source, part) for part in get_args(Part))
    if train.images.shape[1:] != test.images.shape[1:]:
        raise ValueError(
            f"images for training and for test must be of one size; {source.folder} holds "
            f"images of {train.images.shape[1:]} and of {test.images.shape[1:]}"
        )
    labels = Split(train.labels, test.labels) if source.classes else None
    return LabelledSplit(Split(train.images, test.images), labels)


def _load_part(source: Source, part: Part) -> LabelledImages:
    folder = None if source.folder is None else Path(source.folder)
    name: Name = "mnist" if source.name == "mnist" else "fashion-mnist"
    images, labels = load_mnist(folder, name, part)
    if source.classes:
        chosen = _choose(source, labels)
        images, labels = images[chosen], labels[chosen]
    return LabelledImages(_shrunk(source, images), labels)


def _choose(source: Source, labels: np.ndarray) -> np.ndarray:
    proportions = source.proportions or (1,) * len(source.classes)
    return choose_of_classes(labels, source.classes, proportions)


def _shrunk(source: Source, samples: np.ndarray) -> np.ndarray:
    return samples if source.shrink == 1 else shrink(samples, source.shrink)


def _split_each_class(samples: np.ndarray, labels: np.ndarray) -> LabelledSplit:
    """Take the same fraction of each class for the test part; the order stays as it is."""
    # At a random split the classes of a small test part would have other proportions.
    by_class = np.argsort(labels, kind="stable")
    is_test = np.empty(len(labels), bool)
    is_test[by_class] = np.diff(np.floor(np.arange(len(labels) + 1) * _TEST_FRACTION)) > 0
    return LabelledSplit(
        Split(samples[~is_test], samples[is_test]), Split(labels[~is_test], labels[is_test])
    )
