"""Models of the study, as users of NumPyro write them, and log evidences that are known.

Gaussian shells and the egg-box are those of Feroz, Hobson and Bridges, *Mon. Not. R. Astron.
Soc.* 398 (2009) 1601; the spike is Skilling's, *Bayesian Analysis* 1 (2006) 833; the eight
schools are Rubin's, *J. Educ. Stat.* 6 (1981) 377.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from scipy import stats
from scipy.special import logsumexp

__all__ = ["MODELS", "Model"]


class Model(NamedTuple):
    """A NumPyro model, its arguments, and its log evidence in nats, None if unknown."""

    model: Callable[..., None]
    args: tuple[Any, ...] = ()
    log_evidence: float | None = None


def _regression(design: Any, outcome: Any) -> None:
    slopes = numpyro.sample("slopes", dist.Normal(0.0, 1.0).expand([design.shape[1]]))
    numpyro.sample("outcome", dist.Normal(design @ slopes, 0.5), obs=outcome)


def _conjugate(dimension: int) -> Model:
    rng = np.random.default_rng(dimension)
    design = rng.normal(size=(2 * dimension, dimension))
    outcome = design @ rng.normal(size=dimension) + 0.5 * rng.normal(size=2 * dimension)
    covariance = design @ design.T + 0.25 * np.eye(2 * dimension)
    exact = stats.multivariate_normal(np.zeros(2 * dimension), covariance).logpdf(outcome)
    return Model(_regression, (design, outcome), float(exact))


def _log_shells(x: Any, xp: Any) -> Any:
    """Two circles of radius 2 about -3.5 and 3.5, as lines of width 0.1."""
    distances = [xp.sqrt((x[..., 0] - at) ** 2 + x[..., 1] ** 2) for at in (-3.5, 3.5)]
    logs = [-(((r - 2) / 0.1) ** 2) / 2 for r in distances]
    return xp.logaddexp(*logs) - math.log(0.1 * math.sqrt(2 * math.pi))


def _log_egg_box(x: Any, xp: Any) -> Any:
    return (2 + xp.cos(x[..., 0] / 2) * xp.cos(x[..., 1] / 2)) ** 5


def _in_a_square(log_likelihood: Callable[[Any, Any], Any], low: float, high: float) -> Model:
    """Uniform in a square; the mean likelihood by midpoints, which are periodic or vanish."""

    def model() -> None:
        x = numpyro.sample("x", dist.Uniform(low, high).expand([2]))
        numpyro.factor("likelihood", log_likelihood(x, jnp))

    axis = low + (high - low) * (np.arange(2000) + 0.5) / 2000
    values = log_likelihood(np.stack(np.meshgrid(axis, axis), axis=-1), np)
    return Model(model, (), float(logsumexp(values) - math.log(values.size)))


def _spike() -> None:
    """A narrow peak in a wide one, of a hundred times its mass: tempering may miss it."""
    x = numpyro.sample("x", dist.Uniform(-0.5, 0.5).expand([20]))
    squares, dimension = jnp.sum(x**2), x.shape[0]

    def log_normal(width: float) -> Any:
        return -squares / (2 * width**2) - dimension * math.log(width * math.sqrt(2 * math.pi))

    numpyro.factor(
        "likelihood", jnp.logaddexp(log_normal(0.1), math.log(100) + log_normal(0.01))
    )


_EFFECTS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
_ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def _schools_centred() -> None:
    mean = numpyro.sample("mean", dist.Normal(0.0, 5.0))
    spread = numpyro.sample("spread", dist.HalfCauchy(5.0))
    with numpyro.plate("schools", 8):
        effects = numpyro.sample("effects", dist.Normal(mean, spread))
        numpyro.sample("seen", dist.Normal(effects, _ERRORS), obs=_EFFECTS)


def _schools() -> None:
    mean = numpyro.sample("mean", dist.Normal(0.0, 5.0))
    spread = numpyro.sample("spread", dist.HalfCauchy(5.0))
    with numpyro.plate("schools", 8):
        standard = numpyro.sample("standard", dist.Normal(0.0, 1.0))
        effects = numpyro.deterministic("effects", mean + spread * standard)
        numpyro.sample("seen", dist.Normal(effects, _ERRORS), obs=_EFFECTS)


def _schools_evidence() -> float:
    """By quadrature over the spread and the mean, each by midpoints of its distribution."""
    shares = (np.arange(1000) + 0.5) / 1000
    mean = stats.norm.ppf(shares, 0, 5)[:, None]
    spread = stats.halfcauchy.ppf(shares, 0, 5)
    widths = np.sqrt(np.square(spread)[..., None] + _ERRORS**2)
    logs = stats.norm.logpdf(_EFFECTS, mean[..., None], widths).sum(-1)
    return float(logsumexp(logs) - math.log(logs.size))


def _logistic(features: Any, groups: Any, outcome: Any) -> None:
    """Intercepts of ten groups about a common mean, and four slopes."""
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    spread = numpyro.sample("spread", dist.HalfNormal(1.0))
    slopes = numpyro.sample("slopes", dist.Normal(0.0, 1.0).expand([features.shape[1]]))
    with numpyro.plate("groups", 10):
        standard = numpyro.sample("standard", dist.Normal(0.0, 1.0))
    logits = features @ slopes + (mean + spread * standard)[groups]
    numpyro.sample("outcome", dist.Bernoulli(logits=logits), obs=outcome)


def _logistic_data() -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    features, groups = rng.normal(size=(200, 4)), np.repeat(np.arange(10), 20)
    logits = features @ rng.normal(size=4) + rng.normal(size=10)[groups]
    return features, groups, rng.binomial(1, jax.nn.sigmoid(logits))


MODELS = {
    "regression, d = 5": _conjugate(5),
    "regression, d = 20": _conjugate(20),
    "regression, d = 50": _conjugate(50),
    "Gaussian shells": _in_a_square(_log_shells, -6.0, 6.0),
    "egg-box": _in_a_square(_log_egg_box, 0.0, 10 * math.pi),
    "spike": Model(_spike, (), math.log(101)),
    "eight schools": Model(_schools, (), _schools_evidence()),
    "eight schools, centred": Model(_schools_centred, (), _schools_evidence()),
    "hierarchical logistic": Model(_logistic, _logistic_data()),
}
