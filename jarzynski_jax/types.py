"""Types shared by the whole library."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

import jax

Array: TypeAlias = jax.Array
PRNGKey: TypeAlias = jax.Array
#: A scalar that may be traced.
Scalar: TypeAlias = float | jax.Array
ArrayTree: TypeAlias = jax.Array | Iterable["ArrayTree"] | Mapping[Any, "ArrayTree"]
#: Where a walker stands: any pytree of floating-point arrays, or of integers where the kernel
#: needs no gradient.
Position: TypeAlias = Any
#: What an optimizer updates: any pytree of floating-point arrays.
Params: TypeAlias = Any

#: ``logdensity_fn(position) -> scalar``, the unnormalised log-density of one walker.
LogDensityFn: TypeAlias = Callable[[Position], Array]
#: ``energy_fn(params, x) -> scalar``, the energy of one sample, minus its log-density.
EnergyFn: TypeAlias = Callable[[Params, Position], Array]


class KernelState(Protocol):
    """What the walkers need to know of a kernel's state.

    ``logdensity`` is the log-density at ``position`` under the target by which the walker
    was last weighed. ``log_endpoint`` is the part of the walker's log-weight that depends
    on where the walker stands now and does not accumulate; the walkers resample on the rest.
    """

    @property
    def position(self) -> Position: ...  # noqa: D102

    @property
    def logdensity(self) -> Array: ...  # noqa: D102

    @property
    def log_endpoint(self) -> Array: ...  # noqa: D102


class KernelInfo(Protocol):
    """What the walkers need to know of a kernel's info.

    ``log_weight_increment`` is what the move adds to the log-weight, ``-inf`` for death.
    ``is_lost`` tells whether the walker died by its own move, out of where the density is
    positive and finite. Paths that come back from there would carry weight, and there are none:
    what so dies is missing in the mean weight. A death that is not lost is exact, such as that
    of a walker on which the new target is zero. Of an info without this field any death counts
    as lost.
    """

    @property
    def log_weight_increment(self) -> Array: ...  # noqa: D102

    @property
    def is_lost(self) -> Array: ...  # noqa: D102


#: ``init(position, logdensity_fn) -> state``, for one walker.
KernelInit: TypeAlias = Callable[[Position, LogDensityFn], Any]
#: ``kernel(rng_key, state, logdensity_fn, *kernel_args) -> (state, info)``, for one walker.
Kernel: TypeAlias = Callable[..., tuple[Any, Any]]
#: ``resampler(rng_key, weights, num_samples) -> ancestors``, as in BlackJAX.
Resampler: TypeAlias = Callable[[PRNGKey, Array, int], Array]


class SamplingAlgorithm(NamedTuple):
    """A kernel bound to its target, with the same fields as BlackJAX's type of that name.

    BlackJAX's ``run_inference_algorithm`` takes it, and nothing here imports BlackJAX.
    """

    init: Callable[..., Any]
    step: Callable[[PRNGKey, Any], tuple[Any, Any]]
