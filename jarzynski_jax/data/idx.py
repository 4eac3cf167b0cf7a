"""IDX files, the format of MNIST: a short header, then numbers with the high byte first."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

__all__ = ["load_idx"]

_GZIP_MAGIC = b"\x1f\x8b"
_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
# NumPy can have no more.
_MAX_NUM_DIMENSIONS = 64


def load_idx(path: Path) -> np.ndarray:
    """Load an array from an IDX file, gzipped or not.

    Two zero bytes, one for the dtype, one for the number of dimensions, a size of four bytes
    for each of them, then the values in C order. Y. LeCun, C. Cortes and C. J. C. Burges, The
    MNIST database of handwritten digits.

    The content decides whether it is decompressed, not the name: downloads are often
    decompressed on the way and keep their ``.gz``. The array is in the shape and dtype of the
    header, in the machine's byte order. ValueError if the file cannot be read or decompressed,
    the header is not one of IDX, a size is 0, or there are fewer or more bytes than it says.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
    >>> _ = path.write_bytes(bytes([0, 0, 0x08, 1, 0, 0, 0, 3, 5, 0, 4]))
    >>> load_idx(path)
    array([5, 0, 4], dtype=uint8)
    """
    content = _read(path)
    dtype, shape = _parse_header(path, content)
    values = content[4 + 4 * len(shape) :]
    num_bytes = math.prod(shape) * dtype.itemsize
    if len(values) != num_bytes:
        raise ValueError(
            f"{path} must hold {num_bytes} bytes of values, as its header says shape {shape} "
            f"of {dtype.name}; it holds {len(values)}"
        )
    return np.frombuffer(values, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(_GZIP_MAGIC) else content
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read as a file of IDX: {error}") from error


def _parse_header(path: Path, content: bytes) -> tuple[np.dtype, tuple[int, ...]]:
    magic = content[:4]
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise ValueError(
            f"{path} must begin with the magic number of IDX, two zero bytes, a dtype and a "
            f"number of dimensions; it begins with {magic!r}"
        )
    code, num_dimensions = magic[2:]
    if code not in _DTYPES:
        known = ", ".join(f"0x{known:02X}" for known in _DTYPES)
        raise ValueError(f"{path} must hold a dtype of IDX, {known}; it holds 0x{code:02X}")
    if not 1 <= num_dimensions <= _MAX_NUM_DIMENSIONS:
        raise ValueError(
            f"{path} must hold an array of 1 to {_MAX_NUM_DIMENSIONS} dimensions; it says "
            f"{num_dimensions}"
        )
    sizes = content[4 : 4 + 4 * num_dimensions]
    if len(sizes) != 4 * num_dimensions:
        raise ValueError(
            f"{path} must hold {num_dimensions} sizes of 4 bytes each; it ends after "
            f"{len(content)} bytes"
        )
    shape = tuple(np.frombuffer(sizes, ">u4").tolist())
    if 0 in shape:
        raise ValueError(f"{path} must hold an array with no size 0; it says shape {shape}")
    return np.dtype(_DTYPES[code]), shape
