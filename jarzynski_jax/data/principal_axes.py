r"""Samples in the coordinates of their principal axes.

.. math:: y = V^\top (x - m), \qquad \frac1n \sum_i (x_i - m)(x_i - m)^\top = V \Lambda V^\top

It is a rotation: densities, log Z and cross entropies are those of the samples, and isotropic
noise stays as it is. But a Gaussian fitted to y is diagonal, and so may a preconditioner be:
neither costs a product of matrices a step, which with many pixels is more than a small
network's.
"""

from typing import NamedTuple

import numpy as np

from jarzynski_jax.data.precision import as_finite_samples
from jarzynski_jax.types import Array

__all__ = ["PrincipalAxes", "find_principal_axes", "from_principal_axes", "to_principal_axes"]


class PrincipalAxes(NamedTuple):
    """Where the axes are: ``mean`` is m, in the shape of a sample of d numbers.

    ``axes`` is V, shape ``(d, d)``: one axis a column, that of least variance first.
    """

    mean: np.ndarray
    axes: np.ndarray


def find_principal_axes(data: Array | np.ndarray) -> PrincipalAxes:
    """Diagonalise the covariance of data, shape ``(n, ...)``, in float64.

    ValueError if there are fewer than two samples, or a value is not finite.

    Examples
    --------
    >>> found = find_principal_axes(np.array([[1.0, 1.0], [3.0, 3.0]]))
    >>> found.mean.tolist(), np.abs(found.axes[:, 1]).round(3).tolist()
    ([2.0, 2.0], [0.707, 0.707])
    """
    values = as_finite_samples(data)
    mean = values.mean(axis=0)
    centred = (values - mean).reshape(len(values), -1)
    return PrincipalAxes(mean, np.linalg.eigh(centred.T @ centred / len(values))[1])


def to_principal_axes(axes: PrincipalAxes | None, samples: Array | np.ndarray) -> np.ndarray:
    """Rotate samples into the axes; without axes leave them as they are.

    From ``(..., *shape)``, with the shape of one sample last, else a ValueError, to
    ``(..., d)``, in the dtype of the samples, at least float32.
    """
    samples = np.asarray(samples)
    if axes is None:
        return samples
    shape, rank = axes.mean.shape, axes.mean.ndim
    if samples.shape[samples.ndim - rank :] != shape:
        raise ValueError(f"samples must have shape (..., *{shape}); got {samples.shape}")
    centred = (samples - axes.mean).reshape(*samples.shape[: samples.ndim - rank], -1)
    return (centred @ axes.axes).astype(_dtype(samples))


def from_principal_axes(axes: PrincipalAxes | None, samples: Array | np.ndarray) -> np.ndarray:
    """Undo :func:`to_principal_axes`; ValueError if the last axis is not of d numbers.

    Examples
    --------
    >>> axes = find_principal_axes(np.array([[1.0, 1.0], [3.0, 3.0]]))
    >>> x = np.array([[5.0, 0.0], [1.0, 2.0]])
    >>> np.allclose(from_principal_axes(axes, to_principal_axes(axes, x)), x)
    True
    """
    samples = np.asarray(samples)
    if axes is None:
        return samples
    if samples.ndim < 1 or samples.shape[-1] != len(axes.axes):
        raise ValueError(
            f"samples must have shape (..., {len(axes.axes)}); got shape {samples.shape}"
        )
    centred = (samples @ axes.axes.T).reshape(*samples.shape[:-1], *axes.mean.shape)
    return (centred + axes.mean).astype(_dtype(samples))


def _dtype(samples: np.ndarray) -> np.dtype:
    return np.result_type(samples.dtype, np.float32)
