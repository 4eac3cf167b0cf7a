r"""Variational Monte Carlo as an objective, from weighted walkers of :math:`\psi_\theta^2`.

.. math:: E(\theta) = \frac{\langle\psi|H|\psi\rangle}{\langle\psi|\psi\rangle}
          = E_{\psi^2}[E_L] \ge E_0, \qquad
          \partial_\theta E = 2 E_{\psi^2}[(E_L - E)\,\partial_\theta\log\psi]

The walkers are moved by unadjusted Langevin, or any kernel, while :math:`\psi_\theta` changes,
and their Jarzynski weights make the means those of :math:`\psi_\theta^2` at any step and
learning rate: neither is there a rejection, nor need they come to rest between updates.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax import weights
from jarzynski_jax.kernels.arithmetic import lift
from jarzynski_jax.kernels.guides import local_energy
from jarzynski_jax.quantum.hamiltonian import Hamiltonian, check_hamiltonian
from jarzynski_jax.quantum.path_integral import check_positions
from jarzynski_jax.training import Objective
from jarzynski_jax.training.gradient_descent import (
    DescentState,
    descend,
    start,
    with_gradient_of,
)
from jarzynski_jax.types import Array, LogDensityFn, Params, Position, PRNGKey
from jarzynski_jax.walkers import Dynamics, Walkers, advance, check_dynamics

__all__ = ["VariationalMetrics", "VariationalState", "clip_around_median", "variational_energy"]

#: ``log_wave_fn(params, position) -> scalar``, log ψ.
LogWaveOfParams = Callable[[Params, Position], Array]


#: Of the whole weight, what walkers without a finite local energy may have.
_MAX_LOST = 1e-3


class VariationalState(NamedTuple):
    """Number of updates, parameters, their optimizer's state, and the walkers of ψ²."""

    step: Array
    params: Params
    opt_state: Any
    walkers: Walkers


class VariationalMetrics(NamedTuple):
    """What one update saw, by the parameters before it.

    loss
        The weighted mean of the local energy, unclipped. As the walkers taught the
        parameters it is biased: energies are reported from walkers that took no part.
    loss_deviation
        The weighted standard deviation of the local energy: 0 for the ground state.
    gradient_norm
        Of the energy, with clipped local energies.
    is_skipped
        Whether loss or gradient was not finite, so that no update was made.
    effective_sample_size
        Of the walkers' weights, a fraction.
    is_resampled, num_dead
        Whether walkers were resampled; how many died in this step, or have weight without a
        finite local energy: with a thousandth of all the loss is infinite.
    """

    loss: Array
    loss_deviation: Array
    gradient_norm: Array
    is_skipped: Array
    effective_sample_size: Array
    is_resampled: Array
    num_dead: Array


def variational_energy(
    hamiltonian: Hamiltonian,
    log_wave_fn: LogWaveOfParams,
    optimizer: optax.GradientTransformation,
    dynamics: Dynamics,
    clip_width: float = 5.0,
) -> Objective:
    r"""Learn a wave function by its energy, on weighted walkers of its square.

    Parameters
    ----------
    log_wave_fn
        ``(params, position) -> log ψ``; of a module of Flax,
        ``log_wave_fn, params = energies.functional(module)``.
    dynamics
        How walkers of :math:`\log\psi^2` move and resample, e.g.
        :func:`jarzynski_jax.walkers.langevin` with a step of about 0.01 over the square of the
        greatest charge.
    clip_width
        Local energies further from their median than so many mean absolute deviations are moved
        there, in the gradient alone. ``inf`` for never.

    Returns
    -------
    Objective
        ``init(rng_key, params, positions)`` with samples of the first :math:`\psi^2`, shape
        ``(N, ...)`` (as from :func:`jarzynski_jax.annealing.relax`); metrics
        :class:`VariationalMetrics`. It takes no data.

    Raises
    ------
    ValueError
        If there is no Hamiltonian, the dynamics are none, or the width is not positive; in
        ``init``, if positions are not of the Hamiltonian's shape; in ``step``, if there is a
        batch.

    Examples
    --------
    >>> from jarzynski_jax import quantum, training
    >>> from jarzynski_jax.walkers import langevin
    >>> objective = variational_energy(quantum.harmonic(1), lambda w, x: -w * jnp.sum(x**2) / 2,
    ...                                optax.adam(0.05), langevin(0.05))
    >>> x = jax.random.normal(jax.random.key(0), (500, 1)) / 2  # samples of ψ² for w = 2
    >>> state = objective.init(jax.random.key(1), jnp.array(2.0), x)
    >>> result = training.fit(jax.random.key(2), objective, state, num_steps=150)
    >>> bool(abs(result.state.params - 1) < 0.05)
    True
    """
    check_hamiltonian(hamiltonian)
    check_dynamics(dynamics)
    if not clip_width > 0:
        raise ValueError(f"clip_width must be positive; got {clip_width}")

    def target_of(params: Params) -> LogDensityFn:
        return lambda x: 2 * log_wave_fn(params, x)

    def init(rng_key: PRNGKey, params: Params, positions: Array) -> VariationalState:
        del rng_key
        check_positions(hamiltonian, positions)
        begun = start(params, optimizer)
        walkers = walkers_lib.init(positions, target_of(begun.params), dynamics.kernel_init)
        return VariationalState(*begun, walkers)

    def step(
        rng_key: PRNGKey, state: VariationalState, batch: Any
    ) -> tuple[VariationalState, VariationalMetrics]:
        if batch is not None:
            raise ValueError("the variational energy takes no data; got a batch")
        key_move, key_resample = jax.random.split(rng_key)
        target = target_of(state.params)
        walkers, num_dead = advance(key_move, state.walkers, target, dynamics)
        shares = weights.normalize(walkers.log_weights)
        energies = jax.vmap(
            local_energy(
                lambda x: log_wave_fn(state.params, x),
                hamiltonian.potential_fn,
                hamiltonian.inverse_masses,
            )
        )(walkers.position)
        # Of walkers without weight nothing is taken, whatever is computed there.
        is_used = (shares > 0) & jnp.isfinite(energies)
        lost = jnp.where(jnp.isfinite(energies), 0, shares)
        shares = jnp.where(is_used, shares, 0)
        energy = jnp.sum(jnp.where(is_used, shares * energies, 0)) / jnp.sum(shares)
        loss = jnp.where(jnp.sum(lost) > _MAX_LOST, jnp.inf, energy)
        energies = jnp.where(is_used, energies, energy)
        variance = jnp.sum(shares * jnp.square(energies - energy))
        clipped = clip_around_median(energies, clip_width)
        pull = shares * (clipped - jnp.sum(shares * clipped))

        def loss_fn(params: Params) -> tuple[Array, tuple[()]]:
            log_waves = jax.vmap(lambda x: log_wave_fn(params, x))(lift(walkers.position))
            surrogate = 2 * jnp.sum(jnp.where(is_used, pull * log_waves, 0))
            return with_gradient_of(loss, surrogate), ()

        descent, seen, _ = descend(
            DescentState(state.step, state.params, state.opt_state), loss_fn, optimizer
        )
        walkers, info = walkers_lib.resample(key_resample, walkers, dynamics.resampler)
        metrics = VariationalMetrics(
            loss=loss,
            loss_deviation=jnp.sqrt(variance),
            gradient_norm=seen.gradient_norm,
            is_skipped=seen.is_skipped,
            effective_sample_size=info.effective_sample_size,
            is_resampled=info.is_resampled,
            num_dead=num_dead + jnp.sum(lost > 0),
        )
        walkers = walkers_lib.relocate_dead(walkers)
        return VariationalState(*descent, walkers), metrics

    return Objective(init, step, takes_data=False)


def clip_around_median(values: Array, width: float) -> Array:
    r"""Move values further than so many mean absolute deviations from the median to there.

    Of few values nothing may be clipped, for the outlier itself widens the deviation:

    >>> clip_around_median(jnp.array([-1.0, -1.0, -1.0, -1.0, 99.0]), 5.0).tolist()
    [-1.0, -1.0, -1.0, -1.0, 99.0]
    """
    median = jnp.median(values)
    deviation = jnp.mean(jnp.abs(values - median))
    return jnp.clip(values, median - width * deviation, median + width * deviation)
