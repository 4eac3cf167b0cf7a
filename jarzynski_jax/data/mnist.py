"""MNIST and Fashion-MNIST, from a folder of IDX files or from OpenML."""

from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np

from jarzynski_jax.data.idx import load_idx
from jarzynski_jax.data.images import (
    LabelledImages,
    Part,
    check_part,
    check_ten_classes,
    from_pixels,
)

__all__ = ["load_mnist"]

Name: TypeAlias = Literal["mnist", "fashion-mnist"]

_OPENML_NAMES: dict[Name, str] = {"mnist": "mnist_784", "fashion-mnist": "Fashion-MNIST"}
_FILE_PREFIXES: dict[Part, str] = {"train": "train", "test": "t10k"}
# OpenML holds both parts in one, the train part first.
_OPENML_ROWS: dict[Part, slice] = {"train": slice(60_000), "test": slice(60_000, 70_000)}


def load_mnist(
    folder: Path | None = None, name: Name = "mnist", part: Part = "train"
) -> LabelledImages:
    """Load MNIST or Fashion-MNIST, scaled to [-1, 1].

    Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, Proceedings of the IEEE 86, 2278 (1998); H.
    Xiao, K. Rasul and R. Vollgraf, arXiv:1708.07747.

    Images are float32, labels int32; of MNIST ``(n, 28, 28)`` and from 0 to 9, with n = 60 000
    in ``"train"`` and 10 000 in ``"test"``. ValueError if a file is missing or is not a correct
    IDX file of uint8, there is not one label for each image, or OpenML cannot be reached or
    answers with other data.

    Parameters
    ----------
    folder
        A folder with ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the same two
        with ``t10k`` for ``train``, gzipped (``.gz``) or not; only the two of the part are
        read. They may be others than MNIST's: grey images of any one size, with labels of any
        classes. None to fetch from OpenML, by scikit-learn, which keeps a copy. Its files are
        text, and take minutes to read.
    name
        ``"mnist"`` or ``"fashion-mnist"``: what to fetch. In a folder, the files of both have
        the same names, so it decides nothing there.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> images, labels = folder / "t10k-images-idx3-ubyte", folder / "t10k-labels-idx1-ubyte"
    >>> header = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28])
    >>> _ = images.write_bytes(header + bytes(2 * 28 * 28))
    >>> _ = labels.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2]) + bytes([7, 2]))
    >>> data = load_mnist(folder, part="test")
    >>> data.images.shape, float(data.images[0, 0, 0]), data.labels.tolist()
    ((2, 28, 28), -1.0, [7, 2])
    """
    if name not in get_args(Name):
        raise ValueError(f"name must be one of {get_args(Name)}; got {name!r}")
    check_part(part)
    return _fetch(name, part) if folder is None else _load_folder(folder, part)


def _load_folder(folder: Path, part: Part) -> LabelledImages:
    prefix = _FILE_PREFIXES[part]
    names = [f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"]
    found = [_find(folder, name) for name in names]
    missing = [name for name, path in zip(names, found, strict=True) if path is None]
    if missing:
        raise ValueError(
            f"{folder} must hold {' and '.join(names)}, each with or without .gz; there is no "
            f"{' and no '.join(missing)}"
        )
    image_path, label_path = (path for path in found if path is not None)
    pixels, labels = load_idx(image_path), load_idx(label_path)
    if pixels.dtype != np.uint8 or pixels.ndim != 3:
        raise ValueError(
            f"{image_path} must hold images of shape (n, h, w) of uint8; it holds shape "
            f"{pixels.shape} of {pixels.dtype}: others can be given as a .npz file with arrays "
            "'data' and 'labels'"
        )
    if labels.dtype != np.uint8 or labels.ndim != 1:
        raise ValueError(
            f"{label_path} must hold labels of shape (n,) of uint8; it holds shape "
            f"{labels.shape} of {labels.dtype}"
        )
    return from_pixels(pixels, labels, str(folder))


def _find(folder: Path, name: str) -> Path | None:
    candidates = [folder / name, folder / f"{name}.gz"]
    return next((path for path in candidates if path.is_file()), None)


def _fetch(name: Name, part: Part) -> LabelledImages:
    from sklearn import datasets

    try:
        # The other parser needs pandas.
        fetched = datasets.fetch_openml(
            _OPENML_NAMES[name], version=1, as_frame=False, parser="liac-arff"
        )
    except OSError as error:
        raise ValueError(
            f"{name} cannot be fetched from OpenML: {error}; a folder with its IDX files can "
            "be given instead"
        ) from error
    if fetched.data.shape != (70_000, 28 * 28) or fetched.target.shape != (70_000,):
        raise ValueError(
            f"{name} from OpenML must be 70000 images of 784 pixels, and their labels; got "
            f"shapes {fetched.data.shape} and {fetched.target.shape}"
        )
    values, labels = (array[_OPENML_ROWS[part]] for array in (fetched.data, fetched.target))
    pixels = values.astype(np.uint8)
    if not np.array_equal(pixels, values):
        raise ValueError(
            f"{name} from OpenML must hold whole numbers from 0 to 255; got values from "
            f"{values.min()} to {values.max()}"
        )
    numbers = labels.astype(np.int32)  # OpenML's are strings
    check_ten_classes(numbers, f"{name} from OpenML")
    return from_pixels(pixels.reshape(-1, 28, 28), numbers, f"{name} from OpenML")
