"""Densities whose likelihood is exact, beside the model: Gaussians, mixtures, a flow."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import paramax
from flowjax.bijections import Affine
from flowjax.distributions import Normal
from flowjax.flows import masked_autoregressive_flow
from flowjax.train import fit_to_data
from flowjax.train.losses import MaximumLikelihoodLoss
from sklearn.cluster import KMeans
from sklearn.decomposition import FactorAnalysis
from threadpoolctl import threadpool_limits

from benchmarks.mnist import problem as problem_lib
from benchmarks.mnist.settings import Settings
from jarzynski_jax import evaluation
from jarzynski_jax.types import Array

NAMES = ("gaussian", "mixture", "factors", "flow")

_NUM_FACTORS = 40
_NUM_COPIES = 5


def names() -> list[str]:
    return list(NAMES)


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    """Cross entropy of each test image, nats, and what was chosen or how large it is."""
    problem = problem_lib.load(settings)
    train = problem.train.reshape(len(problem.train), -1)
    test = problem.noisy_test.reshape(*problem.noisy_test.shape[:2], -1)
    fits: dict[str, Callable[[], tuple[np.ndarray, int]]] = {
        "gaussian": lambda: (
            evaluation.gaussian_cross_entropy(train, test, settings.noise),
            1,
        ),
        "mixture": lambda: evaluation.mixture_cross_entropy(
            train, test, settings.noise, settings.num_components
        ),
        "factors": lambda: _factors(train, test, settings),
        "flow": lambda: _flow(train, test, settings),
    }
    values, size = fits[name]()
    return {"values": values, "size": np.array(size)}


def _factors(train: np.ndarray, test: np.ndarray, settings: Settings) -> tuple[np.ndarray, int]:
    """The best number of factor analysers, each fitted to one cluster of k-means.

    The number is chosen on a fifth of the training data that the candidates do not see.
    """
    num_fit = len(train) - len(train) // 5
    validation = evaluation.add_noise(train[num_fit:], settings.noise, _NUM_COPIES, 0)
    scores = {
        count: _factor_values(train[:num_fit], validation, settings.noise, count).mean()
        for count in (5, 10, 20, 40)
    }
    best = min(scores, key=lambda count: scores[count])
    return _factor_values(train, test, settings.noise, best), best


def _factor_values(
    train: np.ndarray, test: np.ndarray, noise: float, num_clusters: int
) -> np.ndarray:
    noisy = evaluation.add_noise(train, noise, _NUM_COPIES, 1).reshape(-1, train.shape[1])
    flat = test.reshape(-1, test.shape[-1])
    with threadpool_limits(1):
        clusters = KMeans(num_clusters, n_init=1, random_state=0).fit_predict(train)
        clusters = np.repeat(clusters, _NUM_COPIES)
        terms = []
        for cluster in range(num_clusters):
            members = noisy[clusters == cluster]
            model = FactorAnalysis(_NUM_FACTORS, random_state=0).fit(members)
            terms.append(model.score_samples(flat) + np.log(len(members) / len(noisy)))
    values = -np.logaddexp.reduce(terms, axis=0)
    return values.reshape(test.shape[:2]).mean(axis=1)


def _flow(train: np.ndarray, test: np.ndarray, settings: Settings) -> tuple[np.ndarray, int]:
    """A masked autoregressive flow; the number is that of its parameters that are not masked.

    Its networks are as narrow as they may be if every pixel is to see all before it. At 14x14
    it has about as many parameters as the energy. It sees clean images with noise drawn afresh;
    a tenth of the images, which it does not see, tell when to stop.
    """
    num_pixels = train.shape[1]
    centre = train.mean(axis=0)
    scale = np.sqrt(train.var(axis=0) + settings.noise**2)
    flow = masked_autoregressive_flow(
        jax.random.key(0),
        base_dist=Normal(jnp.zeros(num_pixels)),
        transformer=Affine(),
        flow_layers=2,
        nn_width=num_pixels,
        nn_depth=1,
        invert=True,
    )

    def loss(params: Any, static: Any, clean: Array, *, key: Array) -> Array:
        noisy = clean + settings.noise * jax.random.normal(key, clean.shape)
        return MaximumLikelihoodLoss()(params, static, (noisy - centre) / scale)

    flow, _ = fit_to_data(
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
    log_prob = eqx.filter_jit(jax.vmap(flow.log_prob))
    values = [
        -np.asarray(log_prob(jnp.asarray((test[:, copy] - centre) / scale)))
        for copy in range(test.shape[1])
    ]
    arrays = jax.tree.leaves(eqx.filter(paramax.unwrap(flow), eqx.is_inexact_array))
    size = sum(int(np.count_nonzero(leaf)) for leaf in arrays)  # masked ones are exactly 0
    return np.mean(values, axis=0) + np.sum(np.log(scale)), size
