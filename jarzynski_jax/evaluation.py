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
from jarzynski_jax.checks import check_energy, check_known
from jarzynski_jax.formatting import disbelief, format_with_error
from jarzynski_jax.types import Array, EnergyFn, Params

__all__ = [
    "Bracket",
    "add_noise",
    "bracket",
    "choose_mixture",
    "gaussian_cross_entropy",
    "log_partition_bracket",
    "mixture_cross_entropy",
    "noise_entropy",
    "posterior_mean",
]

# Beyond three standard errors a difference is not chance.
_NUM_STANDARD_ERRORS = 3
# Nats by which lost walkers may shift a bound.
_MAX_LEAKAGE = 0.02
# Nats of effective sample size that steps at rest may lose along a whole path.
_MIN_STEP_LOSS = 0.3


class Bracket(NamedTuple):
    """A cross entropy, or log Z itself, between two bounds, in nats; ``print`` shows it.

    lower
        The forward estimate of log Z; of a cross entropy, with the mean energy of the test
        data added to it here and below.
    lower_error
        Standard error of log Z there, over replicates.
    upper
        The backward estimate, the larger one if there are two.
    upper_error
        Standard error of log Z there.
    relaxed
        The backward estimate from relaxed samples alone; None without them.
    test_error
        Standard error of the mean energy over test samples, common to both bounds; 0 for log Z.
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

    def __str__(self) -> str:
        """The two bounds with the errors of log Z, and a line for each doubt."""
        lower = format_with_error(self.lower, self.lower_error)
        upper = format_with_error(self.upper, self.upper_error)
        return "\n".join([f"{lower} to {upper} nats", *map(disbelief, self.doubts)])


def _mean_and_error(estimates: Any) -> tuple[float, float]:
    """Mean and its standard error; one value has no known error."""
    values = np.asarray(estimates, np.float64)
    count = len(values)
    with np.errstate(invalid="ignore"):  # of infinities there is no spread: it is NaN
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
        As of :func:`log_partition_bracket`.

    Returns
    -------
    Bracket
        With the doubts of :func:`log_partition_bracket`, energies that are not finite, and a
        value below the floor.

    Raises
    ------
    ValueError
        Inside ``jax.jit`` or ``jax.vmap``: it looks at values.

    Examples
    --------
    >>> import numpy as np
    >>> from jarzynski_jax.annealing import AnnealingInfo, LogPartitionBounds
    >>> info = AnnealingInfo(*(np.ones((2, 5)) for _ in range(4)))
    >>> log_z = np.array([1.0, 1.1])
    >>> bounds = LogPartitionBounds(log_z, log_z + 2, None, None, info)
    >>> print(bracket(np.array([4.0, 4.0]), bounds))
    5.050 ± 0.050 to 7.050 ± 0.050 nats
    not to be believed: the bounds are 2.0 nats apart; more annealing steps would bring them
    together
    """
    check_known("evaluation.bracket", energies)
    energy, test_error = _mean_and_error(energies)
    log_z = log_partition_bracket(bounds, tolerance)
    lower, upper = energy + log_z.lower, energy + log_z.upper
    doubts = log_z.doubts
    num_bad = int(np.sum(~np.isfinite(energies)))
    if num_bad:
        doubts = (f"{num_bad} of {len(energies)} test energies are not finite", *doubts)
    if entropy_floor is not None and min(lower, upper) < entropy_floor:
        below = (
            f"a bound is below the entropy of the noise, {entropy_floor:.1f} nats, which no "
            "model can reach"
        )
        doubts = (*doubts, below)
    return Bracket(
        lower,
        log_z.lower_error,
        upper,
        log_z.upper_error,
        None if log_z.relaxed is None else energy + log_z.relaxed,
        test_error,
        doubts,
    )


def log_partition_bracket(bounds: LogPartitionBounds, tolerance: float = 0.5) -> Bracket:
    """Sum up bounds of log Z, and judge them.

    Parameters
    ----------
    bounds
        From :func:`jarzynski_jax.annealing.log_partition_bounds`.
    tolerance
        How far apart the bounds may be, nats; and how far the backward estimate from relaxed
        samples may lie below the forward one, for their shares of the modes are inherited
        from where they were relaxed, and never quite the model's.

    Returns
    -------
    Bracket
        Of log Z. Its doubts: bounds too far apart; a lower bound above an upper one beyond
        their errors (the samples that a backward run started from are not the model's: a mode
        is missing), with one replicate, whose error nobody knows, beyond what is tolerated;
        walkers lost by their own moves; a collapsed forward run. Each says what to try.

    Raises
    ------
    ValueError
        Inside ``jax.jit`` or ``jax.vmap``: it looks at values.

    Examples
    --------
    >>> import numpy as np
    >>> from jarzynski_jax.annealing import AnnealingInfo, LogPartitionBounds
    >>> info = AnnealingInfo(*(np.ones((2, 5)) for _ in range(4)))
    >>> log_z = np.array([1.0, 1.1])
    >>> found = log_partition_bracket(LogPartitionBounds(log_z, log_z + 0.1, None, None, info))
    >>> round(found.lower, 2), round(found.upper, 2), found.doubts
    (1.05, 1.15, ())
    """
    check_known("evaluation.log_partition_bracket", bounds)
    forward, forward_error = _mean_and_error(bounds.forward)
    backward = {"the forward run's end points": (0.1, *_mean_and_error(bounds.backward))}
    relaxed = None
    if bounds.backward_from_relaxed is not None:
        relaxed, error = _mean_and_error(bounds.backward_from_relaxed)
        backward["samples relaxed from data"] = (tolerance, relaxed, error)
    upper, upper_error = max((value, error) for _, value, error in backward.values())

    doubts = _lost_walkers(bounds)
    is_leaky = bool(doubts)
    if not (math.isfinite(forward) and math.isfinite(upper)):
        doubts.append(
            "a bound is not finite: no walker came to the end alive; take a smaller step size"
        )
    is_apart = upper - forward > tolerance
    too_large_step = "" if is_leaky else _too_large_step(bounds)
    if is_apart:
        remedy = too_large_step or "more annealing steps would bring them together"
        apart = f"the bounds are {upper - forward:.1f} nats apart"
        doubts.append(apart if is_leaky else f"{apart}; {remedy}")
    for name, (allowed, value, error) in backward.items():
        excess = forward - value
        beyond = _NUM_STANDARD_ERRORS * math.hypot(error, forward_error)
        # Of one replicate the error is not known; that is no reason to believe.
        if excess > max(beyond if math.isfinite(beyond) else 0, allowed):
            doubts.append(
                f"the bound from {name} is {excess:.1f} nats below the one that it should be "
                "above: these are not samples of the model, a mode is missing"
            )
    ess = float(np.min(bounds.forward_info.shadow_effective_sample_size))
    if ess < 0.05:
        remedy = too_large_step or "take more annealing steps"
        collapsed = (
            f"the effective sample size of the forward run fell to {100 * ess:.2g} % of its "
            "walkers"
        )
        # What is said of the step above holds here too.
        doubts.append(collapsed if is_apart and too_large_step else f"{collapsed}; {remedy}")
    return Bracket(forward, forward_error, upper, upper_error, relaxed, 0.0, tuple(doubts))


def _lost_walkers(bounds: LogPartitionBounds) -> list[str]:
    """Say of each direction how many walkers were lost by their own moves, if it matters."""
    doubts = []
    for name, sign, info in (
        ("forward", "low", bounds.forward_info),
        ("backward", "high", bounds.backward_info),
        ("backward, from relaxed samples,", "high", bounds.relaxed_info),
    ):
        if info is None or not np.max(info.leakage) > _MAX_LEAKAGE:
            continue
        leakage = float(np.max(info.leakage))
        num_dead = np.sum(info.num_dead, axis=-1).mean()
        doubts.append(
            f"walkers died on the way {name}, {num_dead:.3g} of {_num_walkers(bounds)} a "
            "replicate, where their moves led out of the support of a density: those that come "
            f"back are missing, and the bound is too {sign} by about {leakage:.2g} nats, the "
            "more so the more steps. Take Metropolis-adjusted moves (kernels.metropolis in "
            "kernels.invariant), or a bijection to an unbounded space (targets.unbounded)"
        )
    return doubts


def _num_walkers(bounds: LogPartitionBounds) -> int:
    return jax.tree.leaves(bounds.end_points)[0].shape[1]


def _too_large_step(bounds: LogPartitionBounds) -> str:
    r"""Say so if the time step, not the length of the path, is what costs effective samples.

    With :math:`\epsilon` the effective sample size that one step at the last target leaves, K
    steps lose :math:`-K \log\epsilon` nats of it however slowly the targets move. If that is
    more than half of all that the forward run lost, more steps lose more.
    """
    if bounds.step_effective_sample_size is None:
        return ""
    info = bounds.forward_info
    ess = np.asarray(info.shadow_effective_sample_size, np.float64)
    num_steps = ess.shape[-1]
    left = float(np.mean(bounds.step_effective_sample_size))
    if not left > 0:  # no walker arrived alive, and nothing is known of a step there
        return ""
    of_steps = -num_steps * math.log(left)
    is_last = np.arange(num_steps) == num_steps - 1
    counts = np.asarray(info.is_resampled, bool) | is_last
    in_all = float(np.sum(np.where(counts, -np.log(np.maximum(ess, 1e-30)), 0), axis=-1).mean())
    if not of_steps > max(0.5 * in_all, _MIN_STEP_LOSS):
        return ""
    num_resampled = np.sum(info.is_resampled, axis=-1).mean()
    return (
        f"the time step is too large: a step loses {100 * (1 - left):.3g} % of the effective "
        f"sample size at a target at rest, and walkers were resampled {num_resampled:.3g} "
        f"times in {num_steps} steps. Take a smaller step size; more annealing steps would "
        "make it worse"
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

    Raises
    ------
    ValueError
        If the energy is a module of Flax, or no function.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> energy_fn = lambda params, x: jnp.sum(x**2) / (2 * params)  # variance 1 + 1 of noise
    >>> posterior_mean(energy_fn, 2.0, np.ones((1, 3), np.float32), 1.0).tolist()
    [[0.5, 0.5, 0.5]]
    """
    check_energy(energy_fn)
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
    best = _choose_num_components(train, noise_scale, candidates, seed)
    return _mixture_values(train, test, noise_scale, best, seed), best


def choose_mixture(
    train: np.ndarray, noise_scale: float, candidates: tuple[int, ...], seed: int
) -> Any:
    """Fit the best mixture of Gaussians with full covariances to data with noise.

    Parameters
    ----------
    train
        Clean data, shape ``(n, d)``.
    noise_scale
        σ.
    candidates
        Numbers of components, one of which is chosen as by :func:`mixture_cross_entropy`.
    seed
        Of the validation split and of scikit-learn.

    Returns
    -------
    sklearn.mixture.GaussianMixture
        Fitted.

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
