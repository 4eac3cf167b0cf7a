r"""The restricted Boltzmann machine: two layers of binary units (thesis, end of §3.4).

.. math:: U_\theta(v, h) = -b\cdot v - c\cdot h - v\cdot W h, \qquad v_i, h_j \in \{0, 1\}

is eq. 3.4.7, with :math:`\theta = (b, c, W)`. What is trained and evaluated is the density of
the visible units alone, eq. 3.4.8, whose energy is in closed form,

.. math:: U_\theta(v) = -\log\sum_h e^{-U_\theta(v, h)}
          = -b\cdot v - \sum_j {\rm softplus}(c_j + (W^\top v)_j).

:func:`energy` is both. Walkers move by :mod:`jarzynski_jax.kernels.gibbs`, which asks for the
first, and the gradient of training is that of the second.

With W = 0 the machine is its *base*: independent units, with exact samples and an exact log Z
(:func:`base_density`). Hidden units that are alike would stay alike, so training has to start
at a small random W. The step from the base to it is one more change of the target, and it is in
the walkers' weights, if they are weighed by the base at first:

>>> import jax, jax.numpy as jnp, optax
>>> from jarzynski_jax import training
>>> from jarzynski_jax.walkers import Dynamics
>>> from jarzynski_jax.energies import restricted_boltzmann
>>> from jarzynski_jax.kernels import gibbs
>>> from jarzynski_jax.resampling import adaptive, systematic
>>> data = jnp.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
>>> params = restricted_boltzmann.init(jax.random.key(0), 3, 2, data)
>>> dynamics = Dynamics(gibbs.as_move(2), 1, adaptive(systematic, 0.5))
>>> objective = training.jarzynski(restricted_boltzmann.energy, optax.sgd(0.1), dynamics)
>>> first = restricted_boltzmann.base(params)
>>> density = restricted_boltzmann.base_density(params)
>>> positions = density.sample(jax.random.key(1), 100)
>>> log_z = density.log_partition_function
>>> state = objective.init(jax.random.key(2), first, positions, data, log_z)
>>> state = state._replace(params=params)
>>> state, metrics = jax.jit(objective.step)(jax.random.key(3), state, data)
>>> log_z = restricted_boltzmann.log_partition_function(params)
>>> float(abs(metrics.training_log_partition_function - log_z)) < 0.01
True

References: thesis, §3.4; Hinton, *A practical guide to training restricted Boltzmann
machines*, 2010; Salakhutdinov and Murray, ICML 2008.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jarzynski_jax.annealing import Path
from jarzynski_jax.density import Density
from jarzynski_jax.kernels.gibbs import Units
from jarzynski_jax.types import Array, LogDensityFn, PRNGKey, Scalar
from jarzynski_jax.uniform import bernoulli

__all__ = [
    "Machine",
    "Units",
    "base",
    "base_density",
    "energy",
    "init",
    "log_partition_function",
    "parameter_path",
]

# Small enough for the first model to be close to its base (Hinton, 2010).
_WEIGHT_SCALE = 0.01
_MOST_ENUMERATED = 20
# States of the smaller layer at once; for each the whole other layer is in memory.
_BLOCK_BITS = 12


class Machine(NamedTuple):
    r""":math:`\theta`, for D visible and J hidden units.

    ``visible_bias`` is b, shape ``(D,)``; ``hidden_bias`` is c, shape ``(J,)``; ``weights`` is
    W, shape ``(D, J)``.
    """

    visible_bias: Array
    hidden_bias: Array
    weights: Array


def init(
    rng_key: PRNGKey,
    num_visible: int,
    num_hidden: int,
    data: Array | np.ndarray | None = None,
    *,
    param_dtype: DTypeLike = jnp.float32,
) -> Machine:
    r"""Make the parameters that training starts from.

    W normal with standard deviation 0.01; c = 0; b the log-odds of the data's means, which are
    clipped to :math:`[\frac1{2n}, 1 - \frac1{2n}]`, or 0 without data. ValueError if a layer
    has no unit, or the data are not of shape ``(n, D)`` and in [0, 1].

    Examples
    --------
    >>> data = np.array([[0, 1], [0, 1], [0, 0], [0, 1]])
    >>> params = init(jax.random.key(0), 2, 3, data)
    >>> [round(float(bias), 4) for bias in params.visible_bias]  # log 1/7, log 3
    [-1.9459, 1.0986]
    """
    if min(num_visible, num_hidden) < 1:
        raise ValueError(
            "a machine needs at least one unit in either layer; "
            f"got num_visible={num_visible}, num_hidden={num_hidden}"
        )
    visible_bias = jnp.zeros(num_visible, param_dtype)
    if data is not None:
        visible_bias = jnp.asarray(_log_odds(np.asarray(data), num_visible), param_dtype)
    weights = jax.random.normal(rng_key, (num_visible, num_hidden), param_dtype)
    return Machine(visible_bias, jnp.zeros(num_hidden, param_dtype), _WEIGHT_SCALE * weights)


def _log_odds(data: np.ndarray, num_visible: int) -> np.ndarray:
    if data.ndim != 2 or data.shape[0] < 1 or data.shape[1] != num_visible:
        raise ValueError(
            f"data must have shape (n, {num_visible}) with n ≥ 1 samples; got {data.shape}"
        )
    if not np.all((data >= 0) & (data <= 1)):  # NaN is neither
        raise ValueError(
            f"data must be in [0, 1]; got values from {data.min()} to {data.max()}"
        )
    # A unit that is the same in all data would have a bias of infinite size.
    least = 1 / (2 * len(data))
    mean = np.clip(data.mean(axis=0, dtype=np.float64), least, 1 - least)
    return np.log(mean) - np.log1p(-mean)


def energy(params: Machine, x: Array | Units) -> Array:
    r"""Energy of one sample: of the visible units alone, or of both layers.

    :math:`U_\theta(v)`, eq. 3.4.8, of v, shape ``(D,)``; or :math:`U_\theta(v, h)`, eq. 3.4.7,
    of ``Units(visible, hidden)``, shapes ``(D,)`` and ``(J,)``; else a ValueError. Floating
    point, 0 or 1.

    Examples
    --------
    >>> params = Machine(jnp.array([1.0, 0.0]), jnp.array([-1.0]), jnp.array([[3.0], [0.0]]))
    >>> v = jnp.array([1.0, 1.0])
    >>> float(energy(params, Units(v, jnp.array([1.0]))))  # -1 + 1 - 3
    -3.0
    >>> round(float(energy(params, v)), 4)  # -1 - log(1 + e²)
    -3.1269
    """
    visible = x.visible if isinstance(x, Units) else x
    if jnp.shape(visible) != params.visible_bias.shape:
        raise ValueError(
            f"the visible units must have shape {params.visible_bias.shape}; "
            f"got {jnp.shape(visible)}"
        )
    inputs = params.hidden_bias + visible @ params.weights
    if not isinstance(x, Units):
        return -(visible @ params.visible_bias) - jnp.sum(jax.nn.softplus(inputs))
    if jnp.shape(x.hidden) != params.hidden_bias.shape:
        raise ValueError(
            f"the hidden units must have shape {params.hidden_bias.shape}; "
            f"got {jnp.shape(x.hidden)}"
        )
    return -(visible @ params.visible_bias) - x.hidden @ inputs


def log_partition_function(params: Machine) -> Array:
    r"""Exact :math:`\log Z_\theta = \log\sum_{v, h} e^{-U_\theta(v, h)}`, in nats.

    The smaller layer is enumerated, the other one summed in closed form. ValueError if both
    have more than 20 units.

    Examples
    --------
    >>> params = Machine(jnp.zeros(30), jnp.zeros(2), jnp.zeros((30, 2)))
    >>> round(float(log_partition_function(params)), 4)  # 32 log 2
    22.1807
    """
    num_visible, num_hidden = params.weights.shape
    num_units = min(num_visible, num_hidden)
    if num_units > _MOST_ENUMERATED:
        raise ValueError(
            f"only a layer of at most {_MOST_ENUMERATED} units can be enumerated; got "
            f"{num_visible} visible and {num_hidden} hidden units. Bound log Z by annealing"
        )
    if num_hidden < num_visible:  # The two layers are alike.
        params = Machine(params.hidden_bias, params.visible_bias, params.weights.T)
    block = jnp.arange(2 ** min(num_units, _BLOCK_BITS))
    starts = jnp.arange(0, 2**num_units, len(block))

    def sum_block(start: Array) -> Array:
        states = ((start + block)[:, None] >> jnp.arange(num_units)) & 1
        visible = states.astype(params.weights.dtype)
        return jax.scipy.special.logsumexp(-jax.vmap(energy, (None, 0))(params, visible))

    return jax.scipy.special.logsumexp(jax.lax.map(sum_block, starts))


def base(params: Machine) -> Machine:
    """Take the weights away, W = 0: the machine of independent units that others start from.

    Examples
    --------
    >>> params = base(init(jax.random.key(0), 2, 3))
    >>> float(abs(params.weights).max())
    0.0
    """
    return params._replace(weights=jnp.zeros_like(params.weights))


def base_density(params: Machine) -> Density:
    r"""Make of the machine's :func:`base` a density, with its log Z and exact samples.

    With W = 0, :math:`P(v_i = 1) = 1 / (1 + e^{-b_i})`, independently, and
    :math:`\log Z_0 = \sum_i {\rm softplus}(b_i) + \sum_j {\rm softplus}(c_j)`.

    Examples
    --------
    >>> density = base_density(init(jax.random.key(0), 2, 3))
    >>> round(float(density.log_partition_function), 4)  # 5 log 2
    3.4657
    >>> density.sample(jax.random.key(1), 16).shape
    (16, 2)
    """
    params = base(params)
    dtype = params.visible_bias.dtype

    def sample(rng_key: PRNGKey, num_samples: int) -> Array:
        probability = jax.nn.sigmoid(
            params.visible_bias.astype(jnp.promote_types(dtype, jnp.float32))
        )
        shape = num_samples, *probability.shape
        return bernoulli(rng_key, probability, shape).astype(dtype)

    log_z = sum(jnp.sum(jax.nn.softplus(bias)) for bias in params[:2])
    return Density(
        lambda x: -energy(params, x), jnp.asarray(log_z), sample, params.visible_bias.size
    )


def parameter_path(params_0: Machine, params_1: Machine) -> Path:
    r"""Interpolate between two machines, :math:`\theta_t = (1 - t)\,\theta_0 + t\,\theta_1`.

    The log-density on the way is that of a machine, of visible units alone or of ``Units``,
    which :mod:`~jarzynski_jax.kernels.gibbs` leaves invariant. From the base of a machine to
    the machine itself, W is switched on. ValueError unless both have as many units.

    Examples
    --------
    >>> params = init(jax.random.key(0), 2, 3)
    >>> path = parameter_path(base(params), params)
    >>> round(float(path(0.0)(jnp.ones(2))), 4)  # 3 log 2
    2.0794
    """
    shapes = params_0.weights.shape, params_1.weights.shape
    if shapes[0] != shapes[1]:
        raise ValueError(
            "both machines must have as many visible and hidden units; got weights of shapes "
            f"{shapes[0]} and {shapes[1]}"
        )

    def path(time: Scalar) -> LogDensityFn:
        params = jax.tree.map(
            lambda first, last: (1 - time) * first + time * last, params_0, params_1
        )
        return lambda x: -energy(params, x)

    return path
