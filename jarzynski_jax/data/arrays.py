"""Data: scikit-learn's digits, arrays from files, splits and mini-batches."""

import hashlib
import zipfile
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.data.images import channels_last
from jarzynski_jax.data.precision import check_kind, check_precision
from jarzynski_jax.types import Array, PRNGKey

__all__ = [
    "Split",
    "as_samples",
    "draw_batch",
    "fingerprint",
    "load",
    "load_array",
    "load_digits",
    "load_labels",
    "split",
]


# Their squares do not overflow.
_LARGEST = 1e150


class Split(NamedTuple):
    """Data in two disjoint parts, each of shape ``(n, ...)``."""

    train: np.ndarray
    test: np.ndarray


def load_digits() -> np.ndarray:
    """Load scikit-learn's 1797 images of handwritten digits, scaled to [-1, 1].

    float32, shape ``(1797, 8, 8)``.
    """
    from sklearn import datasets

    return datasets.load_digits().images.astype(np.float32) / 8 - 1


def load_array(path: Path) -> np.ndarray:
    """Load samples from a file of NumPy.

    It is a ``.npy`` file, or a ``.npz`` with one array or with one named ``data``. They have
    the shape ``(n, d)``, or are images ``(n, h, w)``, or with channels as
    :func:`~jarzynski_jax.data.images.channels_last` takes them. Returns ``(n, d)``,
    ``(n, h, w)`` or ``(n, h, w, channels)`` in the units of the file; float64 if float32 cannot
    hold its dtype, such as float64 or int32, else float32; in C order and the machine's byte
    order.

    ValueError if the file cannot be read, or the array has another rank, too few samples,
    values that are not finite numbers or beyond ±1e150, or a column that varies by less than
    its own dtype can hold.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "samples.npy"
    >>> np.save(path, np.zeros((20, 3)))
    >>> load_array(path).shape
    (20, 3)
    """
    values = _samples_in(_read(path), path)
    if values.dtype.kind not in "fiu":
        raise ValueError(f"{path} must hold real numbers; it holds dtype {values.dtype}")
    if values.ndim not in (2, 3, 4):
        raise ValueError(
            f"{path} must hold an array of shape (n, d), or of images, (n, h, w) or "
            f"(n, h, w, channels); got shape {values.shape}"
        )
    if values.shape[0] < 10 or 0 in values.shape:
        raise ValueError(f"{path} must hold at least 10 samples; got shape {values.shape}")
    if values.ndim == 4:
        values = channels_last(values, str(path))
    num_bad = int(np.sum(~(np.abs(values.astype(np.float64)) <= _LARGEST)))
    if num_bad:
        raise ValueError(
            f"{path} holds {num_bad} values that are NaN or infinite, or beyond ±{_LARGEST:g}"
        )
    is_float = values.dtype.kind == "f"
    is_narrow = values.dtype.itemsize <= (4 if is_float else 2)
    converted = values.astype(np.float32 if is_narrow else np.float64, order="C")
    # Integers hold what they vary by; floats may have lost it when the file was written.
    is_short = is_float and values.dtype.itemsize < 8
    own = values.dtype.newbyteorder("=") if is_short else converted.dtype
    check_precision(values, own, str(path))
    return converted


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if path.suffix not in (".npy", ".npz"):
        raise ValueError(f"data must be a .npy or .npz file; got {path}")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"data": loaded}
        with loaded:
            return dict(loaded.items())
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read as a file of NumPy: {error}") from error


def _samples_in(arrays: dict[str, np.ndarray], path: Path) -> np.ndarray:
    if "data" not in arrays and len(arrays) != 1:
        raise ValueError(
            f"{path} must hold one array, or one named 'data', and may then hold the classes "
            f"of its samples in one named 'labels'; it holds {sorted(arrays)}"
        )
    return arrays["data"] if "data" in arrays else next(iter(arrays.values()))


def load_labels(source: str) -> np.ndarray:
    """Load the class of each sample, int64, shape ``(n,)``, in the order of :func:`load`.

    ``source`` is ``"digits"``, or the path of a ``.npz`` file with the samples in ``data`` and
    their classes in ``labels``: integers of shape ``(n,)``. ValueError if it cannot be
    read or holds no such labels.

    Examples
    --------
    >>> load_labels("digits")[:5]
    array([0, 1, 2, 3, 4])
    """
    if source == "digits":
        from sklearn import datasets

        return datasets.load_digits().target.astype(np.int64)
    path = Path(source)
    arrays = _read(path)
    if "labels" not in arrays or "data" not in arrays:
        raise ValueError(
            f"{path} holds no labels, so no classes can be chosen of it: write a .npz file "
            "with the samples and the class of each, an integer, by "
            "numpy.savez('samples.npz', data=..., labels=...)"
        )
    labels, num_samples = arrays["labels"], len(_samples_in(arrays, path))
    if labels.dtype.kind not in "iu" or labels.shape != (num_samples,):
        raise ValueError(
            f"the array 'labels' of {path} must hold one integer for each of the {num_samples} "
            f"samples; it holds {labels.dtype} of shape {labels.shape}"
        )
    return labels.astype(np.int64)


def load(source: str) -> np.ndarray:
    """Load ``"digits"``, float32, or a file as :func:`load_array` does.

    Examples
    --------
    >>> load("digits").shape
    (1797, 8, 8)
    """
    return load_digits() if source == "digits" else load_array(Path(source))


def split(data: np.ndarray, test_fraction: float, seed: int = 0) -> Split:
    """Split data at random, by ``numpy.random.default_rng(seed).permutation``.

    The last of the permutation are the test part. ValueError if a part would be empty.

    Examples
    --------
    >>> [part.shape for part in split(np.zeros((20, 3)), 0.15)]
    [(17, 3), (3, 3)]
    """
    num_train = round(len(data) * (1 - test_fraction))
    if not 0 < num_train < len(data):
        raise ValueError(
            f"a test_fraction of {test_fraction} leaves one part of {len(data)} samples empty"
        )
    order = np.random.default_rng(seed).permutation(len(data))
    return Split(data[order[:num_train]], data[order[num_train:]])


def as_samples(data: Array | np.ndarray) -> Array:
    """Check samples, and take them to a dtype of floating point that JAX computes in.

    Real numbers or booleans, shape ``(n, ...)``; arrays of JAX may be spread over devices.
    Integers and booleans become JAX's default precision, float64 float32 unless JAX's 64-bit
    mode is on; others stay as they are. ValueError if these are no real numbers, there are
    none, some are not finite, or the precision cannot hold what a column varies by.

    Examples
    --------
    >>> as_samples(np.full((2, 3), 5, np.uint8)).dtype
    dtype('float32')
    """
    if not isinstance(data, jax.Array):
        data = np.asarray(data)
    check_kind(data)
    is_float = jnp.issubdtype(data.dtype, jnp.floating)
    dtype = _dtype_in_jax(data.dtype)
    if isinstance(data, jax.Array) and not data.is_fully_addressable:
        return data.astype(dtype)  # spread over processes, none of which can read it
    if is_float:
        _check_finite(data, "")
    size = min(data.dtype.itemsize, 8)
    if dtype.itemsize < size or (dtype.itemsize == size and not is_float):
        values = np.asarray(data)
        with np.errstate(over="ignore"):
            _check_finite(values.astype(dtype), f" in {dtype.name}")
        check_precision(values, dtype, "data", np.float64 if is_float else None)
    return jnp.asarray(data.astype(dtype))


def _dtype_in_jax(dtype: np.dtype) -> np.dtype:
    """What samples of a real dtype become: JAX has one byte order, and at most float64."""
    widest = np.dtype(np.float64)
    is_held = jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize <= widest.itemsize
    return jax.dtypes.canonicalize_dtype(dtype.newbyteorder("=") if is_held else widest)


def _check_finite(data: Array | np.ndarray, where: str) -> None:
    # NumPy's float64 would become float32 in JAX.
    numpy = jnp if isinstance(data, jax.Array) else np
    # The data may be known where this is called in a function that is traced.
    with jax.ensure_compile_time_eval():
        is_finite = numpy.all(numpy.isfinite(data.reshape(len(data), -1)), axis=1)
    bad = np.flatnonzero(~np.asarray(is_finite))
    if len(bad):
        raise ValueError(
            f"data must be finite{where}; {len(bad)} of {len(data)} samples are not, the first "
            f"of them at index {bad[0]}: leave them out, or fill in what is missing"
        )


def draw_batch(
    rng_key: PRNGKey, data: Array, batch_size: int, noise_scale: float = 0.0
) -> Array:
    """Draw a mini-batch with replacement, and add fresh Gaussian noise of width σ.

    From data of shape ``(n, ...)`` it is of shape ``(B, ...)``, in their dtype; with noise,
    integers and booleans become JAX's default precision. ValueError if the data are no real
    numbers, or there are none.

    Examples
    --------
    >>> draw_batch(jax.random.key(0), jnp.zeros((5, 2)), 3, noise_scale=0.3).shape
    (3, 2)
    """
    check_kind(data)
    key_index, key_noise = jax.random.split(rng_key)
    batch = data[jax.random.randint(key_index, (batch_size,), 0, data.shape[0])]
    if noise_scale == 0:  # so that labels can be drawn with the same key
        return batch
    batch = jnp.asarray(batch, _dtype_in_jax(data.dtype))
    return batch + noise_scale * jax.random.normal(key_noise, batch.shape, batch.dtype)


def fingerprint(data: np.ndarray) -> str:
    """Return a digest of values, shape and dtype, to tell whether data are the same.

    Examples
    --------
    >>> fingerprint(np.zeros(3)) == fingerprint(np.zeros(3)), len(fingerprint(np.zeros(3)))
    (True, 64)
    """
    header = f"{data.dtype} {data.shape}".encode()
    return hashlib.sha256(header + np.ascontiguousarray(data).tobytes()).hexdigest()
