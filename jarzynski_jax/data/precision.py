"""Whether data are numbers, and floating point can hold what they vary by.

Far from zero the numbers of a dtype are far apart: in float32 by 128 near 1.7e9. Columns that
vary by less are lost there.
"""

import jax.numpy as jnp
import numpy as np

from jarzynski_jax.types import Array

__all__ = [
    "as_finite_samples",
    "check_kind",
    "check_precision",
    "column_widths",
    "shared_width",
]

# Rounding to numbers a tenth of a standard deviation apart adds 0.1²/12 to a variance of 1.
_LARGEST_SPACING = 0.1


def as_finite_samples(data: Array | np.ndarray) -> np.ndarray:
    """Take samples to float64, and see that means and variances can be taken of them.

    ValueError if there are fewer than two, or a value is not finite.

    Examples
    --------
    >>> as_finite_samples(np.zeros((2, 3), np.float32)).dtype
    dtype('float64')
    """
    values = np.asarray(data, np.float64)
    if values.ndim < 2 or values.shape[0] < 2:
        raise ValueError(
            f"data must have shape (n, ...) with n ≥ 2 samples; got shape {values.shape}"
        )
    if not np.all(np.isfinite(values)):
        raise ValueError(f"data must be finite; {np.sum(~np.isfinite(values))} values are not")
    return values


def column_widths(values: np.ndarray) -> np.ndarray:
    """Return the standard deviation of each column, without overflow or underflow.

    float64, in the shape of a sample; exactly 0 for a column that never varies.

    Examples
    --------
    >>> column_widths(np.array([[0.1, 1e-200], [0.1, 3e-200], [0.1, 1e-200]])).tolist()
    [0.0, 9.428090415820633e-201]
    """
    values = np.asarray(values, np.float64)
    extent = np.ptp(values, axis=0)
    unit = np.where(extent > 0, extent, 1.0)
    return np.where(extent > 0, unit * np.std((values - values[0]) / unit, axis=0), 0.0)


def shared_width(widths: np.ndarray) -> float:
    """Return the root of the mean square of widths, without overflow or underflow.

    Examples
    --------
    >>> shared_width(np.array([0.0, 1e-200, 7e-200]))
    4.08248290463863e-200
    """
    largest = float(np.max(widths))
    if largest == 0:
        return 0.0
    return largest * float(np.sqrt(np.mean(np.square(widths / largest))))


def check_kind(data: Array | np.ndarray) -> None:
    """Raise a ``ValueError`` if data are no real numbers, or there are none.

    Integers and booleans are real numbers. Only dtype and shape are looked at, so data may be
    traced.

    Examples
    --------
    >>> check_kind(np.zeros((3, 2), complex))
    Traceback (most recent call last):
    ValueError: data must be real numbers; got dtype complex128
    """
    kinds = (jnp.floating, jnp.integer, jnp.bool_)
    if not any(jnp.issubdtype(data.dtype, kind) for kind in kinds):
        raise ValueError(f"data must be real numbers; got dtype {data.dtype}")
    if data.ndim < 1 or 0 in data.shape:
        raise ValueError(
            f"data must have shape (n, ...) with no size 0; got shape {data.shape}"
        )


def check_precision(
    values: np.ndarray,
    dtype: np.typing.DTypeLike,
    what: str,
    own_dtype: np.typing.DTypeLike | None = None,
) -> None:
    """Raise a ``ValueError`` if a dtype cannot hold what a column varies by.

    What is lost in ``own_dtype`` already, such as the rounding errors of what should not vary,
    need not be held. Pixels of images are compared with the width that all of them share: one
    that hardly varies is of no account there. The message begins with ``what``.

    Examples
    --------
    >>> check_precision(np.array([[1.7e9], [1.7e9 + 2]]), np.float64, "data")
    >>> check_precision(np.array([[1.7e9], [1.7e9 + 2]]), np.float32, "data")
    ... # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: data vary in column 0 by a standard deviation of 1 about 1.7e+09, ...
    """
    dtype = np.dtype(dtype)
    widths = column_widths(values)
    if widths.ndim > 1:
        widths = np.full_like(widths, shared_width(widths))
    largest = np.max(np.abs(np.asarray(values, np.float64)), axis=0)
    spacing = _spacing(largest, dtype)
    is_lost = (widths > 0) & (spacing > _LARGEST_SPACING * widths)
    # Of wide integers, what became one number of float64.
    is_lost |= (widths == 0) & np.any(values != values[0], axis=0)
    if own_dtype is not None:
        is_lost &= _spacing(largest, np.dtype(own_dtype)) <= _LARGEST_SPACING * widths
    if not np.any(is_lost):
        return
    first = tuple(int(index) for index in np.argwhere(is_lost)[0])
    place = _name_place(first)
    about = float(np.mean(np.asarray(values, np.float64), axis=0)[first])
    raise ValueError(
        f"{what} vary{place} by a standard deviation of {widths[first]:.3g} about "
        f"{about:.6g}, where the numbers of {dtype.name} are {spacing[first]:.2g} apart: "
        "it is lost in rounding. Subtract an offset before the numbers are rounded, or leave "
        f"out what does not vary ({int(np.sum(is_lost))} of {widths.size} are such)"
    )


def _spacing(numbers: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """How far a number is from its neighbour towards zero, in a dtype."""
    held = np.minimum(numbers, float(np.finfo(dtype).max)).astype(dtype)
    return (held - np.nextafter(held, dtype.type(0))).astype(np.float64)


def _name_place(index: tuple[int, ...]) -> str:
    if not index:  # samples are single numbers
        return ""
    return f" in column {index[0]}" if len(index) == 1 else f" in entry {index}"
