"""Sines and cosines by polynomials, and their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.sine import sine_and_cosine


def test_sines_are_those_of_xla(dtype):
    x = jnp.linspace(-300, 300, 4001, dtype=dtype)
    sine, cosine = jax.jit(sine_and_cosine)(x)
    assert sine.dtype == dtype
    np.testing.assert_allclose(sine, np.sin(np.asarray(x, np.float64)), atol=3e-7)
    np.testing.assert_allclose(cosine, np.cos(np.asarray(x, np.float64)), atol=3e-7)
    slope = jax.vmap(jax.grad(lambda x: sine_and_cosine(x)[1]))(x)
    np.testing.assert_allclose(slope, -sine, atol=3e-7)
