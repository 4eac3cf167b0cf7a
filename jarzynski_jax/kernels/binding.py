"""Binding a kernel to one target, as BlackJAX's samplers are."""

from typing import Any

from jarzynski_jax.checks import check_kernel, check_kernel_init
from jarzynski_jax.types import (
    Kernel,
    KernelInit,
    LogDensityFn,
    Position,
    PRNGKey,
    SamplingAlgorithm,
)

__all__ = ["SamplingAlgorithm", "bind"]


def bind(
    init: KernelInit, kernel: Kernel, logdensity_fn: LogDensityFn, *kernel_args: Any
) -> SamplingAlgorithm:
    """Bind a kernel to a target and to its arguments.

    ``init(position, rng_key=None)`` and ``step(rng_key, state)`` are left to be called, for one
    walker. ValueError if this is no kernel: its module, say.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from jarzynski_jax.kernels import ula
    >>> algorithm = bind(ula.init, ula.build_kernel(), lambda x: -jnp.sum(x**2) / 2, 0.1)
    >>> float(algorithm.init(jnp.ones(2)).logdensity)
    -1.0
    """
    check_kernel_init(init)
    check_kernel(kernel)

    def init_fn(position: Position, rng_key: PRNGKey | None = None) -> Any:
        del rng_key
        return init(position, logdensity_fn)

    def step_fn(rng_key: PRNGKey, state: Any) -> tuple[Any, Any]:
        return kernel(rng_key, state, logdensity_fn, *kernel_args)

    return SamplingAlgorithm(init_fn, step_fn)
