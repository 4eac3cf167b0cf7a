"""What is often handed over in place of what is wanted, and an error that says what to write.

Python would say of it that a module is not callable, or an argument missing, far from where it
was given. Each check raises a ``ValueError``, as far as the mistake can be seen.
"""

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
from flax import linen, nnx

__all__ = [
    "accepts",
    "argument_names",
    "check_energy",
    "check_fields",
    "check_kernel",
    "check_kernel_args",
    "check_kernel_init",
    "check_known",
    "check_resampler",
]


def check_kernel(kernel: Any) -> None:
    """Check that this is a kernel, and not its module, its builder or a whole sampler.

    Examples
    --------
    >>> from jarzynski_jax.kernels import ula
    >>> check_kernel(ula.build_kernel)
    Traceback (most recent call last):
        ...
    ValueError: a kernel is built by a call; got the builder: write ula.build_kernel()
    """
    if isinstance(kernel, ModuleType):
        raise ValueError(
            f"a kernel must be a function; got the module {kernel.__name__}: write "
            f"{_short_name(kernel.__name__)}.build_kernel()"
        )
    if hasattr(kernel, "build_kernel"):
        raise ValueError(
            f"a kernel must be a function (rng_key, state, logdensity_fn, ...); got "
            f"{type(kernel).__name__}, a sampler: write "
            "jarzynski_jax.interop.blackjax.invariant_kernel(sampler)"
        )
    _check_function(kernel, "a kernel", "(rng_key, state, logdensity_fn, ...)")
    if getattr(kernel, "__name__", "").startswith("build_"):
        module = _short_name(getattr(kernel, "__module__", ""))
        raise ValueError(
            f"a kernel is built by a call; got the builder: write {module}.{kernel.__name__}()"
        )


def check_kernel_args(kernel: Callable, kernel_args: tuple[Any, ...]) -> None:
    """Check that a kernel takes what it is given behind ``(rng_key, state, logdensity_fn)``.

    Examples
    --------
    >>> from jarzynski_jax.kernels import ula
    >>> check_kernel_args(ula.build_kernel(), ())
    Traceback (most recent call last):
        ...
    ValueError: the kernel takes (rng_key, state, logdensity_fn, step_size,
    preconditioner=None), and behind the first three it is given 0 arguments: its fixed ones,
    then those of step_args
    """
    if not accepts(kernel, 3 + len(kernel_args)):
        names = [
            str(of.replace(annotation=of.empty))
            for of in inspect.signature(kernel).parameters.values()
        ]
        raise ValueError(
            f"the kernel takes ({', '.join(names)}), and behind the first three it is given "
            f"{len(kernel_args)} arguments: its fixed ones, then those of step_args"
        )


def check_kernel_init(kernel_init: Any) -> None:
    """Check that this is the ``init`` of a kernel, and not its module.

    Examples
    --------
    >>> from jarzynski_jax.kernels import ula
    >>> check_kernel_init(ula.init)
    """
    if isinstance(kernel_init, ModuleType):
        raise ValueError(
            f"kernel_init must be a function; got the module {kernel_init.__name__}: write "
            f"{_short_name(kernel_init.__name__)}.init"
        )
    _check_function(kernel_init, "kernel_init", "(position, logdensity_fn)")


def check_resampler(resampler: Any) -> None:
    """Check that a resampler knows when to resample, and takes log-weights; no scheme alone.

    Examples
    --------
    >>> from jarzynski_jax.resampling import adaptive, systematic
    >>> check_resampler(adaptive(systematic, ess_threshold=0.5))
    """
    _check_function(resampler, "a resampler of walkers", "(rng_key, log_weights)")
    if not accepts(resampler, 2):
        name = getattr(resampler, "__name__", repr(resampler))
        raise ValueError(
            f"a resampler of walkers must take (rng_key, log_weights); {name} takes "
            f"({', '.join(argument_names(resampler))}): write resampling.adaptive({name}, "
            "ess_threshold=0.5)"
        )


def check_energy(energy_fn: Any) -> None:
    """Check that an energy is a function of parameters and a sample, and not a module of Flax.

    Examples
    --------
    >>> from flax import nnx
    >>> check_energy(nnx.Linear(2, 1, rngs=nnx.Rngs(0)))
    Traceback (most recent call last):
        ...
    ValueError: an energy must be a function (params, x) -> scalar; got the module Linear: write
    energy_fn, params = energies.functional(module)
    """
    if isinstance(energy_fn, nnx.Module | linen.Module):
        is_linen = isinstance(energy_fn, linen.Module)
        cure = "module.apply" if is_linen else "energy_fn, params = energies.functional(module)"
        raise ValueError(
            "an energy must be a function (params, x) -> scalar; got the module "
            f"{type(energy_fn).__name__}: write {cure}"
        )
    _check_function(energy_fn, "an energy", "(params, x) -> scalar")


def check_known(name: str, values: Any) -> None:
    """Check that values can be looked at by the function of that name: that none is traced.

    Examples
    --------
    >>> check_known("training.fit", {"mean": 1.0})
    """
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values)):
        raise ValueError(
            f"{name} looks at values, which are not known inside jax.jit, jax.vmap or "
            "jax.grad: call it outside of them"
        )


def accepts(fn: Callable, num_args: int) -> bool:
    """Whether a function can be called with so many arguments, as far as its signature tells.

    True of a function without a signature.

    Examples
    --------
    >>> accepts(lambda x, y=0: x, 1), accepts(lambda x, y=0: x, 3)
    (True, False)
    """
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*range(num_args))
    except TypeError:
        return False
    return True


def argument_names(fn: Callable) -> list[str]:
    """Names of a function's arguments, in their order.

    Examples
    --------
    >>> argument_names(lambda x, y=0: x)
    ['x', 'y']
    """
    return list(inspect.signature(fn).parameters)


def _check_function(value: Any, what: str, signature: str) -> None:
    if not callable(value):
        raise ValueError(f"{what} must be a function {signature}; got {type(value).__name__}")


def _short_name(module: str) -> str:
    return module.rpartition(".")[2]


def check_fields(value: Any, what: str, *fields: str) -> None:
    """Raise a ``ValueError`` if what a kernel returned lacks a field that walkers need."""
    missing = [field for field in fields if not hasattr(value, field)]
    if missing:
        raise ValueError(
            f"the {what} of a kernel must have the field {missing[0]!r}; got "
            f"{type(value).__name__} with the fields {getattr(value, '_fields', ())}. A Markov "
            "kernel, such as BlackJAX's, is made one for walkers by kernels.invariant"
        )
