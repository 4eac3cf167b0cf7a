r"""bijx: its bijections as densities, as moves, and as functions of parameters to be trained.

bijx takes a log-density along and subtracts :math:`\log|\det|` from it; here its sign is
turned, so that a map returns :math:`+\log|\det|`. What is trained are the variables of the type
``nnx.Param`` with floating-point numbers; variables of ``bijx.Const``, masks, anything else and
the base stay as they are, under weight decay too. A bijection that changes when it is called,
by dropout or batch statistics, is refused by a ValueError: call its eval() before.

The scale of its affine couplings is e^s of an s without bounds: far out it overflows, and log q
is -inf there, without a gradient.

Angles have no flow of their own here or in flowjax: no spline is periodic, and a density on a
circle is one on the line that does not meet itself at the cut.

This is the only module that knows bijx; written against 1.3.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jarzynski_jax.density import Density
from jarzynski_jax.generators import Flow, Layer, LayeredFlow
from jarzynski_jax.modules import unchanged
from jarzynski_jax.types import Array, Params, PRNGKey

try:
    import bijx as library
    from bijx.bijections.scalar import ScalarBijection
except ImportError as error:
    raise ImportError(
        f"jarzynski_jax.interop.bijx cannot import bijx ({error}); it needs the extra 'flows': "
        "pip install 'jarzynski-jax[flows]', and bijx 1.3 a jax below 0.12"
    ) from error

__all__ = ["from_bijection", "from_bijx", "layered"]


def from_bijx(distribution: Any) -> tuple[Flow, Params]:
    """Take a ``bijx.Transformed`` apart: a flow, and its parameters as they are now.

    ValueError if it is something else, its prior is not of arrays, or nothing in it is trained.

    Examples
    --------
    >>> import bijx, jax, jax.numpy as jnp
    >>> from flax import nnx
    >>> from jarzynski_jax.interop.bijx import from_bijx
    >>> prior = bijx.IndependentNormal((4,), rngs=nnx.Rngs(0))
    >>> net = bijx.Transformed(prior, bijx.realnvp_flow(4, rngs=nnx.Rngs(1)))
    >>> flow, params = from_bijx(net)
    >>> x, log_q = flow.sample_and_logdensity(jax.random.key(0), params)
    >>> bool(jnp.allclose(net.log_density(x), log_q, atol=1e-5))
    True
    """
    if not isinstance(distribution, library.Transformed):
        raise ValueError(
            "a flow of bijx is a bijx.Transformed of a prior and a bijection; got "
            f"{type(distribution).__name__}"
        )
    return from_bijection(distribution.bijection, distribution.prior)


def from_bijection(bijection: Any, base: Any) -> tuple[Flow, Params]:
    """The same of a bijection, and a base that is a distribution of bijx or a density.

    Parameters are nested dictionaries of arrays. ``nnx.merge`` of the bijection's graph with
    them gives it back, trained.

    Examples
    --------
    >>> import bijx, jax.numpy as jnp
    >>> from jarzynski_jax import targets
    >>> from jarzynski_jax.interop.bijx import from_bijection
    >>> log_scale = nnx.Param(jnp.log(jnp.full(3, 2.0)))
    >>> double = bijx.AffineLinear(scale=log_scale, rngs=nnx.Rngs(0))
    >>> flow, params = from_bijection(double, targets.gaussian([1.0] * 3))
    >>> round(float(flow.forward_fn(params, jnp.ones(3))[1]), 6)  # 3 log 2
    2.079442
    """
    merge, params = _split(bijection)

    def forward(params: Params, z: Array) -> tuple[Array, Array]:
        return _forward(merge(params), z)

    def inverse(params: Params, x: Array) -> tuple[Array, Array]:
        return _inverse(merge(params), x)

    return Flow(_as_density(base), forward, inverse), params


def layered(bijection: Any, base: Any) -> tuple[LayeredFlow, Params]:
    """The same of a chain of coupling layers, for path gradients that need no inverse.

    The layers are ``bijx.GeneralCouplingLayer``, of scalar maps, or scalar maps of each
    coordinate; else a ValueError.

    Examples
    --------
    >>> import bijx
    >>> from jarzynski_jax import targets
    >>> from jarzynski_jax.interop.bijx import layered
    >>> flow, params = layered(
    ...     bijx.realnvp_flow(4, n_coupling_layers=2, rngs=nnx.Rngs(1)),
    ...     targets.gaussian([1.0] * 4),
    ... )
    >>> [layer.is_active.tolist() for layer in flow.layers]
    [[True, False, True, False], [False, True, False, True]]
    """
    if not isinstance(bijection, library.Chain):
        raise ValueError(
            f"layers are those of a bijx.Chain; got {type(bijection).__name__}: wrap it, "
            "bijx.Chain(bijection)"
        )
    density = _as_density(base)
    sample = density.sample
    assert sample is not None
    shape = jax.eval_shape(lambda key: sample(key, 1), jax.random.key(0)).shape[1:]
    masks = [_mask(part, shape) for part in bijection.bijections]
    merge, params = _split(bijection)

    def layer(number: int, is_active: np.ndarray) -> Layer:
        return Layer(
            lambda params, z: _forward(merge(params).bijections[number], z),
            lambda params, x: _inverse(merge(params).bijections[number], x),
            is_active,
        )

    layers: Sequence[Layer] = tuple(layer(*item) for item in enumerate(masks))
    return LayeredFlow(density, layers), params


def _split(bijection: Any) -> tuple[Any, Params]:
    if not isinstance(bijection, library.Bijection):
        raise ValueError(f"a bijection of bijx is expected; got {type(bijection).__name__}")
    # Flax types the result as a pair; with two filters it is a triple.
    split: Any = nnx.split(bijection, _is_trained, ...)
    graphdef, trained, fixed = split
    params = nnx.to_pure_dict(trained)
    if not jax.tree.leaves(params):
        raise ValueError("nothing in this bijection is trained: it has no nnx.Param")

    def merge(params: Params) -> Any:
        return nnx.merge(graphdef, params, fixed, copy=True)

    return merge, params


def _is_trained(path: Any, value: Any) -> bool:
    if not isinstance(value, nnx.Param) or library.FrozenFilter(path, value):
        return False
    return jnp.issubdtype(jnp.result_type(value.get_value()), jnp.floating)


#: What dropout and batch statistics change. Other variables may be written back as they were,
#: by a layer that scans over others.
_CHANGING = nnx.Any(nnx.RngState, nnx.BatchStat)


def _forward(bijection: Any, z: Array) -> tuple[Array, Array]:
    with unchanged("a bijection", bijection, _CHANGING):
        x, minus_log_det = bijection.forward(z, jnp.zeros((), z.dtype))
    return x, -minus_log_det


def _inverse(bijection: Any, x: Array) -> tuple[Array, Array]:
    with unchanged("a bijection", bijection, _CHANGING):
        z, minus_log_det = bijection.reverse(x, jnp.zeros((), x.dtype))
    return z, -minus_log_det


def _mask(layer: Any, shape: tuple[int, ...]) -> np.ndarray:
    if isinstance(layer, library.GeneralCouplingLayer) and layer.bijection_event_rank == 0:
        return np.asarray(layer.mask.boolean_mask)
    if isinstance(layer, ScalarBijection):
        return np.ones(shape, bool)
    raise ValueError(
        "the layers must be couplings of scalar maps (bijx.GeneralCouplingLayer of event rank "
        f"0) or scalar maps; got {type(layer).__name__}"
    )


def _as_density(base: Any) -> Density:
    if isinstance(base, Density):
        return base
    if not isinstance(base, library.ArrayDistribution):
        raise ValueError(
            "the base must be a distribution over arrays of bijx, or a Density; got "
            f"{type(base).__name__}"
        )

    def sample(rng_key: PRNGKey, num_samples: int) -> Array:
        return base.sample((num_samples,), rng=rng_key)[0]

    shape = base.event_shape
    return Density(base.log_density, 0.0, sample, shape[0] if len(shape) == 1 else None)
