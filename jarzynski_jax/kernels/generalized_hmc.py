r"""Generalized HMC: kinetic Langevin whose every step is accepted or rejected.

When the target changes from :math:`\ell_{\rm old}` to :math:`\ell_{\rm new}` the walker is
weighed where it stands,

.. math:: \Delta A = \ell_{\rm new}(x) - \ell_{\rm old}(x),

and then makes n steps of :mod:`jarzynski_jax.kernels.kinetic` under the new target, each of
which is accepted with probability :math:`\min(1, e^{-\Delta H})`; else the walker turns round.
So :math:`e^{\ell_{\rm new}(x)} N(v; 0, 1)` is invariant however long the steps, where
walkers cannot leave the support of a density, and no step at rest costs weight. Velocities are
kept from one target to the next, unlike those of HMC: walkers keep to their course with
single steps. A target costs n + 1 gradients, or n where the targets are linear combinations of
the same terms (:mod:`jarzynski_jax.kernels.evaluation`).

References: Horowitz, *Phys. Lett. B* 268 (1991) 247; Neal, *Handbook of MCMC*, 2011, §5.5.3.
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.kernels import kinetic
from jarzynski_jax.kernels.binding import SamplingAlgorithm, bind
from jarzynski_jax.kernels.evaluation import WHOLE, Evaluation
from jarzynski_jax.kernels.kinetic import KineticState, init
from jarzynski_jax.kernels.metropolis import adjust
from jarzynski_jax.kernels.move import Move, itself
from jarzynski_jax.kernels.preconditioning import Preconditioner
from jarzynski_jax.types import Array, Kernel, LogDensityFn, PRNGKey, Scalar

__all__ = ["GeneralizedHMCInfo", "as_move", "as_top_level_api", "build_kernel", "init"]


class GeneralizedHMCInfo(NamedTuple):
    r"""What the steps at one target did: :math:`\Delta A`, ``-inf`` where it is not finite.

    ``acceptance_rate`` is the mean of the n probabilities of acceptance.
    """

    log_weight_increment: Array
    is_finite: Array
    acceptance_rate: Array

    @property
    def is_lost(self) -> Array:
        """Never: it dies only where the new target is zero, and its weight 0 is exact."""
        return jnp.zeros_like(self.is_finite)


def build_kernel(num_steps: int, evaluation: Evaluation = WHOLE) -> Kernel:
    """Build the kernel for one walker, of n steps at each target; ValueError if n < 1.

    It is ``kernel(rng_key, state, logdensity_fn, step_size, friction, preconditioner=None)``,
    with arguments as of :func:`jarzynski_jax.kernels.kinetic.build_kernel`.

    Examples
    --------
    >>> old, new = (lambda x: -(x**2) / 2), (lambda x: -(x**2))
    >>> kernel, state = build_kernel(num_steps=3), init(jnp.array(1.0), old)
    >>> state, info = kernel(jax.random.key(0), state, new, 0.3, 1.0)
    >>> float(info.log_weight_increment), bool(info.acceptance_rate > 0.9)
    (-0.5, True)
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1; got {num_steps}")
    return _kernel_by(num_steps, evaluation)


@cache  # one function, so that what was compiled with it is found again
def _kernel_by(num_steps: int, evaluation: Evaluation) -> Kernel:
    take_step = adjust(kinetic.as_move(evaluation=evaluation))

    def kernel(
        rng_key: PRNGKey,
        state: KineticState,
        logdensity_fn: LogDensityFn,
        step_size: Scalar,
        friction: Scalar,
        preconditioner: Preconditioner | None = None,
    ) -> tuple[KineticState, GeneralizedHMCInfo]:
        logdensity, gradient, terms = evaluation.again(
            logdensity_fn, state.position, state.terms
        )
        dtype = state.log_endpoint.dtype
        increment = logdensity.astype(dtype) - state.logdensity.astype(dtype)
        is_finite = jnp.isfinite(increment)

        def step(state: KineticState, key: PRNGKey) -> tuple[KineticState, Array]:
            state, info = take_step(
                key, state, logdensity_fn, step_size, friction, preconditioner
            )
            return state, info.acceptance_rate

        weighed = state._replace(logdensity=logdensity, logdensity_grad=gradient, terms=terms)
        moved, acceptance_rates = jax.lax.scan(
            step, weighed, jax.random.split(rng_key, num_steps)
        )
        # All of the weight is work.
        moved = moved._replace(log_endpoint=jnp.zeros((), dtype))
        increment = jnp.where(is_finite, increment, -jnp.inf)
        return moved, GeneralizedHMCInfo(increment, is_finite, jnp.mean(acceptance_rates))

    return kernel


def as_move(
    num_steps: int,
    *args: Scalar | Preconditioner | None,
    evaluation: Evaluation = WHOLE,
) -> Move:
    """Make a move of n steps; it takes ``(step_size, friction, preconditioner=None)`` too."""
    kernel = build_kernel(num_steps, evaluation)
    return Move(
        kinetic.build_init(evaluation),
        kernel,
        args,
        itself,
        is_invariant=True,
        is_differentiable=False,
    )


def as_top_level_api(
    logdensity_fn: LogDensityFn,
    num_steps: int,
    step_size: Scalar,
    friction: Scalar,
    preconditioner: Preconditioner | None = None,
) -> SamplingAlgorithm:
    """Bind the kernel to one target, as BlackJAX's samplers are; h > 0 and γ > 0."""
    args = (step_size, friction, preconditioner)
    return bind(init, build_kernel(num_steps), logdensity_fn, *args)
