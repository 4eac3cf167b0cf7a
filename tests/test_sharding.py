"""Walkers on eight (fake) devices: the same numbers as on one."""

import socket
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fake_devices import assert_succeeds, start

from jarzynski_jax import training
from jarzynski_jax.training import checkpoint
from jarzynski_jax.walkers import langevin, sharding


def energy_fn(params, x):
    return jnp.sum(jnp.square(x - params["a"])) / 2 + params["b"] * jnp.sum(jnp.cos(2 * x))


def train_start(build=training.jarzynski, block_size=None):
    dynamics = langevin(0.1, block_size=block_size)
    objective = build(energy_fn, optax.adam(0.05, eps=1e-2), dynamics)
    x = jax.random.normal(jax.random.key(0), (800, 3))
    params = {"a": jnp.zeros(3), "b": jnp.array(0.0)}
    log_z = 1.5 * jnp.log(2 * jnp.pi)
    return objective, objective.init(jax.random.key(1), params, x, x + 2, log_z, x[:400]), x


def train(mesh, build=training.jarzynski, folder=None, num_steps=20, block_size=None):
    """Some updates of 800 walkers and 400 held-out ones; some of them resample."""
    objective, state, x = train_start(build, block_size)
    return training.fit(
        jax.random.key(2),
        objective,
        state,
        x + 2,
        num_steps=num_steps,
        batch_size=160,
        chunk_size=10,
        mesh=mesh,
        folder=folder,
    )


def assert_alike(left, right):
    """Up to the order of sums, of states and of metrics."""
    for a, b in zip(*map(jax.tree.leaves, (left.state, right.state)), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(
        left.metrics.cross_entropy, right.metrics.cross_entropy, atol=1e-3, equal_nan=True
    )


def compare_on_eight_devices(folder):
    """Run by a test below in a process of its own, which has eight devices."""
    assert jax.device_count() == 8
    mesh = sharding.make_mesh()
    pool = lambda *args: training.jarzynski_pool(*args, block_size=200)  # noqa: E731
    runs = {}
    for build, saved_in in ((training.jarzynski, Path(folder)), (pool, None)):
        one, eight = train(None, build), train(mesh, build, folder=saved_in)
        walkers = eight.state.walkers
        assert walkers.log_weights.sharding.spec == jax.sharding.PartitionSpec("walkers")
        assert len(walkers.position.addressable_shards) == 8
        assert walkers.position.addressable_shards[0].data.shape == (100, 3)
        assert eight.state.params["a"].sharding.is_fully_replicated
        assert_alike(one, eight)
        runs[build] = eight
    whole = runs[training.jarzynski]
    assert np.any(whole.metrics.is_resampled)
    assert_alike(train(mesh, block_size=30), whole)


def compare_two_processes(folder, index, port):
    """Run by a test below in each of two processes, which have four devices each."""
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=int(index))
    assert (jax.local_device_count(), jax.device_count()) == (4, 8)
    found = train(sharding.make_mesh(), folder=Path(folder))
    assert len(found.state.walkers.position.addressable_shards) == 4
    if index == "0":
        np.savez(Path(folder) / "params.npz", **jax.device_get(found.state.params))


def restored(folder):
    """What the run in a folder saved, on this process's one device."""
    template = jax.eval_shape(lambda: train_start()[1])
    return checkpoint.restore(folder / "checkpoints", template, {})


@pytest.fixture(scope="module")
def on_one_device():
    return train(None)


def test_the_same_on_one_and_on_eight_devices(on_one_device, tmp_path):
    assert_succeeds(start(8, "test_sharding", f"compare_on_eight_devices({str(tmp_path)!r})"))
    # Saved from eight devices, it goes on with one.
    saved = restored(tmp_path)
    for a, b in zip(*map(jax.tree.leaves, (saved, on_one_device.state)), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3)
    assert len(training.read_metrics(tmp_path / "metrics.csv")["step"]) == 20


def test_the_same_in_two_processes(on_one_device, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    calls = [f"compare_two_processes({str(tmp_path)!r}, '{i}', {port})" for i in (0, 1)]
    for process in [start(4, "test_sharding", call) for call in calls]:
        assert_succeeds(process)
    with np.load(tmp_path / "params.npz") as params:
        for name, value in on_one_device.state.params.items():
            np.testing.assert_allclose(params[name], value, rtol=2e-3, atol=2e-3)
    saved = restored(tmp_path)
    for a, b in zip(*map(jax.tree.leaves, (saved, on_one_device.state)), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3)
    assert len(training.read_metrics(tmp_path / "metrics.csv")["step"]) == 20


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
