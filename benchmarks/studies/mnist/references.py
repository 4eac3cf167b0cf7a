"""Densities whose likelihood is exact, beside the model: Gaussians, mixtures, flows."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import paramax
from flowjax.bijections import Affine
from flowjax.distributions import AbstractDistribution, Normal
from flowjax.flows import coupling_flow, masked_autoregressive_flow
from flowjax.train import fit_to_data
from flowjax.train.losses import MaximumLikelihoodLoss
from sklearn.cluster import KMeans
from sklearn.decomposition import FactorAnalysis
from threadpoolctl import threadpool_limits

from benchmarks.studies.mnist import problem as problem_lib
from benchmarks.studies.mnist.settings import Settings
from jarzynski_jax.app import baselines
from jarzynski_jax.data.noise import add_noise
from jarzynski_jax.types import Array

NAMES = ("gaussian", "mixture", "factors", "coupling", "flow")

_NUM_FACTORS = 40
_NUM_COPIES = 5
_NUM_COUPLINGS = 8


def names() -> list[str]:
    return list(NAMES)


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    """Cross entropy of each test image, nats, and what was chosen or how large it is."""
    problem = problem_lib.load(settings)
    train = problem.train.reshape(len(problem.train), -1)
    test = problem.noisy_test.reshape(*problem.noisy_test.shape[:2], -1)
    fits: dict[str, Callable[[], tuple[np.ndarray, int]]] = {
        "gaussian": lambda: (
            baselines.gaussian_cross_entropy(train, test, settings.noise),
            1,
        ),
        "mixture": lambda: baselines.mixture_cross_entropy(
            train, test, settings.noise, settings.num_components
        ),
        "factors": lambda: _factors(train, test, settings),
        "coupling": lambda: _fit_flow(
            _coupling_flow(train.shape[1], _num_parameters(problem, settings)),
            train,
            test,
            settings,
        ),
        "flow": lambda: _fit_flow(_autoregressive_flow(train.shape[1]), train, test, settings),
    }
    values, size = fits[name]()
    return {"values": values, "size": np.array(size)}


def _factors(train: np.ndarray, test: np.ndarray, settings: Settings) -> tuple[np.ndarray, int]:
    """The best number of factor analysers, each fitted to one cluster of k-means.

    The number is chosen on a fifth of the training data that the candidates do not see.
    """
    num_fit = len(train) - len(train) // 5
    validation = add_noise(train[num_fit:], settings.noise, _NUM_COPIES, 0)
    scores = {
        count: _factor_values(train[:num_fit], validation, settings.noise, count).mean()
        for count in (5, 10, 20, 40)
    }
    best = min(scores, key=lambda count: scores[count])
    return _factor_values(train, test, settings.noise, best), best


def _factor_values(
    train: np.ndarray, test: np.ndarray, noise: float, num_clusters: int
) -> np.ndarray:
    noisy = add_noise(train, noise, _NUM_COPIES, 1).reshape(-1, train.shape[1])
    flat = test.reshape(-1, test.shape[-1])
    with threadpool_limits(1):
        clusters = KMeans(num_clusters, n_init=1, random_state=0).fit_predict(train)
        clusters = np.repeat(clusters, _NUM_COPIES)
        terms = []
        for cluster in range(num_clusters):
            members = noisy[clusters == cluster]
            model = FactorAnalysis(_NUM_FACTORS, random_state=0).fit(members)
            terms.append(model.score_samples(flat) + np.log(len(members) / len(noisy)))
    values = -reduce(np.logaddexp, terms)
    return values.reshape(test.shape[:2]).mean(axis=1)


def _num_parameters(problem: problem_lib.Problem, settings: Settings) -> int:
    """Of the energy."""
    params = problem_lib.build_model(settings, problem.base, 0, settings.num_moves).params
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _coupling_flow(num_pixels: int, num_parameters: int) -> AbstractDistribution:
    """As wide as so many parameters allow: half of the pixels shift and scale the others."""
    num_seen = num_pixels // 2
    num_given = 2 * (num_pixels - num_seen)
    width = (num_parameters / _NUM_COUPLINGS - num_given) / (num_seen + 1 + num_given)
    return coupling_flow(
        jax.random.key(0),
        base_dist=Normal(jnp.zeros(num_pixels)),
        transformer=Affine(),
        flow_layers=_NUM_COUPLINGS,
        nn_width=max(round(width), 1),
        nn_depth=1,
        invert=True,
    )


def _autoregressive_flow(num_pixels: int) -> AbstractDistribution:
    """Its networks are as narrow as they may be if every pixel is to see all before it.

    At 14x14 it has about as many parameters as the energy.
    """
    return masked_autoregressive_flow(
        jax.random.key(0),
        base_dist=Normal(jnp.zeros(num_pixels)),
        transformer=Affine(),
        flow_layers=2,
        nn_width=num_pixels,
        nn_depth=1,
        invert=True,
    )


def _fit_flow(
    flow: AbstractDistribution, train: np.ndarray, test: np.ndarray, settings: Settings
) -> tuple[np.ndarray, int]:
    """Cross entropies under the fitted flow, and the number of its parameters not masked.

    It sees clean images with noise drawn afresh; a tenth of the images, which it does not see,
    tell when to stop.
    """
    centre = train.mean(axis=0)
    scale = np.sqrt(train.var(axis=0) + settings.noise**2)

    def loss(params: Any, static: Any, clean: Array, *, key: Array) -> Array:
        noisy = clean + settings.noise * jax.random.normal(key, clean.shape)
        return MaximumLikelihoodLoss()(params, static, (noisy - centre) / scale)

    fitted, _ = fit_to_data(
        jax.random.key(1),
        flow,
        jnp.asarray(train),
        loss_fn=loss,
        learning_rate=1e-3,
        max_epochs=settings.num_epochs,
        max_patience=10,
        batch_size=256,
        show_progress=False,
    )
    log_prob = eqx.filter_jit(fitted.log_prob)
    values = [
        -np.asarray(log_prob(jnp.asarray((test[:, copy] - centre) / scale)))
        for copy in range(test.shape[1])
    ]
    arrays = jax.tree.leaves(eqx.filter(paramax.unwrap(fitted), eqx.is_inexact_array))
    size = sum(int(np.count_nonzero(leaf)) for leaf in arrays)  # masked ones are exactly 0
    return np.mean(values, axis=0) + np.sum(np.log(scale)), size
