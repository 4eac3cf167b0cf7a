r"""A velocity that takes walkers along a path of densities, and by how much it misses.

Along a path :math:`\rho_t = e^{\ell_t}/Z_t` a velocity b transports the densities,
:math:`\partial_t\rho + \nabla\cdot(b\rho) = 0`, if at every point

.. math:: r_t(x) = \nabla\cdot b + b\cdot\nabla\ell_t + \partial_t\ell_t
          + \partial_t F = 0, \qquad F_t = -\log Z_t

Then walkers with this drift need no weights in the limit of short steps, however fast the path
and whatever the diffusion. Without :math:`\partial_t F` the residual is the rate of their
log-weights in that limit; :mod:`jarzynski_jax.kernels.escorted` has weights that are exact at
steps of any length.

References: Albergo and Vanden-Eijnden, *NETS: a non-equilibrium transport sampler*, ICML 2025;
Vaikuntanathan and Jarzynski, *Phys. Rev. Lett.* 100 (2008) 190601.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from jarzynski_jax.generators.divergence import divergence
from jarzynski_jax.kernels.arithmetic import check_positive
from jarzynski_jax.modules import unchanged
from jarzynski_jax.types import Array, Params, Scalar

__all__ = ["Diffusion", "Drift", "Transport", "diffusion_at", "functional", "residual"]

#: ε, or a function of the path's time that is ε.
Diffusion: TypeAlias = Scalar | Callable[[Array], Scalar]


class Transport(NamedTuple):
    r"""A velocity and the rate of a free energy, as pure functions of parameters.

    velocity_fn
        ``(params, t, x) -> b``, in the shape of one x.
    free_energy_rate_fn
        ``(params, t) -> scalar``: :math:`\partial_t F_t = -\partial_t\log Z_t`, nats per unit
        of the path's time.
    """

    velocity_fn: Callable[[Params, Scalar, Array], Array]
    free_energy_rate_fn: Callable[[Params, Scalar], Array]


class Drift(nnx.Module):
    r"""A velocity :math:`b(t, x)` and a rate :math:`\partial_t F_t`, two perceptrons.

    Both see time as t and as sines and cosines of :math:`\pi j t`, j from 1 to
    ``num_frequencies``. Their last layers are zero at first: walkers start as those of annealed
    Langevin dynamics.

    Parameters
    ----------
    num_features
        d; positions have shape ``(d,)``.
    scale
        Of positions, a number or shape ``(d,)``: the network sees x in units of it, and its
        output is a velocity in these units.

    Examples
    --------
    >>> drift = Drift(3, (8, 8), rngs=nnx.Rngs(0))
    >>> drift(0.5, jnp.ones(3)).tolist(), float(drift.free_energy_rate(0.5))
    ([0.0, 0.0, 0.0], 0.0)
    """

    def __init__(
        self,
        num_features: int,
        hidden: Sequence[int] = (64, 64),
        *,
        scale: Any = 1.0,
        num_frequencies: int = 3,
        activation: Callable[[Array], Array] = nnx.silu,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        if min(num_features, *hidden, num_frequencies + 1) < 1 or not hidden:
            raise ValueError(
                "a drift needs at least one feature, one hidden layer of one unit, and no "
                f"negative number of frequencies; got num_features={num_features}, "
                f"hidden={tuple(hidden)}, num_frequencies={num_frequencies}"
            )
        self.num_features = num_features
        self.num_frequencies = num_frequencies
        num_times = 1 + 2 * num_frequencies
        self.scale = nnx.Variable(jnp.asarray(scale, param_dtype))
        self.velocity = _Perceptron(
            (num_features + num_times, *hidden, num_features), activation, param_dtype, rngs
        )
        self.rate = _Perceptron((num_times, hidden[0], 1), activation, param_dtype, rngs)

    def __call__(self, t: Scalar, x: Array) -> Array:
        """Velocity at one position, in its shape."""
        if jnp.shape(x) != (self.num_features,):
            raise ValueError(
                f"a position must have shape ({self.num_features},); got {jnp.shape(x)}"
            )
        scale = self.scale[...]
        return scale * self.velocity(jnp.concatenate([x / scale, self._embed(t, x.dtype)]))

    def free_energy_rate(self, t: Scalar) -> Array:
        """Rate of the free energy, a scalar."""
        return self.rate(self._embed(t, self.scale[...].dtype))[0]

    def _embed(self, t: Scalar, dtype: DTypeLike) -> Array:
        t = jnp.asarray(t, dtype)
        angles = jnp.pi * t * jnp.arange(1, self.num_frequencies + 1, dtype=dtype)
        return jnp.concatenate([t[None], jnp.sin(angles), jnp.cos(angles)])


class _Perceptron(nnx.Module):
    """Layers with an activation in between, the last one zero."""

    def __init__(
        self,
        widths: Sequence[int],
        activation: Callable[[Array], Array],
        param_dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        self.activation = activation
        self.hidden = nnx.List(
            [
                nnx.Linear(fan_in, fan_out, param_dtype=param_dtype, rngs=rngs)
                for fan_in, fan_out in itertools.pairwise(widths[:-1])
            ]
        )
        self.last = nnx.Linear(
            *widths[-2:],
            kernel_init=nnx.initializers.zeros,
            param_dtype=param_dtype,
            rngs=rngs,
        )

    def __call__(self, x: Array) -> Array:
        for layer in self.hidden:
            x = self.activation(layer(x))
        return self.last(x)


def functional(module: Any) -> tuple[Transport, Params]:
    """Split an NNX module into a transport and its parameters, as nested dictionaries.

    The module is a :class:`Drift`, or any that is called with ``(t, x)`` and has
    ``free_energy_rate(t)``; else a ValueError, as for one that changes when it is called (by
    dropout, say). Its ``nnx.Param`` variables are what is trained.

    Examples
    --------
    >>> transport, params = functional(Drift(2, (8,), rngs=nnx.Rngs(0)))
    >>> transport.velocity_fn(params, 0.3, jnp.ones(2)).shape, sorted(params)
    ((2,), ['rate', 'velocity'])
    """
    if not isinstance(module, nnx.Module) or not hasattr(module, "free_energy_rate"):
        raise ValueError(
            "a transport is made of a module of Flax NNX with a method free_energy_rate, such "
            f"as generators.Drift; got {type(module).__name__}"
        )
    # Flax types the result as a pair; with two filters it is a triple.
    split: Any = nnx.split(module, nnx.Param, ...)
    graphdef, param_state, fixed = split

    def merge(params: Params) -> Any:
        return nnx.merge(graphdef, params, fixed, copy=True)

    def velocity(params: Params, t: Scalar, x: Array) -> Array:
        model = merge(params)
        with unchanged("a velocity", model):
            return model(t, x)

    def rate(params: Params, t: Scalar) -> Array:
        model = merge(params)
        with unchanged("a free-energy rate", model):
            return model.free_energy_rate(t)

    return Transport(velocity, rate), nnx.to_pure_dict(param_state)


def residual(
    transport: Transport,
    params: Params,
    t: Scalar,
    x: Array,
    score: Array,
    logdensity_rate: Scalar,
) -> Array:
    r"""By how much a transport misses at one point, r in nats per unit of time.

    Parameters
    ----------
    score, logdensity_rate
        :math:`\nabla\ell_t(x)` and :math:`\partial_t\ell_t(x)`.

    Examples
    --------
    A well that is carried along, at the speed 2, with no change of free energy:

    >>> carry = Transport(lambda params, t, x: 2 * jnp.ones_like(x), lambda params, t: 0.0)
    >>> x = jnp.array([1.75])
    >>> float(residual(carry, None, 0.5, x, score=-(x - 1), logdensity_rate=2 * (x[0] - 1)))
    0.0
    """
    velocity, of_velocity = divergence(lambda x: transport.velocity_fn(params, t, x), x)
    rate = transport.free_energy_rate_fn(params, t)
    return of_velocity + jnp.vdot(velocity, score) + logdensity_rate + rate


def diffusion_at(diffusion: Diffusion, t: Array) -> Scalar:
    """The diffusion of the step that ends at t; ValueError if it is known and not positive.

    Examples
    --------
    >>> diffusion_at(0.5, 1.0), diffusion_at(lambda t: 2 * t, 1.0)
    (0.5, 2.0)
    """
    value = diffusion(t) if callable(diffusion) else diffusion
    check_positive("diffusion, ε,", value)
    return value
