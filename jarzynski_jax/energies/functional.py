"""From a Flax module to the pair that samplers and optimizers speak."""

from typing import Any

from flax import nnx

from jarzynski_jax.types import Array, EnergyFn, Params, Position

__all__ = ["functional"]


def functional(module: nnx.Module) -> tuple[EnergyFn, Params]:
    """Split an NNX module into a pure energy and its parameters.

    A Linen module needs no such help: ``module.apply`` is an energy and
    ``module.init(rng_key, x)`` are its parameters. Nor does a plain function.

    Parameters
    ----------
    module
        Maps one sample to a scalar energy. Its ``nnx.Param`` variables are what is trained;
        all else is fixed.

    Returns
    -------
    tuple[EnergyFn, Params]
        ``energy_fn(params, x) -> scalar``, and the parameters as nested dictionaries.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from jarzynski_jax.energies import MLP, functional
    >>> energy_fn, params = functional(MLP(2, (8,), rngs=nnx.Rngs(0)))
    >>> float(energy_fn(params, jnp.ones(2)))
    0.0
    """
    # Flax types the result as a pair; with two filters it is a triple.
    split: Any = nnx.split(module, nnx.Param, ...)
    graphdef, param_state, fixed = split

    def energy_fn(params: Params, x: Position) -> Array:
        model: Any = nnx.merge(graphdef, params, fixed)
        return model(x)

    return energy_fn, nnx.to_pure_dict(param_state)
