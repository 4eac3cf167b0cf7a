"""Energies U_θ: Flax modules, their functional form, and the Gaussian base they sit on."""

from jarzynski_jax.energies import restricted_boltzmann
from jarzynski_jax.energies.convolutional import (
    ConvNet,
    ResidualNetwork,
    thesis_cifar_layers,
    thesis_mnist_layers,
)
from jarzynski_jax.energies.denoising import posterior_mean
from jarzynski_jax.energies.functional import functional, logdensity
from jarzynski_jax.energies.gaussian_base import GaussianBase
from jarzynski_jax.energies.gaussian_fit import fit_gaussian_base, make_gaussian_base
from jarzynski_jax.energies.mixture import TwoModeMixture
from jarzynski_jax.energies.mlp import MLP
from jarzynski_jax.energies.on_gaussian_base import OnGaussianBase
from jarzynski_jax.energies.standardized import Standardized

__all__ = [
    "MLP",
    "ConvNet",
    "GaussianBase",
    "OnGaussianBase",
    "ResidualNetwork",
    "Standardized",
    "TwoModeMixture",
    "fit_gaussian_base",
    "functional",
    "logdensity",
    "make_gaussian_base",
    "posterior_mean",
    "restricted_boltzmann",
    "thesis_cifar_layers",
    "thesis_mnist_layers",
]
