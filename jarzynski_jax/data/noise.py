"""Gaussian noise on data, and its entropy, below which no model can be."""

import math

import numpy as np

__all__ = ["add_noise", "noise_entropy"]


def noise_entropy(num_features: int, noise_scale: float) -> float:
    r"""Entropy of Gaussian noise, :math:`\tfrac d2 \log(2\pi e \sigma^2)`, in nats.

    No density of data with such noise added can have a smaller cross entropy.

    Examples
    --------
    >>> round(noise_entropy(64, 0.3), 2)
    13.76
    """
    return num_features / 2 * math.log(2 * math.pi * math.e * noise_scale**2)


def add_noise(data: np.ndarray, noise_scale: float, num_copies: int, seed: int) -> np.ndarray:
    """Repeat each sample with fresh Gaussian noise; with σ = 0 there is one copy.

    From ``(n, ...)`` to ``(n, C, ...)``, in the dtype of the data; integers and booleans become
    float32, or float64 if they have more than two bytes.

    Examples
    --------
    >>> add_noise(np.zeros((5, 2)), 0.3, 4, seed=0).shape
    (5, 4, 2)
    """
    data = np.asarray(data)
    if data.dtype.kind in "iub":
        data = data.astype(np.result_type(data.dtype, np.float32))
    if noise_scale == 0:
        return data[:, None]
    repeated = np.repeat(data[:, None], num_copies, axis=1)
    noise = np.random.default_rng(seed).normal(size=repeated.shape)
    return (repeated + noise_scale * noise).astype(data.dtype)
