r"""Flows of flowjax and bijx behind one form: signs, what is trained, what is refused.

What went wrong in other libraries is tried here: log-determinants of another sign, of another
shape or of one coordinate, arrays that were to be frozen and decayed all the same.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import paramax
import pytest
from flax import nnx
from flow_parameters import after_weight_decay, random_params
from flowjax import bijections as flowjax_bijections
from flowjax.distributions import Normal, StandardNormal, Transformed, Uniform
from flowjax.flows import coupling_flow
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import annealing, targets
from jarzynski_jax.generators import Flow, Layer, LayeredFlow, check_flow
from jarzynski_jax.interop import flowjax as from_flowjax_library
from jarzynski_jax.walkers import Dynamics

bijx = pytest.importorskip(
    "bijx", reason="bijx 1.3 does not import with jax 0.12", exc_type=ImportError
)
from jarzynski_jax.interop import bijx as from_bijx_library  # noqa: E402

GAUSSIAN = targets.gaussian([1.0] * 3)
LOG_8 = 2.0794415  # 3 log 2


def doubling_of_flowjax():
    scale = flowjax_bijections.Scale(jnp.full(3, 2.0))
    return from_flowjax_library.from_bijection(scale, GAUSSIAN)


def doubling_of_bijx():
    log_scale = nnx.Param(jnp.full(3, jnp.log(2.0)))
    scale = bijx.AffineLinear(scale=log_scale, rngs=nnx.Rngs(0))
    return from_bijx_library.from_bijection(scale, GAUSSIAN)


def net_of_flowjax():
    net = coupling_flow(
        jax.random.key(0), base_dist=StandardNormal((3,)), flow_layers=3, nn_width=8
    )
    return from_flowjax_library.from_flowjax(net)


def net_of_bijx():
    chain = bijx.realnvp_flow(4, n_coupling_layers=3, width=8, depth=1, rngs=nnx.Rngs(1))
    prior = bijx.IndependentNormal((4,))
    return from_bijx_library.from_bijx(bijx.Transformed(prior, chain))


each_doubling = pytest.mark.parametrize("make", [doubling_of_flowjax, doubling_of_bijx])
NETS = {"flowjax": net_of_flowjax, "bijx": net_of_bijx}


@pytest.fixture(scope="module", params=NETS)
def net(request):
    flow, params = NETS[request.param]()
    size = 0.3 if request.param == "flowjax" else 0.1
    return flow, random_params(params, jax.random.key(3), size)


# ---------------------------------------------------------------- one sign


@each_doubling
def test_both_libraries_say_the_same_of_twice_x(make):
    flow, params = make()
    x = jnp.array([1.0, -2.0, 0.5])
    y, forward = flow.forward_fn(params, x)
    back, backward = flow.inverse_fn(params, y)
    np.testing.assert_allclose(y, 2 * x, rtol=1e-6)
    np.testing.assert_allclose(back, x, rtol=1e-6)
    np.testing.assert_allclose([forward, -backward], LOG_8, rtol=1e-6)
    log_q = flow.logdensity(params, x)
    exact = -jnp.sum(x**2) / 8 - 1.5 * jnp.log(2 * jnp.pi) - LOG_8
    np.testing.assert_allclose(log_q, exact, rtol=1e-6)


def test_a_net_is_what_it_says(net):
    flow, params = net
    # A net of many small operations is slow outside of jit.
    flow = flow._replace(
        forward_fn=jax.jit(flow.forward_fn), inverse_fn=jax.jit(flow.inverse_fn)
    )
    missed = check_flow(jax.random.key(1), flow, params)
    assert missed.position.shape == (64,)
    key = jax.random.key(2)
    x, log_q = flow.sample_and_logdensity(key, params)
    np.testing.assert_allclose(log_q, flow.logdensity(params, x), rtol=1e-4, atol=1e-4)
    density = flow.density(params)
    assert density.log_partition_function == 0
    assert density.sample(key, 5).shape == (5, density.dimension)


def cubic_couplings():
    """Two couplings whose scale grows with the other coordinate: far out they overflow."""

    def layer(active, other):
        def shifted(params, x, sign):
            log_scale = sign * params * x[other] ** 2
            return x.at[active].multiply(jnp.exp(log_scale)), log_scale

        return Layer(
            lambda params, z: shifted(params, z, 1),
            lambda params, x: shifted(params, x, -1),
            np.arange(2) == active,
        )

    return LayeredFlow(targets.gaussian([1.0] * 2), (layer(0, 1), layer(1, 0)))


def test_where_the_inverse_overflows_there_is_no_density():
    flow, params = cubic_couplings(), -1.0
    near, far = jnp.array([0.3, -0.2]), jnp.array([20.0, 20.0])
    z, log_det = flow.flow.inverse_fn(params, far)
    # As the sum is, log q would be no number.
    assert jnp.isnan(flow.base.logdensity_fn(z) + log_det)
    assert flow.logdensity(params, far) == -jnp.inf
    assert flow.logdensity(params, near) > -3
    # What is wrong already stays so.
    assert jnp.isnan(flow.logdensity(jnp.nan, near))
    assert jnp.isnan(flow.logdensity(params, jnp.array([jnp.nan, 0.0])))


def mean_weight(key, flow_and_params, fault):
    """E[e^A] of e^(-2|x|²), Z = (π/2)^(d/2), by the flow at random parameters.

    Faults: 1, the log-determinant is left out; 2, it has the other sign.
    """
    flow, params = flow_and_params
    keys = jax.random.split(key, 1000)
    x, log_q = jax.vmap(flow.sample_and_logdensity, (0, None))(keys, params)
    log_base = jax.vmap(flow.base.logdensity_fn)(flow_base(flow, keys))
    log_det = log_base - log_q
    log_q = log_q + jnp.array([0, 1, 2])[fault] * log_det
    log_z = x.shape[1] / 2 * jnp.log(jnp.pi / 2)
    return jnp.mean(jnp.exp(-2 * jnp.sum(x**2, axis=1) - log_q - log_z))


def flow_base(flow, keys):
    return jax.vmap(lambda key: flow.base.sample(key, 1)[0])(keys)


def test_weights_are_unbiased_at_random_parameters(net):
    flow, params = net
    found = [
        replicate(
            "weights",
            lambda key, params, fault: mean_weight(key, (flow, params), fault),
            *(params, fault),
        )
        for fault in range(3)
    ]
    assert_unbiased(found[0], 1)
    assert_biased(found[1], 1)
    assert_biased(found[2], 1)


def test_a_flow_moves_walkers_with_their_weights(net):
    flow, params = net
    move, density = flow.move(params), flow.density(params)

    @jax.jit
    @jax.vmap
    def there_and_back(z):
        state = move.init(z, flow.base.logdensity_fn)
        state, forward = move.kernel(None, state, density.logdensity_fn, *move.args)
        back = move.reverse(move)
        state, backward = back.kernel(None, state, flow.base.logdensity_fn, *back.args)
        return state.position, forward.log_weight_increment, backward.log_weight_increment

    z = flow.base.sample(test_key("walkers"), 100)
    position, forward, backward = there_and_back(z)
    np.testing.assert_allclose(position, z, atol=2e-3)
    np.testing.assert_allclose(forward, 0, atol=2e-3)  # of the base and its own image
    np.testing.assert_allclose(backward, 0, atol=2e-3)


def test_a_flow_is_the_map_of_targeted_free_energy_perturbation():
    """Work both ways through the map, between two Gaussians: by 2x it is -log 8 for all."""
    flow, params = doubling_of_flowjax()
    wide = targets.gaussian([4.0] * 3)
    path = annealing.geometric_path(GAUSSIAN.logdensity_fn, wide.logdensity_fn)
    first, last = GAUSSIAN.sample(test_key("a"), 50), wide.sample(test_key("b"), 50)
    dynamics = Dynamics(flow.move(params))
    work = annealing.work(test_key("work"), first, last, path, jnp.ones(1), dynamics)
    np.testing.assert_allclose(work.forward, -LOG_8, atol=1e-5)
    np.testing.assert_allclose(work.reverse, LOG_8, atol=1e-5)


# ---------------------------------------------------------------- what is trained


def half_frozen():
    """Of flowjax: the scale is frozen, the shift is not."""
    affine = flowjax_bijections.Affine(jnp.ones(2), jnp.full(2, 1.5))
    frozen = eqx.tree_at(
        lambda tree: tree.scale, affine, replace_fn=lambda scale: paramax.non_trainable(scale)
    )
    return from_flowjax_library.from_flowjax(Transformed(Normal(jnp.full(2, 3.0), 2.0), frozen))


def test_what_is_marked_as_frozen_does_not_decay():
    flow, params = half_frozen()
    z = jnp.zeros(2)
    before, log_det = flow.forward_fn(params, z)
    after, log_det_after = flow.forward_fn(after_weight_decay(flow, params), z)
    assert float(jnp.max(jnp.abs(after - before))) > 0.01  # the shift has learned
    np.testing.assert_array_equal(log_det_after, log_det)  # the scale has not
    assert len(jax.tree.leaves(params)) == 1
    # The base is that of location 3 and scale 2, and has no parameters.
    exact = jax.scipy.stats.norm.logpdf(jnp.ones(2), 3.0, 2.0).sum()
    np.testing.assert_allclose(flow.base.logdensity_fn(jnp.ones(2)), exact, rtol=1e-5)


def test_the_bounds_of_a_base_are_not_trained():
    flow, params = from_flowjax_library.from_flowjax(
        Transformed(Uniform(jnp.zeros(2), jnp.ones(2)), flowjax_bijections.Scale(jnp.ones(2)))
    )
    assert len(jax.tree.leaves(params)) == 1
    assert not np.isfinite(flow.logdensity(params, jnp.full(2, 1.5)))


def test_constants_and_masks_of_bijx_are_not_trained():
    chain = bijx.realnvp_flow(4, n_coupling_layers=1, width=8, depth=1, rngs=nnx.Rngs(1))
    log_scale = bijx.Const(jnp.full(4, 0.5))
    whole = bijx.Chain(chain, bijx.AffineLinear(scale=log_scale, rngs=nnx.Rngs(0)))
    flow, params = from_bijx_library.from_bijection(whole, targets.gaussian([1.0] * 4))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    decayed = jax.tree.map(lambda leaf: 0 * leaf, params)
    y, log_det = flow.forward_fn(decayed, jnp.ones(4))
    np.testing.assert_allclose(log_det, 2.0, rtol=1e-6)
    np.testing.assert_allclose(y, np.exp(0.5), rtol=1e-6)


def test_layers_of_bijx_have_the_score_of_the_inverse():
    chain = bijx.realnvp_flow(4, n_coupling_layers=3, width=8, depth=1, rngs=nnx.Rngs(1))
    flow, params = from_bijx_library.layered(chain, targets.gaussian([1.0] * 4))
    params = random_params(params, jax.random.key(5))
    draw = jax.jit(lambda key: flow.sample_with_score(key, params, 20))
    draw_by_inverse = jax.jit(lambda key: flow.flow.sample_with_score(key, params, 20))
    found, expected = draw(test_key("layers")), draw_by_inverse(test_key("layers"))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=2e-3)


# ---------------------------------------------------------------- densities that integrate


def test_a_density_on_the_plane_integrates_to_one():
    """A map that is not onto would leave some of it out."""
    base = StandardNormal((2,))
    net = coupling_flow(jax.random.key(4), base_dist=base, flow_layers=2, nn_width=8)
    flow, params = from_flowjax_library.from_flowjax(net)
    grid = jnp.linspace(-8, 8, 161)
    points = jnp.stack(jnp.meshgrid(grid, grid), -1).reshape(-1, 2)
    log_q = jax.jit(jax.vmap(flow.logdensity, (None, 0)))(params, points)
    assert float(jnp.sum(jnp.exp(log_q)) * 0.1**2) == pytest.approx(1, abs=0.01)


# ---------------------------------------------------------------- what is refused


def scaled(log_det):
    """Twice z, with a log-determinant that may be wrong, and its inverse."""
    return Flow(
        GAUSSIAN,
        lambda params, z: (2 * z, log_det),
        lambda params, x: (x / 2, -log_det),
    )


def image_folded(params, z):
    return jnp.abs(z), jnp.zeros(())


WRONG = {
    "missing": (scaled(jnp.zeros(())), r"forward map says log\|det\| = 0 .* has 2.079"),
    "sign": (scaled(jnp.asarray(-LOG_8)), r"says log\|det\| = -2.07944 .* has 2.07944"),
    "one coordinate": (scaled(jnp.asarray(LOG_8 / 3)), r"= 0.693147 where"),
    "a number each": (scaled(jnp.full(3, 0.7)), r"one log-determinant; .* and \(3,\)"),
    "not invertible": (
        Flow(GAUSSIAN, image_folded, image_folded),
        "the inverse does not undo the map",
    ),
    "dimension": (
        Flow(
            targets.gaussian([1.0, 1.0]),
            lambda params, z: (z + jnp.ones(3), jnp.zeros(())),
            lambda params, x: (x - jnp.ones(3), jnp.zeros(())),
        ),
        r"does not take a position of the base, of shape \(2,\)",
    ),
    "no base": (scaled(0.0)._replace(base=StandardNormal()), "must be a Density; got Standard"),
    "no samples": (
        scaled(0.0)._replace(base=GAUSSIAN._replace(sample=None)),
        "exact samples and a known log Z",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_flow_that_is_wrong_is_refused(case):
    flow, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        check_flow(jax.random.key(0), flow, None)


def test_a_flow_is_checked_outside_of_jit():
    with pytest.raises(ValueError, match="looks at values"):
        jax.jit(lambda s: check_flow(jax.random.key(0), scaled(LOG_8), s).position)(1.0)


CONDITIONAL = coupling_flow(
    jax.random.key(0), base_dist=StandardNormal((2,)), cond_dim=1, flow_layers=1, nn_width=2
)
NOT_TAKEN = {
    "a base of flowjax": (
        lambda: from_flowjax_library.from_flowjax(StandardNormal((2,))),
        "transformed distribution.*got StandardNormal",
    ),
    "conditions": (
        lambda: from_flowjax_library.from_flowjax(CONDITIONAL),
        r"without conditions.*\(1,\)",
    ),
    "another shape": (
        lambda: from_flowjax_library.from_bijection(
            flowjax_bijections.Scale(jnp.ones(())), StandardNormal((2,))
        ),
        r"bijection's shape, \(\); it has .* the shape \(2,\)",
    ),
    "nothing trained": (
        lambda: from_flowjax_library.from_bijection(
            flowjax_bijections.Flip((2,)), StandardNormal((2,))
        ),
        "nothing in this bijection is trained",
    ),
    "bijx for flowjax": (
        lambda: from_flowjax_library.from_bijection(bijx.Chain(), GAUSSIAN),
        "a bijection of flowjax is expected; got Chain",
    ),
    "a prior": (
        lambda: from_bijx_library.from_bijx(bijx.IndependentNormal((2,))),
        "a bijx.Transformed of a prior and a bijection; got IndependentNormal",
    ),
    "flowjax for bijx": (
        lambda: from_bijx_library.from_bijection(
            flowjax_bijections.Scale(jnp.ones(2)), GAUSSIAN
        ),
        "a bijection of bijx is expected; got Scale",
    ),
    "no chain": (
        lambda: from_bijx_library.layered(bijx.AffineLinear(rngs=nnx.Rngs(0)), GAUSSIAN),
        r"those of a bijx.Chain; got AffineLinear",
    ),
    "no layers": (
        lambda: from_bijx_library.layered(bijx.Chain(bijx.Reshape((3,), (3, 1))), GAUSSIAN),
        "couplings of scalar maps .*; got Reshape",
    ),
    "base of bijx": (
        lambda: from_bijx_library.from_bijection(
            bijx.AffineLinear(scale=nnx.Param(jnp.ones(3)), rngs=nnx.Rngs(0)), StandardNormal()
        ),
        "the base must be a distribution over arrays of bijx",
    ),
}


@pytest.mark.parametrize("case", NOT_TAKEN)
def test_what_is_no_flow_is_refused(case):
    call, message = NOT_TAKEN[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_a_mask_turned_round_is_seen():
    shear = Layer(
        lambda a, z: (z.at[1].add(a * z[0] ** 2), jnp.zeros(())),
        lambda a, x: (x.at[1].add(-a * x[0] ** 2), jnp.zeros(())),
        np.array([False, True]),
    )
    base = targets.gaussian([1.0, 1.0])
    check_flow(jax.random.key(0), LayeredFlow(base, [shear]), 1.5)
    wrong = shear._replace(is_active=~shear.is_active)
    with pytest.raises(ValueError, match="is_active"):
        check_flow(jax.random.key(0), LayeredFlow(base, [wrong]), 1.5)
