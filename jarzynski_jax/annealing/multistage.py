r"""Log Z by a chain of equilibrium simulations, each reweighted to the next.

At the stops :math:`t_0 < \dots < t_K` of a path Markov chains sample :math:`e^{\ell_k}`, and

.. math:: \log Z_K = \log Z_0 + \sum_k \log E_k\big[e^{\ell_{k+1} - \ell_k}\big],

the first stop by exact samples. The relative variance of one sample of a step is
:math:`E_k[e^{2(\ell_{k+1} - \ell_k)}]/E_k[e^{\ell_{k+1} - \ell_k}]^2 - 1`; where the
log-density is linear in the coupling and stops are equally far apart that is
:math:`Z_{k+2}Z_k/Z_{k+1}^2 - 1`. With samples at both ends of a step, Bennett's acceptance
ratio makes more of them.

Unlike the weights of :mod:`jarzynski_jax.annealing.anneal`, this is right only as far as the
chains are in equilibrium: it is the method that lattice field theory has, and what ours are
compared with.

References: Valleau and Card, *J. Chem. Phys.* 57 (1972) 5457; Nicoli et al., *Phys. Rev. Lett.*
126 (2021) 032001.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.annealing.paths import Path, check_base, check_times
from jarzynski_jax.checks import check_known
from jarzynski_jax.compiling import compiled_once
from jarzynski_jax.density import Density, check_exact
from jarzynski_jax.free_energy import Estimate, autocorrelation, bennett_acceptance_ratio
from jarzynski_jax.kernels.move import Move, check_move
from jarzynski_jax.types import Array, Position, PRNGKey, Scalar

__all__ = ["MultistageEstimate", "multistage"]


class MultistageEstimate(NamedTuple):
    r"""Log Z of the last density by two estimators, and what was seen at each stop.

    log_partition_function
        By reweighting forward, in nats; the error takes account of autocorrelation.
    acceptance_ratio
        By Bennett's acceptance ratio between neighbours. Its error leaves out that neighbouring
        steps share samples.
    steps, acceptance_ratio_steps
        :math:`\log(Z_{k+1}/Z_k)` with errors, shape ``(K,)``, of either estimator.
    autocorrelation_times
        τ of the weights of each step, shape ``(K,)``.
    observed
        What ``observe`` returned, leading axes ``(K, M, n)``, at all stops but the first.
    positions
        Where the chains end, leading axis M.
    doubts
        Why it is not to be believed; empty if there is no reason.
    """

    log_partition_function: Estimate
    acceptance_ratio: Estimate
    steps: Estimate
    acceptance_ratio_steps: Estimate
    autocorrelation_times: Array
    observed: Any
    positions: Position
    doubts: tuple[str, ...]


def multistage(
    rng_key: PRNGKey,
    base: Density,
    path: Path,
    times: Array,
    move: Move,
    *,
    num_chains: int,
    num_samples: int,
    num_burn_in: int,
    observe: Callable[[Position], Any] | None = None,
) -> MultistageEstimate:
    """Estimate log Z of ``path(times[-1])`` stop by stop.

    The chains of a stop start where those of the one before ended, and its first
    ``num_burn_in`` steps are left out. A ValueError inside ``jax.jit`` or ``jax.vmap``, unless
    the base, which is ``path(0)``, has exact samples and a known log Z, the move leaves its
    target invariant and numbers are positive.

    Parameters
    ----------
    times
        Of the path after 0, shape ``(K,)``.
    move
        A Markov kernel, such as of :mod:`~jarzynski_jax.kernels.generalized_hmc`.
    num_chains
        M, side by side.
    num_samples
        n, of each chain at each stop, at least two.
    observe
        ``position -> pytree of scalars``.

    Examples
    --------
    >>> from jarzynski_jax import targets
    >>> from jarzynski_jax.annealing import geometric_path
    >>> from jarzynski_jax.kernels import generalized_hmc
    >>> base = targets.gaussian([1.0])
    >>> path = geometric_path(base.logdensity_fn, lambda x: -2 * jnp.sum(x**2))
    >>> found = multistage(
    ...     jax.random.key(0),
    ...     base,
    ...     path,
    ...     jnp.linspace(0, 1, 5)[1:],
    ...     generalized_hmc.as_move(3, 0.4, 1.0),
    ...     num_chains=20,
    ...     num_samples=400,
    ...     num_burn_in=20,
    ... )
    >>> bool(abs(found.acceptance_ratio.value - jnp.log(jnp.pi / 2) / 2) < 0.05), found.doubts
    (True, ())
    """
    check_known("annealing.multistage", rng_key)
    check_move(move)
    if not move.is_invariant:
        raise ValueError(
            "the chain of simulations needs a Move that leaves its target invariant, such as "
            "those of generalized_hmc and heat_bath; got one whose is_invariant is False"
        )
    if num_chains < 1 or num_samples < 2 or num_burn_in < 0:
        raise ValueError(
            "num_chains must be at least 1, num_samples at least 2 and num_burn_in at least 0; "
            f"got {num_chains}, {num_samples} and {num_burn_in}"
        )
    sample, log_z_0 = check_exact(base)
    times = check_times(times, is_ascending=True)
    key_start, key_chains = jax.random.split(rng_key)
    positions = sample(key_start, num_chains * num_samples)
    check_base(base.logdensity_fn, path, positions)
    positions = jax.tree.map(
        lambda leaf: leaf.reshape(num_chains, num_samples, *leaf.shape[1:]), positions
    )
    observe = _nothing if observe is None else observe
    work, observed, ends = _simulate(
        key_chains, positions, path, times, move, num_samples, num_burn_in, observe
    )
    return _sum_up(work, log_z_0, observed, ends)


class _Work(NamedTuple):
    r""":math:`\ell_{k+1} - \ell_k` at stop k, and of stop k + 1 back, shapes ``(K, M, n)``."""

    forward: Array
    backward: Array


def _nothing(position: Position) -> tuple[()]:
    del position
    return ()


@compiled_once
def _simulate(
    rng_key: PRNGKey,
    first: Position,
    path: Path,
    times: Array,
    move: Move,
    num_samples: int,
    num_burn_in: int,
    observe: Callable[[Position], Any],
) -> tuple[_Work, Any, Position]:
    all_times = jnp.concatenate([jnp.zeros(1, times.dtype), times])
    # What comes after the last stop is not asked for.
    nexts = jnp.concatenate([times[1:], times[-1:]])
    num_chains = jax.tree.leaves(first)[0].shape[0]

    def log_ratio(position: Position, of: Scalar, to: Scalar) -> Array:
        return path(to)(position) - path(of)(position)

    at_first = jax.vmap(jax.vmap(lambda x: log_ratio(x, all_times[0], times[0])))(first)

    def stop(positions: Position, inputs: tuple) -> tuple[Position, Any]:
        key, before, time, after = inputs
        target = path(time)

        def chain(key: PRNGKey, position: Position) -> tuple[Position, Any]:
            def step(state: Any, key: PRNGKey) -> tuple[Any, None]:
                return move.kernel(key, state, target, *move.args)[0], None

            def record(state: Any, key: PRNGKey) -> tuple[Any, Any]:
                state, _ = step(state, key)
                x = state.position
                ahead, back = log_ratio(x, time, after), log_ratio(x, time, before)
                return state, (ahead, back, observe(x))

            key_burn_in, key_record = jax.random.split(key)
            state = move.init(position, target)
            state, _ = jax.lax.scan(step, state, jax.random.split(key_burn_in, num_burn_in))
            state, seen = jax.lax.scan(record, state, jax.random.split(key_record, num_samples))
            return state.position, seen

        return jax.vmap(chain)(jax.random.split(key, num_chains), positions)

    start = jax.tree.map(lambda leaf: leaf[:, -1], first)
    keys = jax.random.split(rng_key, times.shape[0])
    ends, (ahead, back, observed) = jax.lax.scan(
        stop, start, (keys, all_times[:-1], times, nexts)
    )
    forward = jnp.concatenate([at_first[None], ahead[:-1]])
    return _Work(forward, back), observed, ends


def _sum_up(work: _Work, log_z_0: Scalar, observed: Any, ends: Position) -> MultistageEstimate:
    forward, backward = (np.asarray(of, np.float64) for of in work)
    steps, times, ratios, doubts = [], [], [], []
    for number, (ahead, back) in enumerate(zip(forward, backward, strict=True), 1):
        step, time, found = _reweight(ahead)
        doubts += [f"step {number}: {doubt}" for doubt in found]
        steps.append(step)
        times.append(time)
        ratios.append(_compare(ahead, back))
    return MultistageEstimate(
        _total(log_z_0, steps),
        _total(log_z_0, ratios),
        Estimate(*jnp.asarray(steps).T),
        Estimate(*jnp.asarray(ratios).T),
        jnp.asarray(times),
        observed,
        ends,
        tuple(doubts),
    )


def _total(log_z_0: Scalar, steps: list[tuple[float, float]]) -> Estimate:
    values, errors = zip(*steps, strict=True)
    return Estimate(
        jnp.asarray(float(log_z_0) + math.fsum(values)), jnp.asarray(math.hypot(*errors))
    )


def _reweight(log_ratios: np.ndarray) -> tuple[tuple[float, float], float, tuple[str, ...]]:
    """The log of the mean weight with its error, the time of the weights, and doubts."""
    peak = np.max(log_ratios)
    found = autocorrelation(np.exp(log_ratios - peak))
    mean, error = (float(of) for of in found.mean)
    return (peak + np.log(mean), error / mean), float(found.time.value), found.doubts


#: Compiled once for all steps.
_bennett = jax.jit(bennett_acceptance_ratio)


def _compare(ahead: np.ndarray, back: np.ndarray) -> tuple[float, float]:
    """BAR with the error of independent samples, longer by the root of 2 τ of its terms."""
    found = _bennett(jnp.asarray(-ahead.reshape(-1)), jnp.asarray(-back.reshape(-1)))
    difference = float(found.value)
    terms = (1 / (1 + np.exp(-ahead - difference)), 1 / (1 + np.exp(-back + difference)))
    longest = max(float(autocorrelation(of).time.value) for of in terms)
    return -difference, float(found.standard_error) * np.sqrt(2 * longest)
