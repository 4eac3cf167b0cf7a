"""ULA and its weight, against closed forms, BlackJAX's MALA, and its own definition."""

from functools import partial

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from blackjax.util import run_inference_algorithm
from gaussian_path import (
    Target,
    ULABugs,
    at,
    exact_moments,
    reference_ula,
    run,
    run_aliased,
    sample,
    stiffening,
    target_at,
    weighted_moments,
)
from jax.flatten_util import ravel_pytree
from scipy.stats import norm
from zscore import assert_biased, assert_unbiased, replicate, test_key, z_scores

from jarzynski_jax import walkers, weights
from jarzynski_jax.kernels import ula

KERNEL = ula.build_kernel()
REFERENCE = reference_ula()
step_once = jax.jit(KERNEL, static_argnums=2)


def quartic(x):
    """A log-density with nothing Gaussian or symmetric about it."""
    return -jnp.sum(x**4) / 4 + jnp.sum(jnp.sin(2 * x)) + 0.3 * jnp.prod(x)


def steep(x):
    return -jnp.sum(jnp.cosh(x - 0.5)) - jnp.sum(x) ** 2


# ---------------------------------------------------------------- one step, by definition


@partial(jax.jit, static_argnums=(0, 1, 2))
def step_all(kernel, old, new, keys, x, h):
    before = jax.vmap(lambda x: ula.init(x, old))(x)
    return before, *jax.vmap(lambda key, state: kernel(key, state, new, h))(keys, before)


def one_steps(kernel, h, old=quartic, new=steep, dtype=jnp.float32):
    """Many single steps from random positions: states before, states after, increments."""
    key_x, key_step = jax.random.split(test_key("one step"))
    x = jax.random.normal(key_x, (500, 3), dtype)
    before, after, info = step_all(kernel, old, new, jax.random.split(key_step, 500), x, h)
    return before, after, info.log_weight_increment


@pytest.mark.parametrize("h", [0.01, 0.3])
def test_a_step_is_the_reference_step(h, dtype):
    """X' = X - h ∇U_old(X) + sqrt(2h) ξ, ΔA = α_old(X, X') - α_new(X', X)."""
    _, ours, increment = one_steps(KERNEL, h, dtype=dtype)
    _, reference, expected = one_steps(REFERENCE, h, dtype=dtype)
    tolerance = 200 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(
        ours.position, reference.position, rtol=tolerance, atol=tolerance
    )
    # Energies reach a few hundred here; the increment is a difference of such terms.
    np.testing.assert_allclose(increment, expected, rtol=tolerance, atol=100 * tolerance)


@pytest.mark.parametrize(
    "bugs",
    [
        ULABugs(noise_factor=0.5**0.5),
        ULABugs(is_displacement_lost=True),
        ULABugs(is_drift_new=True),
    ],
)
def test_canary_the_reference_with_a_bug_is_another_step(bugs):
    _, ours, increment = one_steps(KERNEL, 0.1)
    _, broken, other = one_steps(reference_ula(bugs), 0.1)
    is_same = np.allclose(ours.position, broken.position, atol=1e-3)
    assert not (is_same and np.allclose(increment, other, atol=1e-2))


def transition_log_ratio(h, old, new, x, y):
    """log B(y→x) - log F(x→y) + ℓ_new(y) - ℓ_old(x) in float64, from the two Gaussians.

    F = N(y; x + h ∇ℓ_old(x), 2h) and B = N(x; y + h ∇ℓ_new(y), 2h).
    """
    forward = y - x - h * jax.grad(old)(x)
    backward = x - y - h * jax.grad(new)(y)
    return (jnp.sum(forward**2) - jnp.sum(backward**2)) / (4 * h) + new(y) - old(x)


@pytest.mark.parametrize("h", [0.05, 0.4])
@pytest.mark.parametrize("new", [quartic, steep])
def test_increment_is_a_ratio_of_transition_densities(h, new, x64):
    before, after, increment = one_steps(KERNEL, h, new=new, dtype=jnp.float64)
    ratio = jax.jit(jax.vmap(partial(transition_log_ratio, h, quartic, new)))
    expected = ratio(before.position, after.position)
    assert np.any(expected > 0)
    assert np.any(expected < 0)
    np.testing.assert_allclose(increment, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("h", [0.05, 0.4])
def test_increment_at_a_fixed_target_is_malas_log_acceptance_ratio(h):
    """BlackJAX's MALA from the same positions with the same noise: min(1, e^ΔA)."""
    mala = blackjax.mcmc.mala.build_kernel()
    keys = jax.random.split(test_key("mala"), 500)
    x = jax.random.normal(test_key("mala start"), (500, 3))

    def acceptances(key, x):
        state = blackjax.mcmc.mala.init(x, quartic)
        theirs = mala(key, state, quartic, h)[1].acceptance_rate
        key_move = jax.random.split(key)[0]  # as BlackJAX splits it
        ours = KERNEL(key_move, ula.init(x, quartic), quartic, h)[1].log_weight_increment
        return jnp.minimum(1, jnp.exp(ours)), theirs

    ours, theirs = jax.jit(jax.vmap(acceptances))(keys, x)
    assert np.mean(np.asarray(theirs) < 1) > 0.3
    np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-6)


def test_state_carries_what_the_next_step_needs():
    _, after, _ = one_steps(KERNEL, 0.2)
    value, grad = jax.vmap(jax.value_and_grad(steep))(after.position)
    np.testing.assert_allclose(after.logdensity, value, rtol=1e-5)
    np.testing.assert_allclose(after.logdensity_grad, grad, rtol=1e-5, atol=1e-5)
    # With d = 3; not below -d/2 - 3, where walkers are thrown about.
    endpoint = np.maximum(-0.05 * jnp.sum(grad**2, axis=1), -4.5)
    np.testing.assert_allclose(after.log_endpoint, endpoint, rtol=1e-4)
    assert np.any(endpoint > -4.5)
    assert np.any(endpoint == -4.5)


# ---------------------------------------------------------------- E[f e^A], unbiased

# All paths have this many steps and share one compiled program.
NUM_STEPS, PATH_H = 50, 0.1
PATH = stiffening(NUM_STEPS)


def moments(key, path, h, shape=(1,)):
    return weighted_moments(run(key, path, h, shape=shape))


def moments_4d(key, path, h):
    return moments(key, path, h, (2, 2))


@pytest.mark.parametrize(("estimate", "dimension"), [(moments, 1), (moments_4d, 4)])
def test_properly_weighted(estimate, dimension, dtype):
    """E[f(X_K) e^{A_K}] = (Z_K/Z_0) E_K[f] for f = 1, x, x²; |z| < 4.5 over 64 ensembles.

    U_k(x) = k |x - c|²/2 with k from 1 to 4 and c from 0 to 1 in 50 steps of h = 0.1.
    """
    path = stiffening(NUM_STEPS, dtype=dtype)
    assert_unbiased(replicate("path", estimate, path, PATH_H), exact_moments(path, dimension))


@pytest.mark.parametrize("h", [0.02, 0.4])
def test_properly_weighted_at_any_step_size(h):
    """As above; at h = 0.4 the drift overshoots the centre (h k = 1.6 at the end)."""
    assert_unbiased(replicate("h", moments, PATH, h), exact_moments(PATH))


@pytest.mark.parametrize(("stiffness", "centre"), [((4.0, 2.0), (1.0, 0.0)), ((2, 2), (0, -1))])
def test_properly_weighted_on_other_paths(stiffness, centre):
    """Softening; and a shift alone."""
    path = stiffening(NUM_STEPS, stiffness, centre)
    assert_unbiased(replicate("other", moments, path, PATH_H), exact_moments(path))


def reference_moments(key, path, h, bugs):
    return weighted_moments(run(key, path, h, kernel=reference_ula(bugs)))


@pytest.mark.parametrize(
    "bugs",
    [
        ULABugs(is_unweighted=True),
        ULABugs(is_displacement_lost=True),
        ULABugs(noise_factor=0.5**0.5),
        ULABugs(noise_factor=1.1),
        ULABugs(is_drift_new=True),
    ],
    ids=[
        "unweighted",
        "y - x = 0",
        "noise sqrt(h)",
        "noise 10 % up",
        "drift of the new target",
    ],
)
def test_canary_bugs_in_ula_are_caught(bugs):
    assert_biased(replicate("bug", reference_moments, PATH, PATH_H, bugs), exact_moments(PATH))


def test_the_reference_without_bugs_passes():
    """So each canary dies of its one bug."""
    estimates = replicate("bug", reference_moments, PATH, PATH_H, ULABugs())
    assert_unbiased(estimates, exact_moments(PATH))


def weighted_and_unweighted(key, path, h):
    ensemble = run(key, path, h)
    x = ensemble.position
    return jnp.append(weighted_moments(ensemble), jnp.stack([x.mean(), (x**2).mean()]))


def test_expectations_are_wrong_without_weights():
    """Unweighted walkers lag behind the moving centre: E[x] is below 1."""
    estimates = replicate("unweighted", weighted_and_unweighted, PATH, PATH_H)
    assert z_scores(estimates[:, 3], 1.0) < -20


CENTRED = stiffening(NUM_STEPS, centre=(0.0, 0.0))


def test_stiffening_in_fifty_steps():
    """Stiffening from 1 to 4 in 50 steps of h = 0.2: ln (Z_1/Z_0) = -ln 2 = -0.6931."""
    assert_unbiased(replicate("fifty", moments, CENTRED, 0.2)[:, 0], 0.5)


def aliased_mean_weight(key, path, h):
    return jnp.mean(jnp.exp(run_aliased(key, path, h)))


def test_canary_aliased_positions_give_another_partition_function():
    """With the old position overwritten by the new the answer is -1.26, not -0.69."""
    aliased = replicate("fifty", aliased_mean_weight, CENTRED, 0.2)
    assert_biased(aliased, 0.5)
    assert np.log(aliased.mean()) == pytest.approx(-1.26, abs=0.02)


def test_canary_aliased_positions_on_the_moving_path():
    aliased = replicate("path", aliased_mean_weight, PATH, PATH_H)
    assert_biased(aliased, exact_moments(PATH)[0])


def two_leaves(key, num):
    """Exact samples of N(0, 1) in four coordinates, in leaves of different shapes."""
    key_a, key_b = jax.random.split(key)
    return {
        "a": jax.random.normal(key_a, (num, 1)),
        "b": (jax.random.normal(key_b, (num, 1, 3)),),
    }


def raveled(logdensity_fn):
    return lambda x: logdensity_fn(ravel_pytree(x)[0])


def pytree_moments(key, path):
    key_start, key_path = jax.random.split(key)
    first = raveled(at(target_at(path, 0)))
    ensemble = walkers.init(two_leaves(key_start, 2000), first, ula.init)

    def step(ensemble, xs):
        key, target = xs
        return walkers.move(key, ensemble, raveled(at(target)), KERNEL, 0.1)[0], None

    rest = jax.tree.map(lambda leaf: leaf[1:], path)
    ensemble, _ = jax.lax.scan(step, ensemble, (jax.random.split(key_path, NUM_STEPS), rest))
    x = jax.vmap(lambda x: ravel_pytree(x)[0])(ensemble.position)
    weight = jnp.exp(ensemble.log_weights)[:, None]
    return jnp.stack([(weight * moment).mean(axis=0) for moment in (x**0, x, x**2)])


def test_a_pytree_is_properly_weighted():
    """Each of four coordinates in two leaves has the moments of the flat vector."""
    path = stiffening(NUM_STEPS, stiffness=(1.0, 2.0))
    estimates = replicate("pytree", pytree_moments, path)
    assert_unbiased(estimates, np.tile(exact_moments(path, 4)[:, None], (1, 4)))


def test_a_pytree_has_the_weight_of_the_flat_vector():
    """Each increment is that of the raveled positions."""
    x = two_leaves(test_key("pytree weight"), 200)

    @jax.jit
    @jax.vmap
    def increments(key, x):
        state = ula.init(x, raveled(quartic))
        after, info = KERNEL(key, state, raveled(steep), 0.1)
        assert jax.tree.structure(after) == jax.tree.structure(state)
        flat = ravel_pytree(x)[0], ravel_pytree(after.position)[0]
        return info.log_weight_increment, transition_log_ratio(0.1, quartic, steep, *flat)

    ours, expected = increments(jax.random.split(test_key("pytree step"), 200), x)
    np.testing.assert_allclose(ours, expected, rtol=2e-4, atol=2e-3)


def test_leaves_get_independent_noise():
    """At a flat density X' - X = sqrt(2h) ξ: unit covariance between all entries."""
    position = {"a": jnp.zeros(2), "b": jnp.zeros(2), "c": jnp.zeros(())}
    keys = jax.random.split(test_key("noise"), 20_000)
    state = ula.init(position, lambda x: 0.0 * x["c"])

    @jax.jit
    @jax.vmap
    def move(key):
        return ravel_pytree(KERNEL(key, state, lambda x: 0.0 * x["c"], 0.5)[0].position)[0]

    noise = np.asarray(move(keys), np.float64)
    assert_unbiased(noise[:, :, None] * noise[:, None, :], np.eye(5))


# ---------------------------------------------------------------- work in closed form


def trap_moments(k, h, displacements):
    """Mean and variance of the work on a trap that is moved, in float64, exactly.

    With y = x - c the shadow weight gains -W_j = (k/2)(y_j + y_{j+1}) dc_j, linear in a
    Gaussian: y_{j+1} = (1 - hk) y_j + sqrt(2h) ξ_j - dc_j, y_0 ~ N(0, 1/k). Row 0 of
    ``y`` is its mean, the other rows are its coefficients on y_0 sqrt(k) and the ξ.
    """
    y = np.zeros(len(displacements) + 2)
    y[1] = k**-0.5
    work = np.zeros_like(y)
    for j, dc in enumerate(displacements):
        new_y = (1 - h * k) * y
        new_y[0] -= dc
        new_y[j + 2] += np.sqrt(2 * h)
        work -= k / 2 * (y + new_y) * dc
        y = new_y
    return work[0], np.sum(work[1:] ** 2)


def continuum_trap_work(k, speed, time):
    """v² [τ - (1 - e^{-kτ})/k], for dX = -∇U dt + sqrt(2) dW; the variance is twice it."""
    return speed**2 * (time - (1 - np.exp(-k * time)) / k)


@pytest.mark.parametrize("h", [0.02, 0.01, 0.005])
def test_the_discrete_trap_tends_to_the_continuum(h):
    """The oracle of the next test: its error is of order h (k = 2, v = 1.5, τ = 1)."""
    num_steps = round(1 / h)
    mean, variance = trap_moments(2.0, h, np.full(num_steps, 1.5 * h))
    expected = continuum_trap_work(2.0, 1.5, 1.0)
    assert abs(mean - expected) < expected * h
    assert abs(variance - 2 * mean) < 2 * expected * h


def trap_work(key, path, h):
    """E[e^A], and mean and variance of the work W.

    A_K = -W - (h/4)(|∇U_K(X_K)|² - |∇U_0(X_0)|²), and the shadow weight lacks the term
    at the end.
    """
    ensemble = run(key, path, h)
    first = target_at(path, 0)
    y_0 = sample(jax.random.split(key)[0], first, (2000, 1))[:, 0] - first.centre
    work = -walkers.shadow_log_weights(ensemble) + h / 4 * (first.stiffness * y_0) ** 2
    return jnp.stack(
        [jnp.mean(jnp.exp(ensemble.log_weights)), jnp.mean(work), jnp.var(work, ddof=1)]
    )


def test_moving_trap():
    """Work is Gaussian with known mean and variance, and E[e^{-W}] = 1 since ΔF = 0.

    The shadow weight is -W. The trap accelerates, so that the path is not symmetric.
    """
    k, h = 2.0, 0.02
    centre = 1.5 * (np.arange(NUM_STEPS + 1) / NUM_STEPS) ** 2
    path = Target(jnp.full(NUM_STEPS + 1, k), jnp.asarray(centre, jnp.float32))

    mean, variance = trap_moments(k, h, np.diff(centre))
    assert variance > 0.3
    estimates = replicate("trap", trap_work, path, h)
    assert_unbiased(estimates, [1.0, mean, variance])


AT_ONCE_H, AT_ONCE_N = 1e-7, 2**15


def at_once(key, path):
    """Work and weights of one vanishing step: A = U_old(X) - U_new(X) up to O(sqrt h)."""
    a = run(key, path, AT_ONCE_H, num_walkers=AT_ONCE_N).log_weights
    moments = [jnp.mean(-a), jnp.var(-a, ddof=1), jnp.mean(jnp.exp(a))]
    return jnp.stack([*moments, weights.effective_sample_size(a)])


@pytest.mark.parametrize(("k0", "k1"), [(1.0, 4.0), (2.0, 3.0), (4.0, 3.6)])
def test_stiffening_at_once(k0, k1):
    """Mean work (k1 - k0)/2k0, variance half the square of (k1 - k0)/k0,
    E[e^A] = sqrt(k0/k1), ESS/N = sqrt(k0 (2k1 - k0))/k1.

    The bias of the ESS, of order 1/N, is a hundredth of its standard error here, and that
    error is finite where E[e^{4A}] is, for 4 k1 > 3 k0.
    """
    r = (k1 - k0) / k0
    ess = np.sqrt(k0 * (2 * k1 - k0)) / k1
    estimates = replicate("stiffen", at_once, stiffening(1, (k0, k1), (0.0, 0.0)))
    assert_unbiased(estimates, [r / 2, r**2 / 2, np.sqrt(k0 / k1), ess])


@pytest.mark.parametrize(("k", "shift"), [(1.0, 1.0), (4.0, -0.4)])
def test_shift_at_once(k, shift):
    """Mean work kΔ²/2, variance kΔ², E[e^A] = 1, ESS/N = e^{-kΔ²}."""
    variance = k * shift**2
    estimates = replicate("shift", at_once, stiffening(1, (k, k), (0.0, shift)))
    assert_unbiased(estimates, [variance / 2, variance, 1.0, np.exp(-variance)])


# ---------------------------------------------------------------- a fixed target


def fixed(num_steps, k, dtype=jnp.float32):
    return stiffening(num_steps, (k, k), (0.0, 0.0), dtype)


@pytest.mark.parametrize(("k", "h"), [(1.0, 0.5), (4.0, 0.2)])
def test_ula_is_biased_and_its_weight_mends_it(k, h):
    """Unweighted stationary variance 1/(k (1 - hk/2)); weighted 1/k, and E[e^A] = 1.

    From the exact start the variance closes on the stationary one as (1 - hk)^{2K}, by
    then 1e-30 and less.
    """

    estimates = replicate("bias", weighted_and_unweighted, fixed(NUM_STEPS, k), h)
    assert_unbiased(estimates, [1.0, 0.0, 1 / k, 0.0, 1 / (k * (1 - h * k / 2))])
    assert_biased(estimates[:, 4], 1 / k)  # the canary: ULA without weights


run_in_3d = jax.jit(partial(run, shape=(3,)))


@pytest.mark.parametrize(("k", "h"), [(1.0, 0.5), (4.0, 0.1), (0.5, 1.0)])
def test_weight_at_a_fixed_gaussian_is_an_endpoint_term(k, h, dtype):
    """A_K = -(h k²/4)(x_K² - x_0²) on every path.

    To rounding: each of the K increments is a sum of about ten terms, none above
    (k + h k²) x², and each is rounded to eps of itself.
    """
    num_steps, key = 100, test_key("endpoint")
    ensemble = run_in_3d(key, fixed(num_steps, k, dtype), h)
    assert ensemble.log_weights.dtype == dtype
    x_0 = sample(jax.random.split(key)[0], Target(dtype(k), dtype(0)), (2000, 3))
    x_k = ensemble.position
    expected = -h * k**2 / 4 * jnp.sum(x_k**2 - x_0**2, axis=1)
    largest = (k + h * k**2) * 25 * 3  # |x| stays below five standard deviations
    tolerance = 10 * num_steps * float(jnp.finfo(dtype).eps) * largest
    np.testing.assert_allclose(ensemble.log_weights, expected, atol=tolerance)
    typical = np.std(np.asarray(ensemble.log_weights - expected))
    assert typical < tolerance / 50
    # ... and the shadow weight, A less its endpoint factor, does not move at all.
    shadow = walkers.shadow_log_weights(ensemble)
    np.testing.assert_allclose(shadow, h * k**2 / 4 * jnp.sum(x_0**2, 1), atol=tolerance)


# ---------------------------------------------------------------- cost


def test_one_value_and_gradient_a_step():
    """As many matrix products as in jax.value_and_grad itself, however the target is used."""
    matrix = jnp.arange(12.0).reshape(3, 4)

    def network(x):
        return jnp.sum(jnp.tanh(jax.lax.dot(x, matrix)))

    def products(fn, *args):
        return str(jax.make_jaxpr(fn)(*args)).count("dot_general")

    x = jnp.ones(3)
    state = jax.eval_shape(lambda x: ula.init(x, network), x)
    step = lambda key, state: KERNEL(key, state, network, 0.1)  # noqa: E731
    once = products(jax.value_and_grad(network), x)
    assert once == 2
    assert products(step, jax.random.key(0), state) == once


def test_evaluations_are_counted_at_run_time_too():
    calls = []

    @jax.custom_vjp
    def counted(x):
        return -jnp.sum(x**2) / 2

    def forward(x):
        jax.debug.callback(lambda: calls.append("value and gradient"))
        return counted(x), x

    counted.defvjp(forward, lambda x, g: (-g * x,))
    state = ula.init(jnp.ones(2), counted)
    jax.effects_barrier()
    calls.clear()
    jax.block_until_ready(
        jax.jit(lambda k, s: KERNEL(k, s, counted, 0.1))(jax.random.key(0), state)
    )
    jax.effects_barrier()
    assert len(calls) == 1


def test_no_recompilation():
    """One program for the first state, for the states after it, and for other targets."""

    def step(key, state, target, h):
        return KERNEL(key, state, at(target), h)

    step = jax.jit(step)
    state = jax.jit(lambda x: ula.init(x, at(Target(1.0, 0.0))))(jnp.ones(2))
    for index in range(4):
        target = Target(jnp.float32(1.0 + index), jnp.float32(0.0))
        state, _ = step(jax.random.key(index), state, target, 0.1 + index)
    assert step._cache_size() == 1


def test_no_recompilation_from_an_eager_start():
    step = jax.jit(lambda key, state: KERNEL(key, state, quartic, 0.1))
    state = ula.init(jnp.ones(2), quartic)
    for index in range(3):
        state, _ = step(jax.random.key(index), state)
    assert step._cache_size() == 1


# ---------------------------------------------------------------- dtypes


@pytest.mark.parametrize("of", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("step_size", [0.1, np.float64(0.1), "array"], ids=str)
def test_dtype_is_kept_in_64_bit_mode(of, step_size, x64):
    h = jnp.asarray(0.1, jnp.float64) if isinstance(step_size, str) else step_size
    state = ula.init({"a": jnp.ones(2, of), "b": jnp.ones((), of)}, at_pytree)
    state, info = step_once(jax.random.key(0), state, at_pytree, h)
    for leaf in jax.tree.leaves((state, info.log_weight_increment)):
        assert leaf.dtype == of


def at_pytree(x):
    return sum(-jnp.sum(leaf**2) / 2 for leaf in jax.tree.leaves(x))


def test_float32_draws_the_same_noise_in_64_bit_mode():
    """The noise is drawn in the leaf's dtype: the step is the same, bit for bit."""

    @jax.jit
    def step(x):
        return KERNEL(jax.random.key(0), ula.init(x, quartic), quartic, 0.1)[0].position

    x = jnp.ones(100, jnp.float32)
    expected = step(x)
    with jax.enable_x64(True):
        np.testing.assert_array_equal(step(x), expected)


def test_bfloat16_positions_have_float32_weights():
    state = ula.init(jnp.ones(3, jnp.bfloat16), at_pytree)
    state, info = step_once(jax.random.key(0), state, at_pytree, 0.1)
    assert state.position.dtype == jnp.bfloat16
    assert info.log_weight_increment.dtype == jnp.float32
    assert state.log_endpoint.dtype == jnp.float32


# ---------------------------------------------------------------- static mistakes


@pytest.mark.parametrize("h", [0, 0.0, -0.1, -1, float("inf"), float("nan"), np.float64(-1)])
def test_step_size_must_be_positive(h):
    state = ula.init(jnp.ones(2), quartic)
    with pytest.raises(ValueError, match="step_size"):
        KERNEL(jax.random.key(0), state, quartic, h)


@pytest.mark.parametrize("position", [jnp.arange(3), {"a": jnp.ones(2), "b": jnp.arange(2)}, 1])
def test_positions_must_be_of_floating_point(position):
    with pytest.raises(ValueError, match="floating point"):
        ula.init(position, lambda x: jnp.zeros(()))


def test_logdensity_must_be_a_scalar():
    with pytest.raises(ValueError, match=r"scalar.*\(2,\)"):
        ula.init(jnp.ones(2), lambda x: -(x**2))
    state = ula.init(jnp.ones(2), quartic)
    with pytest.raises(ValueError, match="scalar"):
        KERNEL(jax.random.key(0), state, lambda x: -(x[:1] ** 2), 0.1)


# ---------------------------------------------------------------- death


def beyond_zero(bad):
    """A log-density that is ``bad`` where the first coordinate is positive."""
    return lambda x: jnp.where(x[0] > 0, bad, -jnp.sum(x**2) / 2)


def infinite_gradient(x):
    return -jnp.sum(jnp.sqrt(jnp.abs(x) - 1e30))  # sqrt of a negative number: NaN


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_density_that_is_not_finite_kills(bad):
    """ΔA = -inf and never NaN, just where the density is bad; the position stays finite."""
    _, after, increment = one_steps(KERNEL, 0.5, old=at_pytree, new=beyond_zero(bad))
    is_bad = np.asarray(after.position[:, 0] > 0)
    assert 0.2 < is_bad.mean() < 0.8
    np.testing.assert_array_equal(np.isneginf(increment), is_bad)
    assert np.all(np.isfinite(np.asarray(increment)[~is_bad]))
    assert np.all(np.isfinite(after.position))
    assert np.all(np.isfinite(after.log_endpoint))


def test_is_finite_says_who_died():
    keys = jax.random.split(jax.random.key(0), 100)
    state = ula.init(jnp.zeros(2), at_pytree)
    step = jax.jit(jax.vmap(lambda key: KERNEL(key, state, beyond_zero(jnp.nan), 0.5)))
    after, info = step(keys)
    np.testing.assert_array_equal(info.is_finite, after.position[:, 0] <= 0)
    np.testing.assert_array_equal(info.is_finite, np.isfinite(info.log_weight_increment))


@pytest.mark.parametrize(
    "old",
    [
        lambda x: -1e38 * jnp.sum(x**2),
        lambda x: 3e38 * jnp.sum(x),
        infinite_gradient,
    ],
    ids=["infinite density", "overflowing drift", "NaN gradient"],
)
def test_positions_stay_finite(old):
    """A walker whose gradient or drift overflows dies where it stands, or near it."""
    state = ula.init(jnp.full(2, 3.0), old)
    for index in range(3):
        state, info = step_once(jax.random.key(index), state, old, 10.0)
        assert np.all(np.isfinite(state.position))
        assert float(info.log_weight_increment) == -np.inf


def test_the_dead_stay_dead_until_resampled():
    """After the target heals increments are finite again, the weight stays -inf."""
    move = jax.jit(walkers.move, static_argnums=(2, 3))
    x = jax.random.normal(jax.random.key(0), (100, 2))
    ensemble = walkers.init(x, at_pytree, ula.init)
    ensemble, _ = move(jax.random.key(1), ensemble, beyond_zero(jnp.nan), KERNEL, 0.1)
    is_dead = np.isneginf(ensemble.log_weights)
    assert 0 < is_dead.sum() < 100
    for index in range(2, 5):
        key = jax.random.key(index)
        ensemble, info = move(key, ensemble, at_pytree, KERNEL, 0.1)
        np.testing.assert_array_equal(np.isneginf(ensemble.log_weights), is_dead)
        assert np.all(np.isfinite(ensemble.position))
    assert np.all(info.is_finite)


def wall(x):
    return jnp.where(x[0] > 0.5, -jnp.inf, -jnp.sum(x**2) / 2)


def moments_at_a_wall(key):
    key_x, key = jax.random.split(key)
    ensemble = walkers.init(jax.random.normal(key_x, (2000, 1)), at_pytree, ula.init)
    return weighted_moments(walkers.move(key, ensemble, wall, KERNEL, 0.1)[0])


def test_killing_is_exact():
    """N(0, 1) cut off at 1/2: E[f e^A] = ∫ f φ over what is left; |z| < 4.5."""
    # ∫_{-∞}^{c} x φ = -φ(c), ∫ x² φ = Φ(c) - c φ(c)
    mass, density = norm.cdf(0.5), norm.pdf(0.5)
    assert_unbiased(
        replicate("wall", moments_at_a_wall), [mass, -density, mass - 0.5 * density]
    )


# ---------------------------------------------------------------- BlackJAX


def test_runs_in_blackjax_inference_loop():
    """The sampler's stationary variance is ULA's, 1/(1 - h/2) = 4/3 at h = 0.5."""
    algorithm = ula.as_top_level_api(at_pytree, 0.5)
    state, (history, info) = run_inference_algorithm(
        test_key("loop"), algorithm, 200, initial_position=jnp.zeros(2000)
    )
    assert history.position.shape == (200, 2000)
    assert info.log_weight_increment.shape == (200,)
    np.testing.assert_array_equal(history.position[-1], state.position)
    assert_unbiased(np.asarray(history.position[-1]) ** 2, 1 / (1 - 0.25))


@pytest.mark.parametrize("h", [0.0, -1.0])
def test_top_level_api_refuses_a_step_size(h):
    algorithm = ula.as_top_level_api(at_pytree, h)
    with pytest.raises(ValueError, match="step_size"):
        algorithm.step(jax.random.key(0), algorithm.init(jnp.ones(2)))
