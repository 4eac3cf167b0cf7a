"""What flows got wrong elsewhere: maps that are not onto, densities outside of an image, NaN
far out, frozen arrays that decay, clipping to nothing, modes in equal parts, dropout.

Each stands for a public report; a canary beside it shows that the test would see it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flow_parameters import after_weight_decay, random_params
from flowjax import bijections, flows
from flowjax.distributions import StandardNormal
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import generators, targets, training, walkers
from jarzynski_jax.generators import ContinuousFlow, with_divergence
from jarzynski_jax.interop import flowjax as of_flowjax
from jarzynski_jax.kernels import bijection
from jarzynski_jax.walkers import Dynamics

bijx = pytest.importorskip(
    "bijx", reason="bijx 1.3 does not import with jax 0.12", exc_type=ImportError
)
from jarzynski_jax.interop import bijx as of_bijx  # noqa: E402


def gaussian(dimension):
    return targets.gaussian([1.0] * dimension)


def at_random(flow_and_params, size=0.05):
    """A flow with its parameters moved away from where they start.

    Much farther some densities have ridges that are finer than the grids below.
    """
    flow, params = flow_and_params
    return flow, random_params(params, test_key("parameters"), size)


# ---------------------------------------------------------------- architectures


def net_of_flowjax(make, dimension, **options):
    base = StandardNormal((dimension,))
    return of_flowjax.from_flowjax(make(jax.random.key(0), base_dist=base, **options))


def spline():
    return bijections.RationalQuadraticSpline(knots=5, interval=3)


def coupling_of_bijx(scalar_map):
    rngs = nnx.Rngs(1)
    return bijx.coupling_flow(
        2, scalar_map, n_coupling_layers=2, width=8, depth=1, bias_mode="zeros", rngs=rngs
    )


def spline_of_bijx():
    chain = coupling_of_bijx(lambda rngs: bijx.MonotoneRQSpline(5, (), rngs=rngs))
    return of_bijx.from_bijection(chain, gaussian(2))


def layers_of_bijx():
    chain = bijx.realnvp_flow(2, n_coupling_layers=2, width=8, depth=1, rngs=nnx.Rngs(1))
    return of_bijx.layered(chain, gaussian(2))


def continuous():
    velocity = with_divergence(lambda p, t, x: jnp.tanh(p[0] * x + t) @ p[1] - p[2] * x)
    params = jnp.ones(1), 0.5 * jnp.ones((1, 1)), jnp.ones(1)
    return ContinuousFlow(gaussian(1), velocity, num_steps=10), params


def coupling_of_flowjax(**options):
    return net_of_flowjax(flows.coupling_flow, 2, flow_layers=2, nn_width=8, **options)


def autoregressive_of_flowjax():
    make = flows.masked_autoregressive_flow
    return net_of_flowjax(make, 1, flow_layers=1, nn_width=8, transformer=spline())


def block_autoregressive():
    return net_of_flowjax(flows.block_neural_autoregressive_flow, 1, nn_block_dim=4)


COUPLINGS = {
    "affine coupling, flowjax": coupling_of_flowjax,
    "spline coupling, flowjax": lambda: coupling_of_flowjax(transformer=spline()),
    "spline coupling, bijx": spline_of_bijx,
}
ARCHITECTURES = {
    **COUPLINGS,
    "affine layers, bijx": layers_of_bijx,
    "autoregressive spline, flowjax": autoregressive_of_flowjax,
    "block autoregressive, flowjax": block_autoregressive,
    "continuous": continuous,
}


def not_onto():
    """A last layer that is bounded: of the base's mass what is beyond 2 has no image."""
    bounded = bijections.Chain([bijections.Tanh(), bijections.Scale(jnp.array(2.0))])
    whole = bijections.Stack([bijections.Invert(bounded)])
    return of_flowjax.from_bijection(whole, gaussian(1))


def total(flow, params):
    """The density's integral, in coordinates u of x = sinh u: fine near 0, and to 6e5.

    Block autoregressive flows have as heavy tails as that. In the plane to 4000.
    """
    dimension = flow.base.dimension
    farthest, spacing = (14.0, 0.01) if dimension == 1 else (9.0, 0.045)
    u = jnp.arange(-farthest, farthest + spacing / 2, spacing)
    u = jnp.stack(jnp.meshgrid(*[u] * dimension), -1).reshape(-1, dimension)
    log_q = jax.jit(jax.vmap(flow.logdensity, (None, 0)))(params, jnp.sinh(u))
    log_volume = jnp.sum(jnp.log(jnp.cosh(u)), axis=1)
    return float(jnp.sum(jnp.exp(log_q + log_volume))) * spacing**dimension


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_density_integrates_to_one(name):
    assert total(*at_random(ARCHITECTURES[name]())) == pytest.approx(1, abs=2e-3)


def test_canary_a_map_that_is_not_onto_loses_mass():
    flow, params = not_onto()
    assert total(flow, params) == pytest.approx(0.9545, abs=1e-3)  # P(|z| < 2)


@pytest.mark.parametrize("name", COUPLINGS)
def test_gradients_far_out_are_finite(name):
    flow, params = at_random(COUPLINGS[name]())
    log_q, gradient = jax.jit(jax.value_and_grad(flow.logdensity))(params, jnp.full(2, 1e3))
    assert np.isfinite(log_q)
    assert log_q < -100
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


def test_where_an_unbounded_scale_overflows_there_is_no_density():
    """That of bijx's affine layers is e^s, of a network's s: at 1e3 it does."""
    flow, params = at_random(layers_of_bijx())
    assert flow.logdensity(params, jnp.full(2, 1e3)) == -jnp.inf


# ---------------------------------------------------------------- outside of an image


def bounded_by_flowjax(last):
    scale = bijections.Scale(jnp.full(2, 1.5))
    return of_flowjax.from_bijection(bijections.Chain([scale, last]), gaussian(2))


def bounded_by_bijx(last):
    scale = bijx.Scaling(nnx.Param(jnp.full(2, 1.5)))
    return of_bijx.from_bijection(bijx.Chain(scale, last), gaussian(2))


# The flow, and points inside, on the edge and outside, of the square that is its image.
SIGMOID_POINTS = [[0.3, 0.8], [1.0, 0.5], [1.2, 0.5], [0.5, -0.1], [7.0, -3.0]]
TANH_POINTS = [[0.3, -0.8], [1.0, 0.5], [1.2, 0.5], [0.5, -1.1], [7.0, -3.0]]
BOUNDED = {
    "sigmoid of flowjax": (
        lambda: bounded_by_flowjax(bijections.Sigmoid((2,))),
        SIGMOID_POINTS,
    ),
    "sigmoid of bijx": (lambda: bounded_by_bijx(bijx.Sigmoid()), SIGMOID_POINTS),
    "tanh of flowjax": (lambda: bounded_by_flowjax(bijections.Tanh((2,))), TANH_POINTS),
    "tanh of bijx": (lambda: bounded_by_bijx(bijx.Tanh()), TANH_POINTS),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_outside_of_its_image_a_flow_has_no_density_and_walkers_die(name):
    make, points = BOUNDED[name]
    flow, params = make()
    density, x = flow.density(params), jnp.array(points)
    log_q = jax.vmap(density.logdensity_fn)(x)
    assert np.isfinite(log_q[0])
    np.testing.assert_array_equal(log_q[1:], -np.inf)
    # Walkers that stand there when the flow becomes their target.
    stay = bijection.as_move(lambda x: (x, jnp.zeros(())))
    start = walkers.init(x, flow.base.logdensity_fn, stay.init)
    after, num_dead = walkers.advance(
        jax.random.key(0), start, density.logdensity_fn, Dynamics(stay)
    )
    assert int(num_dead) == len(points) - 1
    assert np.isfinite(after.log_weights[0])
    np.testing.assert_array_equal(after.log_weights[1:], -np.inf)


# ---------------------------------------------------------------- frozen, and clipped


def scaling(variable):
    return bijx.Scaling(variable(jnp.full(2, 1.5)))


FROZEN = {
    "a constant": lambda: scaling(bijx.Const),
    "a frozen map": lambda: bijx.Frozen(scaling(nnx.Param)),
    "a frozen chain": lambda: bijx.Frozen(bijx.Chain(scaling(nnx.Param))),
    "a frozen map in a frozen chain": lambda: bijx.Frozen(
        bijx.Chain(bijx.Frozen(scaling(nnx.Param)))
    ),
    "a frozen map in a chain": lambda: bijx.Chain(bijx.Frozen(scaling(nnx.Param))),
}


def scale_after_decay(part):
    """Of a part behind a shift that learns, after ten steps with weight decay."""
    shift = bijx.Shift(nnx.Param(jnp.ones(2)))
    flow, params = of_bijx.from_bijection(bijx.Chain(shift, part), gaussian(2))
    before, log_det = flow.forward_fn(params, jnp.zeros(2))
    after, log_det_after = flow.forward_fn(after_weight_decay(flow, params), jnp.zeros(2))
    assert float(jnp.max(jnp.abs(after - before))) > 0.01  # the shift has learned
    return np.asarray(log_det_after), np.asarray(log_det)


@pytest.mark.parametrize("name", FROZEN)
def test_what_bijx_froze_does_not_decay(name):
    after, before = scale_after_decay(FROZEN[name]())
    np.testing.assert_array_equal(after, before)


def test_canary_what_is_not_frozen_decays():
    after, before = scale_after_decay(scaling(nnx.Param))
    assert after != before


@pytest.mark.parametrize("max_norm", [1.0, 0.0])
@pytest.mark.parametrize("optimizer", [optax.sgd(0.1), optax.adam(0.1)])
def test_a_gradient_of_zero_that_is_clipped_changes_nothing(optimizer, max_norm):
    clipped = optax.chain(optax.clip_by_global_norm(max_norm), optimizer)
    objective = training.maximum_likelihood(
        lambda params, x: 0 * params["a"] - jnp.sum(x**2) / 2, clipped
    )
    params = {"a": jnp.array(1.5), "b": jnp.ones(3)}
    state = objective.init(jax.random.key(0), params)
    for _ in range(2):  # what the first leaves in the optimizer comes to light in the second
        state, metrics = jax.jit(objective.step)(jax.random.key(0), state, jnp.ones((5, 2)))
    assert metrics.gradient_norm == 0
    jax.tree.map(np.testing.assert_array_equal, state.params, params)


# ---------------------------------------------------------------- samples of modes

_CENTRES = np.random.default_rng(0).uniform(-40, 40, (40, 2))
NUM_SAMPLES = 400


def counts(x):
    """By the nearest of the centres of forty_modes."""
    squares = jnp.sum(jnp.square(x[:, None] - _CENTRES), axis=-1)
    return jnp.sum(jax.nn.one_hot(jnp.argmin(squares, axis=1), 40), axis=0)


@pytest.fixture(scope="module")
def shares():
    """Of what is nearest to each centre: modes overlap, so they are not quite 1/40."""
    draw = jax.jit(lambda key: counts(targets.forty_modes().sample(key, 20_000)))
    keys = jax.random.split(test_key("shares"), 50)
    return jax.lax.map(draw, keys).sum(axis=0) / 1e6


def spread_of_counts(key, shares, in_equal_parts):
    """Pearson's statistic over its degrees of freedom: 1 of independent samples."""
    key_x, key_noise = jax.random.split(key)
    x = targets.forty_modes().sample(key_x, NUM_SAMPLES)
    noise = np.log1p(np.e) * jax.random.normal(key_noise, x.shape)
    equal = jnp.repeat(jnp.asarray(_CENTRES, x.dtype), NUM_SAMPLES // 40, axis=0) + noise
    expected = NUM_SAMPLES * shares
    found = counts(jnp.where(in_equal_parts, equal, x))
    return jnp.sum(jnp.square(found - expected) / expected) / 39


def test_modes_are_drawn_at_random_and_not_in_equal_parts(shares):
    assert_unbiased(replicate("counts", spread_of_counts, shares, jnp.array(False)), 1)
    assert_biased(replicate("counts", spread_of_counts, shares, jnp.array(True)), 1)


# ---------------------------------------------------------------- modules that change


class Forgetful(nnx.Module):
    """A drift with dropout."""

    def __init__(self):
        self.drop = nnx.Dropout(0.5, rngs=nnx.Rngs(0))
        self.linear = nnx.Linear(2, 2, rngs=nnx.Rngs(1))

    def __call__(self, t, x):
        return t * self.drop(self.linear(x))

    def free_energy_rate(self, t):
        return self.drop(jnp.atleast_1d(t))[0]


def test_a_drift_with_dropout_is_refused():
    transport, params = generators.functional(Forgetful())
    message = r"same function at every call.*drop.*module.eval\(\)"
    with pytest.raises(ValueError, match=message):
        jax.jit(transport.velocity_fn)(params, 0.5, jnp.ones(2))
    with pytest.raises(ValueError, match=message):
        transport.free_energy_rate_fn(params, 0.5)
    quiet = Forgetful()
    quiet.eval()
    transport, params = generators.functional(quiet)
    assert np.all(np.isfinite(transport.velocity_fn(params, 0.5, jnp.ones(2))))


def coupling_with_dropout():
    conditioner = nnx.Sequential(
        nnx.Linear(1, 8, rngs=nnx.Rngs(0)),
        nnx.Dropout(0.5, rngs=nnx.Rngs(1)),
        nnx.Linear(8, 1, rngs=nnx.Rngs(2)),
    )
    template = bijx.ModuleReconstructor(bijx.Shift(rngs=nnx.Rngs(3)))
    mask = bijx.checker_mask((2,), True)
    return bijx.GeneralCouplingLayer(conditioner, mask, template)


@pytest.mark.parametrize("direction", ["forward_fn", "inverse_fn"])
def test_a_flow_with_dropout_is_refused(direction):
    net = coupling_with_dropout()
    flow, params = of_bijx.from_bijection(net, gaussian(2))
    with pytest.raises(ValueError, match=r"a bijection must be the same.*module.eval\(\)"):
        jax.jit(getattr(flow, direction))(params, jnp.ones(2))
    net.eval()
    flow, params = of_bijx.from_bijection(net, gaussian(2))
    assert np.all(np.isfinite(getattr(flow, direction)(params, jnp.ones(2))[0]))
