"""A layer of flowjax's and a velocity of bijx's, as here and by these libraries' own calls."""

from functools import partial
from typing import Any, NamedTuple

import equinox
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flowjax.bijections import RationalQuadraticSpline
from flowjax.distributions import AbstractTransformed, Normal
from flowjax.flows import coupling_flow

from benchmarks.speed.timing import Case
from jarzynski_jax import targets, walkers
from jarzynski_jax.generators import LatticeParams, lattice_velocity
from jarzynski_jax.interop.flowjax import from_flowjax
from jarzynski_jax.types import Array, Params, PRNGKey
from jarzynski_jax.walkers import Dynamics, Walkers, advance

try:
    import bijx
except ImportError:  # bijx 1.3 does not import with jax 0.12
    bijx = None


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


class Velocity(NamedTuple):
    """bijx's convolutional velocity on a torus, and fields, shape (N, L, L)."""

    net: Any
    fields: Array


def start_velocity(num_fields: int, length: int, num_features: int, num_waves: int) -> Velocity:
    """The field of Gerdes et al.; its kernel is as large as the torus.

    As many features of the time as of a site, of 21 waves, and a kernel that is not zero.
    """
    time_kernel = bijx.nn.embeddings.KernelFourier(21)
    net = bijx.ConvVF.build(
        (length, length),
        time_kernel=time_kernel,
        time_kernel_reduced=num_features,
        features=(
            partial(bijx.nn.features.FourierFeatures, num_waves),
            partial(bijx.nn.features.PolynomialFeatures, (1,)),
        ),
        features_reduced=num_features,
        rngs=nnx.Rngs(0),
    )
    return Velocity(net, jax.random.normal(jax.random.key(2), (num_fields, length, length)))


def lattice_params(net: Any) -> LatticeParams:
    """The same velocity in this library's parameters.

    Here φ comes before its sines and the constant before the waves, and orbits are ordered by
    the shorter distance first.
    """
    orbits = np.asarray(net.conv.orbits)
    length, middle = len(orbits), (len(orbits) - 1) // 2
    distances = [(a, b) for a in range(length // 2 + 1) for b in range(a, length // 2 + 1)]
    order = np.array([orbits[middle + a, middle + b] for a, b in distances])
    waves, features = net.feature_map.features[0].phi_freq, net.feature_superposition
    return LatticeParams(
        weights=net.conv.kernel_params.get_value()[order],
        mixing=jnp.roll(features.get_value(), 1, axis=1),
        time_mixing=jnp.roll(net.time_kernel.superposition.get_value(), 1, axis=1),
        frequencies=waves.get_value()[0],
    )


def velocity_cases(of: Velocity) -> dict[str, Case]:
    """Velocities and their divergences: as a dense product over the torus, and by bijx."""
    return {
        "dense product": Case(_dense, (lattice_params(of.net), of.fields)),
        "bijx's convolution": Case(_convolution(of.net), (nnx.state(of.net), of.fields)),
    }


def adjoint_cases(of: Velocity) -> dict[str, Case]:
    """The same with gradients in fields and parameters, as a stage of training takes them."""

    def with_gradient(fn: Any) -> Any:
        def loss(params: Any, fields: Array) -> Array:
            velocity, divergence = fn(params, fields)
            return jnp.sum(jnp.square(velocity)) + jnp.sum(divergence)

        return jax.value_and_grad(loss, argnums=(0, 1), allow_int=True)

    return {
        name: Case(with_gradient(case.fn), case.args)
        for name, case in velocity_cases(of).items()
    }


def _dense(params: LatticeParams, fields: Array) -> tuple[Array, Array]:
    return jax.vmap(lattice_velocity, (None, None, 0))(params, jnp.array(0.3), fields)


def _convolution(net: Any) -> Any:
    graph = nnx.graphdef(net)

    def convolution(state: Any, fields: Array) -> tuple[Array, Array]:
        velocity, minus_divergence = nnx.merge(graph, state)(jnp.array(0.3), fields)
        return velocity, -minus_divergence

    return convolution
