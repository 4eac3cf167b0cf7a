r"""A step size for data of which there is no model yet: that of a pilot, a Gaussian mixture.

Steps must be short where the data are narrow: along a bent curve, or within a class. One
Gaussian fitted to all of them tells their width as a whole, and steps as long as it allows have
been 15 times too long for two crescents. A mixture of Gaussians is as narrow as the data are,
noise included, and has exact samples; on these a step size is tuned as on those of any target.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from jarzynski_jax import weights
from jarzynski_jax.annealing import find_step_size
from jarzynski_jax.app.baselines import choose_mixture
from jarzynski_jax.types import Array, LogDensityFn
from jarzynski_jax.walkers import Dynamics

__all__ = ["find_pilot_step_size"]

_CANDIDATES = (1, 2, 5, 10, 20)
# Of many features full covariances take long to fit, and many data.
_FEW_CANDIDATES, _MANY_FEATURES = (1, 5, 10), 100
_MAX_DATA = 5000
_NUM_SAMPLES = 1000
_SEED = 0


def find_pilot_step_size(
    data: np.ndarray, noise_scale: float, dynamics: Dynamics, target: float = 0.998
) -> float:
    """Find the step size with which one move is of the wanted quality among data with noise.

    Parameters
    ----------
    data
        Without the noise, shape ``(n, ...)``; of more than 5000 samples, a random part.
    noise_scale
        σ of the Gaussian noise added to them, not negative.
    dynamics
        How walkers move; its own step size, the first argument of the move, does not matter.
    target
        The effective sample size that one move leaves of equally weighted samples of the
        mixture, a fraction.

    Examples
    --------
    >>> from jarzynski_jax.walkers import langevin
    >>> rng = np.random.default_rng(0)
    >>> narrow = rng.choice([-5.0, 5.0], size=(500, 1)) + 0.1 * rng.normal(size=(500, 1))
    >>> wide = rng.normal(0, 5, size=(500, 1))
    >>> ratio = [find_pilot_step_size(x, 0.1, langevin(1.0)) for x in (wide, narrow)]
    >>> bool(ratio[0] > 100 * ratio[1])
    True
    """
    flat = np.asarray(data, np.float64).reshape(len(data), -1)
    if len(flat) > _MAX_DATA:
        flat = np.random.default_rng(_SEED).choice(flat, _MAX_DATA, replace=False)
    candidates = _CANDIDATES if flat.shape[1] <= _MANY_FEATURES else _FEW_CANDIDATES
    mixture = choose_mixture(flat, noise_scale, candidates, _SEED)
    samples, _ = mixture.sample(_NUM_SAMPLES)
    shape = np.shape(data)[1:]
    found = find_step_size(
        jax.random.key(_SEED),
        jnp.asarray(samples.reshape(-1, *shape), jnp.result_type(float)),
        _logdensity(mixture),
        dynamics.move._replace(args=dynamics.move.args[1:]),
        target=target,
        measure=weights.effective_sample_size,
    )
    return float(found.step_size)


def _logdensity(mixture: Any) -> LogDensityFn:
    """Of scikit-learn's mixture, as a function of JAX."""
    factors = jnp.asarray(mixture.precisions_cholesky_)
    means = jnp.asarray(mixture.means_)
    log_volumes = jnp.sum(jnp.log(jax.vmap(jnp.diag)(factors)), axis=1)
    log_scales = jnp.log(jnp.asarray(mixture.weights_)) + log_volumes

    def logdensity_fn(x: Array) -> Array:
        whitened = jnp.einsum("ki,kij->kj", jnp.ravel(x) - means, factors)
        return logsumexp(log_scales - jnp.sum(jnp.square(whitened), axis=1) / 2)

    return logdensity_fn
