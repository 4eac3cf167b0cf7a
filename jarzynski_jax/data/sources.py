"""From the name of data to their training part and their test part."""

from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np

from jarzynski_jax.data.arrays import Split, load, split
from jarzynski_jax.data.images import Part, select_classes, shrink
from jarzynski_jax.data.mnist import Name, load_mnist

__all__ = ["Source", "is_file", "is_image_set", "load_split"]

_TEST_FRACTION = 0.15


class Source(NamedTuple):
    """Which data, and which of them.

    name
        ``"digits"``, the path of a file for :func:`~jarzynski_jax.data.load_array`, ``"mnist"``
        or ``"fashion-mnist"``. The other fields are for the last two.
    folder
        Of the IDX files; None to fetch them.
    classes
        Labels to choose; all if empty.
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


def is_image_set(name: str) -> bool:
    """Whether a name is that of a data set with classes.

    Examples
    --------
    >>> is_image_set("mnist"), is_image_set("digits")
    (True, False)
    """
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
    """Load the training part and the test part.

    Parameters
    ----------
    source
        Which data.

    Returns
    -------
    Split
        Of MNIST its own parts, of others 85 % and 15 % by :func:`~jarzynski_jax.data.split`.

    Raises
    ------
    ValueError
        As the loaders, or if classes are asked for where there are none.

    Examples
    --------
    >>> [part.shape for part in load_split(Source("digits"))]
    [(1527, 8, 8), (270, 8, 8)]
    """
    if is_image_set(source.name):
        return Split(_load_images(source, "train"), _load_images(source, "test"))
    if source != Source(source.name):
        raise ValueError(
            f"a folder, classes, proportions and shrinking are for {get_args(Name)}; "
            f"got {source}"
        )
    return split(load(source.name), _TEST_FRACTION)


def _load_images(source: Source, part: Part) -> np.ndarray:
    folder = None if source.folder is None else Path(source.folder)
    name: Name = "mnist" if source.name == "mnist" else "fashion-mnist"
    loaded = load_mnist(folder, name, part)
    if source.classes:
        proportions = source.proportions or (1,) * len(source.classes)
        loaded = select_classes(loaded, source.classes, proportions)
    elif source.proportions:
        raise ValueError(f"proportions {source.proportions} need classes; got none")
    return loaded.images if source.shrink == 1 else shrink(loaded.images, source.shrink)
