import contextlib

import jax
import jax.numpy as jnp
import pytest
from hypothesis import settings

# Compilation makes the first example slow, and a failure must come back on the next run.
settings.register_profile("jarzynski", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("jarzynski")


@pytest.fixture(params=[jnp.float32, jnp.float64], ids=["float32", "float64"])
def dtype(request):
    """A precision, with JAX's 64-bit mode switched on for float64 alone."""
    with jax.enable_x64(True) if request.param == jnp.float64 else contextlib.nullcontext():
        yield request.param


@pytest.fixture
def x64():
    """JAX's 64-bit mode."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True, scope="module")
def _forget_compiled_programs():
    """Thousands of small programs would hold gigabytes by the end of the suite."""
    yield
    jax.clear_caches()
