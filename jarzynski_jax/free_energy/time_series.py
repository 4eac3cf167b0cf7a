r"""Means of correlated series, several at once, weighted or not, with errors that know it.

Series have shape ``(R, T)``: T values in their order, of R independent repetitions.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jarzynski_jax.free_energy.work_values import Estimate

__all__ = [
    "autocovariances",
    "blocked_mean",
    "blocking_errors",
    "initial_sequence_error",
    "past_log_weights",
    "weighted_ratio",
]

#: Fewer blocks tell too little of their own spread: its error is 18 % then.
_MIN_BLOCKS = 16


def blocking_errors(values: ArrayLike) -> np.ndarray:
    r"""Standard errors of the mean from blocks of 1, 2, 4, ... values, as long as 16 are left.

    They rise with the length of the blocks until it exceeds the time of correlation, and then
    stay. Flyvbjerg and Petersen, *J. Chem. Phys.* 91 (1989) 461. ValueError if there are fewer
    than 16 values at all.

    Examples
    --------
    Values of which each comes twice:

    >>> values = np.random.default_rng(0).normal(size=(4, 64)).repeat(2, axis=1)
    >>> errors = blocking_errors(values)
    >>> bool(abs(errors[1] / errors[0] - 2**0.5) < 0.01)
    True
    """
    series = _as_series(values)
    if series.size < _MIN_BLOCKS:
        raise ValueError(
            f"a standard error needs at least {_MIN_BLOCKS} values; got {series.size}"
        )
    errors = []
    while series.size >= _MIN_BLOCKS:
        errors.append(float(series.std(ddof=1)) / math.sqrt(series.size))
        num_pairs = series.shape[1] // 2
        if num_pairs == 0:
            break
        series = series[:, : 2 * num_pairs].reshape(series.shape[0], num_pairs, 2).mean(-1)
    return np.array(errors)


def autocovariances(deviations: np.ndarray) -> np.ndarray:
    """Of all lags up to half of the length, summed over repetitions, by Fourier transform.

    Sums are divided by the number of all values, whatever the lag.
    """
    length = deviations.shape[1]
    # Twice the length, so that ends do not meet.
    spectrum = np.sum(np.abs(np.fft.rfft(deviations, 2 * length)) ** 2, axis=0)
    return np.fft.irfft(spectrum, 2 * length)[: length // 2 + 1] / deviations.size


def initial_sequence_error(values: ArrayLike) -> float:
    r"""Standard error of the mean from autocovariances, until pairs of them are noise.

    .. math:: \sigma^2 = \frac1{RT}\Big(-c_0 + 2\sum_{m} (c_{2m} + c_{2m+1})\Big)

    as long as the pairs, that do not rise, are positive. Geyer, *Stat. Sci.* 7 (1992) 473. All
    repetitions share one sequence, so that a few that are not much longer than the correlation
    still tell it; what the mean of all values takes from each covariance is given back.

    Examples
    --------
    >>> values = np.random.default_rng(0).normal(size=(4, 1024)).repeat(16, axis=1)
    >>> bool(0.9 < initial_sequence_error(values) * 64 < 1.2)
    True
    """
    series = _as_series(values)
    num, length = series.shape[0] * series.shape[1], series.shape[1]
    covariances = autocovariances(series - series.mean())
    num_pairs = len(covariances) // 2
    unbiased = covariances * length / (length - np.arange(len(covariances)))
    pairs = unbiased[: 2 * num_pairs].reshape(num_pairs, 2).sum(axis=1)
    is_noise = pairs <= 0
    count = int(np.argmax(is_noise)) if np.any(is_noise) else num_pairs
    variance = 2 * np.sum(np.minimum.accumulate(pairs[:count])) - covariances[0]
    # At most half: of one repetition the longest sequence would take all.
    taken = min((4 * count - 1) / num, 0.5) if count else 0
    # Values that alternate are left to the blocks.
    return float(np.sqrt(np.maximum(variance / (1 - taken), 0) / num))


def _estimate(mean: Any, series: np.ndarray) -> Estimate:
    """With the largest error: blocks miss what is longer, sequences what noise hides."""
    errors = np.array([*blocking_errors(series), initial_sequence_error(series)])
    return Estimate(mean, np.max(errors))


def blocked_mean(values: ArrayLike) -> Estimate:
    """The mean of all values, with an error that knows their correlation.

    It is the largest of :func:`blocking_errors` and :func:`initial_sequence_error`.

    Examples
    --------
    >>> blocked_mean(np.tile([0.0, 1.0], (2, 16))).value.item()
    0.5
    """
    series = _as_series(values)
    return _estimate(series.mean(), series)


def past_log_weights(log_growth: ArrayLike, num_past: int, *, lag: int = 0) -> np.ndarray:
    r"""Log-weights of the last ``num_past`` growths of a population, shape ``(R, T)``.

    A population of fixed size gives each moment the same weight, though it has grown by a
    different amount to come there: a bias of order 1/N in the means. Weights of as many past
    factors as take longer than the correlation remove it (Nightingale and Blöte, *Phys. Rev. B*
    33 (1986) 659). Those of moment t are of the growths t - lag and before; at the beginning
    there are fewer. With 0 all moments have the same weight.

    Examples
    --------
    >>> past_log_weights(np.array([[1.0, 2.0, 4.0]]), 2).tolist()
    [[1.0, 3.0, 6.0]]
    >>> past_log_weights(np.array([[1.0, 2.0, 4.0]]), 2, lag=1).tolist()
    [[0.0, 1.0, 3.0]]
    """
    growth = _as_series(log_growth)
    if num_past < 0 or lag < 0:
        raise ValueError(f"num_past and lag must not be negative; got {num_past} and {lag}")
    total = np.concatenate([np.zeros((growth.shape[0], 1)), np.cumsum(growth, axis=1)], axis=1)
    last = np.maximum(np.arange(1, growth.shape[1] + 1) - lag, 0)
    return total[:, last] - total[:, np.maximum(last - num_past, 0)]


def weighted_ratio(log_weights: ArrayLike, values: ArrayLike) -> Estimate:
    r"""One global ratio, :math:`\sum w x / \sum w` over all moments and repetitions.

    Not the mean of ratios, which is biased. The error is that of the linearised ratio,
    :math:`w(x - \bar x)/\bar w`, as of :func:`blocked_mean`. ValueError if the shapes differ.

    Examples
    --------
    >>> weights, values = np.tile([1.0, 3.0], (1, 16)), np.tile([0.0, 1.0], (1, 16))
    >>> round(weighted_ratio(np.log(weights), values).value.item(), 6)
    0.75
    """
    logs, series = _as_series(log_weights), _as_series(values)
    if logs.shape != series.shape:
        raise ValueError(
            "log-weights and values must have the same shape (R, T); got "
            f"{logs.shape} and {series.shape}"
        )
    weights = np.exp(logs - np.max(logs))
    weights = weights / weights.mean()
    mean = np.mean(weights * series)
    return _estimate(mean, weights * (series - mean))


def _as_series(values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            "a series must have shape (R, T), of R repetitions and T moments; got shape "
            f"{array.shape}"
        )
    return array
