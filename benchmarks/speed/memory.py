"""What a training step of an MLP needs beside its arguments, as XLA has laid it out."""

import jax
import optax
from flax import nnx

from jarzynski_jax import training
from jarzynski_jax.dynamics import langevin
from jarzynski_jax.energies import MLP, OnGaussianBase, functional, gaussian_base

HEADER = ("walkers", "block", "temporary MiB", "arguments MiB")


def memory_rows(sizes: tuple[int, ...], block_sizes: tuple[int | None, ...]) -> list[tuple]:
    """Compile, do not run: 784-256-256-1 with as many walkers, a thousand data."""
    return [
        (str(size), "all" if block is None else str(block), *_measure(size, block))
        for size in sizes
        for block in block_sizes
    ]


def _measure(num_walkers: int, block_size: int | None) -> tuple[str, str]:
    key = jax.random.key(0)
    data = 0.3 * jax.random.normal(key, (1000, 784))
    base = gaussian_base.fit_gaussian_base(data, "diagonal")
    module = MLP(784, (256, 256), rngs=nnx.Rngs(0))
    energy_fn, params = functional(OnGaussianBase(base, module))
    dynamics = langevin(1e-3, block_size=block_size or num_walkers)
    algorithm = training.jarzynski(energy_fn, optax.adam(1e-3), dynamics)
    x, log_z = gaussian_base.exact_start(key, base, energy_fn, params, num_walkers)
    state = algorithm.init(key, params, x, data, log_z)
    found = jax.jit(algorithm.step).lower(key, state, data).compile().memory_analysis()
    if found is None:
        return "unknown", "unknown"
    return (
        f"{found.temp_size_in_bytes / 2**20:.1f}",
        f"{found.argument_size_in_bytes / 2**20:.1f}",
    )
