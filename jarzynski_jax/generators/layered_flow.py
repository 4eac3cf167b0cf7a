r"""A flow of coupling layers, whose score is carried forward, without an inverse.

A coupling layer changes its active coordinates a one by one, as the passive ones p tell it:

.. math:: J = \begin{pmatrix} D & B \\ 0 & 1 \end{pmatrix}, \qquad D\ \text{diagonal}

so the score :math:`G = \partial\log q/\partial x` goes through it in one pass,
:math:`G' = J^{-T}(G - \partial_x\log|\det J|)`:

.. math:: G'_a = D^{-1} b_a, \quad G'_p = b_p - B^T G'_a, \qquad
          b = G - \partial_x\log|\det J|.

Reference: Vaitl, Nicoli, Nakajima and Kessel, *Mach. Learn.: Sci. Technol.* 3 (2022) 045006,
and *Fast and unified path gradient estimators for normalizing flows*, ICLR 2024.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.density import Density, check_exact
from jarzynski_jax.generators.flow import Flow, MapFn
from jarzynski_jax.types import Array, Params, Position, PRNGKey

__all__ = ["Layer", "LayeredFlow"]


class Layer(NamedTuple):
    """One coupling layer; positions are arrays.

    forward_fn, inverse_fn
        As of :class:`~jarzynski_jax.generators.Flow`, of the parameters of the whole flow.
    is_active
        Booleans in the shape of a position: which coordinates it changes; all of them, for a
        map of each coordinate by itself.
    """

    forward_fn: MapFn
    inverse_fn: MapFn
    is_active: np.ndarray


class LayeredFlow(NamedTuple):
    """A base, normalised and with exact samples, and layers in the order of sampling.

    It has what a :class:`~jarzynski_jax.generators.Flow` has; only the score is found in
    another way.

    Examples
    --------
    >>> from jarzynski_jax import targets
    >>> def shear(strength, z):  # y learns of x
    ...     return z + jnp.array([0.0, strength * z[0] ** 2]), jnp.zeros(())
    >>> layer = Layer(shear, lambda s, x: shear(-s, x), np.array([False, True]))
    >>> flow = LayeredFlow(targets.gaussian([1.0, 1.0]), (layer,))
    >>> x, _, score = flow.sample_with_score(jax.random.key(0), 0.5, 3)
    >>> exact = jax.vmap(jax.grad(flow.logdensity, argnums=1), (None, 0))(0.5, x)
    >>> bool(jnp.allclose(score, exact, atol=1e-5))
    True
    """

    base: Density
    layers: Sequence[Layer]

    @property
    def flow(self) -> Flow:
        """The same flow, without its layers."""
        return Flow(self.base, self.forward_fn, self.inverse_fn)

    def forward_fn(self, params: Params, z: Position) -> tuple[Position, Array]:
        """All layers, in order."""
        log_det = jnp.zeros(())
        for layer in self.layers:
            z, increment = layer.forward_fn(params, z)
            log_det += increment
        return z, log_det

    def inverse_fn(self, params: Params, x: Position) -> tuple[Position, Array]:
        """Their inverses, from the last to the first."""
        log_det = jnp.zeros(())
        for layer in reversed(self.layers):
            x, increment = layer.inverse_fn(params, x)
            log_det += increment
        return x, log_det

    def logdensity(self, params: Params, x: Position) -> Array:
        """As of a flow: log q at one position."""
        return self.flow.logdensity(params, x)

    def sample_with_score(
        self, rng_key: PRNGKey, params: Params, num_samples: int
    ) -> tuple[Array, Array, Array]:
        """As of a flow, by the recursion: no inverse is taken.

        ValueError if a layer's mask has not the shape of a position.
        """
        sample, log_z = check_exact(self.base)
        base_positions = sample(rng_key, num_samples)
        for number, layer in enumerate(self.layers):
            if np.shape(layer.is_active) != base_positions.shape[1:]:
                raise ValueError(
                    f"is_active of layer {number} must have the shape of a position, "
                    f"{base_positions.shape[1:]}; got {np.shape(layer.is_active)}"
                )
        frozen = jax.lax.stop_gradient(params)

        def score_at_end(z: Array) -> tuple[Array, Array]:
            log_q, score = jax.value_and_grad(self.base.logdensity_fn)(z)
            for layer in self.layers:
                z, log_det, score = _push(layer, frozen, z, score)
                log_q -= log_det
            return log_q - log_z, score

        x, _ = jax.vmap(self.forward_fn, (None, 0))(params, base_positions)
        log_q, score = jax.vmap(score_at_end)(base_positions)
        return x, log_q, score


def _push(layer: Layer, params: Params, x: Array, score: Array) -> tuple[Array, Array, Array]:
    """Take a position and its score through one layer."""
    is_active = jnp.asarray(layer.is_active)

    def image(x: Array) -> Array:
        return layer.forward_fn(params, x)[0]

    (y, log_det), pull_back = jax.vjp(lambda x: layer.forward_fn(params, x), x)
    _, diagonal = jax.jvp(image, (x,), (is_active.astype(x.dtype),))
    rest = score - pull_back((jnp.zeros_like(y), jnp.ones_like(log_det)))[0]
    solved = jnp.where(is_active, rest / jnp.where(is_active, diagonal, 1), 0)
    mixed = pull_back((solved, jnp.zeros_like(log_det)))[0]
    return y, log_det, jnp.where(is_active, solved, rest - mixed)
