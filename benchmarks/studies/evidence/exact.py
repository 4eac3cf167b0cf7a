"""Log evidences by closed forms and by quadrature, in nats and float64, by nothing of ours."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import integrate, optimize, stats
from scipy.special import expit, logsumexp

__all__ = ["Evidence", "hierarchical_logistic", "mean_in_a_square", "regression", "schools"]

#: Points of the standard normal in the integral over a group's intercept: the trapezium rule
#: converges exponentially, for the integrand has vanished at the ends.
_POINTS = np.linspace(-8, 8, 81)


class Evidence(NamedTuple):
    """A log evidence, and the standard error with which it is known: 0 if exact."""

    value: float
    error: float = 0.0


def regression(design: np.ndarray, outcome: np.ndarray, noise: float) -> Evidence:
    """Slopes N(0, 1): the outcome is Gaussian, with covariance X Xᵀ + σ² I."""
    number = len(outcome)
    covariance = design @ design.T + noise**2 * np.eye(number)
    log_density = stats.multivariate_normal(np.zeros(number), covariance).logpdf(outcome)
    return Evidence(float(log_density))


def mean_in_a_square(
    log_likelihood: Callable[[np.ndarray], np.ndarray], low: float, high: float
) -> Evidence:
    """By midpoints, of a likelihood that vanishes at the edges or is periodic."""
    axis = low + (high - low) * (np.arange(2000) + 0.5) / 2000
    values = log_likelihood(np.stack(np.meshgrid(axis, axis), axis=-1))
    return Evidence(float(logsumexp(values) - math.log(values.size)))


def schools(effects: np.ndarray, errors: np.ndarray) -> Evidence:
    """Given t effects are N(0, diag(σ² + t²) + 25); over t ~ HalfCauchy(5) by QUADPACK.

    Cut at 50, where an adaptive rule needs a hint, and shifted by 30 nats.
    """
    number = len(effects)

    def integrand(spread: float) -> float:
        covariance = np.diag(errors**2 + spread**2) + 25 * np.ones((number, number))
        log_density = stats.multivariate_normal(np.zeros(number), covariance).logpdf(effects)
        return math.exp(log_density + 30) * stats.halfcauchy.pdf(spread, 0, 5)

    parts = [
        integrate.quad(integrand, *ends, epsabs=1e-13, limit=400)[0]
        for ends in ((0, 50), (50, math.inf))
    ]
    return Evidence(math.log(sum(parts)) - 30)


def hierarchical_logistic(
    features: np.ndarray, groups: np.ndarray, outcome: np.ndarray, num_draws: int = 4000
) -> Evidence:
    """Mean, log-spread and slopes by importance sampling, each group's intercept by quadrature.

    Draws are of Student's t with 8 degrees of freedom about the mode; their spread tells the
    error.
    """
    signs, num_groups = 2 * outcome - 1, groups.max() + 1
    log_normal = stats.norm.logpdf(_POINTS) + math.log(_POINTS[1] - _POINTS[0])

    def log_joint(x: np.ndarray) -> float:
        mean, log_spread, slopes = x[0], x[1], x[2:]
        spread = math.exp(log_spread)
        prior = stats.norm.logpdf(mean) + stats.norm.logpdf(slopes).sum()
        prior += stats.halfnorm.logpdf(spread) + log_spread
        intercepts = mean + spread * _POINTS
        log_shares = np.log(expit(signs[:, None] * ((features @ slopes)[:, None] + intercepts)))
        of_groups = np.zeros((num_groups, _POINTS.size))
        np.add.at(of_groups, groups, log_shares)
        return float(prior + logsumexp(of_groups + log_normal, axis=1).sum())

    mode = optimize.minimize(lambda x: -log_joint(x), np.zeros(2 + features.shape[1]))
    proposal: Any = stats.multivariate_t(mode.x, mode.hess_inv, 8, seed=0)
    draws = proposal.rvs(num_draws)
    logs = np.array([log_joint(x) for x in draws]) - proposal.logpdf(draws)
    weights = np.exp(logs - logs.max())
    error = weights.std(ddof=1) / weights.mean() / math.sqrt(num_draws)
    return Evidence(float(np.log(weights.mean()) + logs.max()), float(error))
