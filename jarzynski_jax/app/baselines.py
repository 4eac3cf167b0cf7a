"""Densities whose likelihood is exact, to stand beside a model: a Gaussian, and mixtures."""

from typing import Any

import numpy as np

from jarzynski_jax.data.noise import add_noise

__all__ = ["choose_mixture", "gaussian_cross_entropy", "mixture_cross_entropy"]


def gaussian_cross_entropy(
    train: np.ndarray, test: np.ndarray, noise_scale: float
) -> np.ndarray:
    """Cross entropy of noisy test data under one full Gaussian fitted to the training data.

    Training data are clean, shape ``(n, d)``, and σ² is added to their covariance; test data
    are noisy, shape ``(m, C, d)``. Returns of each test sample the mean over its C copies,
    shape ``(m,)``, in nats.

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
    """Cross entropy under the best mixture of Gaussians with full covariances, and its size.

    The number of components is chosen on a fifth of the training data that the candidates do
    not see; then the mixture is fitted to all of them. Data and result are as of
    :func:`gaussian_cross_entropy`; ``seed`` is of the validation split and of scikit-learn.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = np.concatenate([rng.normal(size=(200, 1)), rng.normal(9, 1, size=(200, 1))])
    >>> mixture_cross_entropy(x, x[:, None], 0.0, candidates=(1, 2))[1]
    2
    """
    best = _choose_num_components(train, noise_scale, candidates, seed)
    return _mixture_values(train, test, noise_scale, best, seed), best


def choose_mixture(
    train: np.ndarray, noise_scale: float, candidates: tuple[int, ...], seed: int
) -> Any:
    """Fit scikit-learn's mixture to clean data as :func:`mixture_cross_entropy` does.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = np.concatenate([rng.normal(size=(200, 1)), rng.normal(9, 1, size=(200, 1))])
    >>> choose_mixture(x, 0.0, (1, 2), seed=0).means_.shape
    (2, 1)
    """
    best = _choose_num_components(train, noise_scale, candidates, seed)
    return _fit_mixture(train, noise_scale, best, seed)


def _choose_num_components(
    train: np.ndarray, noise_scale: float, candidates: tuple[int, ...], seed: int
) -> int:
    num_fit = len(train) - len(train) // 5
    # No candidate with fewer than five samples a component.
    usable = [count for count in candidates if count * 5 <= num_fit]
    if len(usable) < 2:
        return min(candidates)
    order = np.random.default_rng(seed).permutation(len(train))
    fit_part, validation_part = train[order[:num_fit]], train[order[num_fit:]]
    validation = add_noise(validation_part, noise_scale, 5, seed)
    scores = {
        count: _mixture_values(fit_part, validation, noise_scale, count, seed).mean()
        for count in usable
    }
    return min(scores, key=lambda count: scores[count])


def _fit_mixture(train: np.ndarray, noise_scale: float, num_components: int, seed: int) -> Any:
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    # The noise is Gaussian, so it need not be sampled: it adds σ² to each covariance, which is
    # what the regularisation of the fit does at each of its steps. (The responsibilities are
    # those of the clean data.)
    model = GaussianMixture(
        num_components,
        reg_covar=_mixture_variance(noise_scale),
        max_iter=300,
        random_state=seed,
    )
    # The matrices are small: more threads have taken forty times as long as one.
    with threadpool_limits(1):
        return model.fit(np.asarray(train, np.float64))


def _mixture_variance(noise_scale: float) -> float:
    return max(noise_scale**2, 1e-6)


def _mixture_values(
    train: np.ndarray, test: np.ndarray, noise_scale: float, num_components: int, seed: int
) -> np.ndarray:
    from threadpoolctl import threadpool_limits

    variance = _mixture_variance(noise_scale)
    train = np.asarray(train, np.float64)
    num_test, num_copies, num_features = test.shape
    flat = np.asarray(test, np.float64).reshape(-1, num_features)
    # A feature that never varies, such as a pixel in a corner, is apart from the others and
    # alike in all components: one Gaussian of that variance.
    is_fixed = np.ptp(train, axis=0) == 0
    away = flat[:, is_fixed] - train[0, is_fixed]
    fixed = np.sum(np.square(away) / variance + np.log(2 * np.pi * variance), axis=1) / 2
    values = fixed
    if not np.all(is_fixed):
        model = _fit_mixture(train[:, ~is_fixed], noise_scale, num_components, seed)
        with threadpool_limits(1):
            values = fixed - model.score_samples(flat[:, ~is_fixed])
    return values.reshape(num_test, num_copies).mean(axis=1)
