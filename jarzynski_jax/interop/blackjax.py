r"""BlackJAX as a partner: its kernels move our walkers, ours move its particles.

Our kernels have BlackJAX's signatures, so ``run_inference_algorithm`` and ``thin_kernel`` take
them as they are, and resamplers go both ways. What needs care is SMC: BlackJAX weighs particles
by end points alone, which is right for kernels that leave their target invariant and wrong for
any other. :func:`weighted_update` gives it the exact weights.

This is the only module that knows BlackJAX; written against 1.7.1.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from blackjax.mcmc import elliptical_slice as bj_elliptical_slice
from blackjax.smc.base import SMCInfo, SMCState

from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax.checks import (
    accepts,
    argument_names,
    check_fields,
    check_kernel,
    check_kernel_init,
    check_resampler,
)
from jarzynski_jax.kernels import invariant
from jarzynski_jax.kernels.arithmetic import is_lost
from jarzynski_jax.resampling import AdaptiveResampler
from jarzynski_jax.types import (
    Array,
    ArrayTree,
    Kernel,
    KernelInit,
    LogDensityFn,
    Position,
    PRNGKey,
)
from jarzynski_jax.weights import log_mean_exp, normalize

__all__ = ["elliptical_slice", "invariant_kernel", "weighted_update"]


def invariant_kernel(algorithm: Any, **options: Any) -> Kernel:
    """Make one of BlackJAX's samplers a kernel for our walkers.

    The kernel goes with ``invariant.init``; what the sampler takes beside the target follows
    it, in the sampler's order or by name, unless options gave it. ValueError if the algorithm
    does not fit, it is elliptical slice sampling, or it has no such option.

    Parameters
    ----------
    algorithm
        ``blackjax.mala``, ``blackjax.hmc``, ``blackjax.nuts``, ``blackjax.rmh``, or another
        that leaves its target invariant, with ``init(position, logdensity_fn)`` and
        ``build_kernel()``. Samplers whose ``init`` takes more (GHMC, dynamic HMC) do not fit,
        and those that leave a target invariant only for small steps (SGLD, MCLMC) must not be
        used.
    **options
        For its ``build_kernel``, and what the sampler takes beside the target, such as
        ``step_size``, by its name there.

    Examples
    --------
    >>> import blackjax
    >>> from jarzynski_jax.interop import blackjax as adapters
    >>> kernel, target = adapters.invariant_kernel(blackjax.mala), lambda x: -(x**2) / 2
    >>> state = invariant.init(jnp.array(1.0), target)
    >>> state, info = kernel(jax.random.key(0), state, target, 0.1)
    >>> float(info.log_weight_increment)
    0.0
    """
    for name in ("init", "build_kernel"):
        if not callable(getattr(algorithm, name, None)):
            raise ValueError(
                f"a BlackJAX sampler must have a function {name!r}; {algorithm!r} has none"
            )
    if algorithm.init is bj_elliptical_slice.init:
        raise ValueError(
            "BlackJAX's elliptical slice sampler takes a likelihood, not a target; use "
            "jarzynski_jax.interop.blackjax.elliptical_slice(mean, covariance)"
        )
    if not accepts(algorithm.init, 2):
        raise ValueError(
            "a BlackJAX sampler must start by init(position, logdensity_fn), as MALA, HMC "
            "and NUTS do; the init of this one takes "
            f"({', '.join(argument_names(algorithm.init))}), so it does not fit"
        )
    to_build = set(options) & set(argument_names(algorithm.build_kernel))
    kernel = algorithm.build_kernel(**{name: options[name] for name in to_build})
    parameters = {name: value for name, value in options.items() if name not in to_build}
    known = argument_names(kernel)[3:]
    if not set(parameters) <= set(known):
        raise ValueError(
            f"this BlackJAX sampler takes the options {argument_names(algorithm.build_kernel)} "
            f"where its kernel is built and {known} where it moves; got {sorted(options)}"
        )
    return invariant.build_kernel(algorithm.init, partial(kernel, **parameters))


class _EllipticalState(NamedTuple):
    position: ArrayTree
    logdensity: Array


def elliptical_slice(mean: Array, covariance: Array) -> Kernel:
    r"""Elliptical slice sampling as a kernel for our walkers.

    It applies where the target is a Gaussian prior :math:`N(m, \Sigma)` times a likelihood,
    with Σ of shape ``(d, d)`` or its diagonal; the targets of the kernel are whole
    log-densities, from which the prior is taken off. It goes with ``invariant.init`` and has no
    other argument.

    Examples
    --------
    >>> from jarzynski_jax.interop import blackjax as adapters
    >>> from jarzynski_jax.kernels import invariant
    >>> kernel = adapters.elliptical_slice(jnp.zeros(2), jnp.ones(2))
    >>> target = lambda x: -jnp.sum(x**2) / 2 - jnp.sum((x - 1) ** 2)
    >>> state = invariant.init(jnp.zeros(2), target)
    >>> state, _ = kernel(jax.random.key(0), state, target)
    >>> bool(jnp.isclose(state.logdensity, target(state.position)))
    True
    """
    mean, covariance = jnp.asarray(mean), jnp.asarray(covariance)
    matrix = jnp.diag(covariance) if covariance.ndim == 1 else covariance
    factor = jnp.linalg.cholesky(matrix)
    kernel = bj_elliptical_slice.build_kernel(matrix, mean)

    def log_prior(x: Array) -> Array:
        deviation = jax.scipy.linalg.solve_triangular(factor, x - mean, lower=True)
        return -jnp.sum(jnp.square(deviation)) / 2

    def init(position: Position, logdensity_fn: LogDensityFn) -> _EllipticalState:
        return _EllipticalState(position, logdensity_fn(position))

    def step(
        rng_key: PRNGKey, state: _EllipticalState, logdensity_fn: LogDensityFn
    ) -> tuple[_EllipticalState, Any]:
        def log_likelihood(x: Array) -> Array:
            return logdensity_fn(x) - log_prior(x)

        start = bj_elliptical_slice.init(state.position, log_likelihood)
        moved, info = kernel(rng_key, start, log_likelihood)
        logdensity = moved.logdensity + log_prior(moved.position)
        return _EllipticalState(moved.position, logdensity), info

    return invariant.build_kernel(init, step)


class UpdateInfo(NamedTuple):
    """What an update of particles tells besides: how they were resampled, and what was lost."""

    resampling: walkers_lib.ResampleInfo
    leakage: Array


def weighted_update(
    kernel_init: KernelInit, kernel: Kernel, resampler: AdaptiveResampler
) -> Callable:
    r"""Make an ``update_particles_fn`` for ``tempered_smc`` and ``adaptive_tempered_smc``.

    Particles move by a kernel of ours under the present target and are weighed exactly, for the
    time step too; then under the next target, as BlackJAX does. Weights are carried from step
    to step, and particles are resampled on the shadow weight when that has degenerated. The sum
    of ``log_likelihood_increment`` is then the logarithm of an unbiased estimate of the
    evidence, where prior and likelihood are positive. (BlackJAX's adaptive schedule looks at
    particles without their weights; with it the estimate is consistent.) Where a likelihood is
    zero BlackJAX's density is NaN at a temper of 0 and particles die there, from where others
    would come back: what they had is told by ``update_info.leakage``, as of
    :class:`~jarzynski_jax.walkers.Walkers`; take
    :func:`~jarzynski_jax.annealing.tempering_path` then, or a floor. ValueError if this is no
    kernel, or the resampler has no threshold; of the update, if BlackJAX hands it other things
    than version 1.7.1 does.

    Parameters
    ----------
    kernel
        E.g. ``ula.build_kernel()``. ``mcmc_parameters`` of the SMC are its keyword arguments:
        arrays with a leading axis of 1, shared by all particles, or of N.

    Examples
    --------
    >>> import blackjax, jax, jax.numpy as jnp
    >>> from jarzynski_jax.interop import blackjax as adapters
    >>> from jarzynski_jax.kernels import ula
    >>> from jarzynski_jax.resampling import adaptive, systematic
    >>> smc = blackjax.tempered_smc(
    ...     lambda x: -(x**2) / 2, lambda x: -(x**2) / 2, None, None,
    ...     {"step_size": jnp.array([0.1])}, None, num_mcmc_steps=5,
    ...     update_particles_fn=adapters.weighted_update(
    ...         ula.init, ula.build_kernel(), adaptive(systematic, 0.5)
    ...     ),
    ... )
    >>> state = smc.init(jax.random.normal(jax.random.key(0), (1000,)))
    >>> state, info = smc.step(jax.random.key(1), state, 1.0)
    >>> bool(abs(info.log_likelihood_increment + jnp.log(2) / 2) < 0.1)
    True
    """
    check_kernel_init(kernel_init)
    check_kernel(kernel)
    check_resampler(resampler)
    _check_contract()

    def update(*args: Any, **kwargs: Any) -> tuple[SMCState, SMCInfo]:
        return _update(*_bind(args, kwargs))

    def _update(
        rng_key: PRNGKey,
        state: Any,
        num_mcmc_steps: int | Array,
        mcmc_parameters: Mapping[str, Array],
        logposterior_fn: LogDensityFn,
        log_weights_fn: LogDensityFn,
    ) -> tuple[SMCState, SMCInfo]:
        num_particles = state.weights.shape[0]
        shared, own = _split(mcmc_parameters, num_particles)
        start = walkers_lib.init(state.particles, logposterior_fn, kernel_init)
        # Mean weight one, so that the mean afterwards is the increment of the evidence.
        given = jnp.log(num_particles * state.weights).astype(start.log_weights.dtype)
        leakage = walkers_lib.lost_log_weight(given, jnp.isneginf(start.log_weights))
        ensemble = start._replace(log_weights=start.log_weights + given, leakage=leakage)
        key_move, key_resample = jax.random.split(rng_key)

        def move(index: Array, ensemble: walkers_lib.Walkers) -> walkers_lib.Walkers:
            keys = jax.random.split(jax.random.fold_in(key_move, index), num_particles)
            states, info = jax.vmap(
                lambda key, state, own: kernel(key, state, logposterior_fn, **shared, **own)
            )(keys, ensemble.state, own)
            check_fields(info, "info", "log_weight_increment")
            log_weights = ensemble.log_weights + info.log_weight_increment
            lost = walkers_lib.lost_log_weight(ensemble.log_weights, is_lost(info))
            leakage = ensemble.leakage + lost
            return ensemble._replace(state=states, log_weights=log_weights, leakage=leakage)

        ensemble = jax.lax.fori_loop(0, num_mcmc_steps, move, ensemble)
        increments = jax.vmap(log_weights_fn)(ensemble.position)
        increments = jnp.where(jnp.isnan(increments), -jnp.inf, increments)
        log_weights = ensemble.log_weights + increments.astype(ensemble.log_weights.dtype)
        ensemble, info = walkers_lib.resample(
            key_resample, ensemble._replace(log_weights=log_weights), resampler
        )
        # The roots of walkers that were started here are their ancestors.
        weights = normalize(ensemble.log_weights)
        return (
            SMCState(ensemble.position, weights, mcmc_parameters),
            SMCInfo(
                ensemble.roots,
                log_mean_exp(ensemble.log_weights),
                UpdateInfo(info, ensemble.leakage),
            ),
        )

    return update


# What is relied on; each is what BlackJAX 1.7.1 has.
_ARGUMENTS = (
    "rng_key",
    "state",
    "num_mcmc_steps",
    "mcmc_parameters",
    "logposterior_fn",
    "log_weights_fn",
)
_CONTRACT = {
    SMCState: ("particles", "weights", "update_parameters"),
    SMCInfo: ("ancestors", "log_likelihood_increment", "update_info"),
}


def _check_contract() -> None:
    for kind, expected in _CONTRACT.items():
        if kind._fields != expected:
            raise ValueError(
                f"BlackJAX 1.7.1's {kind.__name__} has the fields {expected}; this version's "
                f"has {kind._fields}"
            )


def _bind(args: tuple, kwargs: Mapping[str, Any]) -> tuple:
    """Put what BlackJAX hands over in order, or say what is not as it was."""
    given = {**dict(zip(_ARGUMENTS, args, strict=False)), **kwargs}
    if len(args) > len(_ARGUMENTS) or set(given) != set(_ARGUMENTS):
        raise ValueError(
            f"BlackJAX 1.7.1 calls update_particles_fn with {', '.join(_ARGUMENTS)}; this "
            f"version gave {len(args)} arguments by position and {sorted(kwargs)} by name"
        )
    for field in ("particles", "weights"):
        if not hasattr(given["state"], field):
            raise ValueError(
                f"BlackJAX 1.7.1 hands an SMC state with the field {field!r} to "
                "update_particles_fn; this one has "
                f"{getattr(given['state'], '_fields', given['state'])}"
            )
    weights = given["state"].weights
    if not isinstance(weights, jax.core.Tracer) and not bool(jnp.all(weights >= 0)):
        raise ValueError(
            "BlackJAX 1.7.1 hands normalised weights to update_particles_fn; these are "
            "negative or NaN"
        )
    return tuple(given[name] for name in _ARGUMENTS)


def _split(
    parameters: Mapping[str, Array], num_particles: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Split BlackJAX's parameters into those shared by all particles and those of each."""
    shared, own = {}, {}
    for name, value in parameters.items():
        size = jnp.shape(value)[:1]
        if size == (1,):
            shared[name] = value[0]
        elif size == (num_particles,):
            own[name] = value
        else:
            raise ValueError(
                f"mcmc_parameters[{name!r}] must have a leading axis of 1 or of "
                f"{num_particles}, the number of particles; got shape {jnp.shape(value)}"
            )
    return shared, own
