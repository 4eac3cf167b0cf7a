r"""FAB, flow annealed importance sampling bootstrap: a model learns where its weights vary.

The second moment of the importance weights, the divergence of α = 2 up to constants, is

.. math:: L(\theta) = \int \frac{p^2}{q_\theta}, \qquad
          \nabla L = -\int \frac{p^2}{q_\theta}\,\nabla\log q_\theta

Samples of :math:`g \propto p^2/q_\theta`, where the model is too small, are found by walkers
that start from the model and go along :math:`\log q + 2t\,(\ell - \log q)`, t from 0 to 1,
weighted. They are kept in a buffer (:mod:`jarzynski_jax.training.replay`), drawn in proportion
to their weights, and the model climbs :math:`\log q_\theta` on them; as q changes, each that is
drawn is corrected by the old q over the new one.

Unlike a reverse KL divergence it fears modes that are missing, once walkers have found them.
Where q has tails so thin that :math:`p^2/q` has no integral, L is infinite: of Gaussians,
:math:`q = N(0, s^2)` of :math:`p = N(0, 1)` with :math:`s^2 \le 1/2`.

Reference: Midgley, Stimper, Simm, Schölkopf and Hernández-Lobato, ICLR 2023.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax import weights
from jarzynski_jax.annealing import LinearPath, anneal, check_whole_schedule
from jarzynski_jax.density import Density, check_density
from jarzynski_jax.training import replay
from jarzynski_jax.training.gradient_descent import DescentState, descend, start
from jarzynski_jax.training.objective import Objective
from jarzynski_jax.training.replay import Replay
from jarzynski_jax.training.reverse_kl import SampleWithLogDensity
from jarzynski_jax.types import Array, LogDensityFn, Params, Position, PRNGKey
from jarzynski_jax.walkers import Dynamics, check_dynamics

__all__ = ["FABMetrics", "FABState", "fab", "path_to_second_moment"]


class FABState(NamedTuple):
    """The number of updates made, int32; parameters; their optimizer's state; the buffer."""

    step: Array
    params: Params
    opt_state: Any
    replay: Replay


class FABMetrics(NamedTuple):
    r"""What one update saw, by the parameters before it; NaN where no walkers went.

    loss, gradient_norm, is_skipped
        As of any objective; the loss is the cross entropy of the batch drawn, in nats.
    effective_sample_size, log_partition_function
        Of the model's own importance weights :math:`e^\ell/q`: a fraction, and nats.
    annealed_effective_sample_size
        Of the walkers at :math:`p^2/q`.
    """

    loss: Array
    gradient_norm: Array
    is_skipped: Array
    effective_sample_size: Array
    log_partition_function: Array
    annealed_effective_sample_size: Array


def fab(
    sample_and_logdensity: SampleWithLogDensity,
    logdensity_fn: Callable[[Params, Position], Array],
    target: Density,
    optimizer: optax.GradientTransformation,
    *,
    dynamics: Dynamics,
    times: Array,
    num_samples: int,
    batch_size: int,
    buffer_size: int,
    anneal_every: int = 1,
    step_args: tuple[Any, ...] | None = None,
) -> Objective:
    r"""Train a model towards a density, on walkers where the model is too small.

    Parameters
    ----------
    sample_and_logdensity
        As of :func:`jarzynski_jax.training.reverse_kl`; no gradient goes through the sample.
    logdensity_fn
        ``(params, x) -> log q(x)``, normalised, differentiable in both.
    target
        Only its log-density is needed.
    dynamics, times, step_args
        How the walkers go from q to :math:`p^2/q`, as of
        :func:`jarzynski_jax.annealing.anneal`; :math:`t = 1/2` is p.
    num_samples
        n walkers, sent at every ``anneal_every``-th update, from the first one on.
    batch_size
        Entries drawn from the buffer at each update.
    buffer_size
        M, a multiple of n.

    Returns
    -------
    Objective
        ``init(rng_key, params)`` gives a :class:`FABState`; metrics are :class:`FABMetrics`.
        It takes no data.

    Raises
    ------
    ValueError
        If the dynamics or the target are none, a number is below one, or M no multiple of n; in
        ``init``, if parameters are no floating-point numbers.

    Examples
    --------
    >>> from jax.scipy.stats import norm
    >>> from jarzynski_jax import training
    >>> from jarzynski_jax.resampling import adaptive, systematic
    >>> from jarzynski_jax.walkers import langevin
    >>> target = Density(lambda x: -((x - 2) ** 2) / 2)
    >>> log_q = lambda params, x: norm.logpdf(x, params[0], jnp.exp(params[1]))
    >>> def sample_and_logdensity(rng_key, params):
    ...     x = params[0] + jnp.exp(params[1]) * jax.random.normal(rng_key)
    ...     return x, log_q(params, x)
    >>> objective = fab(
    ...     sample_and_logdensity, log_q, target, optax.adam(0.03), dynamics=langevin(0.1),
    ...     times=jnp.linspace(0, 1, 6)[1:], num_samples=64, batch_size=64, buffer_size=256,
    ... )
    >>> state = objective.init(jax.random.key(0), (0.0, 0.0))
    >>> result = training.fit(jax.random.key(1), objective, state, num_steps=200)
    >>> bool(result.metrics.effective_sample_size[-20:].mean() > 0.9)
    True
    """
    check_dynamics(dynamics)
    times = check_whole_schedule(times)
    check_density("the target", target)
    if min(num_samples, batch_size, anneal_every) < 1:
        raise ValueError(
            "num_samples, batch_size and anneal_every must be at least 1; got "
            f"{num_samples}, {batch_size} and {anneal_every}"
        )
    if buffer_size < num_samples or buffer_size % num_samples:
        raise ValueError(
            f"buffer_size must be a multiple of num_samples, {num_samples}; got {buffer_size}"
        )

    def init(rng_key: PRNGKey, params: Params) -> FABState:
        descent = start(params, optimizer)
        shape = jax.eval_shape(sample_and_logdensity, rng_key, descent.params)[0]
        return FABState(*descent, replay.empty(shape, buffer_size))

    def walk(rng_key: PRNGKey, params: Params, buffer: Replay) -> tuple[Replay, Array]:
        key_start, key_path = jax.random.split(rng_key)
        keys = jax.random.split(key_start, num_samples)
        x, log_q = jax.vmap(sample_and_logdensity, (0, None))(keys, params)
        log_p = jax.vmap(target.logdensity_fn)(x)
        path = path_to_second_moment(lambda x: logdensity_fn(params, x), target.logdensity_fn)
        begin = walkers_lib.init(x, path(0.0), dynamics.kernel_init)
        end, _ = anneal(key_path, begin, path, times, dynamics, step_args)
        end_log_q = jax.vmap(logdensity_fn, (None, 0))(params, end.position)
        of_model = log_p - log_q
        seen = (
            weights.effective_sample_size(of_model),
            weights.log_mean_exp(of_model),
            weights.effective_sample_size(end.log_weights),
        )
        return replay.put(buffer, end.position, end.log_weights, end_log_q), jnp.stack(seen)

    def step(rng_key: PRNGKey, state: FABState, batch: Any) -> tuple[FABState, FABMetrics]:
        if batch is not None:
            raise ValueError("FAB takes no data; got a batch")
        key_walk, key_draw = jax.random.split(rng_key)
        buffer, seen_of_walk = jax.lax.cond(
            state.step % anneal_every == 0,
            lambda: walk(key_walk, state.params, state.replay),
            lambda: (state.replay, jnp.full(3, jnp.nan, state.replay.log_q.dtype)),
        )
        indices = replay.draw(key_draw, buffer, batch_size)

        def loss_fn(params: Params) -> tuple[Array, Array]:
            return _cross_entropy(logdensity_fn, params, buffer, indices)

        descent, seen, log_q = descend(
            DescentState(state.step, state.params, state.opt_state), loss_fn, optimizer
        )
        metrics = FABMetrics(*seen, *seen_of_walk)
        return FABState(*descent, replay.reweigh(buffer, indices, log_q)), metrics

    return Objective(init, step, takes_data=False)


def path_to_second_moment(log_q: LogDensityFn, log_p: LogDensityFn) -> LinearPath:
    """The path from q by p, at t = 1/2, to p²/q."""
    return LinearPath(lambda t: (1 - 2 * t, 2 * t), (log_q, log_p))


def _cross_entropy(
    logdensity_fn: Callable[[Params, Position], Array],
    params: Params,
    buffer: Replay,
    indices: Array,
) -> tuple[Array, Array]:
    """Minus log q of entries drawn by their weights of another q; and log q itself."""
    positions = jax.tree.map(lambda leaf: leaf[indices], buffer.positions)
    log_q = jax.vmap(logdensity_fn, (None, 0))(params, positions)
    correction = jnp.exp(jax.lax.stop_gradient(buffer.log_q[indices] - log_q))
    loss = -jnp.mean(correction * log_q)
    is_any_alive = jnp.any(jnp.isfinite(buffer.log_weights))
    return jnp.where(is_any_alive, loss, jnp.nan), jax.lax.stop_gradient(log_q)
