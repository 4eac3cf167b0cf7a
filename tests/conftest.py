import contextlib
import os
import tempfile

import jax
import jax.numpy as jnp
import pytest
from hypothesis import settings

# Compilation makes the first example slow, and a failure must come back on the next run.
settings.register_profile("jarzynski", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("jarzynski")


_CACHE = pytest.StashKey[tempfile.TemporaryDirectory]()


def pytest_configure(config):
    """Compile what many tests need once: for all workers, and for the commands that they run.

    Most of the suite's time is compilation. The cache is new for each run of the suite.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:  # a worker, or somebody's own choice
        return
    config.stash[_CACHE] = tempfile.TemporaryDirectory(prefix="jarzynski-jax-compiled-")
    for name, value in (
        ("jax_compilation_cache_dir", config.stash[_CACHE].name),
        ("jax_persistent_cache_min_compile_time_secs", 0.0),
    ):
        os.environ[name.upper()] = str(value)
        jax.config.update(name, value)


def pytest_unconfigure(config):
    if _CACHE in config.stash:
        config.stash[_CACHE].cleanup()


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


@pytest.fixture
def recompilations():
    """A context that counts the programs compiled in it."""

    @contextlib.contextmanager
    def counting():
        events = []

        def listen(event, *_, **__):
            if event == "/jax/core/compile/backend_compile_duration":
                events.append(event)

        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            yield lambda: len(events)
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)

    return counting
