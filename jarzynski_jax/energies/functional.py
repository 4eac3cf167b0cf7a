"""From a Flax module to the pair that optimizers speak, and to what kernels speak."""

from typing import Any

from flax import nnx

from jarzynski_jax.checks import check_energy
from jarzynski_jax.modules import unchanged
from jarzynski_jax.types import Array, EnergyFn, LogDensityFn, Params, Position

__all__ = ["functional", "logdensity"]


def functional(module: nnx.Module) -> tuple[EnergyFn, Params]:
    """Split an NNX module into a pure energy and its parameters, as nested dictionaries.

    The module maps one sample to a scalar energy; what else it takes, such as a time before the
    sample, the function takes too. Its ``nnx.Param`` variables are what is
    trained; all else is fixed. A Linen module needs no such help: ``module.apply`` is an energy
    and ``module.init(rng_key, x)`` are its parameters. Nor does a plain function.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from jarzynski_jax.energies import MLP, functional
    >>> energy_fn, params = functional(MLP(2, (8,), rngs=nnx.Rngs(0)))
    >>> float(energy_fn(params, jnp.ones(2)))
    0.0
    """
    # Flax types the result as a pair; with two filters it is a triple.
    split: Any = nnx.split(module, nnx.Param, ...)
    graphdef, param_state, fixed = split

    def energy_fn(params: Params, *inputs: Position) -> Array:
        model: Any = nnx.merge(graphdef, params, fixed, copy=True)
        with unchanged("an energy", model):
            return model(*inputs)

    return energy_fn, nnx.to_pure_dict(param_state)


def logdensity(energy_fn: EnergyFn, params: Params) -> LogDensityFn:
    """Change the sign: the log-density of a model, up to its log Z.

    ValueError if the energy is a module of Flax, or no function.

    Examples
    --------
    >>> logdensity(lambda params, x: params * x**2, 3.0)(2.0)
    -12.0
    """
    check_energy(energy_fn)
    return lambda x: -energy_fn(params, x)
