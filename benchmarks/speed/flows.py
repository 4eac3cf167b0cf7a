"""A layer of a flow of flowjax as a move and as a density, beside flowjax's own calls."""

from typing import Any, NamedTuple

import equinox
import jax
import jax.numpy as jnp
from flowjax.bijections import RationalQuadraticSpline
from flowjax.distributions import AbstractTransformed, Normal
from flowjax.flows import coupling_flow

from benchmarks.speed.timing import Case
from jarzynski_jax import targets, walkers
from jarzynski_jax.interop.flowjax import from_flowjax
from jarzynski_jax.types import Array, Params, PRNGKey
from jarzynski_jax.walkers import Dynamics, Walkers, advance


class Layer(NamedTuple):
    """One coupling layer, and positions to move, shape (N, d)."""

    net: AbstractTransformed
    positions: Array


def start_layer(num_walkers: int, dimension: int, width: int) -> Layer:
    """Rational quadratic splines of 8 knots, by one hidden layer."""
    key_net, key_positions = jax.random.split(jax.random.key(0))
    net = coupling_flow(
        key_net,
        base_dist=Normal(jnp.zeros(dimension)),
        transformer=RationalQuadraticSpline(knots=8, interval=4),
        flow_layers=1,
        nn_width=width,
        nn_depth=1,
        invert=False,
    )
    return Layer(net, jax.random.normal(key_positions, (num_walkers, dimension)))


def move_cases(layer: Layer) -> dict[str, Case]:
    """The map of all walkers to a wide Gaussian with their weights; and the map alone."""
    flow, params = from_flowjax(layer.net)
    target = targets.gaussian([4.0] * layer.positions.shape[1])
    start = walkers.init(
        layer.positions, flow.base.logdensity_fn, Dynamics(flow.move(params)).kernel_init
    )

    def move(ensemble: Walkers, params: Params, rng_key: PRNGKey) -> Walkers:
        dynamics = Dynamics(flow.move(params))
        return advance(rng_key, ensemble, target.logdensity_fn, dynamics)[0]

    arrays, static = equinox.partition(layer.net, equinox.is_array)

    def alone(arrays: Any, z: Array) -> tuple[Array, Array]:
        net = equinox.combine(arrays, static)
        return jax.vmap(net.bijection.transform_and_log_det)(z)

    return {
        "weighted": Case(move, (start, params, jax.random.key(1))),
        "flowjax's map with log-determinant": Case(alone, (arrays, layer.positions)),
    }


def density_cases(layer: Layer) -> dict[str, Case]:
    """Log-densities at all positions, by the layer's inverse."""
    flow, params = from_flowjax(layer.net)

    def density(params: Params, x: Array) -> Array:
        return jax.vmap(flow.density(params).logdensity_fn)(x)

    arrays, static = equinox.partition(layer.net, equinox.is_array)

    def alone(arrays: Any, x: Array) -> Array:
        return equinox.combine(arrays, static).log_prob(x)

    return {
        "density": Case(density, (params, layer.positions)),
        "flowjax's log_prob": Case(alone, (arrays, layer.positions)),
    }
