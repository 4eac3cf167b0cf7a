r"""Samples in standard coordinates: without units, offsets or scales of their columns.

.. math:: z = (x - m) / s, \qquad -\log p(x) = -\log p(z) + \sum_i \log s_i

The training part decides m and s, in float64: only z, of numbers near one, is cast to float32.
"""

from typing import NamedTuple

import numpy as np

from jarzynski_jax.data.precision import as_finite_samples, column_widths, shared_width
from jarzynski_jax.types import Array

__all__ = [
    "StandardCoordinates",
    "find_standard_coordinates",
    "from_standard",
    "log_volume",
    "to_standard",
]


class StandardCoordinates(NamedTuple):
    """Where zero is and how long a unit is, each float64 in the shape of a sample.

    ``mean`` is m; ``scale`` is s, the standard deviation of each column of a table, one for all
    pixels of images.
    """

    mean: np.ndarray
    scale: np.ndarray


def find_standard_coordinates(data: Array | np.ndarray) -> StandardCoordinates:
    """Find the means and standard deviations of data; s is 1 for a column that never varies.

    Of a table ``(n, d)``, or of images ``(n, h, w)`` or ``(n, h, w, channels)``: these keep the
    proportions of their pixels, so s is the root of the pixels' mean variance. ValueError if
    there are fewer than two samples, or a value is not finite.

    Examples
    --------
    >>> found = find_standard_coordinates(np.array([[1e9, 5.0], [1e9 + 2, 5.0]]))
    >>> found.mean.tolist(), found.scale.tolist()
    ([1000000001.0, 5.0], [1.0, 1.0])
    """
    values = as_finite_samples(data)
    # The mean of equal numbers may differ from them in its last digit.
    is_fixed = np.ptp(values, axis=0) == 0
    mean = np.where(is_fixed, values[0], values.mean(axis=0))
    widths = column_widths(values)
    if values.ndim > 2:
        widths = np.full_like(widths, shared_width(widths))
    return StandardCoordinates(mean, np.where(widths > 0, widths, 1.0))


def to_standard(
    coordinates: StandardCoordinates | None, samples: Array | np.ndarray
) -> np.ndarray:
    """Take samples x to z, float32, computed in float64; without coordinates leave them."""
    if coordinates is None:
        return np.asarray(samples)
    centred = np.asarray(samples, np.float64) - coordinates.mean
    return (centred / coordinates.scale).astype(np.float32)


def from_standard(
    coordinates: StandardCoordinates | None,
    samples: Array | np.ndarray,
    dtype: np.typing.DTypeLike = np.float64,
) -> np.ndarray:
    """Take samples z back to the units of the data, computed in float64.

    Examples
    --------
    >>> x = np.array([[1e9, 5.0], [1e9 + 2, 5.0]])
    >>> found = find_standard_coordinates(x)
    >>> np.array_equal(from_standard(found, to_standard(found, x)), x)
    True
    """
    if coordinates is None:
        return np.asarray(samples)
    values = np.asarray(samples, np.float64)
    return (coordinates.mean + coordinates.scale * values).astype(dtype)


def log_volume(coordinates: StandardCoordinates | None) -> float:
    r"""Return :math:`\sum_i \log s_i`, nats: what a cross entropy of z lacks to be that of x.

    Examples
    --------
    >>> round(log_volume(find_standard_coordinates(np.array([[0.0], [2000.0]]))), 3)
    6.908
    """
    return 0.0 if coordinates is None else float(np.sum(np.log(coordinates.scale)))
