"""What an ensemble says of log Z, and its standard error."""

import jax
import jax.numpy as jnp

from jarzynski_jax import weights
from jarzynski_jax.types import Array
from jarzynski_jax.walkers.ensemble import Walkers

__all__ = [
    "log_partition_function",
    "log_partition_function_error",
]


def log_partition_function(walkers: Walkers) -> Array:
    r"""Estimate of log Z, :math:`\log Z_0 + \log \frac1N \sum_i e^{A_i}`, in nats.

    The estimate of Z is unbiased; that of log Z is too low on average. It holds for walkers
    that had no influence on the path of targets: of walkers by which a model was trained it
    is biased, and it may be far off.

    Examples
    --------
    >>> from jarzynski_jax import walkers
    >>> from jarzynski_jax.kernels import ula
    >>> ensemble = walkers.init(jnp.ones(3), lambda x: -(x**2) / 2, ula.init, 2.0)
    >>> float(walkers.log_partition_function(ensemble))
    2.0
    """
    return walkers.initial_log_partition_function + weights.log_mean_exp(walkers.log_weights)


def log_partition_function_error(walkers: Walkers) -> Array:
    r"""Standard error of :func:`log_partition_function`, from this one ensemble, in nats.

    Walkers of one root share their past, and only the roots are independent. With
    :math:`P_r` the sum of the normalised weights of the walkers that descend from root r,

    .. math:: {\rm error}^2 = \frac{N \sum_r P_r^2 - 1}{N - 1},

    the relative variance of :math:`\hat Z`: without resampling the sample variance of the
    weights; after it, the error that was there before stays, though the weights are equal
    again. That families grow and shrink by the chance of resampling itself counts as error
    too: hardly with systematic resampling, more with stratified; with multinomial resampling
    the error comes out up to twice too large.

    What was lost at walls (``walkers.leakage``) is added in squares: a bias, not a spread, but
    log Z is not known better than that.

    Near 1 a single root is left, the walkers know nothing of their spread any more, and
    log Z is not to be believed. And no walker knows of a mode that none has visited.

    Like the estimate it belongs to, it holds for walkers that had no influence on the path of
    targets. References: Chan and Lai, *Annals of Statistics* 41 (2013) 2877; Lee and Whiteley,
    *Biometrika* 105 (2018) 609. In [0, 1] where no walker was lost; NaN if none is alive. Not
    for a block of a pool, whose roots are all over the pool: NaN where that shows.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from jarzynski_jax import walkers
    >>> from jarzynski_jax.kernels import ula
    >>> ensemble = walkers.init(jnp.ones(4), lambda x: -(x**2) / 2, ula.init)
    >>> ensemble = ensemble._replace(log_weights=jnp.log(jnp.array([1.0, 1.0, 0.0, 0.0])))
    >>> round(float(walkers.log_partition_function_error(ensemble)), 4)  # sqrt(1/3)
    0.5774
    """
    num_walkers = walkers.log_weights.shape[0]
    families = jax.ops.segment_sum(
        weights.normalize(walkers.log_weights), walkers.roots, num_walkers
    )
    is_whole = jnp.max(walkers.roots) < num_walkers
    error = jnp.hypot(weights.relative_error(families), walkers.leakage)
    return jnp.where(is_whole, error, jnp.nan)
