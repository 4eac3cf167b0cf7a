"""Coupling layers of a field on a torus that see a site's neighbours."""

from typing import Any

import bijx
import jax.numpy as jnp
from flax import nnx

from jarzynski_jax.types import Array


class Neighbours(nnx.Module):
    """Scale and shift of a site, by the field and its square on the nine sites around it.

    Sites are gathered by rolls: convolutions of so few features take twice the time on a CPU.
    """

    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(18, width, rngs=rngs)
        self.out = nnx.Linear(width, 2, kernel_init=nnx.initializers.zeros, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        steps = (-1, 0, 1)
        around = [
            jnp.roll(of, (i, j), (-2, -1)) for of in (x, x * x) for i in steps for j in steps
        ]
        return self.out(nnx.gelu(self.hidden(jnp.stack(around, axis=-1))))


def coupling_layers(shape: tuple[int, int], num_layers: int, width: int) -> Any:
    """Affine couplings of the sites of either colour by turns, that do nothing at first."""
    rngs = nnx.Rngs(0)
    template = bijx.ModuleReconstructor(bijx.AffineLinear(rngs=rngs))
    return bijx.Chain(
        *(
            bijx.GeneralCouplingLayer(
                Neighbours(width, rngs),
                bijx.checker_mask(shape, parity=bool(number % 2)),
                template,
                bijection_event_rank=0,
                split=False,
            )
            for number in range(num_layers)
        )
    )
