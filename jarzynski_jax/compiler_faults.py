"""Compilers of XLA that compute wrong numbers in silence, and how they are kept from it.

From jaxlib 0.10.2 on XLA hands products and reductions on a CPU to another library (YNNPACK),
and what comes back is wrong for some programs, without an error: in 0.10.2 a matrix product of
some tens of thousands of rows that is reduced (jax-ml/jax#39103), up to 0.12 a product with a
matrix that is zero and known to the compiler, reduced likewise. ``--xla_cpu_experimental_ynn_
fusion_type=``, with nothing behind it, switches that off; programs are then compiled as by
jaxlib 0.10.1. XLA reads its flags when JAX computes for the first time, so ``import
jarzynski_jax`` sets it; a flag of one's own is left alone.
"""

from collections.abc import MutableMapping

__all__ = ["avoid_compiler_faults"]

_FLAG = "--xla_cpu_experimental_ynn_fusion_type"
#: Versions in which the fault was seen, the first of them and the first that was not tried.
_FAULTY = (0, 10, 2), (0, 13, 0)


def avoid_compiler_faults(environment: MutableMapping[str, str], version: str) -> None:
    """Add the flag to ``XLA_FLAGS`` if this jaxlib needs it and it is not there.

    Examples
    --------
    >>> environment = {"XLA_FLAGS": "--xla_cpu_enable_fast_math=false"}
    >>> avoid_compiler_faults(environment, "0.12.0.1")
    >>> environment["XLA_FLAGS"]
    '--xla_cpu_enable_fast_math=false --xla_cpu_experimental_ynn_fusion_type='
    >>> avoid_compiler_faults(environment := {}, "0.10.1")
    >>> environment
    {}
    """
    flags = environment.get("XLA_FLAGS", "")
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdecimal())
    first, beyond = _FAULTY
    if first <= numbers < beyond and _FLAG not in flags:
        environment["XLA_FLAGS"] = f"{flags} {_FLAG}=".strip()
