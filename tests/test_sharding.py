"""Walkers on eight (fake) devices: the same numbers as on one."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jarzynski_jax import sharding, training
from jarzynski_jax.dynamics import langevin

HERE = Path(__file__).parent


def energy_fn(params, x):
    return jnp.sum(jnp.square(x - params["a"])) / 2 + params["b"] * jnp.sum(jnp.cos(2 * x))


def train(mesh, build=training.jarzynski, folder=None, num_steps=20):
    """Some updates of 800 walkers and 400 held-out ones; some of them resample."""
    algorithm = build(energy_fn, optax.adam(0.05, eps=1e-2), langevin(0.1))
    x = jax.random.normal(jax.random.key(0), (800, 3))
    params = {"a": jnp.zeros(3), "b": jnp.array(0.0)}
    log_z = 1.5 * jnp.log(2 * jnp.pi)
    state = algorithm.init(jax.random.key(1), params, x, x + 2, log_z, x[:400])
    return training.fit(
        jax.random.key(2),
        algorithm,
        state,
        x + 2,
        num_steps=num_steps,
        batch_size=160,
        chunk_size=10,
        mesh=mesh,
        folder=folder,
    )


def compare_on_eight_devices():
    """Run by the test below in a process of its own, which has eight devices."""
    assert jax.device_count() == 8
    mesh = sharding.make_mesh()
    pool = lambda *args: training.jarzynski_pool(*args, block_size=200)  # noqa: E731
    for build in (training.jarzynski, pool):
        one, eight = train(None, build), train(mesh, build)
        walkers = eight.state.walkers
        assert walkers.log_weights.sharding.spec == jax.sharding.PartitionSpec("walkers")
        assert len(walkers.position.addressable_shards) == 8
        assert walkers.position.addressable_shards[0].data.shape == (100, 3)
        assert eight.state.params["a"].sharding.is_fully_replicated
        chain = jax.tree.map(np.asarray, (one.state, eight.state))
        for left, right in zip(*map(jax.tree.leaves, chain), strict=True):
            np.testing.assert_allclose(left, right, rtol=2e-3, atol=2e-3)
        np.testing.assert_allclose(
            one.metrics.cross_entropy, eight.metrics.cross_entropy, atol=1e-3, equal_nan=True
        )
    assert np.any(train(mesh).metrics.is_resampled)
    print("alike")


def test_the_same_on_one_and_on_eight_devices():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    code = "import test_sharding; test_sharding.compare_on_eight_devices()"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=HERE,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert found.stdout.strip() == "alike", found.stderr[-3000:]


def test_a_mesh_of_one_changes_nothing():
    plain, meshed = train(None, num_steps=5), train(sharding.make_mesh(1), num_steps=5)
    for left, right in zip(*map(jax.tree.leaves, (plain, meshed)), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)


def test_meshes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"between 1 and the number of devices.*got 99"):
        sharding.make_mesh(99)
    with pytest.raises(ValueError, match="got 0"):
        sharding.make_mesh(0)
    two_axes = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("a", "b"))
    with pytest.raises(ValueError, match=r"one axis; got \('a', 'b'\)"):
        sharding.spread_data(jnp.zeros((3, 2)), two_axes)
