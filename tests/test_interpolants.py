"""Interpolants between Gaussian mixtures, where velocity, score and density are known.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from zscore import assert_biased, assert_unbiased, replicate

from jarzynski_jax import interpolants, walkers
from jarzynski_jax.resampling import adaptive, systematic

# Two modes to two modes on a line, each of its own mass, mean and variance.
BASE = {
    "mass": np.array([0.6, 0.4]),
    "mean": np.array([-1.0, 1.5]),
    "var": np.array([0.5, 0.3]),
}
DATA = {
    "mass": np.array([0.25, 0.75]),
    "mean": np.array([-2.0, 2.0]),
    "var": np.array([0.2, 0.4]),
}
LINEAR = interpolants.linear_interpolant(0.7)
PRESERVING = interpolants.variance_preserving_interpolant()
NOTHING = {"mass": np.ones(1), "mean": np.zeros(1), "var": np.zeros(1)}


def sample(key, law, num_samples):
    key_mode, key_noise = jax.random.split(key)
    mode = jax.random.categorical(key_mode, jnp.log(law["mass"]), shape=(num_samples,))
    noise = jax.random.normal(key_noise, (num_samples,))
    mean, deviation = jnp.asarray(law["mean"]), jnp.sqrt(jnp.asarray(law["var"]))
    return (mean[mode] + deviation[mode] * noise)[:, None]


class Exact:
    """Of X_t, for every pair of modes: mass, mean and variance; so log ρ, s and b."""

    def __init__(self, interpolant, base, data):
        self.interpolant, self.base, self.data = interpolant, base, data

    def pairs(self, t):
        names = ("base", "data", "noise")
        alpha, beta, gamma = (jnp.asarray(getattr(self.interpolant, n)(t)) for n in names)
        first = lambda name: jnp.asarray(self.base[name])[:, None]  # noqa: E731
        last = lambda name: jnp.asarray(self.data[name])[None, :]  # noqa: E731
        mass = (first("mass") * last("mass")).ravel()
        mean = (alpha * first("mean") + beta * last("mean")).ravel()
        var = (alpha**2 * first("var") + beta**2 * last("var") + gamma**2).ravel()
        return mass, mean, var

    def log_density(self, t):
        mass, mean, var = self.pairs(t)
        logs = jnp.log(mass) - jnp.log(2 * jnp.pi * var) / 2
        return lambda x: jax.scipy.special.logsumexp(logs - (x[0] - mean) ** 2 / (2 * var))

    def score(self, t, x):
        return jax.grad(self.log_density(t))(x)

    def velocity(self, t, x):
        """Of each pair: ṁ + (v̇/2v)(x - m), as for any Gaussian whose moments move."""
        one = jnp.ones_like(t)
        (mass, mean, var), (_, mean_dot, var_dot) = jax.jvp(self.pairs, (t,), (one,))
        logs = jnp.log(mass) - jnp.log(var) / 2 - (x[0] - mean) ** 2 / (2 * var)
        each = mean_dot + var_dot / (2 * var) * (x[0] - mean)
        return jnp.sum(jax.nn.softmax(logs) * each)[None]


BRIDGE = Exact(LINEAR, BASE, DATA)
DIFFUSION = Exact(PRESERVING, NOTHING, DATA)
# Away from the ends, where the noise's coefficient has an infinite derivative.
START, END = 0.05, 0.95


def moments_of(law):
    mean = law["mass"] @ law["mean"]
    return np.array([mean, law["mass"] @ (law["var"] + law["mean"] ** 2)])


def exact_moments(exact, t):
    mass, mean, var = (np.asarray(leaf, np.float64) for leaf in exact.pairs(jnp.array(t)))
    return np.array([mass @ mean, mass @ (var + mean**2)])


def start(key, exact, num_samples):
    mass, mean, var = exact.pairs(jnp.array(START))
    return sample(key, {"mass": mass, "mean": mean, "var": var}, num_samples)


# ---------------------------------------------------------------- generation


def generated(name, exact, num_steps, is_weighted, velocity=None):
    times = jnp.linspace(START, END, num_steps + 1)
    velocity = velocity or exact.velocity

    def run(key):
        key_start, key_path = jax.random.split(key)
        x = start(key_start, exact, 2000)
        end = interpolants.generate_weighted(
            key_path, x, exact.log_density, velocity, times, 0.5, adaptive(systematic, 0.0)
        )
        weight = jnp.exp(end.log_weights) if is_weighted else jnp.ones(2000)
        x = end.position[:, 0]
        return jnp.stack([jnp.mean(weight), jnp.mean(weight * x), jnp.mean(weight * x**2)])

    return replicate(f"{name} {num_steps} {is_weighted}", run)


@pytest.mark.parametrize("exact", [BRIDGE, DIFFUSION], ids=["linear", "score-based"])
def test_weights_remove_the_error_of_coarse_steps(exact):
    """Ten steps: the unweighted moments are off by many standard errors, the weighted not."""
    expected = np.array([1.0, *exact_moments(exact, END)])
    assert_unbiased(generated("mixture", exact, 10, True), expected)
    unweighted = generated("mixture", exact, 10, False)
    assert_biased(unweighted, expected)
    error = unweighted.std(axis=0, ddof=1) / np.sqrt(len(unweighted))
    assert np.max(np.abs(unweighted.mean(axis=0) - expected)[1:] / error[1:]) > 10


def test_weights_are_exact_with_a_wrong_velocity():
    expected = np.array([1.0, *exact_moments(BRIDGE, END)])
    wrong = lambda t, x: 0.8 * BRIDGE.velocity(t, x) + 0.1  # noqa: E731
    assert_unbiased(generated("wrong velocity", BRIDGE, 40, True, wrong), expected)


def test_weights_become_equal_as_steps_become_small():
    def spread(num_steps):
        times = jnp.linspace(START, END, num_steps + 1)
        x = start(jax.random.key(0), BRIDGE, 4000)
        end = interpolants.generate_weighted(
            jax.random.key(1),
            x,
            BRIDGE.log_density,
            BRIDGE.velocity,
            times,
            0.5,
            adaptive(systematic, 0.0),
        )
        return float(jnp.std(walkers.shadow_log_weights(end)))

    assert spread(400) < 0.5 * spread(25)


@pytest.mark.parametrize("exact", [BRIDGE, DIFFUSION], ids=["linear", "score-based"])
@pytest.mark.parametrize("way", ["ode", "sde"])
def test_fine_steps_need_no_weights(exact, way):
    times = jnp.linspace(START, END, 401)
    x = start(jax.random.key(0), exact, 40_000)
    if way == "ode":
        end = interpolants.generate_by_ode(x, exact.velocity, times)
    else:
        end = interpolants.generate_by_sde(
            jax.random.key(1), x, exact.velocity, exact.score, times, 0.5
        )
    mean, square = exact_moments(exact, END)
    assert float(jnp.mean(end)) == pytest.approx(mean, abs=0.05)
    assert float(jnp.mean(end**2)) == pytest.approx(square, abs=0.1)


# ---------------------------------------------------------------- learning


def test_a_point_and_its_velocity():
    """X_t and dX_t/dt, by hand, for the linear interpolant."""
    x0, x1 = jnp.full((1, 1), 2.0), jnp.full((1, 1), 5.0)
    points = interpolants.draw(jax.random.key(0), LINEAR, x0, x1)
    t, z = float(points.time[0]), float(points.noise[0, 0])
    root = np.sqrt(2 * t * (1 - t))
    assert float(points.position[0, 0]) == pytest.approx(2 + 3 * t + 0.7 * root * z, rel=1e-5)
    expected = 3 + 0.7 * (1 - 2 * t) / root * z
    assert float(points.velocity[0, 0]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("exact", [BRIDGE, DIFFUSION], ids=["linear", "score-based"])
def test_losses_are_least_at_the_exact_fields(exact):
    """Perturbed by anything in any direction both grow; on the same points."""
    key_base, key_data, key_draw = jax.random.split(jax.random.key(0), 3)
    base = sample(key_base, exact.base, 200_000)
    data = sample(key_data, DATA, 200_000)
    points = interpolants.draw(key_draw, exact.interpolant, base, data, time_margin=START)

    def velocity_loss(shift):
        def field(t, x):
            return exact.velocity(t, x) + shift(t, x)

        return float(interpolants.velocity_loss(field, points))

    def score_loss(shift):
        def field(t, x):
            return exact.score(t, x) + shift(t, x)

        return float(interpolants.score_loss(field, exact.interpolant, points))

    for loss in (velocity_loss, score_loss):
        least = loss(lambda t, x: 0 * x)
        for shift in (
            lambda t, x: 0.3 + 0 * x,
            lambda t, x: 0.3 * x,
            lambda t, x: 0.3 * t + 0 * x,
        ):
            for sign in (1, -1):
                assert loss(lambda t, x, shift=shift, sign=sign: sign * shift(t, x)) > least


class Field(nnx.Module):
    """A small network of time and position."""

    def __init__(self, rngs):
        self.hidden = nnx.Linear(2, 32, rngs=rngs)
        self.middle = nnx.Linear(32, 32, rngs=rngs)
        self.out = nnx.Linear(32, 1, rngs=rngs)

    def __call__(self, t, x):
        features = jnp.concatenate([t[None], x])
        return self.out(nnx.silu(self.middle(nnx.silu(self.hidden(features)))))


def test_a_flax_network_learns_the_velocity():
    """Trained by its loss it transports base to data: the mean moves from -0.0 to 1.0."""
    graph, params = nnx.split(Field(nnx.Rngs(0)))
    optimizer = optax.adam(5e-3)

    def loss(params, key):
        key_base, key_data, key_draw = jax.random.split(key, 3)
        base, data = sample(key_base, BASE, 512), sample(key_data, DATA, 512)
        points = interpolants.draw(key_draw, LINEAR, base, data, time_margin=START)
        return interpolants.velocity_loss(nnx.merge(graph, params), points)

    def step(carry, key):
        params, opt_state = carry
        updates, opt_state = optimizer.update(jax.grad(loss)(params, key), opt_state)
        return (optax.apply_updates(params, updates), opt_state), None

    keys = jax.random.split(jax.random.key(1), 1500)
    (params, _), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, keys))(
        (params, optimizer.init(params))
    )
    x = start(jax.random.key(2), BRIDGE, 20_000)
    times = jnp.linspace(START, END, 101)
    end = interpolants.generate_by_ode(x, nnx.merge(graph, params), times)
    mean, square = exact_moments(BRIDGE, END)
    assert float(jnp.mean(end)) == pytest.approx(mean, abs=0.15)
    assert float(jnp.mean(end**2)) == pytest.approx(square, abs=0.3)


# ---------------------------------------------------------------- interface


@pytest.mark.parametrize("interpolant", [LINEAR, PRESERVING], ids=["linear", "score-based"])
def test_ends(interpolant):
    zero, one = jnp.array(0.0), jnp.array(1.0)
    assert float(interpolant.data(zero)) == 0
    assert float(interpolant.data(one)) == pytest.approx(1)
    assert float(interpolant.noise(one)) == pytest.approx(0, abs=1e-6)
    variance_at_start = interpolant.base(zero) ** 2 + interpolant.noise(zero) ** 2
    assert float(variance_at_start) == pytest.approx(1)


def test_bad_input_is_refused():
    x, key = jnp.zeros((3, 1)), jax.random.key(0)
    with pytest.raises(ValueError, match=r"noise_scale.*0"):
        interpolants.linear_interpolant(0.0)
    with pytest.raises(ValueError, match=r"\(3, 1\) and \(4, 1\)"):
        interpolants.draw(key, LINEAR, x, jnp.zeros((4, 1)))
    with pytest.raises(ValueError, match=r"time_margin.*0.5"):
        interpolants.draw(key, LINEAR, x, x, 0.5)
    with pytest.raises(ValueError, match="only go up or only down"):
        interpolants.generate_by_ode(x, BRIDGE.velocity, jnp.array([0.1, 0.5, 0.3]))
    down, still = jnp.array([0.5, 0.3]), lambda t, x: 0 * x
    with pytest.raises(ValueError, match=r"times must ascend; got 0\.5 to 0\.3"):
        interpolants.generate_by_sde(key, x, still, still, down, 1.0)
    with pytest.raises(ValueError, match=r"diffusion must be positive and finite; got -1\.0"):
        interpolants.generate_by_sde(key, x, still, still, down[::-1], -1.0)
    with pytest.raises(ValueError, match="times must ascend"):
        interpolants.generate_weighted(
            key, x, lambda t: jnp.sum, still, down, 1.0, adaptive(systematic, 0.5)
        )
    with pytest.raises(ValueError, match="only if α is 0"):
        interpolants.velocity_from_score(LINEAR, still)


def test_the_path_is_asked_for_no_time_outside():
    """At its ends a path may make no sense, as of data that are points."""

    def path(t):
        scale = jnp.where((t < 0.2) | (t > 0.8), jnp.nan, 1.0)
        return lambda x: -scale * jnp.sum(jnp.square(x)) / 2

    x = jax.random.normal(jax.random.key(0), (20, 1))
    end = interpolants.generate_weighted(
        jax.random.key(1),
        x,
        path,
        lambda t, x: 0 * x,
        jnp.linspace(0.2, 0.8, 4),
        1.0,
        adaptive(systematic, 0.5),
    )
    assert jnp.all(jnp.isfinite(end.log_weights))


def test_velocity_of_a_score_based_model_follows_from_its_score():
    """Of N(m, s²) data: X_t ~ N(βm, β²s² + γ²), transported as a Gaussian is."""
    mean, scale = 1.5, 0.4

    def moments(t):
        beta, gamma = PRESERVING.data(t), PRESERVING.noise(t)
        return beta * mean, jnp.square(beta * scale) + jnp.square(gamma)

    def score(t, x):
        centre, variance = moments(t)
        return -(x - centre) / variance

    velocity = interpolants.velocity_from_score(PRESERVING, score)
    for time in (0.1, 0.5, 0.9):
        t, x = jnp.array(time), jnp.array([-1.0, 0.3, 2.0])
        (centre, variance), (centre_dot, variance_dot) = jax.jvp(
            moments, (t,), (jnp.array(1.0),)
        )
        expected = centre_dot + variance_dot / (2 * variance) * (x - centre)
        np.testing.assert_allclose(velocity(t, x), expected, rtol=1e-4, atol=1e-4)
