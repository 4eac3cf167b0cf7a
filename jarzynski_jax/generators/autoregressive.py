r"""Spins drawn one after the other: a model with a normalised density and exact samples.

.. math:: q(s) = \prod_i q(s_i \mid s_1 \dots s_{i-1}), \qquad
    q(s_i = 1 \mid s_1 \dots s_{i-1}) = \sigma(a_i)

with the log-odds a of a network in which :math:`a_i` depends on the spins before i alone. It
sums to one whatever the network is. One pass gives all conditionals of a state; drawing one
goes from site to site and evaluates the network there alone, so that it costs one pass too,
where N would be needed if each site took a whole one.

Of a target that is as probable with all spins flipped, a model may be made so,

.. math:: \bar q(s) = \tfrac12\big(q(s) + q(-s)\big),

by flipping what is drawn with probability one half; its density takes two passes.

Reference: Wu, Wang and Zhang, *Solving statistical mechanics using variational autoregressive
networks*, *Phys. Rev. Lett.* 122 (2019) 080602.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jarzynski_jax.density import Density
from jarzynski_jax.kernels.arithmetic import lift
from jarzynski_jax.kernels.spins import as_floating, check_spins
from jarzynski_jax.modules import unchanged
from jarzynski_jax.types import Array, Params, PRNGKey
from jarzynski_jax.uniform import open_uniform

__all__ = ["Autoregressive", "autoregressive"]


class Autoregressive(NamedTuple):
    r"""An autoregressive model of spins, as pure functions of its parameters.

    logdensity_fn
        ``(params, spins) -> log q``, of one state: spins 1 and -1 of the lattice's shape,
        integers or of floating point; of other values ``-inf``.
    sample_with_logdensity
        ``(rng_key, params, num_samples) -> (spins, log q)``: int32, a leading axis.
    """

    logdensity_fn: Callable[[Params, Array], Array]
    sample_with_logdensity: Callable[[PRNGKey, Params, int], tuple[Array, Array]]

    def sample(self, rng_key: PRNGKey, params: Params, num_samples: int) -> Array:
        """Draw states, int32, on a leading axis."""
        return self.sample_with_logdensity(rng_key, params, num_samples)[0]

    def density(self, params: Params) -> Density:
        """With these parameters: normalised, so that its log Z is 0, with exact samples."""
        return Density(
            lambda spins: self.logdensity_fn(params, spins),
            0.0,
            lambda rng_key, num_samples: self.sample(rng_key, params, num_samples),
            sample_with_logdensity=lambda rng_key, num_samples: self.sample_with_logdensity(
                rng_key, params, num_samples
            ),
        )


def autoregressive(module: Any, is_symmetric: bool = False) -> tuple[Autoregressive, Params]:
    """Make a model of spins of a network, and split off its parameters, nested dictionaries.

    The network is :class:`~jarzynski_jax.generators.MaskedConvolutions`,
    :class:`~jarzynski_jax.generators.MaskedDense` or another module of Flax NNX with their
    methods, the same function at every call (no dropout, no batch statistics), else a
    ValueError; its ``nnx.Param`` variables are what is trained. The functions raise a
    ValueError for what are no spins of its lattice.

    Parameters
    ----------
    is_symmetric
        Whether the model is made as probable with all spins flipped.

    Examples
    --------
    >>> from jarzynski_jax.generators import MaskedConvolutions
    >>> net = MaskedConvolutions((4, 4), rngs=nnx.Rngs(0))
    >>> model, params = autoregressive(net, is_symmetric=True)
    >>> spins, log_q = model.sample_with_logdensity(jax.random.key(0), params, 3)
    >>> spins.shape, [round(float(of), 4) for of in log_q / jnp.log(2.0)]  # 2^16 states
    ((3, 4, 4), [-16.0, -16.0, -16.0])
    """
    names = ("shape", "start", "log_odds_at", "put")
    is_module = isinstance(module, nnx.Module)
    if not is_module or not all(hasattr(module, name) for name in names):
        raise ValueError(
            "an autoregressive model is made of a module of Flax NNX with the methods "
            "start, log_odds_at and put, such as generators.MaskedConvolutions; got "
            f"{type(module).__name__}"
        )
    shape: tuple[int, ...] = module.shape
    # Flax types the result as a pair; with two filters it is a triple.
    split: Any = nnx.split(module, nnx.Param, ...)
    graphdef, param_state, fixed = split

    def merge(params: Params) -> Any:
        return nnx.merge(graphdef, params, fixed, copy=True)

    def logdensity_once(params: Params, spins: Array) -> Array:
        net = merge(params)
        with unchanged("an autoregressive network", net):
            log_odds = net(spins)
        return jnp.sum(jax.nn.log_sigmoid(spins * lift(log_odds)))

    def logdensity_fn(params: Params, spins: Array) -> Array:
        check_spins(spins)
        if jnp.shape(spins) != shape:
            raise ValueError(f"spins must have shape {shape}; got {jnp.shape(spins)}")
        spins = as_floating(spins)
        logdensity = logdensity_once(params, spins)
        if is_symmetric:
            logdensity = _mean_of_both(logdensity, logdensity_once(params, -spins))
        return jnp.where(jnp.all(jnp.abs(spins) == 1), logdensity, -jnp.inf)

    def draw_one(rng_key: PRNGKey, params: Params) -> tuple[Array, Array]:
        key_sites, key_flip = jax.random.split(rng_key)
        spins, logdensity = _draw(key_sites, merge(params))
        if not is_symmetric:
            return spins, logdensity
        other = logdensity_once(params, -spins.astype(logdensity.dtype))
        sign = jax.random.rademacher(key_flip, (), spins.dtype)
        return sign * spins, _mean_of_both(logdensity, other)

    def sample_with_logdensity(
        rng_key: PRNGKey, params: Params, num_samples: int
    ) -> tuple[Array, Array]:
        keys = jax.random.split(rng_key, num_samples)
        return jax.vmap(draw_one, (0, None))(keys, params)

    params = nnx.to_pure_dict(param_state)
    jax.eval_shape(logdensity_once, params, jnp.ones(shape))  # refused now, not when it is used
    return Autoregressive(logdensity_fn, sample_with_logdensity), params


def _draw(rng_key: PRNGKey, net: Any) -> tuple[Array, Array]:
    """One state, site by site, with its log-density."""
    num_sites = int(np.prod(net.shape))
    seen = net.start()
    # Parameters of half precision are stored so alone.
    dtype = jnp.promote_types(seen[0].dtype, jnp.float32)
    uniform = open_uniform(rng_key, (num_sites,), dtype)

    def step(seen: tuple[Array, ...], inputs: tuple[Array, Array]) -> tuple[Any, Any]:
        site, u = inputs
        log_odds, seen = net.log_odds_at(seen, site)
        log_odds = log_odds.astype(dtype)
        spin = jnp.where(u < jax.nn.sigmoid(log_odds), 1, -1).astype(jnp.int32)
        logdensity = jax.nn.log_sigmoid(spin * log_odds)
        return net.put(seen, site, spin), (spin, logdensity)

    _, (spins, logdensities) = jax.lax.scan(step, seen, (jnp.arange(num_sites), uniform))
    return spins.reshape(net.shape), jnp.sum(logdensities)


def _mean_of_both(first: Array, second: Array) -> Array:
    return jnp.logaddexp(first, second) - jnp.log(jnp.asarray(2, first.dtype))
