"""Labelled images: scaled to [-1, 1], chosen by class, and shrunk."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np

__all__ = [
    "LabelledImages",
    "Part",
    "channels_last",
    "check_part",
    "check_ten_classes",
    "choose_of_classes",
    "from_pixels",
    "select_classes",
    "shrink",
]

Part: TypeAlias = Literal["train", "test"]


class LabelledImages(NamedTuple):
    """Images and the class of each.

    ``images`` are float32 in [-1, 1], of shape ``(n, h, w)``, or ``(n, h, w, channels)`` in
    colour; ``labels`` are int32, of shape ``(n,)``.
    """

    images: np.ndarray
    labels: np.ndarray


def check_part(part: str) -> None:
    """Raise ValueError unless the name is of a part of a data set, train or test."""
    if part not in get_args(Part):
        raise ValueError(f"part must be one of {get_args(Part)}; got {part!r}")


def channels_last(images: np.ndarray, source: str) -> np.ndarray:
    """Tell which axis of images is that of their channels, and put it last.

    From ``(n, h, w, c)`` with 1, 3 or 4 channels, or ``(n, c, h, w)`` with 1 or 3, to
    ``(n, h, w, c)``, or ``(n, h, w)`` of one channel. ValueError, which names the source, if
    the shape is neither, or could be both.

    Examples
    --------
    >>> channels_last(np.zeros((10, 3, 8, 6)), "an example").shape
    (10, 8, 6, 3)
    >>> channels_last(np.zeros((10, 8, 6, 1)), "an example").shape
    (10, 8, 6)
    """
    is_last, is_first = images.shape[-1] in (1, 3, 4), images.shape[1] in (1, 3)
    if is_last == is_first:
        found = (
            "could be either: put channels last, leave out one alone, or give vectors, (n, d)"
            if is_last
            else "is neither"
        )
        raise ValueError(
            f"{source} must hold images of shape (n, h, w), (n, h, w, channels) with 1, 3 or 4 "
            f"channels or (n, channels, h, w) with 1 or 3; shape {images.shape} {found}"
        )
    ordered = images if is_last else np.moveaxis(images, 1, -1)
    return ordered[..., 0] if ordered.shape[-1] == 1 else ordered


def check_ten_classes(labels: np.ndarray, source: str) -> None:
    """Raise ValueError unless all labels are from 0 to 9."""
    if np.any((labels < 0) | (labels > 9)):
        raise ValueError(
            f"{source} must hold labels from 0 to 9; got labels from {labels.min()} to "
            f"{labels.max()}"
        )


def from_pixels(pixels: np.ndarray, labels: np.ndarray, source: str) -> LabelledImages:
    """Scale pixels, uint8, from 0..255 to [-1, 1], and check that each image has a label.

    Examples
    --------
    >>> pixels = np.array([[[0, 51, 255]]], np.uint8)
    >>> from_pixels(pixels, np.array([7]), "an example").images.round(2)
    array([[[-1. , -0.6,  1. ]]], dtype=float32)
    """
    if labels.shape != pixels.shape[:1]:
        raise ValueError(
            f"{source} must hold one label for each image; got {len(pixels)} images and labels "
            f"of shape {labels.shape}"
        )
    # In place, as a colour data set is more than half a gigabyte in float32.
    images = pixels.astype(np.float32, order="C")
    images /= 127.5
    images -= 1
    return LabelledImages(images, labels.astype(np.int32))


def select_classes(
    data: LabelledImages,
    classes: Sequence[int],
    proportions: Sequence[int],
    num_samples: int | None = None,
    seed: int = 0,
) -> LabelledImages:
    """Choose images of some classes at random, without replacement, in exact proportions.

    Of MNIST's train part, classes (2, 3, 6) in proportions (4, 2, 1) and 9800 samples are the
    data set of the thesis' section 4.3.2: 5600 twos, 2800 threes and 1400 sixes. For a test
    part of the same proportions, choose from MNIST's test part without ``num_samples``. Returns
    them shuffled. ValueError if a class is repeated, ``num_samples`` cannot be divided in these
    proportions, or there are too few images.

    Parameters
    ----------
    proportions
        A positive whole number for each class; (4, 2) and (2, 1) are the same.
    num_samples
        Of all classes together; None for the largest number that the data allow.

    Examples
    --------
    >>> labels = np.array([2, 2, 2, 2, 2, 3, 3, 3, 6], np.int32)
    >>> data = LabelledImages(np.zeros((9, 28, 28), np.float32), labels)
    >>> chosen = select_classes(data, (2, 3, 6), (4, 2, 1))
    >>> chosen.images.shape, np.bincount(chosen.labels).tolist()
    ((7, 28, 28), [0, 0, 4, 2, 0, 0, 1])
    """
    if len(data.images) != len(data.labels):
        raise ValueError(
            f"data must hold one label for each image; got {len(data.images)} images and "
            f"{len(data.labels)} labels"
        )
    order = choose_of_classes(data.labels, classes, proportions, num_samples, seed)
    return LabelledImages(data.images[order], data.labels[order])


def choose_of_classes(
    labels: np.ndarray,
    classes: Sequence[int],
    proportions: Sequence[int],
    num_samples: int | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Choose which of n samples, shuffled, by their labels as :func:`select_classes` does.

    Examples
    --------
    >>> labels = np.array([2, 2, 2, 2, 2, 3, 3, 3, 6])
    >>> np.bincount(labels[choose_of_classes(labels, (2, 3, 6), (4, 2, 1))]).tolist()
    [0, 0, 4, 2, 0, 0, 1]
    """
    _check_classes(labels, classes, proportions)
    divisor = math.gcd(*proportions)
    shares = [proportion // divisor for proportion in proportions]
    counts = [int(np.sum(labels == label)) for label in classes]
    largest = min(count // share for count, share in zip(counts, shares, strict=True))
    if num_samples is None:
        num_samples = max(largest, 1) * sum(shares)
    if num_samples < 1 or num_samples % sum(shares):
        raise ValueError(
            f"num_samples must be a positive multiple of {sum(shares)}, for proportions "
            f"{tuple(proportions)}; got {num_samples}"
        )
    wanted = [share * num_samples // sum(shares) for share in shares]
    if num_samples > largest * sum(shares):
        raise ValueError(
            f"{num_samples} samples in proportions {tuple(proportions)} need {tuple(wanted)} "
            f"of classes {tuple(classes)}; there are {tuple(counts)}, enough for "
            f"{largest * sum(shares)} samples"
        )
    rng = np.random.default_rng(seed)
    chosen = [
        rng.choice(np.flatnonzero(labels == label), size, replace=False)
        for label, size in zip(classes, wanted, strict=True)
    ]
    return rng.permutation(np.concatenate(chosen))


def _check_classes(
    labels: np.ndarray, classes: Sequence[int], proportions: Sequence[int]
) -> None:
    known = np.unique(labels).tolist()
    if len(classes) == 0 or not set(classes) <= set(known):
        raise ValueError(f"classes must be some of {known}; got {tuple(classes)}")
    if len(set(classes)) < len(classes):
        raise ValueError(f"classes must not be repeated; got {tuple(classes)}")
    if len(proportions) != len(classes):
        raise ValueError(
            f"proportions must be one for each of the classes {tuple(classes)}; got "
            f"{tuple(proportions)}"
        )
    if not all(isinstance(share, int | np.integer) and share > 0 for share in proportions):
        raise ValueError(
            f"proportions must be positive whole numbers; got {tuple(proportions)}"
        )


def shrink(images: np.ndarray, factor: int = 2) -> np.ndarray:
    """Average square blocks of pixels, of a side that divides height and width.

    Images are of floating point, ``(n, h, w)`` or ``(n, h, w, channels)``, and keep their
    dtype; else a ValueError.

    Examples
    --------
    >>> images = np.array([[[-1, 1, 0, 0], [1, 1, 0, 0]]], np.float32)
    >>> shrink(images)
    array([[[0.5, 0. ]]], dtype=float32)
    """
    if images.ndim not in (3, 4) or images.dtype.kind != "f":
        raise ValueError(
            "images must be floats of shape (n, h, w) or (n, h, w, channels); got "
            f"{images.dtype} of shape {images.shape}"
        )
    number, height, width, *channels = images.shape
    if factor < 1 or height % factor or width % factor:
        raise ValueError(
            f"factor must be a positive divisor of height {height} and width {width}; got "
            f"{factor}"
        )
    blocks = images.reshape(
        number, height // factor, factor, width // factor, factor, *channels
    )
    return blocks.mean(axis=(2, 4))
