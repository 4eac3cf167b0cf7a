"""The training algorithms: exact gradients and log Z on preset paths, and their interface.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore.
"""

import math
import re
from functools import cache, partial
from typing import NamedTuple

import chex
import flax.linen as nn
import gaussian_path
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import training, walkers
from jarzynski_jax.energies import (
    MLP,
    ConvNet,
    GaussianBase,
    OnGaussianBase,
    functional,
    mixture,
)
from jarzynski_jax.energies.convolutional import Convolution
from jarzynski_jax.kernels import ula
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.walkers import langevin

ALGORITHMS = {
    "jarzynski": training.jarzynski,
    "pool": partial(training.jarzynski_pool, block_size=8),
    "cd": training.contrastive_divergence,
    "pcd": training.persistent_contrastive_divergence,
    "unweighted": training.unweighted,
}
WEIGHTED = ["jarzynski", "pool"]
each_algorithm = pytest.mark.parametrize("build", ALGORITHMS.values(), ids=ALGORITHMS.keys())
HELD_OUT_METRICS = [name for name in training.Metrics._fields if name.startswith("held_out")]


# ---------------------------------------------------------------- exact on a preset path


class Followed(NamedTuple):
    count: jax.Array
    gradient: object


def follow(path):
    """Make an optimizer that follows a path, whatever the gradient, which it keeps."""

    def init(params):
        return Followed(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update(gradient, state, params):
        target = gaussian_path.target_at(path, state.count + 1)
        updates = jax.tree.map(jnp.subtract, target, params)
        return updates, Followed(state.count + 1, gradient)

    return optax.GradientTransformation(init, update)


class Model(NamedTuple):
    """An energy whose log Z, samples and path of parameters are known."""

    energy_fn: object
    log_z: object
    sample: object
    path: object


NUM_STEPS = 24
D = 3


def mixture_model():
    """Two modes that part at different speeds while mass flows to the first."""
    t = jnp.linspace(0, 1, NUM_STEPS + 1)
    first, second = jnp.eye(D)[0], jnp.eye(D)[1]
    path = {
        "a": -0.5 * first - t[:, None] * (1.5 * first + 0.5 * second),
        "b": 0.5 * first + t[:, None] * (0.3 * first - second),
        "z": -0.5 + 1.5 * t,
    }
    return Model(
        mixture.energy,
        mixture.log_partition_function,
        lambda key, params, n: mixture.sample(key, params, n),
        path,
    )


def gaussian_model():
    def log_z(target):
        return D / 2 * (math.log(2 * math.pi) - jnp.log(target.stiffness))

    return Model(
        lambda target, x: -gaussian_path.logdensity(target, x),
        log_z,
        lambda key, target, n: gaussian_path.sample(key, target, (n, D)),
        gaussian_path.stiffening(NUM_STEPS, (1.0, 2.0), (0.0, 0.8)),
    )


MODELS = {"mixture": mixture_model, "gaussian": gaussian_model}


def forgetful(dynamics):
    """A bug: walkers are weighed anew by the new target before they move.

    So the change of the target at the old position never enters the weight.
    """

    def kernel(key, state, logdensity_fn, step_size):
        fresh = ula.init(state.position, logdensity_fn)
        return dynamics.move.kernel(key, fresh, logdensity_fn, step_size)

    return dynamics._replace(move=dynamics.move._replace(kernel=kernel))


def exact_statistics(key, model, build, dynamics, num_walkers=800, batch_size=50):
    """Along the path: Z/Z_exact - 1, and the error of the gradient times Z, shape (K+1, P).

    The negative part of the gradient is a ratio, Σ e^A ∂U / Σ e^A. Times the denominator it is
    the unbiased numerator, so (Z/Z_exact)(gradient - exact gradient) has mean zero exactly,
    for any number of walkers. The exact gradient is that of the mini-batch's mean energy plus
    the exact log Z, by autodiff.
    """
    key_init, key_walkers, key_scan = jax.random.split(key, 3)
    first = gaussian_path.target_at(model.path, 0)
    positions = model.sample(key_walkers, first, num_walkers)
    objective = build(model.energy_fn, follow(model.path), dynamics)
    # Data: positions of the first model, shifted; PCD and CD would start there.
    state = objective.init(key_init, first, positions, positions + 1, model.log_z(first))

    def exact_gradient(params, batch):
        def cross_entropy(params):
            energies = jax.vmap(model.energy_fn, (None, 0))(params, batch)
            return jnp.mean(energies) + model.log_z(params)

        return jax.grad(cross_entropy)(params)

    def step(state, key):
        key_batch, key_step = jax.random.split(key)
        batch = 1 + model.sample(key_batch, first, batch_size)
        params = state.params
        state, metrics = objective.step(key_step, state, batch)
        log_ratio = metrics.training_log_partition_function - model.log_z(params)
        ratio = jnp.where(jnp.isnan(log_ratio), 1.0, jnp.exp(log_ratio))
        error = jax.tree.map(
            jnp.subtract, state.opt_state.gradient, exact_gradient(params, batch)
        )
        flat = jax.flatten_util.ravel_pytree(error)[0]
        return state, jnp.concatenate([ratio[None] - 1, ratio * flat])

    return jax.lax.scan(step, state, jax.random.split(key_scan, NUM_STEPS + 1))[1]


def at_checkpoints(statistics):
    """The first step, one on the way and the last one, for each replicate."""
    return statistics[:, [0, NUM_STEPS // 2, NUM_STEPS]]


H = 0.2
BUILDS = {
    "jarzynski": (training.jarzynski, 1, 0.5),
    "resampled at every step": (training.jarzynski, 1, 1.0),
    "three moves": (training.jarzynski, 3, 0.5),
    "pool": (partial(training.jarzynski_pool, block_size=250), 1, 0.9),
    "pool of one block": (partial(training.jarzynski_pool, block_size=800), 1, 0.9),
    "pool, three moves": (partial(training.jarzynski_pool, block_size=250), 3, 0.9),
    "unweighted": (training.unweighted, 1, 0.5),
}
CASES = [
    ("jarzynski", "mixture"),
    ("jarzynski", "gaussian"),
    ("resampled at every step", "gaussian"),
    ("three moves", "mixture"),
    ("pool", "mixture"),
    ("pool of one block", "gaussian"),
    ("pool, three moves", "mixture"),
]
CANARIES = [("jarzynski", "gaussian"), ("three moves", "mixture"), ("pool", "mixture")]


def statistics_of(name, model, distort=lambda dynamics: dynamics):
    build, num_moves, threshold = BUILDS[name]
    dynamics = distort(langevin(H, num_moves, adaptive(systematic, threshold)))
    return replicate(
        name + model,
        lambda key: exact_statistics(key, MODELS[model](), build, dynamics),
    )


@pytest.mark.parametrize(("name", "model"), CASES)
def test_gradient_and_partition_function_are_exact(name, model):
    """E[Z/Z_exact] = 1 and E[Z (gradient - exact)] = 0 on a fast path: |z| < 4.5, 64 runs."""
    assert_unbiased(at_checkpoints(statistics_of(name, model)), 0)


@pytest.mark.parametrize(("name", "model"), CANARIES)
def test_canary_walkers_that_forget_the_old_target_are_caught(name, model):
    assert_biased(at_checkpoints(statistics_of(name, model, forgetful)), 0)


@pytest.mark.parametrize("model", MODELS)
def test_canary_without_weights_the_gradient_is_wrong(model):
    assert_biased(statistics_of("unweighted", model)[:, NUM_STEPS, 1:], 0)


@pytest.mark.parametrize("block_size", [5, 16])
def test_a_step_touches_one_block_of_the_pool(block_size):
    """The other walkers stay bit for bit; with N' = N, all walkers are moved."""
    objective, state, data = start(
        partial(training.jarzynski_pool, block_size=block_size), harmonic, is_held_out=False
    )
    step = jax.jit(objective.step)
    for key in jax.random.split(test_key("touch"), 3):
        before = state.walkers
        state, _ = step(key, state, data)
        leaves = jax.tree.leaves((before.position, before.log_weights))
        after = jax.tree.leaves((state.walkers.position, state.walkers.log_weights))
        for old, new in zip(leaves, after, strict=True):
            is_same = (np.asarray(old) == np.asarray(new)).reshape(16, -1).all(axis=1)
            assert np.sum(is_same) == 16 - block_size


@pytest.mark.parametrize("block_size", [17, 0, -1])
def test_block_size_must_fit_into_the_pool(block_size):
    energy_fn, params, positions = harmonic()
    objective = training.jarzynski_pool(energy_fn, optax.sgd(0.1), langevin(0.1), block_size)
    with pytest.raises(ValueError, match=f"16.*got {block_size}"):
        objective.init(jax.random.key(0), params, positions, positions, 0.0)


# ---------------------------------------------------------------- one interface


def harmonic(dtype=jnp.float32, n=16):
    """Positions and parameters are dictionaries."""

    def energy_fn(params, x):
        squares = jnp.sum(jnp.square(x["u"] - params["centre"])) + jnp.square(x["v"])
        return jnp.exp(params["log_stiffness"]) * squares / 2

    params = {"centre": jnp.zeros(2, dtype), "log_stiffness": jnp.zeros((), dtype)}
    key_u, key_v = jax.random.split(test_key("harmonic"))
    positions = {
        "u": jax.random.normal(key_u, (n, 2), dtype),
        "v": jax.random.normal(key_v, (n,), dtype),
    }
    return energy_fn, params, positions


class LinenEnergy(nn.Module):
    @nn.compact
    def __call__(self, x):
        y = nn.silu(nn.Dense(8)(x))
        return jnp.sum(jnp.square(x)) / 2 + nn.Dense(1, kernel_init=nn.initializers.zeros)(y)[0]


def linen(dtype=jnp.float32, n=16):
    module = LinenEnergy()
    params = module.init(jax.random.key(0), jnp.zeros(2))
    return module.apply, params, jax.random.normal(test_key("linen"), (n, 2), dtype)


def nnx_on_base(dtype=jnp.float32, n=16):
    base = GaussianBase(jnp.zeros(2, dtype), jnp.ones((), dtype), jnp.ones((), dtype))
    correction = MLP(2, (8,), param_dtype=dtype, rngs=nnx.Rngs(0))
    energy_fn, params = functional(OnGaussianBase(base, correction))
    return energy_fn, params, jax.random.normal(test_key("nnx"), (n, 2), dtype)


ENERGIES = {"plain": harmonic, "linen": linen, "nnx": nnx_on_base}
each_energy = pytest.mark.parametrize("make", ENERGIES.values(), ids=ENERGIES.keys())


def shifted(positions):
    return jax.tree.map(lambda x: x + 0.5, positions)


def start(build, make, optimizer=None, dtype=jnp.float32, is_held_out=True, **kwargs):
    energy_fn, params, positions = make(dtype)
    objective = build(energy_fn, optimizer or optax.sgd(0.1), langevin(0.1), **kwargs)
    dimension = sum(leaf[0].size for leaf in jax.tree.leaves(positions))
    data = shifted(positions)
    state = objective.init(
        test_key("start"),
        params,
        positions,
        data,
        dimension / 2 * math.log(2 * math.pi),
        held_out_positions=make(dtype, 12)[2] if is_held_out else None,
    )
    return objective, state, data


def types_of(tree):
    return jax.tree.map(jax.typeof, tree)


def traced_once(fn):
    """Jit a function that may not be traced again."""
    chex.clear_trace_counter()
    return jax.jit(chex.assert_max_traces(fn, n=1))


def assert_finite(tree):
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(tree))


@cache
def compiled(name, is_held_out):
    """An objective on the plain energy, compiled once for all tests; its start; data."""
    objective, state, data = start(ALGORITHMS[name], harmonic, is_held_out=is_held_out)
    return traced_once(objective.step), state, data


each_name = pytest.mark.parametrize("name", ALGORITHMS)


def few_steps(step, state, data, num_steps=3):
    for key in jax.random.split(test_key("few"), num_steps):
        state, metrics = step(key, state, data)
    return state, metrics


def check_steps(step, state, data):
    """Three steps are as they should be."""
    after, metrics = few_steps(step, state, data)
    assert types_of(after) == types_of(state)
    assert int(after.step) == 3
    assert isinstance(metrics, training.Metrics)
    assert all(jnp.shape(value) == () for value in metrics)
    assert not bool(metrics.is_skipped)
    assert not bool(metrics.is_dead)
    assert int(metrics.num_dead) == 0
    assert_finite(after)
    assert np.isfinite(metrics.cross_entropy)
    changes = jax.tree.map(
        lambda new, old: jnp.max(jnp.abs(new - old)), after.params, state.params
    )
    assert max(jax.tree.leaves(changes)) > 0


@each_name
def test_one_interface(name):
    """All are jitted and, on three calls, traced once."""
    check_steps(*compiled(name, True))


def test_parameters_of_a_weak_type_do_not_cost_a_second_compilation():
    """``jnp.array(0.0)`` has one, and an update does not."""
    energy_fn, params, positions = harmonic()
    params = {**params, "log_stiffness": jnp.array(0.0)}
    objective = training.jarzynski(energy_fn, optax.sgd(0.1), langevin(0.1))
    state = objective.init(test_key("weak"), params, positions, positions, 0.0)
    after = jax.eval_shape(objective.step, test_key("weak step"), state, positions)[0]
    assert types_of(after) == types_of(state)


@pytest.mark.parametrize("make", [linen, nnx_on_base])
@pytest.mark.parametrize("name", ["jarzynski", "cd"])
def test_flax_energies(name, make):
    objective, state, data = start(ALGORITHMS[name], make)
    check_steps(traced_once(objective.step), state, data)


@each_energy
@each_algorithm
def test_steps_can_be_scanned(build, make):
    """The state goes out with the types that it came in with, weak ones included."""
    objective, state, data = start(build, make)
    keys = jax.random.split(test_key("scan"), 4)
    after, metrics = jax.eval_shape(
        lambda state: jax.lax.scan(lambda s, key: objective.step(key, s, data), state, keys),
        state,
    )
    assert types_of(after) == types_of(state)
    assert metrics.cross_entropy.shape == (4,)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("make", [harmonic, nnx_on_base], ids=["plain", "nnx"])
@each_algorithm
def test_dtypes_stay(build, make, dtype, x64):
    """float32 stays float32 with the 64-bit mode switched on, and float64 float64."""
    objective, state, data = start(build, make, optax.adam(0.1, eps=1e-2), dtype)
    ensembles = [ensemble._replace(roots=None) for ensemble in (state.walkers, state.held_out)]
    for leaf in jax.tree.leaves((state.params, ensembles)):
        assert leaf.dtype == dtype
    after, metrics = jax.eval_shape(objective.step, test_key("dtypes"), state, data)
    assert types_of(after) == types_of(state)
    for name, value in metrics._asdict().items():
        if jnp.issubdtype(value.dtype, jnp.floating):
            assert value.dtype == dtype, name


def test_in_float64(x64):
    objective, state, data = start(training.jarzynski, nnx_on_base, dtype=jnp.float64)
    check_steps(traced_once(objective.step), state, data)


OPTIMIZERS = {
    "momentum": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "adam": optax.adam(0.05, eps=1e-2),
    "clipped": optax.chain(optax.clip_by_global_norm(0.5), optax.adam(0.05)),
    "schedule": optax.sgd(optax.cosine_decay_schedule(0.2, 60)),
    "multi": optax.partition(
        {"centre": optax.sgd(0.1), "log_stiffness": optax.adam(0.02)},
        {"centre": "centre", "log_stiffness": "log_stiffness"},
    ),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_any_optimizer(optimizer):
    """The centre finds the data's, 0.5 away; in a scan, so types are stable too."""
    objective, state, data = start(
        training.jarzynski, partial(harmonic, n=256), optimizer, is_held_out=False
    )
    keys = jax.random.split(test_key("optimizer"), 60)
    state, metrics = jax.jit(
        lambda state: jax.lax.scan(lambda s, key: objective.step(key, s, data), state, keys)
    )(state)
    assert_finite(state.params)
    mean = np.mean(data["u"], axis=0)
    assert np.linalg.norm(state.params["centre"] - mean) < 0.5 * np.linalg.norm(mean)
    assert not np.any(metrics.is_skipped)


@each_name
def test_without_a_held_out_ensemble_its_metrics_are_nan(name):
    step, state, data = compiled(name, False)
    assert state.held_out is None
    state, metrics = step(test_key("nan"), state, data)
    assert state.held_out is None
    for field in [
        "cross_entropy",
        "log_partition_function",
        "held_out_effective_sample_size",
        "held_out_shadow_effective_sample_size",
    ]:
        assert np.isnan(getattr(metrics, field)), field
    assert not bool(metrics.held_out_is_resampled)
    assert int(metrics.held_out_num_dead) == 0
    for field in ["data_energy", "walker_energy", "gradient_norm", "effective_sample_size"]:
        assert np.isfinite(getattr(metrics, field)), field


@each_name
def test_metrics_are_of_the_parameters_before_the_update(name):
    step, state, data = compiled(name, True)
    energy_fn = harmonic()[0]
    before, _ = step(test_key("first"), state, data)
    after, metrics = step(test_key("second"), before, data)
    energies = jax.vmap(energy_fn, (None, 0))(before.params, data)
    np.testing.assert_allclose(metrics.data_energy, np.mean(energies), rtol=1e-5)
    # The held-out ensemble carries its energies: they are those of the old parameters.
    energies = jax.vmap(energy_fn, (None, 0))(before.params, after.held_out.position)
    np.testing.assert_allclose(-after.held_out.state.logdensity, energies, rtol=1e-5)
    np.testing.assert_allclose(
        metrics.log_partition_function,
        walkers.log_partition_function(after.held_out),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        metrics.cross_entropy, metrics.log_partition_function + metrics.data_energy, rtol=1e-6
    )
    biased = metrics.training_cross_entropy, metrics.training_log_partition_function
    if name in WEIGHTED:
        np.testing.assert_allclose(biased[0], biased[1] + metrics.data_energy, rtol=1e-6)
    else:
        assert np.all(np.isnan(biased))


@each_name
def test_held_out_walkers_never_enter_the_parameters(name):
    """With held-out walkers or without, the parameters and the walkers are the same."""
    results = []
    for is_held_out in (True, False):
        state, _ = few_steps(*compiled(name, is_held_out))
        results.append((state.params, state.walkers.position))
    # Two programs: XLA may round differently in them.
    chex.assert_trees_all_close(*results, rtol=1e-5, atol=1e-5)


def test_canary_of_the_held_out_walkers():
    """What a walker of the training ensemble does changes the parameters by far more."""
    step, state, data = compiled("jarzynski", True)
    changed = jax.tree.map(lambda x: x.at[0].add(1.0), state.walkers.state.position)
    walkers_changed = state.walkers._replace(
        state=state.walkers.state._replace(position=changed)
    )
    params = few_steps(step, state, data)[0].params
    other = few_steps(step, state._replace(walkers=walkers_changed), data)[0].params
    assert np.max(np.abs(params["centre"] - other["centre"])) > 1e-3


# ---------------------------------------------------------------- where walkers start


def quadratic(params, x):
    return jnp.sum(jnp.square(x - params)) / 2


def distance_to_nearest(positions, points):
    gaps = positions[:, None, :] - points[None, :, :]
    return np.min(np.linalg.norm(gaps, axis=-1), axis=1)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_where_walkers_start(name):
    """CD and PCD start at the data, the others at exact samples of the first model."""
    positions = jax.random.normal(test_key("first"), (64, 2))
    data = 100 + 10 * jnp.arange(20.0)[:, None] * jnp.ones(2)
    objective = ALGORITHMS[name](quadratic, optax.sgd(0.1), langevin(1e-4))
    state = objective.init(test_key("start"), jnp.zeros(2), positions, data, 0.0)
    assert state.walkers.log_weights.tolist() == [0.0] * 64
    if name in ("cd", "pcd"):
        assert np.all(distance_to_nearest(state.walkers.position, data) == 0)
        # Of 64 draws from 20 points, all of one or two has probability below 1e-60.
        assert len(np.unique(state.walkers.position[:, 0])) > 10
    else:
        np.testing.assert_array_equal(state.walkers.position, positions)


@pytest.mark.parametrize("name", ["cd", "pcd", "unweighted"])
def test_cd_alone_starts_anew_at_each_batch(name):
    """After one move of h = 1e-4: noise sqrt(2h) = 0.014, drift h |x| < 0.04 where x < 400."""
    positions = jax.random.normal(test_key("first"), (64, 2))
    data = 100 + 10 * jnp.arange(20.0)[:, None] * jnp.ones(2)
    batches = [data[:10] + 3, data[10:] - 3]
    objective = ALGORITHMS[name](quadratic, optax.sgd(0.0), langevin(1e-4))
    state = objective.init(test_key("start"), jnp.zeros(2), positions, data, 0.0)
    step = jax.jit(objective.step)
    for key, batch in zip(jax.random.split(test_key("anew")), batches, strict=True):
        state, _ = step(key, state, batch)
        near = distance_to_nearest(state.walkers.position, batch) < 8 * math.sqrt(2e-4) + 0.05
        assert np.all(near) if name == "cd" else not np.any(near)
        assert state.walkers.log_weights.tolist() == [0.0] * 64


def test_cd_draws_its_start_at_random_from_the_batch():
    """Each of 10 points gets 640 of 6400 walkers, binomial: |z| < 4.5."""
    positions = jnp.zeros((6400, 2))
    batch = 10 * jnp.arange(10.0)[:, None] * jnp.ones(2)
    objective = training.contrastive_divergence(quadratic, optax.sgd(0.0), langevin(1e-6))
    state = objective.init(test_key("start"), jnp.zeros(2), positions, batch, 0.0)
    state, _ = jax.jit(objective.step)(test_key("draw"), state, batch)
    nearest = np.rint(np.asarray(state.walkers.position[:, 0]) / 10).astype(int)
    counts = np.bincount(nearest, minlength=10)
    assert np.all(np.abs(counts - 640) < 4.5 * math.sqrt(640 * 0.9))


# ---------------------------------------------------------------- the thesis' mixture, small


def learned_mass(build, seed, num_steps=2000, num_walkers=1000, gamma=0.125):
    """Mass at a after training; 0.25 in the data. Thesis, §4.3.1, with d = 5 for 50."""
    first = jnp.eye(5)[0]
    truth = {"a": -6 * first, "b": 4 * first, "z": jnp.array(-math.log(3))}
    keys = jax.random.split(jax.random.fold_in(test_key("mixture"), seed), 6)
    params = {
        "a": -0.1 * first + 0.01 * jax.random.normal(keys[0], (5,)),
        "b": 0.1 * first + 0.01 * jax.random.normal(keys[1], (5,)),
        "z": jnp.zeros(()),
    }
    data = mixture.sample(keys[2], truth, num_walkers)
    data_mass = jnp.mean(data[:, 0] < -1)
    rates = {"centres": optax.sgd(0.2 * gamma), "mass": optax.sgd(gamma)}
    optimizer = optax.partition(rates, {"a": "centres", "b": "centres", "z": "mass"})
    objective = build(mixture.energy, optimizer, langevin(0.1))
    positions = mixture.sample(keys[3], params, num_walkers)
    log_z = mixture.log_partition_function(params)
    state = objective.init(keys[4], params, positions, data, log_z)

    @jax.jit
    def train(state):
        step = lambda state, key: (objective.step(key, state, data)[0], None)  # noqa: E731
        return jax.lax.scan(step, state, jax.random.split(keys[5], num_steps))[0]

    return float(mixture.mode_masses(train(state).params)[0]), float(data_mass)


def test_jarzynski_recovers_the_mass_of_a_mode():
    mass, data_mass = learned_mass(training.jarzynski, 0)
    assert abs(mass - data_mass) < 0.06


def test_canary_persistent_contrastive_divergence_does_not():
    mass, data_mass = learned_mass(training.persistent_contrastive_divergence, 0)
    assert abs(mass - data_mass) > 0.2


# ---------------------------------------------------------------- things that go wrong


def cliff_energy(params, x):
    """NaN beyond 2.5, in value and gradient."""
    return jnp.where(x > 2.5, jnp.nan, jnp.square(x - params) / 2)


def logarithmic_energy(params, x):
    """NaN beyond 2.5 in the derivative with respect to the parameters as well."""
    return jnp.square(x) / 2 - params * jnp.log(2.5 - x)


ENERGIES_WITH_NANS = {"cliff": cliff_energy, "logarithm": logarithmic_energy}


@cache
def run_with_nans(name, energy, num_steps=200):
    """Training metrics, with how many walkers live after each step and the parameter."""
    dynamics = langevin(0.1, resampler=adaptive(systematic, 0.3))
    build = {
        "jarzynski": training.jarzynski,
        "pool": partial(training.jarzynski_pool, block_size=100),
    }[name]
    objective = build(ENERGIES_WITH_NANS[energy], optax.adam(0.02, eps=1e-2), dynamics)
    positions = jax.random.normal(test_key("nan"), (400,))
    positions = jnp.where(positions > 2.4, 0, positions)
    batch = 0.5 * positions - 1
    state = objective.init(test_key("init"), jnp.zeros(()), positions, batch, 0.0, positions)

    def step(state, key):
        state, metrics = objective.step(key, state, batch)
        alive = jnp.sum(jnp.isfinite(state.walkers.log_weights))
        is_nan = jnp.any(jnp.isnan(state.walkers.log_weights))
        return state, (metrics, alive, is_nan, state.params)

    keys = jax.random.split(test_key("steps"), num_steps)
    return jax.tree.map(
        np.asarray, jax.jit(lambda state: jax.lax.scan(step, state, keys))(state)[1]
    )


@pytest.mark.parametrize(
    ("name", "energy"), [("jarzynski", "cliff"), ("jarzynski", "logarithm"), ("pool", "cliff")]
)
def test_dead_walkers_are_counted_and_leave_no_trace(name, energy):
    metrics, alive, is_nan, params = run_with_nans(name, energy)
    assert np.sum(metrics.num_dead) > 0
    assert np.sum(metrics.held_out_num_dead) > 0
    assert not np.any(is_nan)
    assert np.all(np.isfinite(params))
    assert not np.any(metrics.is_dead)
    # Without resampling, the living are fewer by just those that are reported.
    lost = -np.diff(alive, prepend=400)
    stays = ~metrics.is_resampled
    np.testing.assert_array_equal(lost[stays], metrics.num_dead[stays])
    # A skipped step leaves the parameter, any other moves it.
    np.testing.assert_array_equal(np.diff(params, prepend=0) != 0, ~metrics.is_skipped)


@pytest.mark.parametrize("energy", ["cliff", "logarithm"])
def test_training_goes_on_after_a_death(energy):
    """A step in which a walker dies may be skipped; it does not stand in the way later.

    But for the rare step that leads a dead walker out again, from where it was put.
    """
    metrics, *_ = run_with_nans("jarzynski", energy)
    num_died = np.cumsum(metrics.num_dead)
    assert num_died[-1] > 0
    assert not np.any(metrics.is_skipped & (num_died == 0))
    is_again = metrics.is_skipped & (metrics.num_dead == 0)
    assert np.sum(is_again) <= 0.1 * np.sum(metrics.num_dead == 0)


@pytest.mark.parametrize("build", [training.jarzynski, training.unweighted])
def test_no_update_is_made_from_data_alone(build):
    """All walkers stand where the energy is NaN, the data where it is finite."""
    objective = build(cliff_energy, optax.sgd(0.1), langevin(0.1))
    state = objective.init(
        test_key("init"), jnp.zeros(()), jnp.full(16, 9.0), jnp.zeros(4), 0.0
    )
    state, metrics = jax.jit(objective.step)(test_key("alone"), state, jnp.ones(4))
    assert bool(metrics.is_dead)
    assert bool(metrics.is_skipped)
    assert float(state.params) == 0


@pytest.mark.parametrize("build", [training.jarzynski, training.unweighted])
def test_when_all_walkers_die_the_parameters_stay(build):
    def energy_fn(params, x):
        return jnp.square(x - params) / 2 + jnp.log(0.5 - params)

    positions = jax.random.normal(test_key("dead"), (16,))
    # The one update takes the parameter to where every energy is NaN.
    objective = build(energy_fn, follow(jnp.array([0.0, 1.0, 2.0, 3.0])), langevin(0.1))
    state = objective.init(
        test_key("init"), jnp.zeros(()), positions, positions, 0.0, positions
    )
    step = jax.jit(objective.step)
    state, metrics = step(test_key("alive"), state, positions)
    assert not bool(metrics.is_dead)
    assert float(state.params) == 1
    for key in jax.random.split(test_key("all dead")):
        opt_state = state.opt_state
        state, metrics = step(key, state, positions)
        assert bool(metrics.is_dead)
        assert bool(metrics.is_skipped)
        assert float(state.params) == 1
        chex.assert_trees_all_equal(state.opt_state, opt_state)
        assert not bool(metrics.is_resampled)
        assert np.isneginf(metrics.log_partition_function)


def test_a_batch_that_is_not_finite_is_skipped():
    objective, state, data = start(training.jarzynski, harmonic, optax.adam(0.1))
    step = jax.jit(objective.step)
    bad = {**data, "v": data["v"].at[3].set(jnp.nan)}
    after, metrics = step(test_key("bad"), state, bad)
    assert bool(metrics.is_skipped)
    chex.assert_trees_all_equal(
        (after.params, after.opt_state), (state.params, state.opt_state)
    )
    after, metrics = step(test_key("good"), after, data)
    assert not bool(metrics.is_skipped)
    assert_finite(after.params)


# ---------------------------------------------------------------- cost


def num_products(fn, *args):
    """How many products and convolutions there are in what XLA makes of a function."""
    text = jax.jit(fn).lower(*args).compile().as_text()
    # A product is `dot(...)`, or a call of a library; names and origins are no operations.
    operations = [line.split("metadata=")[0] for line in text.splitlines()]
    pattern = re.compile(r"\b(?:dot|convolution|custom-call)\(")
    return sum(len(pattern.findall(line)) for line in operations)


def mlp():
    return MLP(24, (48, 40), rngs=nnx.Rngs(0))


def convnet():
    layers = (Convolution(4, 3, 2, 1), Convolution(8, 3, 2, 1))
    return ConvNet((4, 6), layers, (16,), rngs=nnx.Rngs(0))


SHAPES = {mlp: (24,), convnet: (4, 6)}


@cache
def num_products_of(network, part):
    """Products of one step of a network, or of one of its two halves apart."""
    shape = SHAPES[network]
    base = GaussianBase(jnp.zeros(shape), jnp.ones(()), jnp.ones(()))
    energy_fn, params = functional(OnGaussianBase(base, network()))
    positions, key = jax.random.normal(jax.random.key(0), (64, *shape)), jax.random.key(1)

    def of_step(build, num_moves=1, held_out=None):
        objective = build(energy_fn, optax.sgd(0.1), langevin(0.1, num_moves))
        state = objective.init(key, params, positions, positions, 0.0, held_out)
        return num_products(objective.step, key, state, positions[:32])

    def gradient(params, x, batch):
        def mean_energy(params, x):
            return jnp.mean(jax.vmap(energy_fn, (None, 0))(params, x))

        return jax.value_and_grad(
            lambda params: mean_energy(params, batch) - mean_energy(params, x)
        )(params)

    def move(params, x):
        return jax.vmap(jax.value_and_grad(energy_fn, argnums=1), (None, 0))(params, x)

    pool = partial(training.jarzynski_pool, block_size=16)
    return {
        "forward": lambda: num_products(jax.vmap(energy_fn, (None, 0)), params, positions),
        "move": lambda: num_products(move, params, positions),
        "gradient": lambda: num_products(gradient, params, positions, positions[:32]),
        "jarzynski": lambda: of_step(training.jarzynski),
        "pool": lambda: of_step(pool),
        "pcd": lambda: of_step(training.persistent_contrastive_divergence),
        "held out, three moves": lambda: of_step(training.jarzynski, 3, positions),
    }[part]()


def test_the_counted_products():
    """Three layers forward; two more for the gradient in x, whose first factor is a row."""
    assert num_products_of(mlp, "forward") == 3
    assert num_products_of(mlp, "move") == 5


@pytest.mark.parametrize(
    ("network", "name"),
    [(mlp, "jarzynski"), (mlp, "pool"), (mlp, "pcd"), (convnet, "jarzynski")],
)
def test_the_kernel_and_the_gradient_share_the_forward_pass(network, name):
    """One value-and-gradient of each walker a step, which the parameter gradient reuses."""
    apart = num_products_of(network, "move") + num_products_of(network, "gradient")
    assert num_products_of(network, name) == apart - num_products_of(network, "forward")


@pytest.mark.parametrize("name", ["jarzynski", "pool"])
def test_weights_cost_no_product(name):
    assert num_products_of(mlp, name) <= num_products_of(mlp, "pcd") + 1


def test_further_moves_and_the_held_out_ensemble_cost_one_evaluation_each():
    """Moves before the last are a loop, whose body is counted once, in each ensemble."""
    both = num_products_of(mlp, "held out, three moves") - num_products_of(mlp, "jarzynski")
    assert both == 3 * num_products_of(mlp, "move")
