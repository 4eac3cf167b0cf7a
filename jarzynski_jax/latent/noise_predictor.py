"""The network of a diffusion, as a Flax module."""

import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from flax import nnx

from jarzynski_jax.latent.diffusion import Schedule
from jarzynski_jax.latent.networks import Perceptron, check_sizes
from jarzynski_jax.types import Array

__all__ = ["NoisePredictor"]


class NoisePredictor(nnx.Module):
    r"""From a step t and a noisy observation to the noise in it, for a diffusion.

    A multilayer perceptron v that sees sine and cosine of t at several frequencies, and

    .. math:: \epsilon_\theta(x_t, t) = \sqrt{1 - \bar\alpha_t}\, x_t
              + \sqrt{\bar\alpha_t}\, v_\theta(x_t, t) .

    With v = 0, as it starts, that is right for standard normal data. A network for the noise
    itself has to learn to copy its input where little of the observation is left.

    Parameters
    ----------
    hidden
        Widths of the hidden layers.

    References: Salimans and Ho, *Progressive distillation*, 2022, §4 (the velocity).

    Examples
    --------
    >>> from jarzynski_jax.latent import diffusion
    >>> schedule = diffusion.linear_schedule(100, last=0.15)
    >>> predictor = NoisePredictor((8, 8), schedule, (32,), rngs=nnx.Rngs(0))
    >>> predictor(jnp.array(1), jnp.zeros((8, 8))).shape
    (8, 8)
    """

    def __init__(
        self,
        shape: Sequence[int],
        schedule: Schedule,
        hidden: Sequence[int],
        *,
        num_frequencies: int = 16,
        activation: Callable[[Array], Array] = nnx.silu,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(shape, 1, hidden)
        self.shape, self.num_frequencies = tuple(shape), num_frequencies
        self.alpha_bars = tuple(schedule.alpha_bars.tolist())
        widths = [math.prod(shape) + 2 * num_frequencies, *hidden]
        self.trunk = Perceptron(widths, activation, rngs)
        self.velocity = nnx.Linear(
            widths[-1], math.prod(shape), kernel_init=nnx.initializers.zeros, rngs=rngs
        )

    def __call__(self, t: Array, x: Array) -> Array:
        """The noise, in the shape of the observation."""
        num_steps = len(self.alpha_bars)
        # Half a period at the lowest frequency, a period in four steps at the highest.
        exponents = jnp.linspace(0, 1, self.num_frequencies, dtype=x.dtype)
        frequencies = jnp.pi / num_steps * (num_steps / 2) ** exponents
        angles = jnp.asarray(t, x.dtype) * frequencies
        seen = jnp.concatenate([jnp.reshape(x, (-1,)), jnp.sin(angles), jnp.cos(angles)])
        velocity = self.velocity(self.trunk(seen)).reshape(self.shape)
        kept = jnp.asarray(self.alpha_bars, x.dtype)[t - 1]
        return jnp.sqrt(1 - kept) * x + jnp.sqrt(kept) * velocity
