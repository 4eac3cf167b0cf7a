"""What a training step of a network needs beside its arguments, as XLA has laid it out."""

from collections.abc import Callable
from functools import partial

import jax
from flax import nnx

from benchmarks.speed.training import convnet, mlp, start_network
from jarzynski_jax import training
from jarzynski_jax.energies import ResidualNetwork

HEADER = ("network", "walkers", "block", "temporary MiB", "arguments MiB")

_Network = Callable[[nnx.Rngs], nnx.Module]


def memory_rows(quick: bool) -> list[tuple[str, ...]]:
    """Compile, do not run: a thousand 28x28 images, and walkers all at once or in blocks."""
    widest = (256,) if quick else (1024, 4096, 16384)
    deep = (32,) if quick else (256, 1024)
    deepest = deep[:1]  # these take half a minute each to compile
    num_features = 4 if quick else 16
    networks: list[tuple[str, _Network, tuple[int, ...]]] = [
        ("MLP 784-256-256-1", mlp, widest),
        ("ConvNet, six layers", convnet, deep),
        ("residual", partial(_residual, num_features, False), deepest),
        ("residual, checkpointed", partial(_residual, num_features, True), deepest),
    ]
    return [
        (name, str(size), "all" if block is None else str(block), *_measure(make, size, block))
        for name, make, sizes in networks
        for size in sizes
        for block in (None, min(sizes[0], 512) // 2)
    ]


def _residual(num_features: int, is_checkpointed: bool, rngs: nnx.Rngs) -> nnx.Module:
    return ResidualNetwork((28, 28), num_features, is_checkpointed=is_checkpointed, rngs=rngs)


def _measure(make: _Network, num_walkers: int, block_size: int | None) -> tuple[str, str]:
    objective, (state, key, data) = start_network(
        training.jarzynski, make, num_walkers, 1000, block_size or num_walkers
    )
    found = jax.jit(objective.step).lower(key, state, data).compile().memory_analysis()
    if found is None:
        return "unknown", "unknown"
    return (
        f"{found.temp_size_in_bytes / 2**20:.1f}",
        f"{found.argument_size_in_bytes / 2**20:.1f}",
    )
