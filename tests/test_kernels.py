"""All kernels but ULA: exact weights along a path, and what they are in special cases.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore.
"""

from functools import partial

import blackjax
import equinox as eqx
import gaussian_path
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flowjax.distributions import Normal
from flowjax.flows import masked_autoregressive_flow
from gaussian_path import at
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import walkers
from jarzynski_jax.kernels import (
    bijection,
    escorted,
    invariant,
    kinetic,
    metropolis,
    sequence,
    ula,
)
from jarzynski_jax.kernels.move import Move
from jarzynski_jax.kernels.preconditioning import preconditioner
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.walkers import Dynamics, advance

D = 2
PATH = gaussian_path.stiffening(8, (1.0, 2.0), (0.0, 0.6))
EXACT = gaussian_path.exact_moments(PATH, D)
COVARIANCE = jnp.array([[1.0, 0.4], [0.4, 0.5]])
DIAGONAL, DENSE = preconditioner(jnp.array([1.0, 0.3])), preconditioner(COVARIANCE)
SHEAR = lambda x: (jnp.array([1.1 * x[0] + 0.2 * x[1], 0.9 * x[1] + 0.1]), jnp.log(0.99))  # noqa: E731
SWIRL = lambda x: jnp.array([0.4 - x[1], 0.5 * x[0]])  # noqa: E731


def mcmc(module, *args, **build):
    return invariant.as_move(module.init, module.build_kernel(**build), *args)


def in_sequence(*stages):
    return sequence.as_move(stages)


# A normalizing flow of random weights, small ones: it is no transport that would help.
FLOW = jax.tree.map(
    lambda leaf: 0.4 * leaf if eqx.is_inexact_array(leaf) else leaf,
    masked_autoregressive_flow(
        jax.random.key(0),
        base_dist=Normal(jnp.zeros(D)),
        flow_layers=2,
        nn_width=8,
        invert=False,
    ).bijection,
).transform_and_log_det
ESCORTED_INIT = partial(escorted.init, velocity_fn=SWIRL)
IDENTITY = jnp.ones(D)
#: Step sizes are coarse.
KERNELS = {
    "mala": mcmc(blackjax.mala, 0.2),
    "hmc": mcmc(blackjax.hmc, 0.4, IDENTITY, 3),
    "nuts": mcmc(blackjax.nuts, 0.5, IDENTITY),
    "random walk": mcmc(blackjax.rmh, lambda key, x: x + 0.5 * jax.random.normal(key, x.shape)),
    "kinetic": kinetic.as_move(0.5, 1.0),
    "kinetic, low friction": kinetic.as_move(0.5, 0.1),
    "kinetic, no memory": kinetic.as_move(0.5, float("inf")),
    "kinetic, diagonal": kinetic.as_move(0.5, 1.0, DIAGONAL),
    "kinetic, dense": kinetic.as_move(0.5, 1.0, DENSE),
    "ula, diagonal": ula.as_move(0.2, DIAGONAL),
    "ula, dense": ula.as_move(0.2, DENSE),
    "escorted": escorted.as_move(SWIRL, 0.1, 0.7),
    "escorted, diagonal": escorted.as_move(SWIRL, 0.1, 0.7, DIAGONAL),
    "escorted, dense": escorted.as_move(SWIRL, 0.1, 0.7, DENSE),
    "bijection, ula": in_sequence(bijection.as_move(SHEAR), ula.as_move(0.15)),
    "ula, kinetic": in_sequence(ula.as_move(0.15), kinetic.as_move(0.4, 1.0)),
}
STOCHASTIC_FLOW = in_sequence(ula.as_move(0.15), bijection.as_move(FLOW), ula.as_move(0.15))
each_kernel = pytest.mark.parametrize("name", KERNELS)


def moments(name, change=None, resample=None, path=PATH):
    """Z, x and x² estimated at the end of the path, of each replicate.

    ``change(state, new_state, info) -> info`` puts a bug in.
    """
    init, kernel, args = KERNELS.get(name, STOCHASTIC_FLOW)[:3]

    def step(key, state, logdensity_fn, _):
        new_state, info = kernel(key, state, logdensity_fn, *args)
        if change is not None:
            info = info._replace(log_weight_increment=change(state, new_state, info))
        return new_state, info

    def run(key):
        end = gaussian_path.run(
            key, path, 0.0, 1000, (D,), kernel=step, resample=resample, init=init
        )
        return gaussian_path.weighted_moments(end)

    return replicate(name, run)


@each_kernel
def test_weights_are_exact(name):
    assert_unbiased(moments(name), EXACT)


def test_a_stochastic_normalizing_flow_is_exact():
    """Langevin, a flow of a flow library, Langevin; two steps, for it leads astray."""
    path = gaussian_path.stiffening(2, (1.0, 2.0), (0.0, 0.6))
    assert_unbiased(moments("stochastic normalizing flow", path=path), EXACT)


@pytest.mark.parametrize("name", ["hmc", "kinetic", "escorted", "bijection, ula"])
def test_weights_are_exact_with_resampling(name):
    """At every step, on the shadow weight."""
    always = adaptive(systematic, 1.0)

    def resample(key, ensemble):
        return walkers.resample(key, ensemble, always)[0]

    assert_unbiased(moments(name, resample=resample), EXACT)


BUGS = {
    "no weight": lambda state, new, info: jnp.zeros_like(info.log_weight_increment),
    "other sign": lambda state, new, info: -info.log_weight_increment,
    "work of densities alone": lambda state, new, info: new.logdensity - state.logdensity,
}


@pytest.mark.parametrize("bug", BUGS)
@pytest.mark.parametrize("name", ["hmc", "kinetic", "escorted", "bijection, ula"])
def test_canary_wrong_weights_are_caught(name, bug):
    assert_biased(moments(name, BUGS[bug]), EXACT)


def test_canary_a_velocity_that_is_not_in_the_weight_is_caught():
    """The weight of ULA for a step that b has driven."""
    h, epsilon = 0.1, 0.7

    def change(state, new, info):
        blind = state._replace(velocity=jnp.zeros(D)), new._replace(velocity=jnp.zeros(D))
        old, new = blind
        displacement = new.position - old.position
        work = new.logdensity - old.logdensity
        work -= jnp.dot(displacement, old.logdensity_grad + new.logdensity_grad) / 2
        square = jnp.sum(old.logdensity_grad**2) - jnp.sum(new.logdensity_grad**2)
        return work + h * epsilon / 4 * square

    assert_biased(moments("escorted", change), EXACT)


def test_canary_a_log_determinant_left_out_is_caught():
    def change(state, new, info):
        return info.log_weight_increment - info.stages[0].log_determinant

    # The shear's determinant is 0.99 a step: 8 % over the path.
    assert_biased(moments("bijection, ula", change), EXACT)


# ---------------------------------------------------------------- special cases


def one_step(name):
    init, kernel, args = KERNELS[name][:3]
    new = gaussian_path.Target(jnp.array(1.7), jnp.array(0.3))
    state = init(jnp.array([0.4, -1.1]), at(gaussian_path.target_at(PATH, 0)))
    return state, *kernel(jax.random.key(0), state, at(new), *args)


def ula_increment(state, new_state, h):
    """Thesis, eq. 3.3.1 and 3.3.2, written as they are."""

    def alpha(state, displacement):
        grad = -state.logdensity_grad
        square = h / 4 * jnp.sum(grad**2)
        return -state.logdensity + jnp.dot(displacement, grad) / 2 + square

    displacement = new_state.position - state.position
    return alpha(state, displacement) - alpha(new_state, -displacement)


def test_kinetic_without_memory_is_ula():
    """h²/2 is then ULA's step size; positions follow it too."""
    h = 0.5
    state, new_state, info = one_step("kinetic, no memory")
    expected = ula_increment(state, new_state, h**2 / 2)
    assert float(info.log_weight_increment) == pytest.approx(float(expected), abs=1e-5)
    init, kernel, args = KERNELS["kinetic, no memory"][:3]
    target = at(gaussian_path.target_at(PATH, 0))
    state = init(jnp.array([0.4, -1.1]), target)
    keys = jax.random.split(jax.random.key(0), 20_000)
    moved = jax.vmap(lambda key: kernel(key, state, target, *args)[0].position)(keys)
    mean = state.position + h**2 / 2 * state.logdensity_grad
    np.testing.assert_allclose(moved.mean(axis=0), mean, atol=5 * h / np.sqrt(20_000))
    np.testing.assert_allclose(moved.var(axis=0), h**2, rtol=0.05)


def test_kinetic_keeps_its_velocity():
    """With hardly any friction it goes straight on, after the first step has drawn it."""
    kernel = kinetic.build_kernel()
    flat = lambda x: jnp.zeros(())  # noqa: E731
    state = kinetic.init(jnp.zeros(D), flat)
    state, _ = kernel(jax.random.key(0), state, flat, 0.1, 1e-6)
    later, info = kernel(jax.random.key(1), state, flat, 0.1, 1e-6)
    np.testing.assert_allclose(later.velocity, state.velocity, atol=5e-3)
    np.testing.assert_allclose(later.position, 2 * state.position, atol=2e-3)
    assert abs(float(info.log_weight_increment)) < 1e-6


def test_kinetic_shadow_weight_of_a_gaussian_is_constant():
    """½|v|² + U - h²/8 |∇U|² is conserved, so A is its endpoint factor and nothing else."""
    target = at(gaussian_path.Target(jnp.array(1.3), jnp.array(0.2)))
    kernel, h = kinetic.build_kernel(), 0.6
    state = kinetic.init(jnp.array([0.5, -0.7]), target)
    start = -(h**2) / 8 * jnp.sum(state.logdensity_grad**2)
    total = 0.0
    for key in jax.random.split(jax.random.key(3), 30):
        state, info = kernel(key, state, target, h, 0.5)
        total += float(info.log_weight_increment)
        assert total - float(state.log_endpoint) == pytest.approx(-float(start), abs=2e-5)


def test_escorted_without_velocity_is_ula():
    still = lambda x: jnp.zeros_like(x)  # noqa: E731
    old, new = (at(gaussian_path.target_at(PATH, index)) for index in (0, 1))
    x, key = jnp.array([0.4, -1.1]), jax.random.key(0)
    state, info = ula.build_kernel()(key, ula.init(x, old), new, 0.2)
    start = escorted.init(x, old, still)
    other, other_info = escorted.build_kernel()(key, start, new, still, 0.2, 1.0)
    np.testing.assert_allclose(state.position, other.position, rtol=1e-6)
    assert float(info.log_weight_increment) == pytest.approx(
        float(other_info.log_weight_increment), abs=1e-6
    )
    assert float(state.log_endpoint) == pytest.approx(float(other.log_endpoint), rel=1e-6)


def test_escorted_increment_is_the_ratio_of_path_densities():
    """ΔA = log B(x' → x) - log F(x → x') + ℓ_new(x') - ℓ_old(x), from the normal densities."""
    h, epsilon, matrix = 0.1, 0.7, np.asarray(COVARIANCE, np.float64)
    state, new_state, info = one_step("escorted, dense")

    def log_density(y, x, drift):
        deviation = y - x - h * drift
        return -deviation @ np.linalg.solve(matrix, deviation) / (4 * h * epsilon)

    old, new = (
        jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), state)
        for state in (state, new_state)
    )
    forward = old.velocity + epsilon * matrix @ old.logdensity_grad
    backward = -new.velocity + epsilon * matrix @ new.logdensity_grad
    expected = (
        log_density(old.position, new.position, backward)
        - log_density(new.position, old.position, forward)
        + new.logdensity
        - old.logdensity
    )
    assert float(info.log_weight_increment) == pytest.approx(expected, abs=2e-5)


def test_escorted_along_the_transport_keeps_its_walkers():
    """A well moved a long way in few steps: with its velocity the weights stay near equal."""
    path = gaussian_path.stiffening(20, (1.0, 1.0), (0.0, 10.0))

    def ess(velocity):
        flow = lambda x: jnp.full_like(x, velocity)  # noqa: E731

        def kernel(key, state, logdensity_fn, h):
            return escorted.build_kernel()(key, state, logdensity_fn, flow, h, 1.0)

        init = partial(escorted.init, velocity_fn=flow)
        key = test_key("transport")
        end = gaussian_path.run(key, path, 0.05, 500, (1,), kernel=kernel, init=init)
        weights = jnp.exp(end.log_weights)
        return float(jnp.sum(weights) ** 2 / jnp.sum(weights**2) / 500)

    assert ess(10.0) > 0.95
    assert ess(0.0) < 0.1


def test_bijection_that_maps_target_to_target_has_constant_weights():
    old, new = at(gaussian_path.target_at(PATH, 0)), at(gaussian_path.target_at(PATH, -1))
    scale, centre = 1 / np.sqrt(2.0), 0.6
    transport = lambda x: (centre + scale * x, jnp.array(D * np.log(scale)))  # noqa: E731
    x = jax.random.normal(jax.random.key(0), (50, D))
    ensemble = walkers.init(x, old, bijection.init)
    kernel = bijection.build_kernel()
    ensemble, _ = walkers.move(jax.random.key(1), ensemble, new, kernel, transport)
    np.testing.assert_allclose(ensemble.log_weights, np.log(EXACT[0]), atol=1e-5)


def test_preconditioned_step_has_the_covariance_asked_for():
    target = at(gaussian_path.target_at(PATH, 0))
    state = ula.init(jnp.array([0.4, -1.1]), target)
    keys = jax.random.split(jax.random.key(0), 50_000)
    kernel, h = ula.build_kernel(), 0.2
    moved = jax.vmap(lambda key: kernel(key, state, target, h, DENSE)[0].position)(keys)
    mean = state.position + h * COVARIANCE @ state.logdensity_grad
    np.testing.assert_allclose(moved.mean(axis=0), mean, atol=0.015)
    np.testing.assert_allclose(np.cov(moved.T), 2 * h * COVARIANCE, atol=0.015)


def adjusted_variance(name, adjust):
    """Of walkers after twenty adjusted steps at a fixed target, of variance one."""
    init, _, args = KERNELS[name][:3]
    adjusted = adjust(KERNELS[name])
    target = at(gaussian_path.target_at(PATH, 0))

    def variance(key):
        key_start, key_path = jax.random.split(key)
        x = jax.random.normal(key_start, (500, D))
        states = jax.vmap(lambda x: init(x, target))(x)

        def step(states, key):
            keys = jax.random.split(key, 500)
            return jax.vmap(lambda k, s: adjusted(k, s, target, *args)[0])(keys, states), None

        states, _ = jax.lax.scan(step, states, jax.random.split(key_path, 20))
        return jnp.mean(jnp.square(states.position))

    return replicate(f"adjusted {name}", variance)


@pytest.mark.parametrize("name", ["ula, dense", "hmc"])
def test_metropolis_adjusts_them(name):
    """At a fixed target the weight of ULA is a Metropolis ratio; of a Markov kernel it is 1."""
    assert_unbiased(adjusted_variance(name, metropolis.adjust), 1.0)


def test_canary_without_metropolis_the_variance_is_wrong():
    assert_biased(adjusted_variance("ula, dense", lambda move: move.kernel), 1.0)


@pytest.mark.parametrize("name", ["escorted", "bijection, ula"])
def test_kernels_that_do_not_undo_themselves_are_not_adjusted(name):
    with pytest.raises(ValueError, match=r"only unadjusted Langevin.*reject is None"):
        metropolis.adjust(KERNELS[name])


# ---------------------------------------------------------------- interface


@each_kernel
def test_dead_walkers_have_weight_zero_and_stay_finite(name):
    """Where the new density is NaN, or its gradient: -inf, never NaN."""
    init, kernel, args = KERNELS[name][:3]
    state = init(jnp.array([0.4, -1.1]), at(gaussian_path.target_at(PATH, 0)))
    _, info = kernel(jax.random.key(0), state, lambda x: jnp.sum(x) * jnp.nan, *args)
    assert float(info.log_weight_increment) == -jnp.inf
    assert not bool(info.is_finite)


@each_kernel
def test_dtype_and_compilation(name, dtype):
    init, kernel, args = KERNELS[name][:3]
    target = at(gaussian_path.Target(jnp.array(1.3, dtype), jnp.array(0.2, dtype)))
    step = jax.jit(lambda key, state: kernel(key, state, target, *args))
    state = jax.jit(lambda x: init(x, target))(jnp.array([0.4, -1.1], dtype))
    for seed in range(3):
        state, info = step(jax.random.key(seed), state)
    assert state.position.dtype == state.logdensity.dtype == dtype
    assert info.log_weight_increment.dtype == dtype
    assert step._cache_size() <= 2  # a weak type may become strong once


TREE = {"u": jnp.array(0.3), "v": jnp.full((2, 2), -0.4)}


def tree_logdensity(x):
    return -(x["u"] ** 2) - jnp.sum(x["v"] ** 2) / 2


def still(x):
    return jax.tree.map(jnp.zeros_like, x)


@pytest.mark.parametrize(
    "move",
    [
        kinetic.as_move(0.3, 1.0, preconditioner(jnp.ones(5))),
        ula.as_move(0.1, preconditioner(jnp.eye(5))),
        escorted.as_move(still, 0.1, 1.0),
        mcmc(blackjax.mala, 0.1),
        bijection.as_move(lambda x: (x, jnp.array(0.0))),
    ],
    ids=["kinetic", "ula", "escorted", "mala", "bijection"],
)
def test_positions_may_be_pytrees(move):
    start = move.init(TREE, tree_logdensity)
    state, info = move.kernel(jax.random.key(0), start, tree_logdensity, *move.args)
    assert jax.tree.map(jnp.shape, state.position) == jax.tree.map(jnp.shape, TREE)
    assert bool(info.is_finite)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda state: kinetic.build_kernel()(None, state, at, -0.1, 1.0), "step_size.*-0.1"),
        (lambda state: kinetic.build_kernel()(None, state, at, 0.1, 0.0), "friction.*0.0"),
        (lambda state: escorted.build_kernel()(None, state, at, at, 0.1, -1.0), "ε.*-1.0"),
        (lambda state: sequence.build_kernel([]), "at least one stage"),
        (lambda state: preconditioner(jnp.ones((2, 3))), r"\(2, 3\)"),
        (lambda state: preconditioner(jnp.array([1.0, -1.0])), "positive definite"),
        (
            lambda state: preconditioner(jnp.array([[1.0, 2.0], [2.0, 1.0]])),
            "positive definite",
        ),
        (lambda state: preconditioner(jnp.array([[1.0, 0.9], [0.0, 1.0]])), "symmetric"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(None)


def test_the_weight_has_the_matrix_that_colours_the_noise():
    """Traced, an asymmetric matrix cannot be refused; the weights are those of its L Lᵀ."""
    found = jax.jit(preconditioner)(jnp.array([[1.0, 0.9], [0.2, 1.0]]))
    np.testing.assert_allclose(found.matrix, found.factor @ found.factor.T, rtol=1e-6)
    np.testing.assert_allclose(found.matrix, found.matrix.T)


def test_canary_weights_without_the_preconditioner_are_caught():
    def change(state, new, info):
        """The weight of a step that has no preconditioner."""
        del info
        displacement = new.position - state.position
        work = new.logdensity - state.logdensity
        work -= jnp.dot(displacement, new.logdensity_grad + state.logdensity_grad) / 2
        squares = jnp.sum(new.logdensity_grad**2) - jnp.sum(state.logdensity_grad**2)
        return work - 0.2 / 4 * squares

    assert_biased(moments("ula, dense", change), EXACT)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: (x[:1], jnp.array(0.0)), r"\(2,\).*returned.*\(1,\)"),
        (lambda x: (x, jnp.zeros(2)), r"one log-determinant.*\(2,\)"),
    ],
)
def test_bijections_of_other_shapes_are_refused(wrong, message):
    target = at(gaussian_path.target_at(PATH, 0))
    state = bijection.init(jnp.zeros(D), target)
    with pytest.raises(ValueError, match=message):
        bijection.build_kernel()(None, state, target, wrong)


def test_a_raw_markov_kernel_is_no_kernel_for_walkers():
    target = at(gaussian_path.target_at(PATH, 0))
    with pytest.raises(ValueError, match=r"'log_endpoint'.*MALAState.*kernels.invariant"):
        walkers.init(jnp.zeros((3, D)), target, blackjax.mala.init)
    ensemble = walkers.init(jnp.zeros((3, D)), target, invariant.init)
    raw = lambda key, state, target: (state, None)  # noqa: E731
    with pytest.raises(ValueError, match=r"'log_weight_increment'.*NoneType"):
        walkers.move(jax.random.key(0), ensemble, target, raw)
    dynamics = Dynamics(Move(invariant.init, raw), 1, adaptive(systematic, 0.5))
    with pytest.raises(ValueError, match=r"'log_weight_increment'.*NoneType"):
        advance(jax.random.key(0), ensemble, target, dynamics)


def test_a_preconditioner_of_another_size_is_refused():
    target = at(gaussian_path.target_at(PATH, 0))
    state = ula.init(jnp.zeros(3), target)
    with pytest.raises(ValueError, match="2 numbers, the position has 3"):
        ula.build_kernel()(jax.random.key(0), state, target, 0.1, DENSE)


def test_a_markov_kernel_whose_state_lacks_the_density_is_refused():
    class Bare:
        _fields = ("position",)

        def __init__(self, position, logdensity_fn):
            self.position = position

    kernel = invariant.build_kernel(Bare, lambda *args: args)
    state = invariant.init(jnp.zeros(2), at(gaussian_path.target_at(PATH, 0)))
    with pytest.raises(ValueError, match=r"'logdensity'.*Bare.*position"):
        kernel(jax.random.key(0), state, at(gaussian_path.target_at(PATH, 0)))
