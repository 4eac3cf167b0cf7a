"""How likely a model makes test data: cross entropies in nats, and when not to believe them.

The cross entropy of an energy-based model is its mean energy on test data plus log Z, so two
bounds on log Z are two bounds on the cross entropy. Beside it stand densities whose
likelihood is exact, and the entropy of the noise in the data, below which no model can be.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jarzynski_jax.annealing import LogPartitionBounds
from jarzynski_jax.types import Array, EnergyFn, Params

__all__ = [
    "Bracket",
    "add_noise",
    "bracket",
    "gaussian_cross_entropy",
    "mixture_cross_entropy",
    "noise_entropy",
    "posterior_mean",
]

# Beyond three standard errors a difference is not chance.
_NUM_STANDARD_ERRORS = 3


class Bracket(NamedTuple):
    """A cross entropy between two bounds, in nats.

    lower
        Mean energy of the test data plus the forward estimate of log Z.
    lower_error
        Standard error of log Z there, over replicates.
    upper
        Mean energy plus the backward estimate, the larger one if there are two.
    upper_error
        Standard error of log Z there.
    relaxed
        Mean energy plus the backward estimate from relaxed samples alone; None without them.
    test_error
        Standard error of the mean energy over test samples: common to both bounds.
    doubts
        Why the bracket is not to be believed; empty if it is.
    """

    lower: float
    lower_error: float
    upper: float
    upper_error: float
    relaxed: float | None
    test_error: float
    doubts: tuple[str, ...]


def _mean_and_error(estimates: Any) -> tuple[float, float]:
    """Mean and its standard error; one value has no known error."""
    values = np.asarray(estimates, np.float64)
    count = len(values)
    error = float(np.std(values, ddof=1) / math.sqrt(count)) if count > 1 else math.inf
    return float(np.mean(values)), error


def bracket(
    energies: np.ndarray,
    bounds: LogPartitionBounds,
    entropy_floor: float | None = None,
    tolerance: float = 0.5,
) -> Bracket:
    """Combine test energies and bounds of log Z, and judge the result.

    Parameters
    ----------
    energies
        Energy of each test sample (the mean over its noise), shape ``(n,)``.
    bounds
        From :func:`jarzynski_jax.annealing.log_partition_bounds`.
    entropy_floor
        Entropy of the noise in the data, nats; None if unknown.
    tolerance
        How far apart the bounds may be, nats; and how far the backward estimate from relaxed
        samples may lie below the forward one, for their shares of the modes are inherited
        from where they were relaxed, and never quite the model's.

    Returns
    -------
    Bracket
        With its doubts: bounds too far apart, a lower bound above an upper one beyond their
        errors (the samples that a backward run started from are not the model's: a mode is
        missing), a value below the floor, a collapsed forward run.

    Examples
    --------
    >>> import numpy as np
    >>> from jarzynski_jax.annealing import AnnealingInfo, LogPartitionBounds
    >>> info = AnnealingInfo(*(np.ones((2, 5)) for _ in range(4)))
    >>> log_z = np.array([1.0, 1.1])
    >>> bounds = LogPartitionBounds(log_z, log_z + 2, None, None, info)
    >>> bracket(np.array([4.0, 4.0]), bounds).doubts
    ('the bounds are 2.0 nats apart; more annealing steps would bring them together',)
    """
    energy, test_error = _mean_and_error(energies)
    forward, forward_error = _mean_and_error(bounds.forward)
    backward = {
        "the forward run's end points": (0.1, *_mean_and_error(bounds.backward)),
    }
    relaxed = None
    if bounds.backward_from_relaxed is not None:
        mean, error = _mean_and_error(bounds.backward_from_relaxed)
        backward["samples relaxed from data"] = (tolerance, mean, error)
        relaxed = energy + mean
    upper, upper_error = max((value, error) for _, value, error in backward.values())
    lower_value, upper_value = energy + forward, energy + upper

    doubts = []
    ess = float(np.min(bounds.forward_info.shadow_effective_sample_size))
    if not all(map(math.isfinite, (lower_value, upper_value))):
        doubts.append(
            "a bound is not finite: walkers died on the way; take a smaller step size"
        )
    if upper - forward > tolerance:
        doubts.append(
            f"the bounds are {upper - forward:.1f} nats apart; more annealing steps would "
            "bring them together"
        )
    for name, (allowed, value, error) in backward.items():
        excess = forward - value
        if excess > max(_NUM_STANDARD_ERRORS * math.hypot(error, forward_error), allowed):
            doubts.append(
                f"the bound from {name} is {excess:.1f} nats below the one that it should be "
                "above: these are not samples of the model, a mode is missing"
            )
    if entropy_floor is not None and min(lower_value, upper_value) < entropy_floor:
        doubts.append(
            f"a bound is below the entropy of the noise, {entropy_floor:.1f} nats, which no "
            "model can reach"
        )
    if ess < 0.05:
        doubts.append(
            f"the effective sample size of the forward run fell to {100 * ess:.2g} % of its "
            "walkers; take more annealing steps"
        )
    return Bracket(
        lower_value,
        forward_error,
        upper_value,
        upper_error,
        relaxed,
        test_error,
        tuple(doubts),
    )


def noise_entropy(num_features: int, noise_scale: float) -> float:
    r"""Entropy of Gaussian noise, :math:`\tfrac d2 \log(2\pi e \sigma^2)`, in nats.

    No density of data with such noise added can have a smaller cross entropy.

    Parameters
    ----------
    num_features
        d.
    noise_scale
        σ > 0.

    Returns
    -------
    float
        Nats.

    Examples
    --------
    >>> round(noise_entropy(64, 0.3), 2)
    13.76
    """
    return num_features / 2 * math.log(2 * math.pi * math.e * noise_scale**2)


def add_noise(data: np.ndarray, noise_scale: float, num_copies: int, seed: int) -> np.ndarray:
    """Repeat each sample with fresh Gaussian noise.

    Parameters
    ----------
    data
        Shape ``(n, ...)``.
    noise_scale
        σ; with 0 there is one copy.
    num_copies
        Copies of each sample, C.
    seed
        Of ``numpy.random.default_rng``.

    Returns
    -------
    numpy.ndarray
        Shape ``(n, C, ...)``, in the dtype of the data; of integers and booleans, in float32,
        or in float64 if they have more than two bytes.

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


def posterior_mean(
    energy_fn: EnergyFn, params: Params, noisy: np.ndarray, noise_scale: float
) -> np.ndarray:
    r"""Mean of what was there before the noise, :math:`x - \sigma^2 \nabla U_\theta(x)`.

    Parameters
    ----------
    energy_fn
        ``(params, x) -> scalar``.
    params
        Of a model of noisy samples.
    noisy
        Samples, shape ``(n, ...)``.
    noise_scale
        σ of the noise in them.

    Returns
    -------
    numpy.ndarray
        In the shape of the samples. Reference: Tweedie's formula; Efron, *J. Am. Stat. Assoc.*
        106 (2011) 1602.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> energy_fn = lambda params, x: jnp.sum(x**2) / (2 * params)  # variance 1 + 1 of noise
    >>> posterior_mean(energy_fn, 2.0, np.ones((1, 3), np.float32), 1.0).tolist()
    [[0.5, 0.5, 0.5]]
    """
    return noisy - noise_scale**2 * np.asarray(_slopes(energy_fn, params, noisy))


@partial(jax.jit, static_argnums=0)
def _slopes(energy_fn: EnergyFn, params: Params, x: Array) -> Array:
    """Gradients of the energy at many samples; compiled once for an energy and a shape."""
    return jax.vmap(jax.grad(energy_fn, argnums=1), (None, 0))(params, x)


def gaussian_cross_entropy(
    train: np.ndarray, test: np.ndarray, noise_scale: float
) -> np.ndarray:
    """Cross entropy of noisy test data under one full Gaussian fitted to the training data.

    Parameters
    ----------
    train
        Clean data, shape ``(n, d)``; σ² is added to their covariance.
    test
        Noisy data, shape ``(m, C, d)``.
    noise_scale
        σ.

    Returns
    -------
    numpy.ndarray
        Of each test sample, the mean over its C copies, shape ``(m,)``; nats.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(1000, 1))
    >>> value = gaussian_cross_entropy(x, x[:, None], 0.0).mean()
    >>> bool(abs(value - 0.5 * np.log(2 * np.pi * np.e)) < 0.1)
    True
    """
    return _mixture_values(train, test, noise_scale, num_components=1, seed=0)


def mixture_cross_entropy(
    train: np.ndarray,
    test: np.ndarray,
    noise_scale: float,
    candidates: tuple[int, ...] = (1, 2, 3, 5, 7, 10, 15, 20, 30),
    seed: int = 0,
) -> tuple[np.ndarray, int]:
    """Cross entropy under the best mixture of Gaussians with full covariances.

    The number of components is chosen on a fifth of the training data that the candidates do
    not see; then the mixture is fitted to all of them.

    Parameters
    ----------
    train
        Clean data, shape ``(n, d)``.
    test
        Noisy data, shape ``(m, C, d)``.
    noise_scale
        σ.
    candidates
        Numbers of components.
    seed
        Of the validation split and of scikit-learn.

    Returns
    -------
    tuple[numpy.ndarray, int]
        Cross entropy of each test sample, the mean over its C copies, shape ``(m,)``, in
        nats; and the number of components.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = np.concatenate([rng.normal(size=(200, 1)), rng.normal(9, 1, size=(200, 1))])
    >>> mixture_cross_entropy(x, x[:, None], 0.0, candidates=(1, 2))[1]
    2
    """
    order = np.random.default_rng(seed).permutation(len(train))
    num_fit = len(train) - len(train) // 5
    fit_part, validation_part = train[order[:num_fit]], train[order[num_fit:]]
    validation = add_noise(validation_part, noise_scale, 5, seed)
    # No candidate with fewer than five samples a component.
    usable = [count for count in candidates if count * 5 <= num_fit]
    scores = {
        count: _mixture_values(fit_part, validation, noise_scale, count, seed).mean()
        for count in usable
    }
    best = min(scores, key=lambda count: scores[count])
    return _mixture_values(train, test, noise_scale, best, seed), best


def _mixture_values(
    train: np.ndarray, test: np.ndarray, noise_scale: float, num_components: int, seed: int
) -> np.ndarray:
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    # The noise is Gaussian, so it need not be sampled: it adds σ² to each covariance, which is
    # what the regularisation of the fit does at each of its steps. (The responsibilities are
    # those of the clean data.)
    variance = max(noise_scale**2, 1e-6)
    model = GaussianMixture(num_components, reg_covar=variance, max_iter=300, random_state=seed)
    train = np.asarray(train, np.float64)
    num_test, num_copies, num_features = test.shape
    flat = np.asarray(test, np.float64).reshape(-1, num_features)
    # A feature that never varies, such as a pixel in a corner, is apart from the others and
    # alike in all components: one Gaussian of that variance.
    is_fixed = np.ptp(train, axis=0) == 0
    away = flat[:, is_fixed] - train[0, is_fixed]
    fixed = np.sum(np.square(away) / variance + np.log(2 * np.pi * variance), axis=1) / 2
    # The matrices are small: more threads have taken forty times as long as one.
    values = fixed
    if not np.all(is_fixed):
        with threadpool_limits(1):
            model.fit(train[:, ~is_fixed])
            values = fixed - model.score_samples(flat[:, ~is_fixed])
    return values.reshape(num_test, num_copies).mean(axis=1)
