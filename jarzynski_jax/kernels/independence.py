r"""Independence Metropolis by samples of a model: neural Markov chain Monte Carlo.

A normalised model q with samples proposes :math:`x' \sim q`, wherever the walker stands, and
with :math:`\log w = \ell - \log q` the proposal is accepted with probability

.. math:: \min\!\big(1,\ e^{\log w(x') - \log w(x)}\big),

which leaves :math:`e^\ell` invariant, with detailed balance, whatever q is. A constant in
:math:`\log q` cancels. When the target changes the walker is weighed where it stands, before it
moves, :math:`\Delta A = \ell_{\rm new}(x) - \ell_{\rm old}(x)`.

A proposal whose weight is NaN or infinite is rejected, and told. A walker whose own density is
not finite takes the first proposal whose weight is. One that stands where q is 0 is rejected
for ever, and rightly so: q does not cover the target. Local moves between proposals, by
:mod:`jarzynski_jax.kernels.sequence`, lead out of there; each stage tells its own acceptance.

Proposals do not depend on the walker, so they can be drawn before, all at once, and gone
through in order: :func:`accept_in_order`.

References: Nicoli, Nakajima, Strodthoff, Samek, Müller and Kessel, *Phys. Rev. E* 101 (2020)
023304; Liu, *Statistics and Computing* 6 (1996) 113.
"""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.density import Density, check_sampler, draw
from jarzynski_jax.kernels import density_state
from jarzynski_jax.kernels.arithmetic import lift
from jarzynski_jax.kernels.binding import SamplingAlgorithm, bind
from jarzynski_jax.kernels.move import Move, itself, keep_state
from jarzynski_jax.types import (
    Array,
    ArrayTree,
    Kernel,
    KernelInit,
    LogDensityFn,
    Position,
    PRNGKey,
)
from jarzynski_jax.uniform import accept, open_uniform

__all__ = [
    "AcceptedInOrder",
    "IndependenceInfo",
    "IndependenceState",
    "accept_in_order",
    "as_move",
    "as_top_level_api",
    "build_init",
    "build_kernel",
]


class IndependenceState(NamedTuple):
    r"""One walker: its position, :math:`\ell` there, and :math:`\log q` there.

    ``log_endpoint`` is 0: all of the weight is work.
    """

    position: ArrayTree
    logdensity: Array
    proposal_logdensity: Array
    log_endpoint: Array


class IndependenceInfo(NamedTuple):
    r"""What one step did.

    log_weight_increment
        :math:`\Delta A`, ``-inf`` where a density is not finite, never NaN.
    is_finite
        Whether it is.
    acceptance_rate
        Probability of acceptance, 0 of a proposal whose weight is not finite.
    is_accepted
        Whether the proposal was.
    is_proposal_finite
        Whether the proposal's weight was finite; its mean over steps is to be 1.
    log_weight
        :math:`\log w` of the walker after the step: a chain that stays where it is large for
        long says that q is too small there.
    """

    log_weight_increment: Array
    is_finite: Array
    acceptance_rate: Array
    is_accepted: Array
    is_proposal_finite: Array
    log_weight: Array

    @property
    def is_lost(self) -> Array:
        """Never: it dies only where the new target is zero, and its weight 0 is exact."""
        return jnp.zeros_like(self.is_finite)


class AcceptedInOrder(NamedTuple):
    """A chain of proposals that were drawn before.

    indices
        Which of the proposals each state of the chain is, shape ``(n,)``.
    is_accepted
        Whether the proposal of that number was, shape ``(n,)``; the first one is not asked.
    num_not_finite
        Proposals whose weight was NaN or infinite; all of them were rejected.
    """

    indices: Array
    is_accepted: Array
    num_not_finite: Array


def build_init(proposal: Density) -> KernelInit:
    """Build the function that weighs one walker for the first time.

    ValueError unless the proposal can be sampled.
    """
    check_sampler("a proposal", proposal)
    return _built(_functions_of(proposal))[0]


def build_kernel(proposal: Density) -> Kernel:
    """Build the kernel for one walker, ``kernel(rng_key, state, logdensity_fn)``.

    ``logdensity_fn`` is that after the move. The proposal is a density that can be sampled,
    normalised up to any constant, else a ValueError; so is one whose samples are not of the
    shape and dtype of the walker's position. Positions are any pytree, of integers too.

    Examples
    --------
    >>> from jarzynski_jax import targets
    >>> target = lambda x: -jnp.sum(x**2) / 2
    >>> algorithm = as_top_level_api(target, targets.gaussian([1.0, 1.0]))  # the target itself
    >>> state, info = algorithm.step(jax.random.key(0), algorithm.init(jnp.zeros(2)))
    >>> float(info.acceptance_rate)
    1.0
    """
    check_sampler("a proposal", proposal)
    return _built(_functions_of(proposal))[1]


def as_move(proposal: Density) -> Move:
    """Make a move of the kernel."""
    return Move(
        build_init(proposal),
        build_kernel(proposal),
        (),
        itself,
        keep_state,
        is_invariant=True,
        is_differentiable=False,
    )


def as_top_level_api(logdensity_fn: LogDensityFn, proposal: Density) -> SamplingAlgorithm:
    """Bind the kernel to one target, as BlackJAX's samplers are."""
    return bind(build_init(proposal), build_kernel(proposal), logdensity_fn)


def accept_in_order(rng_key: PRNGKey, log_weights: Array) -> AcceptedInOrder:
    r"""Go through independent proposals in order: a chain of the target, as indices of them.

    Log-weights are :math:`\ell - \log q` of samples of q, shape ``(n,)``. The chain starts at
    the first proposal whose weight is finite and positive, which is a sample of q and not of
    the target: leave out a burn-in. Where no weight is finite no chain can start: of values
    that are known a ValueError, of traced ones ``num_not_finite`` is n.

    Examples
    --------
    >>> found = accept_in_order(jax.random.key(0), jnp.array([jnp.nan, 0.0, -500.0, 9.0]))
    >>> found.indices.tolist(), int(found.num_not_finite)
    ([1, 1, 1, 3], 1)
    """
    log_weights = lift(jnp.asarray(log_weights))
    if log_weights.ndim != 1 or log_weights.shape[0] == 0:
        raise ValueError(
            f"log_weights must have shape (n,), a proposal each; got {log_weights.shape}"
        )
    is_finite = jnp.isfinite(log_weights)
    if not isinstance(is_finite, jax.core.Tracer) and not bool(jnp.any(is_finite)):
        raise ValueError(
            f"no chain can start: the weights of all {log_weights.shape[0]} proposals are NaN "
            "or infinite"
        )
    first = jnp.argmax(is_finite)
    log_uniform = jnp.log(open_uniform(rng_key, log_weights.shape, log_weights.dtype))

    def step(current: Array, inputs: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        index, log_u = inputs
        is_accepted = is_finite[index] & (log_u < log_weights[index] - log_weights[current])
        is_accepted &= index > first
        current = jnp.where(is_accepted, index, current)
        return current, (current, is_accepted)

    numbers = jnp.arange(log_weights.shape[0])
    _, (indices, is_accepted) = jax.lax.scan(step, first, (numbers, log_uniform))
    return AcceptedInOrder(indices, is_accepted, jnp.sum(~is_finite))


def _functions_of(proposal: Density) -> Density:
    """Leave out its log Z, which may be an array, and cancels."""
    return proposal._replace(log_partition_function=None)


@lru_cache(maxsize=64)  # one function, so that what was compiled with it is found again
def _built(proposal: Density) -> tuple[KernelInit, Kernel]:
    def init(position: Position, logdensity_fn: LogDensityFn) -> IndependenceState:
        _check_kind(proposal, position)
        state = density_state.init(position, logdensity_fn)
        log_q = proposal.logdensity_fn(position).astype(state.logdensity.dtype)
        return IndependenceState(position, state.logdensity, log_q, state.log_endpoint)

    def kernel(
        rng_key: PRNGKey, state: IndependenceState, logdensity_fn: LogDensityFn
    ) -> tuple[IndependenceState, IndependenceInfo]:
        key_draw, key_accept = jax.random.split(rng_key)
        dtype = state.log_endpoint.dtype
        logdensity = logdensity_fn(lift(state.position)).astype(dtype)
        increment = logdensity - state.logdensity
        is_finite = jnp.isfinite(increment)
        samples, log_q = draw(key_draw, proposal, 1)
        position, log_q = jax.tree.map(lambda leaf: leaf[0], (samples, log_q.astype(dtype)))
        proposed = IndependenceState(
            position,
            logdensity_fn(lift(position)).astype(dtype),
            log_q,
            jnp.zeros_like(state.log_endpoint),
        )
        current = state._replace(logdensity=logdensity)
        log_weight, is_proposal_finite = _log_weight(proposed), _is_usable(proposed)
        log_ratio = log_weight - _log_weight(current)
        # From where the density is not finite any proposal is better.
        log_ratio = jnp.where(jnp.isfinite(logdensity), log_ratio, jnp.inf)
        log_ratio = jnp.where(is_proposal_finite, log_ratio, -jnp.inf)
        is_accepted, acceptance_rate = accept(key_accept, log_ratio)
        moved = jax.tree.map(
            lambda new, old: jnp.where(is_accepted, new, old), proposed, current
        )
        info = IndependenceInfo(
            jnp.where(is_finite, increment, -jnp.inf),
            is_finite,
            acceptance_rate,
            is_accepted,
            is_proposal_finite,
            _log_weight(moved),
        )
        return moved, info

    return init, kernel


def _log_weight(state: IndependenceState) -> Array:
    return state.logdensity - state.proposal_logdensity


def _is_usable(state: IndependenceState) -> Array:
    return jnp.isfinite(state.logdensity) & jnp.isfinite(state.proposal_logdensity)


def _check_kind(proposal: Density, position: Position) -> None:
    """Raise a ValueError unless samples have the structure, shapes and dtypes of positions."""
    sample = check_sampler("a proposal", proposal)
    drawn = jax.eval_shape(lambda key: sample(key, 1), jax.random.key(0))
    of_samples = jax.tree.map(lambda leaf: f"{leaf.dtype} {leaf.shape[1:]}", drawn)
    of_position = jax.tree.map(
        lambda leaf: f"{jnp.result_type(leaf)} {jnp.shape(leaf)}", position
    )
    if of_samples != of_position:
        raise ValueError(
            "a proposal must draw positions of the walkers' dtypes and shapes; got "
            f"{of_samples} for {of_position}"
        )
