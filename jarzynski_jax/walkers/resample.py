"""Walkers are resampled on their shadow weight, and the dead are put where they can live."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax import weights
from jarzynski_jax.checks import check_resampler
from jarzynski_jax.resampling import AdaptiveResampler
from jarzynski_jax.types import Array, PRNGKey
from jarzynski_jax.walkers.ensemble import Walkers

__all__ = [
    "ResampleInfo",
    "relocate_dead",
    "resample",
    "shadow_log_weights",
]


class ResampleInfo(NamedTuple):
    """What :func:`resample` saw and did; effective sample sizes are before it, fractions of N.

    effective_sample_size
        Of the log-weights A: how good expectations are.
    shadow_effective_sample_size
        Of the shadow log-weights: what triggers the resampling.
    is_resampled
        Whether ancestors were drawn.
    is_dead
        Whether no walker had a usable weight, so that nothing could be drawn.
    """

    effective_sample_size: Array
    shadow_effective_sample_size: Array
    is_resampled: Array
    is_dead: Array


def shadow_log_weights(walkers: Walkers) -> Array:
    r"""Log-weights without the part that fluctuates with the position alone.

    :math:`\tilde A = A -` ``log_endpoint``. For ULA :math:`\tilde A` accumulates the
    trapezoidal work and :math:`A = \tilde A - \frac h4|\nabla\ell(x)|^2`. The endpoint factor
    never accumulates, and its spread grows with the dimension; resampling on it would
    remove walkers for nothing.
    """
    return walkers.log_weights - walkers.state.log_endpoint


def resample(
    rng_key: PRNGKey, walkers: Walkers, resampler: AdaptiveResampler
) -> tuple[Walkers, ResampleInfo]:
    r"""Resample on the shadow weight, if it has degenerated.

    Ancestors are drawn in proportion to :math:`e^{\tilde A}`; then :math:`\tilde A` is the
    logarithm of its mean, and each walker keeps its own endpoint factor, :math:`A = \tilde A +`
    ``log_endpoint``. This keeps :math:`E[\frac1N \sum_i f(X_i) e^{A_i}]` for every f. All of an
    ensemble or a block of it may be given. A dead ensemble stays as it is and is reported.
    ValueError if the resampler is a scheme alone, without a threshold.

    Parameters
    ----------
    resampler
        From :func:`jarzynski_jax.resampling.adaptive`: scheme, threshold and criterion.

    Examples
    --------
    >>> from jarzynski_jax import resampling, walkers
    >>> from jarzynski_jax.kernels import ula
    >>> ensemble = walkers.init(jnp.arange(4.0), lambda x: -(x**2) / 2, ula.init)
    >>> ensemble = ensemble._replace(log_weights=jnp.log(jnp.array([4.0, 0.0, 0.0, 0.0])))
    >>> resampler = resampling.adaptive(resampling.systematic, ess_threshold=0.5)
    >>> ensemble, info = walkers.resample(jax.random.key(0), ensemble, resampler)
    >>> ensemble.position.tolist(), bool(info.is_resampled)
    ([0.0, 0.0, 0.0, 0.0], True)
    """
    check_resampler(resampler)
    ancestors, shadow, info = resampler(rng_key, shadow_log_weights(walkers))
    # The gather is inside a branch: most steps do not resample and must not pay for it.
    state, roots = jax.lax.cond(
        info.is_resampled,
        lambda leaves: jax.tree.map(lambda leaf: leaf[ancestors], leaves),
        lambda leaves: leaves,
        (walkers.state, walkers.roots),
    )
    resampled = walkers._replace(
        state=state,
        roots=roots,
        log_weights=jnp.where(
            info.is_resampled, shadow + state.log_endpoint, walkers.log_weights
        ),
    )
    return resampled, ResampleInfo(
        weights.effective_sample_size(walkers.log_weights),
        weights.effective_sample_size(shadow_log_weights(walkers)),
        info.is_resampled,
        info.is_dead,
    )


def relocate_dead(walkers: Walkers) -> Walkers:
    """Put dead walkers where the heaviest living one stands; their weights stay 0.

    A walker of weight 0 may stand anywhere. Where it died its energy is not finite, and
    would make any sum over all walkers NaN, however small its weight. Now every energy is
    finite, unless all are dead.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from jarzynski_jax import walkers
    >>> from jarzynski_jax.kernels import ula
    >>> ensemble = walkers.init(jnp.array([1.0, -1.0]), jnp.log, ula.init)
    >>> ensemble = walkers.relocate_dead(ensemble)
    >>> ensemble.position.tolist(), ensemble.log_weights.tolist()
    ([1.0, 1.0], [0.0, -inf])
    """
    is_dead = ~jnp.isfinite(walkers.log_weights)
    heaviest = jnp.argmax(walkers.log_weights)

    def relocate(leaf: Array) -> Array:
        column = is_dead.reshape(is_dead.shape + (1,) * (leaf.ndim - 1))
        return jnp.where(column, leaf[heaviest], leaf)

    state = jax.lax.cond(
        jnp.any(is_dead),
        lambda state: jax.tree.map(relocate, state),
        lambda state: state,
        walkers.state,
    )
    return walkers._replace(state=state)
