"""``annealing.estimate`` on eight (fake) devices: the numbers of one, from walkers spread."""

import re
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fake_devices import assert_succeeds, start

from jarzynski_jax import walkers
from jarzynski_jax.annealing import bounds, estimate, geometric_path, log_partition_bounds
from jarzynski_jax.density import Density
from jarzynski_jax.walkers import langevin, make_mesh

#: For programs that are read and not run.
_QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}

#: Positions of three numbers in two leaves.
BASE = Density(
    lambda x: -jnp.square(x["a"]) / 8 - jnp.sum(jnp.square(x["b"])) / 8,
    float(1.5 * np.log(8 * np.pi)),
    lambda key, n: {
        "a": 2 * jax.random.normal(key, (n,)),
        "b": 2 * jax.random.normal(jax.random.fold_in(key, 1), (n, 2)),
    },
)
TARGET = Density(lambda x: -4 * jnp.square(x["a"] - 1) - jnp.sum(jnp.square(x["b"])))


def run(**options):
    options = {"num_walkers": 256, "num_gradients": 12_000, **options}
    return estimate(jax.random.key(0), BASE, TARGET, **options)


def numbers(found):
    bracket = found.bounds.lower, found.bounds.upper
    return found._replace(bounds=bracket, choices=tuple(found.choices))


def numbers_at_once():
    """How many walkers a device evaluates at once, of 64 and 16 that go back."""
    path = geometric_path(lambda x: -jnp.sum(x**2) / 2, lambda x: -jnp.sum(jnp.cos(x) + x**2))
    options = {"num_steps": 5, "num_replicates": 2, "num_backward": 16}

    def bound(x):
        args = jax.random.key(0), x, path, 0.0, langevin(0.1)
        return log_partition_bounds(*args, **options)

    with walkers.on_mesh(make_mesh()):
        x = walkers.spread_data(jnp.ones((128, 2)), make_mesh())
        text = jax.jit(bound).lower(x).compile(_QUICKLY).as_text()
    return {int(number) for number in re.findall(r"f\d\d\[(\d+)\S* (?:co)?sine\(", text)}


def run_on_eight_devices(folder):
    """Run by a test below in a process of its own, which has eight devices."""
    jax.config.update("jax_enable_x64", True)
    made = []
    found = run(mesh=make_mesh(), progress=made.append)
    jax.effects_barrier()
    assert sum(made) == pytest.approx(1)
    for leaf in jax.tree.leaves((found.samples, found.log_weights)):
        assert {shard.data.shape[0] for shard in leaf.addressable_shards} == {256 // 8}
    leaves = jax.tree.leaves(numbers(found))
    np.savez(Path(folder) / "found.npz", *leaves)

    assert numbers_at_once() == {64 // 8, 16 // 8}
    with mock.patch.object(bounds, "keep_spread", lambda leaves, axis: leaves):
        assert {64, 16} <= numbers_at_once()  # canary: the partitioner is left alone

    with pytest.raises(ValueError, match=r"multiple of 96, .* parts on 3 devices; got 256"):
        run(mesh=make_mesh(3))
    with pytest.raises(ValueError, match=r"relaxed must have a multiple of 64 samp.*got 8"):
        run(mesh=make_mesh(), relaxed={"a": jnp.ones(8), "b": jnp.ones((8, 2))})


def test_the_same_on_one_and_on_eight_devices(x64, tmp_path):
    """To rounding: an ancestor that is another one would change a sample by about one."""
    process = start(8, "test_estimate_devices", f"run_on_eight_devices({str(tmp_path)!r})")
    one = run()
    assert_succeeds(process)
    with np.load(tmp_path / "found.npz") as file:
        leaves, structure = jax.tree.flatten(numbers(one))
        eight = jax.tree.unflatten(structure, [file[name] for name in file.files])
    for left, right in zip(leaves, jax.tree.leaves(eight), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-9)
    # What eight devices chose, one can use.
    again = run(choices=type(one.choices)(*eight.choices))
    assert again.log_partition_function == pytest.approx(one.log_partition_function, abs=1e-9)


def test_a_mesh_of_another_kind_is_refused():
    axes = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("a", "b"))
    with pytest.raises(ValueError, match=r"one axis; got \('a', 'b'\)"):
        run(mesh=axes)
    with pytest.raises(ValueError, match=r"must be a jax\.sharding\.Mesh.*got 8"):
        run(mesh=8)
