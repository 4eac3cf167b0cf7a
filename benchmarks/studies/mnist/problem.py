"""The data, and the model that starts on a Gaussian fitted to them."""

from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from benchmarks.studies.mnist.settings import Settings
from jarzynski_jax import data as data_lib
from jarzynski_jax import resampling
from jarzynski_jax.app import problem as fitting
from jarzynski_jax.app.model import build_energy
from jarzynski_jax.data import PrincipalAxes, noise
from jarzynski_jax.data.images import Part
from jarzynski_jax.energies import GaussianBase
from jarzynski_jax.kernels.preconditioning import preconditioner
from jarzynski_jax.types import Array, EnergyFn, Params
from jarzynski_jax.walkers import Dynamics, kinetic_langevin

CLASSES = (2, 3, 6)
PROPORTIONS = (4, 2, 1)
_NUM_NOISE_COPIES = 10


class Problem(NamedTuple):
    """Images in [-1, 1], shape ``(n, h, w)``; labels are places in ``CLASSES``.

    ``noisy_test`` has shape ``(m, copies, h, w)``. Where there are axes, the base and the
    model are of images on them: rotated, with the same densities.
    """

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    noisy_test: np.ndarray
    fitted: fitting.Problem

    @property
    def base(self) -> GaussianBase:
        return self.fitted.base

    @property
    def axes(self) -> PrincipalAxes | None:
        return self.fitted.axes

    def to_positions(self, images: np.ndarray) -> Array:
        """Images as the model sees them."""
        return self.fitted.to_positions(images)

    def to_images(self, positions: Array | np.ndarray) -> np.ndarray:
        return self.fitted.to_samples(positions)


class Model(NamedTuple):
    """An energy, its first parameters, and how walkers move."""

    energy_fn: EnergyFn
    params: Params
    dynamics: Dynamics


def load(settings: Settings) -> Problem:
    """Digits 2, 3 and 6 in shares of 4:2:1, in the training part and in the test part."""
    folder = Path(settings.data)
    train, train_labels = _select(folder, "train", settings)
    test, test_labels = _select(folder, "test", settings)
    noisy_test = noise.add_noise(test, settings.noise, _NUM_NOISE_COPIES, seed=0)
    options = {
        "principal_axes": settings.network == "mlp",  # a convolution needs neighbours
        "covariance": "full",
        "noise": settings.noise,
    }
    fitted = fitting.fit_problem(train, is_file=False, options=options)
    return Problem(train, train_labels, test, test_labels, noisy_test, fitted)


def _select(folder: Path, part: Part, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    every = data_lib.load_mnist(folder, part=part)
    count = settings.num_samples if part == "train" else None
    chosen = data_lib.select_classes(every, CLASSES, PROPORTIONS, count)
    images = chosen.images
    if settings.factor != 1:
        images = data_lib.shrink(images, settings.factor)
    return images, np.searchsorted(CLASSES, chosen.labels)


def build_model(settings: Settings, base: GaussianBase, seed: int, num_moves: int) -> Model:
    """The first model; walkers make so many moves an update."""
    hidden = (256, 256) if settings.network == "mlp" else (64,)
    energy_fn, params = build_energy(
        base, settings.network, hidden, settings.is_standardized, seed
    )
    return Model(energy_fn, params, build_dynamics(settings, base, num_moves))


def build_dynamics(settings: Settings, base: GaussianBase, num_moves: int = 1) -> Dynamics:
    r"""Walkers preconditioned by :math:`C = \sigma^2 (s / \sigma)^{2 \alpha}`.

    σ is the noise, the smallest standard deviation that there is, and s those of the images
    with it along the principal axes; without these C is :math:`\sigma^2`.
    """
    resampler = resampling.adaptive(resampling.systematic, settings.ess_threshold)
    scale, noise = np.asarray(base.scale), settings.noise
    if scale.ndim == 1:
        lengths = noise * (scale / noise) ** settings.preconditioning
        largest = float(np.max(scale / lengths))
    else:
        lengths = np.full(len(scale), noise)
        largest = float(np.linalg.norm(scale, ord=2)) / noise
    return kinetic_langevin(
        settings.step_size,
        settings.friction / largest,
        num_moves,
        resampler,
        preconditioner=preconditioner(jnp.asarray(lengths**2)),
    )
