r"""A machine of two kernels, which may circulate, learns by the gradient of its last two steps.

For a datum x and a trajectory of T double steps x'(t), z(t) of the machine
(:mod:`~jarzynski_jax.latent.cycle_machine`), with the laws of where those steps started frozen,

.. math::
    \rho_t(x) = \frac{A_{z(t)x}}{\sum_s A_{z(s)x}}, \quad
    \frac{\partial\log p(x)}{\partial w} \approx \sum_t \rho_t (x - \mu_{z(t)}) z(t)^\top, \quad
    \frac{\partial\log p(x)}{\partial\bar w} \approx \sum_t \rho_t
        (z(t) - \bar\mu_{x'(t)}) (x'(t) - \langle x\rangle_{\rm data})^\top,

with means :math:`\mu` and :math:`\bar\mu` of the next layer, and without the last factor for
the biases. What is left out is how the laws themselves change. At a maximum of the likelihood
both gradients vanish if the encoder can move the law of z anywhere, as its biases can if z is
one-hot; elsewhere, and for independent units anywhere, they differ. For finite T the gradient
is a ratio of means, with a bias of order 1/T.

Likelihood of one-hot units does not know of currents: what circulates is chosen by the start,
the length of the trajectory and the noise, and not by the data.

Reference: Baiesi and Rosso, arXiv:2512.11415, eq. 16 and 17.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jarzynski_jax.latent.bernoulli_mixture import check_binary
from jarzynski_jax.latent.cycle_machine import (
    HiddenUnits,
    Machine,
    Trajectory,
    check_hidden,
    hidden_mean,
    log_emission,
    run,
    visible_logits,
)
from jarzynski_jax.training import Monitor, Objective, Trouble
from jarzynski_jax.training.gradient_descent import start, update
from jarzynski_jax.types import Array, PRNGKey

__all__ = ["CycleMetrics", "CycleState", "last_two_steps_gradient", "latent_cycles"]


class CycleState(NamedTuple):
    """Updates made; the machine; the optimizer's state; where the chain is; the data's mean."""

    step: Array
    params: Machine
    opt_state: Any
    visible: Array
    centre: Array


class CycleMetrics(NamedTuple):
    """What one update saw, by the parameters before it.

    loss
        Cross entropy of the batch by the occupation of the trajectory, in nats a datum; too
        large on average.
    gradient_norm
        Of the gradient that was followed.
    is_skipped
        Whether one of the two was not finite, so that no update was made; data that are not 0
        or 1 have the loss NaN.
    """

    loss: Array
    gradient_norm: Array
    is_skipped: Array


def last_two_steps_gradient(
    machine: Machine,
    data: Array,
    trajectory: Trajectory,
    centre: Array,
    hidden_units: HiddenUnits = "one-hot",
    data_weights: Array | None = None,
    step_weights: Array | None = None,
) -> tuple[Array, Machine]:
    r"""Mean log-likelihood of data, as a trajectory estimates it, and its gradient.

    Parameters
    ----------
    data
        0 and 1, shape ``(n, D)``; else a ValueError, or the mean is NaN where they are traced.
    trajectory
        From :func:`~jarzynski_jax.latent.cycle_machine.run`.
    centre
        What is taken off x', shape ``(D,)``; 0 for the gradient in these parameters, and not in
        those whose bias is that at the centre.
    data_weights
        Shares of the data, shape ``(n,)``; None for equal ones.
    step_weights
        Shares of the steps, shape ``(T,)``; None for equal ones. With all pairs of a small
        machine in place of a trajectory, and their probabilities, nothing is left to chance.

    Returns
    -------
    tuple[Array, Machine]
        In nats, and its gradient, to be ascended.

    Examples
    --------
    >>> from jarzynski_jax.latent.cycle_machine import start_from_data
    >>> data = jax.random.bernoulli(jax.random.key(0), 0.3, (50, 4)).astype(float)
    >>> machine = start_from_data(jax.random.key(1), data, num_hidden=2)
    >>> trajectory = run(jax.random.key(2), machine, data[0], num_steps=20)
    >>> _, gradient = last_two_steps_gradient(machine, data, trajectory, jnp.zeros(4))
    >>> gradient.encoder_weights.shape
    (2, 4)
    """
    check_hidden(hidden_units)
    data = check_binary(data)
    weights = data_weights
    if weights is None:
        weights = jnp.full(data.shape[0], 1 / data.shape[0], data.dtype)
    steps = step_weights
    if steps is None:
        steps = jnp.ones(trajectory.hidden.shape[0], data.dtype)
    if hidden_units == "one-hot":  # of T states only L differ
        states = jnp.eye(trajectory.hidden.shape[1], dtype=data.dtype)
        counts = steps @ trajectory.hidden
    else:
        states, counts = trajectory.hidden, steps
    is_seen = counts > 0
    log_counts = jnp.where(is_seen, jnp.log(jnp.where(is_seen, counts, 1)), -jnp.inf)
    joint = log_emission(machine, states, data) + log_counts
    log_p = jax.nn.logsumexp(joint, axis=1)
    share = weights[:, None] * jnp.exp(joint - log_p[:, None])
    total = jnp.sum(share, axis=0)
    means = jax.nn.sigmoid(visible_logits(machine, states))
    residual = share.T @ data - total[:, None] * means
    of_time = total / jnp.where(is_seen, counts, 1)
    if hidden_units == "one-hot":
        of_time = trajectory.hidden @ of_time
    of_time = steps * of_time
    excess = trajectory.hidden - hidden_mean(machine, trajectory.visible, hidden_units)
    excess = of_time[:, None] * excess
    gradient = Machine(
        residual.T @ states,
        jnp.sum(residual, axis=0),
        excess.T @ (trajectory.visible - centre),
        jnp.sum(excess, axis=0),
    )
    # What is not 0 or 1 has no probability here, though its formula has a value.
    is_binary = jnp.all((data == 0) | (data == 1))
    mean = weights @ log_p - jnp.log(jnp.sum(steps))
    return jnp.where(is_binary, mean, jnp.nan), gradient


def _explain(
    troubles: list[Trouble], rng_key: PRNGKey, params: Machine, draw: Callable[..., Array]
) -> list[Trouble]:
    """Blame the data where they are no binary ones: in a compiled update the loss is NaN."""
    del params
    if not troubles:
        return troubles
    try:
        check_binary(draw(rng_key, 256))
    except ValueError as error:
        advice = "Give data of 0 and 1 to fit, and no noise."
        return [
            trouble._replace(cause=f"{trouble.cause}: {error}", advice=advice)
            for trouble in troubles
        ]
    return troubles


def latent_cycles(
    optimizer: optax.GradientTransformation,
    num_steps: int,
    hidden_units: HiddenUnits = "one-hot",
    num_data: Callable[[Array], Array] | None = None,
) -> Objective:
    """Train a machine of two kernels, on a persistent trajectory of its own.

    Many machines side by side: :func:`jarzynski_jax.training.replicate`.

    Parameters
    ----------
    optimizer
        Any of Optax.
    num_steps
        T, double steps at each update; the next goes on where the trajectory ended.
    hidden_units
        ``"one-hot"``, whose decoder biases stay as they are: they say nothing that the weights
        do not; or ``"independent"``.
    num_data
        ``step -> n``: how many of a batch an update uses, the first ones; None for all.

    Returns
    -------
    Objective
        ``init(rng_key, machine, data)``, whose data, 0 and 1, tell the centre and where the
        chain starts; metrics :class:`CycleMetrics`.

    Raises
    ------
    ValueError
        If ``num_steps`` is below one, or the hidden units are unknown; in ``init``, if data are
        not 0 or 1, or not of as many units as the machine; in ``step``, if there is no batch,
        or outside ``jax.jit`` one that is not of 0 and 1.

    Examples
    --------
    >>> import optax
    >>> from jarzynski_jax import training
    >>> from jarzynski_jax.latent.cycle_machine import start_from_data
    >>> data = jnp.array([[1.0, 1.0, 0.0]] * 30 + [[0.0, 0.0, 1.0]] * 30)
    >>> objective = latent_cycles(optax.rmsprop(0.05), num_steps=20)
    >>> machine = start_from_data(jax.random.key(0), data, num_hidden=2)
    >>> state = objective.init(jax.random.key(1), machine, data)
    >>> result = training.fit(
    ...     jax.random.key(2), objective, state, data, num_steps=300, batch_size=20
    ... )
    >>> bool(result.metrics.loss[-100:].mean() < 1.2)  # log 2 is least, without two units 1.9
    True
    """
    check_hidden(hidden_units)
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1; got {num_steps}")

    def init(rng_key: PRNGKey, params: Machine, data: Array) -> CycleState:
        data = check_binary(data)
        if data.shape[1] != params.decoder_weights.shape[0]:
            raise ValueError(
                f"the machine has {params.decoder_weights.shape[0]} visible units; got data of "
                f"{data.shape[1]}"
            )
        begun = start(params, optimizer)
        first = data[jax.random.randint(rng_key, (), 0, data.shape[0])]
        return CycleState(
            begun.step, begun.params, begun.opt_state, first, jnp.mean(data, axis=0)
        )

    def step(
        rng_key: PRNGKey, state: CycleState, batch: Array
    ) -> tuple[CycleState, CycleMetrics]:
        if batch is None:
            raise ValueError("latent cycles need a batch of data; got None")
        machine = state.params
        trajectory = run(rng_key, machine, state.visible, num_steps, hidden_units)
        weights = None
        if num_data is not None:
            is_used = jnp.arange(batch.shape[0]) < num_data(state.step)
            weights = is_used / jnp.sum(is_used, dtype=batch.dtype)
        log_p, gradient = last_two_steps_gradient(
            machine, batch, trajectory, state.centre, hidden_units, weights
        )
        if hidden_units == "one-hot":
            gradient = gradient._replace(decoder_bias=jnp.zeros_like(gradient.decoder_bias))
        downhill = jax.tree.map(jnp.negative, gradient)
        params, opt_state, is_skipped = update(
            optimizer, downhill, machine, state.opt_state, jnp.isfinite(log_p)
        )
        metrics = CycleMetrics(-log_p, optax.tree.norm(gradient), is_skipped)
        return (
            CycleState(state.step + 1, params, opt_state, trajectory.last, state.centre),
            metrics,
        )

    return Objective(init, step, monitor=Monitor(explain=_explain))
