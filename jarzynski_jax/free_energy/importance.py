r"""Importance sampling from a model with a known density: log Z, observables, missing modes.

A sample x of a normalised model q has the log-weight
:math:`A = \log\tilde p(x) - \log q(x)`, where :math:`Z = \int\tilde p`. With
:math:`w = e^A / Z`,

.. math:: \hat Z = \overline{e^A}\ (x \sim q), \qquad
    \langle O\rangle \approx \frac{\overline{O e^A}}{\overline{e^A}}\ (x \sim q), \qquad
    1/\hat Z_p = \overline{e^{-A}}\ (x \sim p).

:math:`E\log\hat Z \le \log Z \le E\log\hat Z_p`, so samples of the target bound log Z from
above (and :math:`F = -\log Z/\beta` from below). For an observable that contains the partition
function, :math:`g + c\log Z`, the delta method gives the variance of the estimate,

.. math:: \tfrac1N E_q\big[(w\,(g - \langle g\rangle) + c\,(w - 1))^2\big].

Where the model misses modes of the target, as it may with the best of effective sample sizes,
:math:`\hat Z` is too small by the mass m that it covers, and :math:`\hat Z_p` is not: their
ratio :math:`\hat w = \hat Z/\hat Z_p` tends to m, 1 for a model that covers all.

References: Nicoli, Nakajima, Strodthoff, Samek, Müller and Kessel, *Phys. Rev. E* 101 (2020)
023304; Nicoli et al., *Phys. Rev. D* 108 (2023) 114501.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.checks import check_known
from jarzynski_jax.formatting import disbelief, format_with_error
from jarzynski_jax.free_energy.doubts import doubts_of_importance, doubts_of_rounding
from jarzynski_jax.free_energy.pareto import pareto_shape
from jarzynski_jax.free_energy.work_values import Estimate, negative, shift
from jarzynski_jax.types import Array, Scalar
from jarzynski_jax.weights import (
    as_log_weights,
    effective_sample_size,
    log_mean_exp,
    normalize,
    relative_error,
    weighted_mean,
)

__all__ = [
    "ImportanceEstimate",
    "ThermodynamicEstimates",
    "forward_effective_sample_size",
    "importance_estimate",
    "observable",
    "thermodynamics",
]


class ImportanceEstimate(NamedTuple):
    r"""What samples of a model, and of its target, tell about log Z; ``print`` shows it.

    log_partition_function
        From the model's samples, in nats: too small on average.
    upper
        From the target's samples, too large on average; None without them.
    log_coverage
        :math:`\log\hat w`, their difference: the logarithm of the share of the target that the
        model covers. None without the target's samples.
    effective_sample_size
        Of the model's samples, a fraction; it does not see what they miss.
    forward_effective_sample_size
        The same, :math:`1/E_p[w]`, from the target's samples, which do see it; None without.
    largest_share
        Of the whole weight, that of one sample of the model.
    pareto_shape
        Of the largest weights of the model's samples; see
        :func:`~jarzynski_jax.free_energy.pareto_shape`.
    doubts
        Why the estimate is not to be believed; empty if there is no reason.
    """

    log_partition_function: Estimate
    upper: Estimate | None
    log_coverage: Estimate | None
    effective_sample_size: Array
    forward_effective_sample_size: Array | None
    largest_share: Array
    pareto_shape: Array
    doubts: tuple[str, ...]

    def __str__(self) -> str:
        """Log Z from either side, and a line for each doubt."""
        values = [self.log_partition_function, self.upper]
        sides = [
            format_with_error(float(of.value), float(of.standard_error))
            for of in values
            if of is not None
        ]
        return "\n".join([f"log Z {' to '.join(sides)} nats", *map(disbelief, self.doubts)])


class ThermodynamicEstimates(NamedTuple):
    """Estimates with their errors, of the whole system, Boltzmann's constant 1."""

    free_energy: Estimate
    energy: Estimate
    entropy: Estimate
    heat_capacity: Estimate


def importance_estimate(
    model_log_weights: Array | np.ndarray,
    target_log_weights: Array | np.ndarray | None = None,
    *,
    integrated_autocorrelation_time: float = 0.5,
) -> ImportanceEstimate:
    r"""Estimate log Z by samples of a model; bound it by samples of the target, if there are.

    Log-weights are :math:`\log\tilde p - \log q` in either case, shapes ``(n,)`` and ``(m,)``
    with n, m ≥ 2, of a normalised q. So are those of walkers that were annealed without
    resampling, A forward and minus A of a run back from the target, for whole paths.

    Its doubts are values that are no log-weights; one sample with a tenth of the weight; and
    largest weights with a Pareto shape with which a mean is not reliable, of 250 samples on;
    and a log Z that is rounded by more than its error. Offsets of weights that are not JAX's
    are taken off in float64.
    Without samples of the target nobody can tell what the model misses. With them they are also
    a share of the target that is not covered; more than all of it covered (the samples are not
    the target's); and an error that is twice as large as the one stated,
    :math:`\sqrt{(E_p[w] - 1)/n}`, a weight of the target's samples counting as n at most. A
    ValueError inside ``jax.jit`` or ``jax.vmap``: it looks at values.

    Parameters
    ----------
    integrated_autocorrelation_time
        :math:`\tau = \frac12 + \sum_t \rho(t)` of the target's samples, if they are a chain:
        the variance is :math:`2\tau` times that of independent ones.

    Examples
    --------
    >>> import jax
    >>> x, y = jax.random.normal(jax.random.key(0), (2, 4000))  # e^(-x²/2) by N(0, 4/3)
    >>> log_weights = lambda x: -(x**2) / 8 + jnp.log(2 * jnp.pi * 4 / 3) / 2
    >>> found = importance_estimate(log_weights(x * (4 / 3) ** 0.5), log_weights(y))
    >>> exact = jnp.log(2 * jnp.pi) / 2
    >>> bool(abs(found.log_partition_function.value - exact) < 0.02), found.doubts
    (True, ())
    """
    check_known("free_energy.importance_estimate", (model_log_weights, target_log_weights))
    if not 0 < integrated_autocorrelation_time < math.inf:
        raise ValueError(
            "integrated_autocorrelation_time must be positive and finite; "
            f"got {integrated_autocorrelation_time}"
        )
    offset, weights, of_target = _without_offset(model_log_weights, target_log_weights)
    shares = normalize(weights)
    log_z = Estimate(log_mean_exp(weights), relative_error(shares))
    upper, coverage, forward = None, None, None
    if of_target is not None:
        error = relative_error(normalize(-of_target))
        error *= math.sqrt(2 * integrated_autocorrelation_time)
        upper = negative(Estimate(log_mean_exp(-of_target), error))
        coverage = Estimate(
            log_z.value - upper.value, jnp.hypot(log_z.standard_error, upper.standard_error)
        )
        forward = forward_effective_sample_size(of_target)
    found = ImportanceEstimate(
        log_z,
        upper,
        coverage,
        effective_sample_size(weights),
        forward,
        jnp.max(shares),
        pareto_shape(weights),
        (),
    )
    back = None if of_target is None else np.asarray(of_target)
    doubts = doubts_of_importance(found, np.asarray(weights), back)
    found = found._replace(
        log_partition_function=shift(log_z, offset),
        upper=None if upper is None else shift(upper, offset),
    )
    doubts += doubts_of_rounding("log Z", found.log_partition_function)
    return found._replace(doubts=tuple(doubts))


def _without_offset(of_model: Any, of_target: Any | None) -> tuple[float, Array, Array | None]:
    """The largest log-weight of the model's samples, and all less it, in float64 till then."""
    names = {"model_log_weights": of_model, "target_log_weights": of_target}
    values = {name: np.asarray(of) for name, of in names.items() if of is not None}
    for name, of in values.items():
        if of.ndim != 1 or len(of) < 2:
            raise ValueError(f"{name} must have shape (n,) with n ≥ 2; got {of.shape}")
    largest = float(np.max(values["model_log_weights"]))
    offset = largest if math.isfinite(largest) else 0.0
    dtype = jax.dtypes.canonicalize_dtype(values["model_log_weights"].dtype)
    dtype = jnp.promote_types(dtype, jnp.float32)
    shifted = [jnp.asarray(of.astype(np.float64) - offset, dtype) for of in values.values()]
    return offset, shifted[0], None if of_target is None else shifted[1]


def forward_effective_sample_size(target_log_weights: Array) -> Array:
    r"""Effective sample size of a model by samples of its target, a fraction.

    :math:`1/E_p[w] = 1/E_q[w^2]`, estimated by
    :math:`1/(\overline{e^A}\;\overline{e^{-A}})` over samples of the target. It is small where
    the model misses a mode.

    Examples
    --------
    >>> float(forward_effective_sample_size(jnp.array([5.0, 5.0])))
    1.0
    """
    weights = as_log_weights(target_log_weights)
    return jnp.exp(-log_mean_exp(weights) - log_mean_exp(-weights))


def observable(log_weights: Array, values: Array, log_z_factor: Scalar = 0.0) -> Estimate:
    r"""Estimate :math:`\langle g\rangle + c\log Z` by samples of a model, with its error.

    Log-weights and values g are of shape ``(n,)``, n ≥ 2. With c = 0 it is the self-normalised
    mean; the entropy is :math:`g = \beta H` with c = 1. The error is the delta method's, the
    bias of order 1/n. Values of dead samples do not enter.

    Examples
    --------
    >>> found = observable(jnp.zeros(4), jnp.array([1.0, 3.0, 1.0, 3.0]))
    >>> float(found.value), round(float(found.standard_error), 4)
    (2.0, 0.5774)
    """
    weights = _at_least_two(log_weights, "log_weights")
    if jnp.shape(values) != weights.shape:
        raise ValueError(
            f"values must have shape {weights.shape}, one a sample; got {jnp.shape(values)}"
        )
    mean = weighted_mean(weights, values)
    influences = _influences(weights, jnp.asarray(values) - mean, log_z_factor)
    return Estimate(mean + log_z_factor * log_mean_exp(weights), _error(influences))


def thermodynamics(
    log_weights: Array, energies: Array, inverse_temperature: Scalar
) -> ThermodynamicEstimates:
    r"""Free energy, energy, entropy and heat capacity by samples of a model, with their errors.

    For :math:`\tilde p = e^{-\beta H}`: :math:`F = -\log Z/\beta`,
    :math:`U = \langle H\rangle`, :math:`S = \beta U + \log Z` and
    :math:`C = \beta^2(\langle H^2\rangle - U^2)`. Energies H are of shape ``(n,)``, without β.
    Errors are as of :func:`observable`.

    Examples
    --------
    >>> log_weights = jnp.full(4, jnp.log(4.0))  # four states of energy 0, by a uniform model
    >>> found = thermodynamics(log_weights, jnp.zeros(4), 1.0)
    >>> round(float(found.entropy.value), 4), float(found.heat_capacity.value)
    (1.3863, 0.0)
    """
    weights = _at_least_two(log_weights, "log_weights")
    energies = jnp.asarray(energies)
    beta = inverse_temperature
    energy = observable(weights, energies)
    square = jnp.square(energies - energy.value)
    # That U is estimated too shifts the variance by second order alone.
    variance = observable(weights, square)
    return ThermodynamicEstimates(
        observable(weights, jnp.zeros_like(energies), -1 / beta),
        energy,
        observable(weights, beta * energies, 1.0),
        Estimate(beta**2 * variance.value, beta**2 * variance.standard_error),
    )


def _influences(log_weights: Array, deviations: Array, log_z_factor: Scalar) -> Array:
    """By how much each sample moves the estimate, times n; of sum 0."""
    weights = normalize(log_weights) * log_weights.shape[0]
    of_values = jnp.where(weights == 0, 0, weights * deviations)
    return of_values + log_z_factor * (weights - 1)


def _error(influences: Array) -> Array:
    size = influences.shape[0]
    return jnp.sqrt(jnp.sum(jnp.square(influences)) / size / (size - 1))


def _at_least_two(log_weights: Array, name: str) -> Array:
    log_weights = as_log_weights(log_weights)
    if log_weights.shape[0] < 2:
        raise ValueError(f"{name} must have shape (n,) with n ≥ 2; got {log_weights.shape}")
    return log_weights
