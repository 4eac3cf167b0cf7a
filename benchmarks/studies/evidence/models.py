"""Models of the study, as users of NumPyro write them, with log evidences that are known.

Gaussian shells and the egg-box are those of Feroz, Hobson and Bridges, *Mon. Not. R. Astron.
Soc.* 398 (2009) 1601; the spike is Skilling's, *Bayesian Analysis* 1 (2006) 833; the eight
schools are Rubin's, *J. Educ. Stat.* 6 (1981) 377.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from scipy.special import expit

from benchmarks.studies.evidence import exact
from benchmarks.studies.evidence.exact import Evidence

__all__ = ["LABELS", "MODELS", "Model"]


class Model(NamedTuple):
    """A NumPyro model, its arguments, and its log evidence."""

    model: Callable[..., None]
    args: tuple[Any, ...]
    log_evidence: Evidence


_NOISE = 0.5


def _regression(design: Any, outcome: Any) -> None:
    slopes = numpyro.sample("slopes", dist.Normal(0.0, 1.0).expand([design.shape[1]]))
    numpyro.sample("outcome", dist.Normal(design @ slopes, _NOISE), obs=outcome)


def _conjugate(dimension: int) -> Model:
    rng = np.random.default_rng(dimension)
    design = rng.normal(size=(2 * dimension, dimension))
    slopes = rng.normal(size=dimension)
    outcome = design @ slopes + _NOISE * rng.normal(size=2 * dimension)
    return Model(_regression, (design, outcome), exact.regression(design, outcome, _NOISE))


def _log_shells(x: Any, xp: Any) -> Any:
    """Two circles of radius 2 about -3.5 and 3.5, as lines of width 0.1."""
    distances = [xp.sqrt((x[..., 0] - at) ** 2 + x[..., 1] ** 2) for at in (-3.5, 3.5)]
    logs = [-(((r - 2) / 0.1) ** 2) / 2 for r in distances]
    return xp.logaddexp(*logs) - math.log(0.1 * math.sqrt(2 * math.pi))


def _log_egg_box(x: Any, xp: Any) -> Any:
    return (2 + xp.cos(x[..., 0] / 2) * xp.cos(x[..., 1] / 2)) ** 5


def _in_a_square(log_likelihood: Callable[[Any, Any], Any], low: float, high: float) -> Model:
    """Uniform in a square."""

    def model() -> None:
        x = numpyro.sample("x", dist.Uniform(low, high).expand([2]))
        numpyro.factor("likelihood", log_likelihood(x, jnp))

    known = exact.mean_in_a_square(lambda x: log_likelihood(x, np), low, high)
    return Model(model, (), known)


def _spike() -> Model:
    """A narrow peak in a wide one, of a hundred times its mass: tempering misses it.

    The evidence is 101, less the 1e-5 of the wide one's mass that lies outside the cube.
    """

    def model() -> None:
        x = numpyro.sample("x", dist.Uniform(-0.5, 0.5).expand([20]))
        squares, dimension = jnp.sum(x**2), x.shape[0]

        def log_normal(width: float) -> Any:
            constant = dimension * math.log(width * math.sqrt(2 * math.pi))
            return -squares / (2 * width**2) - constant

        logs = jnp.logaddexp(log_normal(0.1), math.log(100) + log_normal(0.01))
        numpyro.factor("likelihood", logs)

    return Model(model, (), Evidence(math.log(101)))


_EFFECTS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
_ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def _schools_centred(seen: Any, errors: Any) -> None:
    mean = numpyro.sample("mean", dist.Normal(0.0, 5.0))
    spread = numpyro.sample("spread", dist.HalfCauchy(5.0))
    with numpyro.plate("schools", 8):
        effects = numpyro.sample("effects", dist.Normal(mean, spread))
        numpyro.sample("seen", dist.Normal(effects, errors), obs=seen)


def _schools(seen: Any, errors: Any) -> None:
    mean = numpyro.sample("mean", dist.Normal(0.0, 5.0))
    spread = numpyro.sample("spread", dist.HalfCauchy(5.0))
    with numpyro.plate("schools", 8):
        standard = numpyro.sample("standard", dist.Normal(0.0, 1.0))
        effects = numpyro.deterministic("effects", mean + spread * standard)
        numpyro.sample("seen", dist.Normal(effects, errors), obs=seen)


def _eight_schools(model: Callable[..., None]) -> Model:
    return Model(model, (_EFFECTS, _ERRORS), exact.schools(_EFFECTS, _ERRORS))


def _logistic_regression(features: Any, groups: Any, outcome: Any) -> None:
    """Intercepts of ten groups about a common mean, and four slopes."""
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    spread = numpyro.sample("spread", dist.HalfNormal(1.0))
    slopes = numpyro.sample("slopes", dist.Normal(0.0, 1.0).expand([features.shape[1]]))
    with numpyro.plate("groups", 10):
        standard = numpyro.sample("standard", dist.Normal(0.0, 1.0))
    logits = features @ slopes + (mean + spread * standard)[groups]
    numpyro.sample("outcome", dist.Bernoulli(logits=logits), obs=outcome)


def _logistic() -> Model:
    rng = np.random.default_rng(0)
    features, groups = rng.normal(size=(200, 4)), np.repeat(np.arange(10), 20)
    logits = features @ rng.normal(size=4) + rng.normal(size=10)[groups]
    data = features, groups, rng.binomial(1, expit(logits))
    return Model(_logistic_regression, data, exact.hierarchical_logistic(*data))


#: Each is made when it is asked for: some evidences are integrals that take seconds.
MODELS: dict[str, Callable[[], Model]] = {
    "regression_5": partial(_conjugate, 5),
    "regression_20": partial(_conjugate, 20),
    "regression_50": partial(_conjugate, 50),
    "shells": partial(_in_a_square, _log_shells, -6.0, 6.0),
    "egg_box": partial(_in_a_square, _log_egg_box, 0.0, 10 * math.pi),
    "spike": _spike,
    "schools": partial(_eight_schools, _schools),
    "schools_centred": partial(_eight_schools, _schools_centred),
    "logistic": _logistic,
}
LABELS = {
    "regression_5": "regression, d = 5",
    "regression_20": "regression, d = 20",
    "regression_50": "regression, d = 50",
    "shells": "Gaussian shells, d = 2",
    "egg_box": "egg-box, d = 2",
    "spike": "spike, d = 20",
    "schools": "eight schools, d = 10",
    "schools_centred": "eight schools, centred, d = 10",
    "logistic": "hierarchical logistic, d = 16",
}
