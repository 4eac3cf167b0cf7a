"""What is fitted to the data before training: coordinates, and the Gaussian base in them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jarzynski_jax import data as data_lib
from jarzynski_jax.data import PrincipalAxes, StandardCoordinates
from jarzynski_jax.energies import GaussianBase, fit_gaussian_base
from jarzynski_jax.types import Array

__all__ = ["Problem", "fit_problem", "load_problem", "save_problem"]


class Problem(NamedTuple):
    """Coordinates of the data, and the base in them.

    Those of a file are standard coordinates, so that nothing depends on its units; they may
    be rotated into principal axes. ``dtype`` is that of the data, for samples.
    """

    coordinates: StandardCoordinates | None
    axes: PrincipalAxes | None
    base: GaussianBase
    dtype: np.dtype

    @property
    def num_features(self) -> int:
        """How many numbers make a sample."""
        return self.base.mean.size

    @property
    def variances(self) -> np.ndarray:
        """Of data and noise, along the principal axes."""
        scale = np.asarray(self.base.scale)
        widths = np.linalg.svd(scale, compute_uv=False) if scale.ndim == 2 else scale
        return widths**2

    @property
    def log_volume(self) -> float:
        """By so much an energy is more in the units of the data, with log Z as it was."""
        return data_lib.log_volume(self.coordinates)

    def to_standard(self, samples: np.ndarray) -> np.ndarray:
        """Samples as noise is added to them."""
        return data_lib.to_standard(self.coordinates, samples)

    def from_standard(self, samples: np.ndarray) -> np.ndarray:
        """In the units of the data."""
        return data_lib.from_standard(self.coordinates, samples, self.dtype)

    def rotate(self, samples: np.ndarray) -> Array:
        """Samples in standard coordinates as the model sees them."""
        return jnp.asarray(data_lib.to_principal_axes(self.axes, samples))

    def rotate_back(self, positions: Array | np.ndarray) -> np.ndarray:
        """Samples of the model in standard coordinates."""
        return data_lib.from_principal_axes(self.axes, positions)

    def to_positions(self, samples: np.ndarray) -> Array:
        """Samples as the model sees them."""
        return self.rotate(self.to_standard(samples))

    def to_samples(self, positions: Array | np.ndarray) -> np.ndarray:
        """Samples of the model in the units of the data."""
        return self.from_standard(self.rotate_back(positions))


def fit_problem(train: np.ndarray, is_file: bool, options: Mapping[str, Any]) -> Problem:
    """Fit coordinates and base to training data.

    Of the options ``principal_axes``, ``covariance`` and ``noise`` are read. The units of a
    file are arbitrary; those of digits and images are kept. On principal axes the covariance is
    diagonal.

    Examples
    --------
    >>> train = np.random.default_rng(0).normal(5, 3, size=(200, 2))
    >>> options = {"principal_axes": True, "covariance": "full", "noise": 0.1}
    >>> problem = fit_problem(train, is_file=True, options=options)
    >>> bool(np.allclose(problem.to_samples(problem.to_positions(train)), train, atol=1e-4))
    True
    """
    coordinates = data_lib.find_standard_coordinates(train) if is_file else None
    standard = data_lib.to_standard(coordinates, train)
    axes, covariance = None, options["covariance"]
    if options["principal_axes"]:
        axes, covariance = data_lib.find_principal_axes(standard), "diagonal"
    positions = data_lib.to_principal_axes(axes, standard)
    base = fit_gaussian_base(positions, covariance, options["noise"])
    return Problem(coordinates, axes, base, train.dtype)


def save_problem(path: Path, problem: Problem) -> None:
    """Write all but the dtype to an ``.npz`` file.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "base.npz"
    >>> train = np.random.default_rng(0).normal(size=(200, 2))
    >>> options = {"principal_axes": True, "covariance": "full", "noise": 0.1}
    >>> problem = fit_problem(train, is_file=False, options=options)
    >>> save_problem(path, problem)
    >>> again = load_problem(path, has_axes=True, has_coordinates=False, dtype=train.dtype)
    >>> bool(np.array_equal(again.to_positions(train), problem.to_positions(train)))
    True
    """
    arrays: dict[str, Any] = problem.base._asdict()
    for prefix, part in (("axes", problem.axes), ("standard", problem.coordinates)):
        if part is not None:
            arrays |= {f"{prefix}_{name}": value for name, value in part._asdict().items()}
    np.savez(path, **arrays)


def load_problem(path: Path, has_axes: bool, has_coordinates: bool, dtype: np.dtype) -> Problem:
    """Read what :func:`save_problem` wrote.

    ValueError if the file cannot be read, or something is missing.
    """
    try:
        with np.load(path) as arrays:
            base = GaussianBase(*(jnp.asarray(arrays[name]) for name in GaussianBase._fields))
            axes, coordinates = None, None
            if has_axes:
                axes = PrincipalAxes(*(arrays[f"axes_{n}"] for n in PrincipalAxes._fields))
            if has_coordinates:
                names = StandardCoordinates._fields
                coordinates = StandardCoordinates(*(arrays[f"standard_{n}"] for n in names))
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    return Problem(coordinates, axes, base, dtype)
