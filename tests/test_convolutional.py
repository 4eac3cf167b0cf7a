"""Convolutional energies: shapes, an exact start, and gradients with and without memory."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jarzynski_jax.energies import (
    ConvNet,
    GaussianBase,
    OnGaussianBase,
    ResidualNetwork,
    convolutional,
    functional,
    gaussian_base,
    thesis_cifar_layers,
    thesis_mnist_layers,
)
from jarzynski_jax.energies.convolutional import Convolution


def convnet(shape=(8, 6), param_dtype=jnp.float32):
    layers = (Convolution(4, 3, 2, 1), Convolution(8, 3, 1, 0))
    return ConvNet(shape, layers, (5,), param_dtype=param_dtype, rngs=nnx.Rngs(0))


def residual(shape=(8, 6), param_dtype=jnp.float32, is_checkpointed=False):
    options = {"param_dtype": param_dtype, "is_checkpointed": is_checkpointed}
    return ResidualNetwork(shape, 4, 2, 2, rngs=nnx.Rngs(0), **options)


def trained(module):
    """Parameters of no layer are zero, as after training."""
    energy_fn, params = functional(module)
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noise = [
        leaf + 0.3 * jax.random.normal(key, leaf.shape, leaf.dtype)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    return energy_fn, jax.tree.unflatten(structure, noise)


@pytest.mark.parametrize("build", [convnet, residual])
def test_the_first_model_is_the_base(build):
    base = GaussianBase(jnp.zeros((8, 6)), jnp.array(2.0), jnp.array(0.5))
    energy_fn, params = functional(OnGaussianBase(base, build()))
    x, log_z = gaussian_base.exact_start(jax.random.key(0), base, energy_fn, params, 4)
    assert x.shape == (4, 8, 6)
    assert log_z == gaussian_base.log_partition_function(base)
    gradient = jax.grad(energy_fn)(params, x[0])
    assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("build", [convnet, residual])
@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 3)])
def test_energies_of_grey_and_of_colour_images(build, shape, dtype):
    energy_fn, params = trained(build(shape, dtype))
    x = jax.random.normal(jax.random.key(2), shape, dtype)
    energy, gradient = jax.value_and_grad(energy_fn, 1)(params, x)
    assert energy.shape == ()
    assert energy.dtype == gradient.dtype == dtype
    assert gradient.shape == shape
    assert np.all(gradient != 0)  # no pixel is out of sight


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 1, 4])
@pytest.mark.parametrize("kernel_size", [1, 3, 4])
def test_the_product_with_patches_is_flaxs_convolution(kernel_size, padding, stride):
    """On a CPU it is a product; on other devices this compares Flax's with itself."""
    layer = Convolution(5, kernel_size, stride, padding)
    ours = convolutional._Conv(3, layer, rngs=nnx.Rngs(0))
    ours.bias[...] = jax.random.normal(jax.random.key(1), (5,))
    x = jax.random.normal(jax.random.key(2), (9, 6, 3))
    np.testing.assert_allclose(ours(x), nnx.Conv.__call__(ours, x), rtol=1e-4, atol=1e-5)


def test_a_checkpointed_network_is_the_same_function():
    x = jax.random.normal(jax.random.key(2), (8, 6))
    plain_fn, params = trained(residual())
    checkpointed_fn, _ = trained(residual(is_checkpointed=True))
    expected = jax.value_and_grad(plain_fn, (0, 1))(params, x)
    found = jax.value_and_grad(checkpointed_fn, (0, 1))(params, x)
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_checkpointed_network_keeps_less():
    def num_residuals(module):
        energy_fn, params = trained(module)
        _, pullback = jax.vjp(lambda x: energy_fn(params, x), jnp.ones((8, 6)))
        return sum(leaf.size for leaf in jax.tree.leaves(pullback))

    assert num_residuals(residual(is_checkpointed=True)) < 0.7 * num_residuals(residual())


def test_the_thesis_networks_have_its_sizes():
    """About 77 thousand parameters on MNIST; on CIFAR-10 the images end as 4x4."""
    mnist = ConvNet((28, 28), thesis_mnist_layers(), (64,), rngs=nnx.Rngs(0))
    assert len(mnist.convolutions) + len(mnist.hidden) + 1 == 6
    assert mnist.hidden[0].in_features == 2 * 2 * 64
    num_params = sum(leaf.size for leaf in jax.tree.leaves(functional(mnist)[1]))
    assert round(num_params / 1000) == 77
    cifar = ConvNet((32, 32, 3), thesis_cifar_layers(8), rngs=nnx.Rngs(0))
    assert cifar.last.in_features == 4 * 4 * 64


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: convnet((8,)), "height, width"),
        (lambda: convnet((8, 0)), "height, width"),
        (lambda: convnet((1, 1)), "does not fit"),
        (lambda: residual((1, 8)), "2 stages"),
        (lambda: convnet()(jnp.ones((6, 8))), r"must have shape \(8, 6\); got \(6, 8\)"),
        (lambda: residual()(jnp.ones((8, 6, 1))), r"must have shape \(8, 6\)"),
    ],
)
def test_images_of_wrong_shapes_are_told_so(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_residual_network_has_a_stage():
    with pytest.raises(ValueError, match="num_stages must be at least 1; got 0"):
        ResidualNetwork((8, 8), 4, 0, rngs=nnx.Rngs(0))
