import contextlib
import os
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxlib
import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# Compilation makes the first example slow, and a failure must come back on the next run.
settings.register_profile("jarzynski", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("jarzynski")


# Three quarters of the suite's time are spent in compilers. At LLVM's first level of
# optimization, after all of XLA's own, programs are compiled in half the time, and by the older
# of XLA's two generators of loops, which jaxlib 0.10 still has, in two thirds of that; they run
# about as fast. Processes that tests start inherit this; what may depend on it asks for
# as_users_compile. XLA_FLAGS=--xla_cpu_use_fusion_emitters=true tests the other generator, as
# newer versions of jaxlib always do.
_FLAGS = ["--xla_backend_optimization_level=1"]
if jaxlib.__version__.startswith("0.10."):
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([*_FLAGS, os.environ.get("XLA_FLAGS", "")]).strip()

_CACHE = pytest.StashKey[tempfile.TemporaryDirectory]()


def pytest_configure(config):
    """Compile what many tests need once: for all workers, and for the commands that they run.

    The cache is new for each run of the suite.
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


#: Bytes of memory from which on compiled programs are forgotten.
_MUCH_MEMORY = 4 * 2**30


def _resident_memory():
    """Bytes of memory that this process holds now; as good as much where it is not told."""
    try:
        num_pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return _MUCH_MEMORY
    return num_pages * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(autouse=True, scope="module")
def _forget_compiled_programs():
    """Thousands of small programs would hold gigabytes by the end of the suite.

    But what is forgotten is traced and loaded again, so only when they do.
    """
    yield
    if _resident_memory() >= _MUCH_MEMORY:
        jax.clear_caches()


@contextlib.contextmanager
def _without_optimizations():
    name = "jax_disable_most_optimizations"
    # Programs of the other kind, before and after, are no part of this.
    jax.clear_caches()
    with pytest.MonkeyPatch.context() as patch:
        before = jax.config.values[name]
        patch.setenv(name.upper(), "1")
        jax.config.update(name, True)
        try:
            yield
        finally:
            jax.config.update(name, before)
            jax.clear_caches()


@pytest.fixture
def as_users_compile(monkeypatch):
    """Processes that are started compile as users do, and not as the suite does."""
    monkeypatch.delenv("XLA_FLAGS")
    monkeypatch.delenv("JAX_DISABLE_MOST_OPTIMIZATIONS", raising=False)


@pytest.fixture
def quick_to_compile():
    """XLA's optimizations are off, here and in processes that are started.

    Compilation takes half as long, and running several times as long. It is for tests of what
    a program does with its files and words: numbers, and equality bit for bit, are tested as
    users compute them.
    """
    with _without_optimizations():
        yield


@pytest.fixture(scope="module")
def module_quick_to_compile():
    """The same for all tests of a module."""
    with _without_optimizations():
        yield


#: Files that take longest: begun first, so that no core is idle at the end.
_LONGEST = (
    "test_gaussian_mixture_study.py",
    "test_cli.py",
    "test_documents.py",
    "test_image_benchmarks.py",
    "test_sharding.py",
    "test_blackjax.py",
    "test_training.py",
    "test_kernels.py",
    "test_resampling.py",
)


#: Files whose tests share nothing: each goes to whichever process is free.
_DIVIDED = ("test_documents.py", "test_gaussian_mixture_study.py")


#: What slow.py found to be slow.
_SLOW = frozenset(Path(__file__).with_name("slow.txt").read_text().splitlines())


def _is_slow(item):
    file, _, name = item.nodeid.partition("::")
    module = file.removesuffix(".py").replace("/", ".")
    return f"{module}::{name.partition('[')[0]}" in _SLOW


def pytest_collection_modifyitems(items):
    order = {name: number for number, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))  # stable
    for item in items:
        if _is_slow(item):
            item.add_marker("slow")


class _ByFile(LoadScopeScheduling):
    """A file's tests stay in one process, in this order: what they share is made once."""

    def _split_scope(self, nodeid):
        file = nodeid.partition("::")[0]
        return nodeid if file.endswith(_DIVIDED) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    config.option.loadscopereorder = False  # else files of many tests would come first
    return _ByFile(config, log)


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
