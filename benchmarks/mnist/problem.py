"""The data, and the model that starts on a Gaussian fitted to them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from flax import nnx

from benchmarks.mnist.settings import Settings
from jarzynski_jax import data as data_lib
from jarzynski_jax import evaluation, resampling
from jarzynski_jax.data.images import Part
from jarzynski_jax.dynamics import Dynamics, kinetic_langevin
from jarzynski_jax.energies import (
    MLP,
    ConvNet,
    GaussianBase,
    OnGaussianBase,
    Standardized,
    fit_gaussian_base,
    functional,
    thesis_mnist_layers,
)
from jarzynski_jax.types import EnergyFn, Params

CLASSES = (2, 3, 6)
PROPORTIONS = (4, 2, 1)
_NUM_NOISE_COPIES = 10


class Problem(NamedTuple):
    """Images in [-1, 1], shape ``(n, h, w)``; labels are places in ``CLASSES``.

    ``noisy_test`` has shape ``(m, copies, h, w)``.
    """

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    noisy_test: np.ndarray
    base: GaussianBase


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
    noisy_test = evaluation.add_noise(test, settings.noise, _NUM_NOISE_COPIES, seed=0)
    base = fit_gaussian_base(train, "full", settings.noise)
    return Problem(train, train_labels, test, test_labels, noisy_test, base)


def _select(folder: Path, part: Part, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    every = data_lib.load_mnist(folder, part=part)
    count = settings.num_samples if part == "train" else None
    chosen = data_lib.select_classes(every, CLASSES, PROPORTIONS, count)
    images = chosen.images
    if settings.factor > 1:
        images = data_lib.shrink(images, settings.factor)
    return images, np.searchsorted(CLASSES, chosen.labels)


def build_model(settings: Settings, base: GaussianBase, seed: int, num_moves: int) -> Model:
    """The first model; walkers make so many moves an update."""
    shape = base.mean.shape
    if settings.network == "mlp":
        network: nnx.Module = MLP(base.mean.size, (256, 256), rngs=nnx.Rngs(seed))
    else:
        network = ConvNet(shape, thesis_mnist_layers(), (64,), rngs=nnx.Rngs(seed))
    if settings.is_standardized:
        network = Standardized(base, network)
    energy_fn, params = functional(OnGaussianBase(base, network))
    return Model(energy_fn, params, build_dynamics(settings, base, num_moves))


def build_dynamics(settings: Settings, base: GaussianBase, num_moves: int = 1) -> Dynamics:
    resampler = resampling.adaptive(resampling.systematic, settings.ess_threshold)
    friction = settings.friction / float(np.linalg.norm(np.asarray(base.scale), ord=2))
    return kinetic_langevin(settings.step_size, friction, num_moves, resampler)
