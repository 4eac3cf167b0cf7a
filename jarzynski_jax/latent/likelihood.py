r"""Brackets of log p(x) for any model with latents, of a batch of observations at once.

Walkers are noise of the encoder. They start from :math:`N(0, 1)`, which is q(z|x) exactly, and
are annealed along

.. math:: \ell_t(\varepsilon) = \log N(\varepsilon) + t\,A(x, \varepsilon)

to the posterior, whose log Z is :math:`\log p(x)`: forward a lower bound on average, backward
an upper one. The upper one is a bound if its walkers start from samples of the posterior. Of
data that the model simulated one such is known exactly (bidirectional Monte Carlo); of other
data the forward run's end points are taken, and the two ways cross where a mode was missed.

References: Grosse, Ghahramani and Adams, 2015; Wu, Burda, Salakhutdinov and Grosse, *On the
quantitative analysis of decoder-based generative models*, 2017.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.annealing import log_partition_bounds, tempering_path
from jarzynski_jax.annealing.paths import check_whole_schedule
from jarzynski_jax.checks import check_known
from jarzynski_jax.compiling import compiled_once
from jarzynski_jax.free_energy import Bracket, log_partition_bracket
from jarzynski_jax.free_energy.annealing_runs import AnnealingInfo, LogPartitionBounds
from jarzynski_jax.latent.latent_model import LatentModel, log_normal, noise_dtype
from jarzynski_jax.types import Array, Params, PRNGKey
from jarzynski_jax.walkers import Dynamics, check_dynamics, kinetic_langevin

__all__ = ["likelihood_bounds", "likelihood_bracket", "simulate"]

#: So many observations side by side.
_BLOCK = 25


def simulate(
    rng_key: PRNGKey, model: LatentModel, params: Params, num_samples: int
) -> tuple[Array, Array]:
    """Draw observations of the model, each with noise that is an exact posterior sample.

    Shapes ``(n, ...)`` and ``(n, *noise_shape)``; for :func:`likelihood_bounds`.
    """
    return _simulate(jax.random.split(rng_key, num_samples), model, params)


@compiled_once
def _simulate(keys: Array, model: LatentModel, params: Params) -> tuple[Array, Array]:
    return jax.vmap(lambda key: model.simulate(key, params))(keys)


def likelihood_bounds(
    rng_key: PRNGKey,
    model: LatentModel,
    params: Params,
    data: Array,
    times: Array,
    *,
    dynamics: Dynamics = kinetic_langevin(0.3, friction=1.0),  # noqa: B008
    num_walkers: int = 16,
    num_replicates: int = 2,
    exact: Array | None = None,
) -> LogPartitionBounds:
    """Bound log p(x) of each observation from both sides.

    Returns bounds as of :func:`jarzynski_jax.annealing.log_partition_bounds`, every leaf with a
    leading axis of observations. ValueError if data are none of the model, a number is not
    positive, or times or exact samples are not as below.

    Parameters
    ----------
    data
        Shape ``(n, ...)``.
    times
        The path's parameter after each step forward, shape ``(K,)``, ascending to 1. With
        ``exact`` make them dense at 1, where all walkers still stand at one point.
    dynamics
        How walkers move; lengths are in units of the encoder's standard deviations, so a step
        size for N(0, 1) does for all latents, as long as the posterior is not much narrower.
    num_walkers, num_replicates
        N walkers in each of R independent runs of an observation.
    exact
        Noise of exact posterior samples, one an observation, shape ``(n, *noise_shape)``, from
        :func:`simulate`. All walkers of an upper bound start there, which is unbiased.

    Examples
    --------
    >>> from flax import nnx
    >>> from jarzynski_jax.latent import autoencoder, outputs
    >>> vae, params = autoencoder.make_autoencoder(
    ...     (4,), 1, (), outputs.bernoulli(), rngs=nnx.Rngs(0)
    ... )
    >>> model = autoencoder.as_latent_model(vae)
    >>> x, exact = simulate(jax.random.key(0), model, params, 10)
    >>> times = jnp.arange(1, 51) / 50
    >>> bounds = likelihood_bounds(jax.random.key(1), model, params, x, times, exact=exact)
    >>> found = likelihood_bracket(bounds)
    >>> found.doubts, bool(found.lower < found.upper + 3 * found.upper_error < 0)
    ((), True)
    """
    model.check(data)
    check_dynamics(dynamics)
    times = check_whole_schedule(times)
    for name, value in (("num_walkers", num_walkers), ("num_replicates", num_replicates)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}")
    data = jnp.asarray(data)
    expected = (data.shape[0], *model.noise_shape)
    if exact is not None and jnp.shape(exact) != expected:
        raise ValueError(
            f"exact must be one posterior sample an observation, shape {expected}; got "
            f"{jnp.shape(exact)}"
        )
    counts = num_replicates, num_walkers
    return _likelihood_bounds(rng_key, model, params, data, times, dynamics, counts, exact)


@compiled_once
def _likelihood_bounds(
    rng_key: PRNGKey,
    model: LatentModel,
    params: Params,
    data: Array,
    times: Array,
    dynamics: Dynamics,
    counts: tuple[int, int],
    exact: Array | None,
) -> LogPartitionBounds:
    dtype = noise_dtype(params, data)

    def of_one(inputs: tuple[PRNGKey, Array, Array | None]) -> LogPartitionBounds:
        key, x, exact = inputs
        key_start, key_run = jax.random.split(key)
        shape = (*counts, *model.noise_shape)
        positions = jax.random.normal(key_start, shape, dtype)
        relaxed = None if exact is None else jnp.broadcast_to(exact, shape)
        path = tempering_path(log_normal, lambda noise: model.log_weight(params, x, noise))
        return log_partition_bounds(
            key_run, positions, path, 0.0, dynamics, relaxed=relaxed, times=times
        )

    keys = jax.random.split(rng_key, data.shape[0])
    return jax.lax.map(of_one, (keys, data, exact), batch_size=min(_BLOCK, data.shape[0]))


def likelihood_bracket(bounds: LogPartitionBounds, tolerance: float = 0.5) -> Bracket:
    """Sum up the mean of log p(x) over observations, in nats, and judge it.

    The upper bound is that from exact samples alone if there are some, else that from the
    forward runs' end points. Its doubts are those of
    :func:`jarzynski_jax.free_energy.log_partition_bracket`, of the mean over observations;
    ``test_error`` is the standard error of that mean over them; the errors of the bounds are
    those of their runs and, from exact samples, of which sample each observation has.

    Parameters
    ----------
    bounds
        From :func:`likelihood_bounds`.
    tolerance
        How far apart the bounds may be, nats an observation.
    """
    check_known("latent.likelihood_bracket", bounds)
    values = np.asarray(bounds.forward, np.float64).mean(axis=1)
    pooled = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64).mean(axis=0), bounds)
    pooled = pooled._replace(end_points=np.asarray(bounds.end_points)[0])
    if bounds.backward_from_relaxed is not None:
        # Exact samples need no second opinion, and all of a replicate's walkers start there.
        pooled = pooled._replace(
            backward=pooled.backward_from_relaxed,
            backward_from_relaxed=None,
            backward_info=pooled.relaxed_info,
            relaxed_info=None,
        )
    pooled = pooled._replace(
        forward_info=_by_majority(pooled.forward_info),
        backward_info=_by_majority(pooled.backward_info),
    )
    found = log_partition_bracket(pooled, tolerance)
    upper_error = _error_of_replicates(bounds.backward)
    if bounds.backward_from_relaxed is not None:
        # Replicates share their start, so that only observations tell how these differ.
        upper_error = _error_of_mean(np.asarray(bounds.backward_from_relaxed).mean(1) - values)
    return found._replace(
        lower_error=_error_of_replicates(bounds.forward),
        upper_error=upper_error,
        test_error=_error_of_mean(values),
    )


def _error_of_mean(values: np.ndarray) -> float:
    if len(values) == 1:
        return math.inf
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


def _error_of_replicates(estimates: Array) -> float:
    """Of the mean over n observations and R replicates; n (R - 1) degrees of freedom."""
    values = np.asarray(estimates, np.float64)
    if values.shape[1] == 1:
        return math.inf
    return float(np.sqrt(np.mean(np.var(values, axis=1, ddof=1)) / values.size))


def _by_majority(info: AnnealingInfo | None) -> Any:
    """Resampled is what most observations' walkers were."""
    return None if info is None else info._replace(is_resampled=info.is_resampled > 0.5)
