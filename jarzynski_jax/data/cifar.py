"""CIFAR-10, from the files of its binary version."""

from pathlib import Path

import numpy as np

from jarzynski_jax.data.images import (
    LabelledImages,
    Part,
    check_part,
    check_ten_classes,
    from_pixels,
)

__all__ = ["load_cifar10"]

_FILES: dict[Part, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("test_batch.bin",),
}
_NUM_PIXEL_BYTES = 3 * 32 * 32
_RECORD_BYTES = 1 + _NUM_PIXEL_BYTES


def load_cifar10(folder: Path, part: Part = "train") -> LabelledImages:
    """Load CIFAR-10 from the binary version of its files, scaled to [-1, 1].

    A. Krizhevsky, Learning multiple layers of features from tiny images (2009). The Python
    version is not read: its files are pickles, and to read one is to run what it says.

    ``"train"``, 50 000 images, is ``data_batch_1.bin`` to ``data_batch_5.bin``; ``"test"``,
    10 000, is ``test_batch.bin``. Each is a row of records of 3073 bytes: the label, then
    32 x 32 pixels of red, of green and of blue. Images are float32, shape ``(n, 32, 32, 3)``,
    labels int32, from 0 to 9. ValueError if a file of the part is missing, cannot be read or is
    not a whole number of records, or a label is not from 0 to 9.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "test_batch.bin").write_bytes((bytes([6]) + bytes(3072)) * 2)
    >>> data = load_cifar10(folder, "test")
    >>> data.images.shape, float(data.images.max()), data.labels.tolist()
    ((2, 32, 32, 3), -1.0, [6, 6])
    """
    check_part(part)
    _check_files(folder, _FILES[part])
    records = np.concatenate([_read_records(folder / name) for name in _FILES[part]])
    check_ten_classes(records[:, 0], str(folder))
    channels_first = records[:, 1:].reshape(-1, 3, 32, 32)
    return from_pixels(np.moveaxis(channels_first, 1, -1), records[:, 0], str(folder))


def _check_files(folder: Path, names: tuple[str, ...]) -> None:
    missing = [name for name in names if not (folder / name).is_file()]
    if not missing:
        return
    # The Python version has the same names without an ending.
    has_pickles = any((folder / name).with_suffix("").is_file() for name in names)
    hint = "; it holds the Python version, but the binary version is needed"
    raise ValueError(
        f"{folder} must hold {', '.join(names)}; there is no {', no '.join(missing)}"
        f"{hint if has_pickles else ''}"
    )


def _read_records(path: Path) -> np.ndarray:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not content or len(content) % _RECORD_BYTES:
        raise ValueError(
            f"{path} must hold a positive multiple of {_RECORD_BYTES} bytes, a label and "
            f"{_NUM_PIXEL_BYTES} pixels a record; it holds {len(content)}"
        )
    return np.frombuffer(content, np.uint8).reshape(-1, _RECORD_BYTES)
