"""What XLA is known to get wrong on a CPU is right here, and flags of one's own are kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jarzynski_jax
from jarzynski_jax.compiler_faults import avoid_compiler_faults

FLAG = "--xla_cpu_experimental_ynn_fusion_type="


@pytest.mark.parametrize("num", [1000, 32769, 100_000])
def test_products_that_are_summed_are_right(num):
    """Of jaxlib 0.10.2 the last of 32 769 was 0.8 % too small."""
    i = jnp.arange(num, dtype=jnp.float32)
    x = jnp.stack([i, jnp.zeros_like(i), jnp.zeros_like(i)], axis=1)
    found = jax.jit(jax.vmap(lambda row, matrix: jnp.sum((matrix @ row) ** 2), (0, None)))(
        x, jnp.eye(3)
    )
    np.testing.assert_allclose(found, np.arange(num, dtype=np.float64) ** 2, rtol=1e-6)


@pytest.mark.parametrize("reduce", [jnp.max, jnp.sum])
def test_a_last_layer_of_zeros_gives_its_bias(reduce):
    """Up to jaxlib 0.12 it gave what stood in the memory before."""
    bias = jnp.arange(16.0)

    @jax.jit
    def layer(hidden):
        return reduce(hidden @ jnp.zeros((64, 16)) + bias, -1)

    for seed in range(3):
        hidden = jax.random.normal(jax.random.key(seed), (3000, 64))
        np.testing.assert_array_equal(layer(hidden), np.full(3000, reduce(bias)))


@pytest.mark.parametrize("version", ["0.10.2", "0.11.0", "0.12.0.1"])
def test_a_flag_is_added_once_and_the_others_stay(version):
    environment = {"XLA_FLAGS": "--xla_one=1"}
    for _ in range(2):
        avoid_compiler_faults(environment, version)
        assert environment == {"XLA_FLAGS": f"--xla_one=1 {FLAG}"}
    ours = {"XLA_FLAGS": f"{FLAG}-reduce"}
    avoid_compiler_faults(ours, version)
    assert ours == {"XLA_FLAGS": f"{FLAG}-reduce"}


@pytest.mark.parametrize("version", ["0.10.0", "0.10.1", "0.13.0", "1.0"])
def test_other_versions_are_left_alone(version):
    environment = {}
    avoid_compiler_faults(environment, version)
    assert environment == {}
    assert jarzynski_jax.compiler_faults.avoid_compiler_faults is avoid_compiler_faults
