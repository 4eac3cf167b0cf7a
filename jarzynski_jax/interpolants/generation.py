"""Samples from a velocity: by an ODE, by an SDE, or weighted, without an error of the step."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax.annealing import Path, anneal, check_times
from jarzynski_jax.generators.divergence import divergence
from jarzynski_jax.generators.drift import Diffusion, diffusion_at
from jarzynski_jax.interpolants.interpolant import FieldFn
from jarzynski_jax.kernels import escorted
from jarzynski_jax.kernels.arithmetic import check_positive
from jarzynski_jax.kernels.move import Move
from jarzynski_jax.kernels.step_info import WeightInfo
from jarzynski_jax.resampling import AdaptiveResampler
from jarzynski_jax.types import Array, LogDensityFn, PRNGKey, Scalar
from jarzynski_jax.walkers import Dynamics, Walkers

__all__ = [
    "generate_by_ode",
    "generate_by_sde",
    "generate_weighted",
    "transport_by_ode",
]


def generate_by_ode(positions: Array, velocity_fn: FieldFn, times: Array) -> Array:
    r"""Transport samples by :math:`\dot X = b(t, X)`, by Heun's method.

    From ``times[0]`` to ``times[-1]``, of shape ``(K + 1,)``: ascending or, from data to base,
    descending in [0, 1], else a ValueError. Positions have the shape ``(n, ...)``, the field is
    for one point, and the error is of second order in the steps.

    Examples
    --------
    >>> end = generate_by_ode(jnp.ones((1, 1)), lambda t, x: x, jnp.linspace(0, 1, 101))
    >>> round(float(end[0, 0]), 3)
    2.718
    """
    times = check_times(times)
    velocities = jax.vmap(velocity_fn, (None, 0))
    return _integrate(velocities, positions, times)


def transport_by_ode(
    positions: Array, logdensities: Array, velocity_fn: FieldFn, times: Array
) -> tuple[Array, Array]:
    r"""The same of samples with their log-density, :math:`\dot{\log\rho} = -\nabla\cdot b`.

    From the base it is the log-density of what is generated. From data back to the base, with
    log-densities of 0, the log-likelihood of the data is the base's log-density at the first of
    what is returned, less the second. The divergence is exact, of d derivatives a step and
    sample; log-densities, shape ``(n,)``, carry the error of the steps, as positions do.
    ValueError if shapes do not fit, or as of :func:`generate_by_ode`.

    Examples
    --------
    >>> x, logdensity = transport_by_ode(
    ...     jnp.ones((1, 2)), jnp.zeros(1), lambda t, x: -x, jnp.linspace(0, 1, 101)
    ... )
    >>> round(float(logdensity[0]), 3)  # shrinks by e in each of two directions
    2.0
    """
    times = check_times(times)
    if positions.ndim < 1 or logdensities.shape != positions.shape[:1]:
        raise ValueError(
            f"logdensities must have shape {positions.shape[:1]}, one a sample; got "
            f"{logdensities.shape}"
        )

    def rates(t: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        velocity, of_velocity = divergence(partial(velocity_fn, t), state[0])
        return velocity, -of_velocity

    return _integrate(jax.vmap(rates, (None, 0)), (positions, logdensities), times)


def _integrate(rates: Callable[[Array, Any], Any], state: Any, times: Array) -> Any:
    """Heun's method."""

    def step(state: Any, interval: tuple[Array, Array]) -> tuple[Any, None]:
        start, end = interval
        h = end - start
        first = rates(start, state)
        second = rates(end, jax.tree.map(lambda y, a: y + h * a, state, first))
        moved = jax.tree.map(lambda y, a, b: y + h * (a + b) / 2, state, first, second)
        return moved, None

    return jax.lax.scan(step, state, (times[:-1], times[1:]))[0]


def generate_by_sde(
    rng_key: PRNGKey,
    positions: Array,
    velocity_fn: FieldFn,
    score_fn: FieldFn,
    times: Array,
    diffusion: Scalar,
) -> Array:
    r"""Generate by :math:`dX = (b + \varepsilon s)\,dt + \sqrt{2\varepsilon}\,dW`, by Euler.

    As :func:`generate_by_ode`, forward only, with ε > 0. The error is of first order in the
    steps; :func:`generate_weighted` would remove it.

    Examples
    --------
    >>> still, score = (lambda t, x: 0 * x), (lambda t, x: -x)
    >>> x = jax.random.normal(jax.random.key(0), (2000, 1))
    >>> times = jnp.linspace(0, 1, 101)
    >>> end = generate_by_sde(jax.random.key(1), x, still, score, times, 1.0)
    >>> bool(abs(jnp.var(end) - 1) < 0.15)
    True
    """
    times = check_times(times, is_ascending=True)
    check_positive("diffusion", diffusion)
    velocities, scores = (jax.vmap(field, (None, 0)) for field in (velocity_fn, score_fn))

    def step(x: Array, inputs: tuple[PRNGKey, Array, Array]) -> tuple[Array, None]:
        key, start, end = inputs
        h, epsilon = end - start, jnp.asarray(diffusion, x.dtype)
        drift = velocities(start, x) + epsilon * scores(start, x)
        noise = jax.random.normal(key, x.shape, x.dtype)
        return x + h * drift + jnp.sqrt(2 * h * epsilon) * noise, None

    keys = jax.random.split(rng_key, times.shape[0] - 1)
    return jax.lax.scan(step, positions, (keys, times[:-1], times[1:]))[0]


def generate_weighted(
    rng_key: PRNGKey,
    positions: Array,
    path: Path,
    velocity_fn: FieldFn,
    times: Array,
    diffusion: Diffusion,
    resampler: AdaptiveResampler,
) -> Walkers:
    r"""Generate by the SDE, with weights that make it exact at any step (Proposition 4.1.1).

    The positions are exact, independent samples of ``path(times[0])``, and the score is the
    gradient of the path's log-density. Whatever b is, the walkers are properly weighted for
    ``path(times[-1])``, with log Z relative to that of ``path(times[0])``; the better b
    transports the path, the more equal they are. The diffusion ε may be a function of time, of
    each step's end. ValueError if the times do not ascend in [0, 1], or ε is not positive.

    Examples
    --------
    >>> from jarzynski_jax import walkers
    >>> from jarzynski_jax.resampling import adaptive, systematic
    >>> path = lambda t: lambda x: -jnp.sum(jnp.square(x - 3 * t)) / 2
    >>> x = jax.random.normal(jax.random.key(0), (1000, 1))
    >>> end = generate_weighted(
    ...     jax.random.key(1), x, path, lambda t, x: 3 * jnp.ones_like(x),
    ...     jnp.linspace(0, 1, 21), 1.0, adaptive(systematic, 0.5),
    ... )
    >>> float(abs(walkers.log_partition_function(end))) < 0.1
    True
    """
    times = check_times(times, is_ascending=True)
    if not callable(diffusion):
        check_positive("diffusion", diffusion)
    # The path is asked for no time outside of them, where it may not make sense.
    between = Partial(_path_between, path, times[0], times[-1])
    # Times are arrays: as leaves of a Partial they are not compiled into the program.
    start_velocity = Partial(velocity_fn, times[0])
    move = Move(
        Partial(escorted.init, velocity_fn=start_velocity),
        Partial(_escorted_move, velocity_fn, diffusion),
    )
    dynamics = Dynamics(move, 1, resampler)
    start = walkers_lib.init(positions, path(times[0]), dynamics.kernel_init)
    step_args = times[1:], jnp.diff(times)
    return anneal(rng_key, start, between, times[1:], dynamics, step_args)[0]


def _path_between(path: Path, first: Array, last: Array, time: Array) -> LogDensityFn:
    return path(jnp.clip(time, first, last))


def _escorted_move(
    velocity_fn: FieldFn,
    diffusion: Diffusion,
    rng_key: PRNGKey,
    state: escorted.EscortedState,
    logdensity_fn: LogDensityFn,
    time: Array,
    step_size: Array,
) -> tuple[escorted.EscortedState, WeightInfo]:
    velocity = partial(velocity_fn, time)
    kernel = escorted.build_kernel()
    epsilon = diffusion_at(diffusion, time)
    return kernel(rng_key, state, logdensity_fn, velocity, step_size, epsilon)
