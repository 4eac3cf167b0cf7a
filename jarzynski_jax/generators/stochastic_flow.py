r"""Stochastic normalizing flows: at each stop of a path an invertible layer, then moves.

.. math:: x \to T_k(x) \to \text{Langevin or HMC at } \ell_k, \qquad k = 1 \dots K

The log-weight adds up what each does: of a layer
:math:`\ell_k(T_k(x)) - \ell_{k-1}(x) + \log|\det\partial T_k|`, of a move that of its kernel.
So the walkers are properly weighted for the end of the path whatever the layers are; the
better they take one density to the next, the more equal are the weights.

References: Wu, Köhler and Noé, NeurIPS 2020; Arbel, Matthews and Doucet, *Annealed flow
transport Monte Carlo*, ICML 2021; Matthews, Arbel, Rezende and Doucet, ICML 2022.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from jax.tree_util import Partial

from jarzynski_jax.annealing import Path
from jarzynski_jax.kernels import bijection, sequence
from jarzynski_jax.kernels.move import Move
from jarzynski_jax.resampling import AdaptiveResampler, adaptive, systematic
from jarzynski_jax.types import Array, Params, Position
from jarzynski_jax.walkers import Dynamics

__all__ = ["StochasticFlow"]


class StochasticFlow(NamedTuple):
    r"""Layers and moves along a path; the parameters of the layers are apart.

    layer_fn
        ``(layer_params, x) -> (y, log|det ∂y/∂x|)``, for one x: of a bijection of flowjax
        ``lambda params, x: equinox.combine(params, static).transform_and_log_det(x)``.
    path
        From the density that the walkers start from.
    times
        The stops, shape ``(K,)``, ascending to 1. ``params`` of the flow have this leading axis
        on every leaf: the k-th layer takes ``times[k - 1]`` to ``times[k]``.
    move
        What follows each layer, at its target.
    move_args
        What the move's kernel takes at each stop behind its own arguments, leading axis K: in
        ``(step_sizes,)`` one step size for each.

    Examples
    --------
    Half of the way to a Gaussian of a quarter of the variance is done by the layers:

    >>> import jax, jax.numpy as jnp
    >>> from jarzynski_jax import annealing, walkers
    >>> from jarzynski_jax.kernels import ula
    >>> path = annealing.geometric_path(lambda x: -(x**2) / 2, lambda x: -2 * x**2)
    >>> scale = lambda log_scale, x: (jnp.exp(log_scale) * x, log_scale)
    >>> flow = StochasticFlow(scale, path, jnp.linspace(0, 1, 9)[1:], ula.as_move(0.05))
    >>> x = jax.random.normal(jax.random.key(0), (1000,))
    >>> start = walkers.init(x, path(0.0), flow.dynamics.kernel_init)
    >>> params = jnp.full(8, -jnp.log(2) / 16)
    >>> end, _ = annealing.anneal(jax.random.key(1), start, *flow.arguments(params))
    >>> bool(abs(walkers.log_partition_function(end) + jnp.log(2)) < 0.1)
    True
    """

    layer_fn: Callable[[Params, Position], tuple[Position, Array]]
    path: Path
    times: Array
    move: Move
    move_args: tuple[Any, ...] = ()
    resampler: AdaptiveResampler = adaptive(systematic, 0.5)

    @property
    def dynamics(self) -> Dynamics:
        """How the walkers move and resample."""
        return Dynamics(sequence.as_move([bijection.as_move(), self.move]), 1, self.resampler)

    def step_args(self, params: Params) -> tuple[Any, ...]:
        """What each step takes: its layer, and the arguments of its move."""
        return (Partial(self.layer_fn, params),), self.move_args

    def arguments(self, params: Params) -> tuple[Any, ...]:
        """What :func:`~jarzynski_jax.annealing.anneal` takes behind the walkers."""
        return self.path, self.times, self.dynamics, self.step_args(params)
