r"""Integrated autocorrelation time of Markov chains, with its error.

For M chains of n values :math:`a_{ri}` with the common mean :math:`\bar a`,

.. math:: \hat\Gamma(t) = \frac1{Mn}\sum_r\sum_{i=1}^{n-t}
    (a_{ri} - \bar a)(a_{r,i+t} - \bar a), \qquad
    \hat\tau(W) = \tfrac12 + \sum_{t=1}^{W-1} \hat\rho(t) + \tfrac12\hat\rho(W), \qquad
    \hat\rho = \hat\Gamma / \hat\Gamma(0),

one function for all chains, not a time for each; the last term is halved, so that where values
alternate what is cut off nearly cancels. The variance of :math:`\bar a` is
:math:`2\tau\,\Gamma(0)/(Mn)`. The window W is the least with
:math:`W \ge 5\,(\frac12 + \sum_{t \le W}|\hat\rho(t)|)`: with absolute values, so that chains
whose values alternate, for which τ is below one half, are not cut off at once. Then

.. math:: \sigma^2(\hat\tau) \approx \frac{4W + 2 - 4\tau}{Mn}\,\tau^2.

As the mean is common to all chains, those that stay in different places are seen not to have
mixed. References: Wolff, *Comput. Phys. Commun.* 156 (2004) 143; Sokal, *Monte Carlo methods in
statistical mechanics*, 1989.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jarzynski_jax.checks import check_known
from jarzynski_jax.formatting import disbelief, format_with_error
from jarzynski_jax.free_energy.doubts import doubts_of_autocorrelation, precision
from jarzynski_jax.free_energy.time_series import autocovariances
from jarzynski_jax.free_energy.work_values import Estimate
from jarzynski_jax.types import Array

__all__ = ["Autocorrelation", "autocorrelation"]

#: Of a window, in units of τ: what is cut off is of the order of its exponential.
_WINDOW = 5.0


class Autocorrelation(NamedTuple):
    r"""What chains tell of one observable; ``print`` shows τ and the doubts.

    time
        :math:`\tau = \frac12 + \sum_{t\ge1}\rho(t)`, in steps, with its error: one half for
        independent values, less where they alternate; NaN where they do not change.
    mean
        Of the observable over all chains, with its error.
    effective_sample_size
        :math:`Mn/2\tau`, of all values together: how many independent ones tell the mean as
        well; more than there are where they alternate, 0 where they do not change.
    window
        W, the last lag that is summed.
    doubts
        Why these are not to be believed; empty if there is no reason.
    """

    time: Estimate
    mean: Estimate
    effective_sample_size: Array
    window: int
    doubts: tuple[str, ...]

    def __str__(self) -> str:
        """The time, and a line for each doubt."""
        time = format_with_error(float(self.time.value), float(self.time.standard_error))
        return "\n".join([f"tau {time} steps", *map(disbelief, self.doubts)])


def autocorrelation(values: Array | np.ndarray) -> Autocorrelation:
    r"""Estimate the integrated autocorrelation time of an observable.

    Values are of one chain, shape ``(n,)``, or of M chains, shape ``(M, n)``, without burn-in,
    n ≥ 2; else a ValueError, and also inside ``jax.jit`` or ``jax.vmap``: it looks at values.
    They are not believed if a chain is shorter than ten windows, of 5 τ at least, if they do
    not change, or are not finite.

    Examples
    --------
    >>> import jax
    >>> noise = jax.random.normal(jax.random.key(0), (4, 2000))
    >>> found = autocorrelation(noise)
    >>> bool(abs(found.time.value - 0.5) < 4.5 * found.time.standard_error), found.doubts
    (True, ())
    >>> autocorrelation(jnp.cumsum(noise, axis=1)).doubts == ()  # random walks do not settle
    False
    """
    check_known("free_energy.autocorrelation", values)
    given = jnp.asarray(values)
    chains = np.atleast_2d(np.asarray(given, np.float64))
    if given.ndim not in (1, 2) or chains.shape[1] < 2 or chains.shape[0] < 1:
        raise ValueError(
            "values must have shape (n,) or (M, n), M chains of n ≥ 2 values each; got shape "
            f"{given.shape}"
        )
    num, length = chains.size, chains.shape[1]
    with np.errstate(invalid="ignore"):
        mean, spread = float(np.mean(chains)), float(np.std(chains))
    peak = float(np.max(np.abs(chains)))
    # Numbers that differ by rounding alone do not change.
    is_constant = spread <= 4 * precision(given.dtype) * peak
    if not np.isfinite(spread) or is_constant:
        nothing, none = _estimate(np.nan, np.nan), _estimate(mean, np.nan)
        doubts = doubts_of_autocorrelation(spread, length, 0)
        return Autocorrelation(nothing, none, jnp.zeros(()), 0, tuple(doubts))
    covariances = autocovariances((chains - mean) / spread)
    correlations = covariances / covariances[0]
    window = _window(correlations)
    # What the mean of these values takes from every covariance is given back.
    in_all = 0.5 + float(np.sum(correlations[1 : window + 1]) - correlations[window] / 2)
    time = max(in_all * (1 + (2 * window + 1) / num), 1 / (2 * num))
    error = time * np.sqrt(max(4 * window + 2 - 4 * time, 0) / num)
    variance = spread**2 * (1 + (2 * window + 1) / num)
    return Autocorrelation(
        _estimate(time, error),
        _estimate(mean, np.sqrt(2 * time * variance / num)),
        jnp.asarray(num / (2 * time)),
        window,
        tuple(doubts_of_autocorrelation(spread, length, window)),
    )


def _estimate(value: float, error: float) -> Estimate:
    return Estimate(jnp.asarray(value), jnp.asarray(error))


def _window(correlations: np.ndarray) -> int:
    """The least window that is long enough; the longest there is where none is."""
    sizes = np.abs(correlations)
    times = np.cumsum(sizes) - 0.5
    is_enough = np.arange(len(times)) >= _WINDOW * times
    return int(np.argmax(is_enough)) if np.any(is_enough) else len(times) - 1
