r"""The path-integral cost as an objective: a drift learns the ground state.

Of the process :math:`dr = v\,dt + dB` and the Feynman-Kac measure of its paths

.. math:: \log\frac{dP_v}{dP_{FK}} = \ell_T - E_0 T
          + \log\frac{\phi_0(r_0)}{\phi_0(r_T)}, \qquad
          \ell_T = \int v\cdot dB + \int\left(\tfrac12|v|^2 + V\right)dt

so the cost :math:`E[\ell_T]/T` is at least :math:`E_0` of stationary walkers, and equal to it
for :math:`v = \nabla\log\phi_0`. The mean of :math:`\int v\cdot dB` is 0; it stays as a control
variate, with which the cost of the best drift varies by the ends of a path alone.

Reference: Barr, Gispen and Lamacraft, MSML 2020.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from jarzynski_jax.kernels.arithmetic import check_step_size
from jarzynski_jax.kernels.preconditioning import apply_factor, solve
from jarzynski_jax.quantum.hamiltonian import Hamiltonian, check_hamiltonian
from jarzynski_jax.training import Objective
from jarzynski_jax.training.gradient_descent import DescentState, descend, start
from jarzynski_jax.types import Array, Params, Position, PRNGKey

__all__ = ["PathIntegralMetrics", "PathIntegralState", "path_integral_cost"]

#: ``drift_fn(params, position) -> drift``, of the shape of a position.
DriftOfParams: TypeAlias = Callable[[Params, Position], Array]


class PathIntegralState(NamedTuple):
    """Number of updates, parameters, their optimizer's state, and where the walkers stand."""

    step: Array
    params: Params
    opt_state: Any
    positions: Array


class PathIntegralMetrics(NamedTuple):
    """What one update saw, by the parameters before it.

    loss
        The cost, an energy, without the boundary's correction.
    loss_deviation
        The standard deviation of the walkers' costs; small beside a good drift.
    gradient_norm
        Of the corrected cost.
    is_skipped
        Whether the cost or its gradient was not finite, so that no update was made.
    num_dead
        Walkers whose cost was not finite, left out, and put where another stands.
    """

    loss: Array
    loss_deviation: Array
    gradient_norm: Array
    is_skipped: Array
    num_dead: Array


def path_integral_cost(
    hamiltonian: Hamiltonian,
    drift_fn: DriftOfParams,
    optimizer: optax.GradientTransformation,
    step_size: float,
    num_steps: int,
) -> Objective:
    r"""Learn a drift by the cost of its paths, through the paths.

    Each update is an episode of K steps of h, T = Kh, that goes on where the last one ended.
    Episodes are short, so the end of the path matters: :math:`-\frac1T v(r_T)_{\rm fixed}\cdot
    r_T` is added, whose gradient is that of :math:`-\frac1T\log\phi_0(r_T)`, the term that the
    cost leaves out, as far as v is :math:`\nabla\log\phi_0` by now. The reported loss is
    without it. The gradient's memory grows with K: of each step only the position is kept.

    The drift need not be a gradient. V itself enters, of which the mean is finite in three
    dimensions even where it is unbounded; the Euler step makes the cost wrong by O(h), and the
    best drift: an oscillator's strength is 0.913 for h = 0.1, T = 1.6.

    Parameters
    ----------
    drift_fn
        ``(params, position) -> drift``; of a module of Flax,
        ``drift_fn, params = energies.functional(module)``.

    Returns
    -------
    Objective
        ``init(rng_key, params, positions)`` with positions of shape ``(N, ...)``; metrics
        :class:`PathIntegralMetrics`. It takes no data.

    Raises
    ------
    ValueError
        If there is no Hamiltonian, h is not positive, or K is below one; in ``init``, if
        positions or the drift are not of its shape; in ``step``, if there is a batch.

    Examples
    --------
    An oscillator whose drift begins twice too strong:

    >>> from jarzynski_jax import quantum, training
    >>> objective = path_integral_cost(
    ...     quantum.harmonic(1), lambda w, x: -w * x, optax.adam(0.05), 0.1, 20)
    >>> x = jax.random.normal(jax.random.key(0), (200, 1))
    >>> state = objective.init(jax.random.key(1), jnp.array(2.0), x)
    >>> result = training.fit(jax.random.key(2), objective, state, num_steps=100)
    >>> bool(abs(result.state.params - 1) < 0.2), bool(abs(result.metrics.loss[-1] - 0.5) < 0.1)
    (True, True)
    """
    check_hamiltonian(hamiltonian)
    check_step_size(step_size)
    if num_steps < 1:
        raise ValueError(f"num_steps of an episode must be at least 1; got {num_steps}")
    masses = hamiltonian.inverse_masses

    def init(rng_key: PRNGKey, params: Params, positions: Array) -> PathIntegralState:
        del rng_key
        check_positions(hamiltonian, positions)
        shape = jax.eval_shape(drift_fn, params, positions[0]).shape
        if shape != hamiltonian.shape:
            raise ValueError(
                f"a drift must have the shape of a position, {hamiltonian.shape}; got {shape}"
            )
        return PathIntegralState(*start(params, optimizer), jnp.array(positions))

    def path_cost(params: Params, position: Array, keys: PRNGKey) -> tuple[Array, Array, Array]:
        """Cost per time of one path, its end, and the correction at its end."""

        @jax.checkpoint
        def step(carry: tuple[Array, Array], key: PRNGKey) -> tuple[tuple[Array, Array], None]:
            x, cost = carry
            h = jnp.asarray(step_size, x.dtype)
            drift = drift_fn(params, x)
            noise: Any = apply_factor(masses, jax.random.normal(key, x.shape, x.dtype))
            d_brownian = jnp.sqrt(h) * noise
            force: Any = solve(masses, drift)
            along = jnp.sum(force * d_brownian) + h / 2 * jnp.sum(force * drift)
            cost = cost + along + h * hamiltonian.potential_fn(x)
            return (x + h * drift + d_brownian, cost), None

        zero = jnp.zeros((), position.dtype)
        (end, cost), _ = jax.lax.scan(step, (position, zero), keys)
        total = num_steps * step_size
        force: Any = solve(masses, drift_fn(params, end))
        correction = -jnp.sum(jax.lax.stop_gradient(force) * end) / total
        return cost / total, end, correction

    def step(
        rng_key: PRNGKey, state: PathIntegralState, batch: Any
    ) -> tuple[PathIntegralState, PathIntegralMetrics]:
        if batch is not None:
            raise ValueError("the path-integral cost takes no data; got a batch")
        num_walkers = state.positions.shape[0]
        keys = jax.random.split(rng_key, (num_walkers, num_steps))

        def loss_fn(params: Params) -> tuple[Array, tuple[Array, Array, Array]]:
            cost, end, correction = jax.vmap(path_cost, (None, 0, 0))(
                params, state.positions, keys
            )
            axes = tuple(range(1, end.ndim))
            is_alive = jnp.isfinite(cost + correction) & jnp.all(jnp.isfinite(end), axes)
            # A walker that met a singularity must not poison the others' gradient.
            loss = jnp.sum(jnp.where(is_alive, cost + correction, 0)) / jnp.sum(is_alive)
            return loss, (cost, end, is_alive)

        descent, seen, (cost, end, is_alive) = descend(
            DescentState(state.step, state.params, state.opt_state), loss_fn, optimizer
        )
        first_alive = end[jnp.argmax(is_alive)]
        column = is_alive.reshape((-1,) + (1,) * (end.ndim - 1))
        positions = jnp.where(column, end, first_alive)
        mean = jnp.mean(cost, where=is_alive)
        metrics = PathIntegralMetrics(
            loss=mean,
            loss_deviation=jnp.std(cost, where=is_alive),
            gradient_norm=seen.gradient_norm,
            is_skipped=seen.is_skipped,
            num_dead=jnp.sum(~is_alive),
        )
        return PathIntegralState(*descent, positions), metrics

    return Objective(init, step, takes_data=False)


def check_positions(hamiltonian: Hamiltonian, positions: Array) -> None:
    """Raise a ``ValueError`` unless positions are N of the shape of the Hamiltonian's."""
    shape = jnp.shape(positions)
    if shape[1:] != hamiltonian.shape or shape[:1] in ((), (0,)):
        raise ValueError(
            f"positions must have shape (N, *{hamiltonian.shape}), of at least one walker; got "
            f"{shape}"
        )
