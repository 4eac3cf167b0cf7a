r"""flowjax: its flows as densities, as moves, and as functions of parameters to be trained.

flowjax returns :math:`+\log|\det|` of each direction, as this library does. What is trained are
the floating-point arrays of the bijection that are not marked ``paramax.NonTrainable``. All
else stays as it is, under weight decay too: what is marked, integers, masks, and the base with
its location, scale or bounds.

This is the only module that knows flowjax; written against 19.
"""

from typing import Any

import jax

from jarzynski_jax.density import Density
from jarzynski_jax.generators import Flow
from jarzynski_jax.types import Array, Params, PRNGKey

try:
    import equinox
    import paramax
    from flowjax.bijections import AbstractBijection, Chain
    from flowjax.distributions import AbstractDistribution, AbstractTransformed, Transformed
except ImportError as error:
    raise ImportError(
        "jarzynski_jax.interop.flowjax needs the extra 'flows': "
        "pip install 'jarzynski-jax[flows]'"
    ) from error

__all__ = ["from_bijection", "from_flowjax"]


def from_flowjax(distribution: AbstractDistribution) -> tuple[Flow, Params]:
    """Take a flow of flowjax apart: a flow, and its parameters as they are now.

    ValueError if it is no transformed distribution, is conditional, or nothing in it can be
    trained. Put it together again by ``equinox.combine``; :func:`from_bijection` says of what.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from flowjax.distributions import StandardNormal
    >>> from flowjax.flows import coupling_flow
    >>> from jarzynski_jax.generators import check_flow
    >>> from jarzynski_jax.interop.flowjax import from_flowjax
    >>> net = coupling_flow(jax.random.key(0), base_dist=StandardNormal((2,)), flow_layers=2)
    >>> flow, params = from_flowjax(net)
    >>> x = flow.density(params).sample(jax.random.key(1), 3)
    >>> bool(jnp.allclose(flow.logdensity(params, x[0]), net.log_prob(x[0]), atol=1e-5))
    True
    """
    if not isinstance(distribution, AbstractTransformed):
        raise ValueError(
            "a flow of flowjax is a transformed distribution, such as flows.coupling_flow "
            f"returns; got {type(distribution).__name__}"
        )
    bijections = [distribution.bijection]
    base = distribution.base_dist
    # A flow of a flow; but a Normal, which is a transformed distribution too, is a base.
    while type(base) is Transformed:
        bijections.append(base.bijection)
        base = base.base_dist
    whole = bijections[0] if len(bijections) == 1 else Chain(bijections[::-1])
    return from_bijection(whole, base)


def from_bijection(
    bijection: AbstractBijection, base: AbstractDistribution | Density
) -> tuple[Flow, Params]:
    """The same of a bijection, and a base that is one of flowjax or a density.

    The parameters are a pytree in the form of the bijection, None where nothing is trained.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flowjax.bijections import Scale
    >>> from jarzynski_jax import targets
    >>> from jarzynski_jax.interop.flowjax import from_bijection
    >>> flow, params = from_bijection(Scale(jnp.full(3, 2.0)), targets.gaussian([1.0] * 3))
    >>> round(float(flow.forward_fn(params, jnp.ones(3))[1]), 6)  # 3 log 2
    2.079442
    """
    if not isinstance(bijection, AbstractBijection):
        raise ValueError(f"a bijection of flowjax is expected; got {type(bijection).__name__}")
    base = base if isinstance(base, Density) else _as_density(base, bijection.shape)
    if bijection.cond_shape is not None:
        raise ValueError(
            "a flow must be without conditions; this bijection has the cond_shape "
            f"{bijection.cond_shape}: close over the condition by a Density and maps of yours"
        )
    params, static = equinox.partition(bijection, _is_trained, is_leaf=_is_frozen)
    if not jax.tree.leaves(params):
        raise ValueError(
            "nothing in this bijection is trained: it has no floating-point array that is not "
            "marked NonTrainable"
        )

    def together(params: Params) -> AbstractBijection:
        return paramax.unwrap(equinox.combine(params, static, is_leaf=_is_frozen))

    def forward(params: Params, z: Array) -> tuple[Array, Array]:
        return together(params).transform_and_log_det(z)

    def inverse(params: Params, x: Array) -> tuple[Array, Array]:
        return together(params).inverse_and_log_det(x)

    return Flow(base, forward, inverse), params


def _is_frozen(leaf: Any) -> bool:
    return isinstance(leaf, paramax.NonTrainable)


def _is_trained(leaf: Any) -> bool:
    return equinox.is_inexact_array(leaf)


def _as_density(base: Any, shape: tuple[int, ...]) -> Density:
    if not isinstance(base, AbstractDistribution):
        raise ValueError(
            "the base must be a distribution of flowjax or a Density; got "
            f"{type(base).__name__}"
        )
    if base.cond_shape is not None or base.shape != shape:
        raise ValueError(
            f"the base must be without conditions and of the bijection's shape, {shape}; it "
            f"has the cond_shape {base.cond_shape} and the shape {base.shape}"
        )

    def sample(rng_key: PRNGKey, num_samples: int) -> Array:
        return base.sample(rng_key, (num_samples,))

    return Density(base.log_prob, 0.0, sample, shape[0] if len(shape) == 1 else None)
