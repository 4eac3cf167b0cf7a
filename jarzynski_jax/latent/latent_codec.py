"""What encoder and decoder of images must both have: the odds of a model, to the last bit."""

import hashlib
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.latent.annealed_bits_back import Annealing, make_annealing
from jarzynski_jax.latent.autoencoder import Autoencoder
from jarzynski_jax.latent.latent_bins import as_odds, make_bins, normal_masses, to_grid
from jarzynski_jax.latent.outputs import check_observations, log_probabilities
from jarzynski_jax.types import Array, Params

__all__ = ["Codec", "make_codec"]


class Codec(NamedTuple):
    """What encoder and decoder must both have, to the last bit.

    posterior
        ``image -> probabilities`` of each latent's symbols, float64, shape ``(H, M)``.
    likelihood
        ``symbols (H,) -> probabilities`` of each feature's levels, float64, shape ``(D, L)``.
    prior
        Of each latent's symbols, shape ``(H, M)``.
    shape
        Of an image.
    num_samples
        K.
    check
        ``images -> None``: a ValueError if they are none of the model.
    annealing
        How one latent is annealed, if it is.
    """

    posterior: Callable[[np.ndarray], np.ndarray]
    likelihood: Callable[[np.ndarray], np.ndarray]
    prior: np.ndarray
    shape: tuple[int, ...]
    num_samples: int
    check: Callable[[np.ndarray], None]
    annealing: Annealing | None = None

    def probe(self) -> str:
        """A digest of what the networks say here: another machine must find the same."""
        images = np.zeros(self.shape, np.int64), np.ones(self.shape, np.int64)
        num_latents, num_symbols = self.prior.shape
        steps = np.arange(4)[:, None] * num_symbols // 4 + 7 * np.arange(num_latents)
        tables = [self.posterior(image) for image in images]
        points = [symbols % num_symbols for symbols in steps]
        tables += [self.likelihood(symbols) for symbols in points]
        if self.annealing is not None:
            for image, symbols in itertools.product(images, points):
                found, gradient = self.annealing.score(image, symbols)
                moved = self.annealing.proposal(image, symbols, gradient, 0.5)
                tables += [np.array(found), gradient, moved]
        return hashlib.sha256(b"".join(table.tobytes() for table in tables)).hexdigest()


def make_codec(
    model: Autoencoder,
    params: Params,
    num_latent_bits: int = 8,
    num_samples: int = 1,
    *,
    num_annealing_steps: int = 0,
    step_size: float | None = None,
) -> Codec:
    """Make the codec of a trained autoencoder, of whole numbers.

    Every evaluation of a network is of one image, by one compiled function, in float32.
    ValueError if the output is of real numbers, a number is not positive, or both many latents
    and annealing are asked for.

    Parameters
    ----------
    num_latent_bits
        b, at most 16.
    num_samples
        K, latents an image.
    num_annealing_steps
        n, moves of one latent in place of many latents; 0 for none.
    step_size
        Of these moves, as of :func:`jarzynski_jax.latent.annealed_bits_back.make_annealing`.

    Examples
    --------
    >>> from flax import nnx
    >>> from jarzynski_jax.latent import autoencoder, bits_back, outputs
    >>> vae, params = autoencoder.make_autoencoder(
    ...     (4,), 2, (), outputs.bernoulli(), rngs=nnx.Rngs(0)
    ... )
    >>> codec, images = make_codec(vae, params, num_annealing_steps=3), np.eye(4, dtype=int)
    >>> bits_back.decode(codec, bits_back.encode(codec, images)).tolist() == images.tolist()
    True
    """
    bins = make_bins(num_latent_bits)
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1; got {num_samples}")
    if num_annealing_steps and num_samples > 1:
        raise ValueError(
            "one latent is annealed: num_samples must be 1 with num_annealing_steps="
            f"{num_annealing_steps}; got {num_samples}"
        )
    if step_size is not None and not num_annealing_steps:
        raise ValueError(f"step_size is of annealing, without steps; got {step_size}")
    if model.output.num_levels is None:
        raise ValueError(
            f"{model.output.name} is of real numbers, which cannot be coded without loss: "
            "train on whole numbers with bernoulli, beta_binomial or discretized_logistic"
        )
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    annealing = None
    if num_annealing_steps:
        annealing = make_annealing(model, params, bins, num_annealing_steps, step_size)

    @jax.jit
    def posterior(x: Array) -> Array:
        mean, scale = model.encode(params, x)
        return normal_masses(bins, mean, jnp.log(scale))

    @jax.jit
    def likelihood(z: Array) -> Array:
        found = log_probabilities(model.output, model.decode(params, z))
        return to_grid(found.reshape(-1, found.shape[-1]))

    def masses(image: np.ndarray) -> np.ndarray:
        return as_odds(posterior(np.asarray(image, np.float32)))

    def levels(symbols: np.ndarray) -> np.ndarray:
        return np.exp(np.asarray(likelihood(bins.medians[symbols]), np.float64))

    def check(images: np.ndarray) -> None:
        check_observations(model.output, model.shape, images)

    prior = np.full((model.latent_dim, 2**num_latent_bits), 2.0**-num_latent_bits)
    return Codec(masses, levels, prior, model.shape, num_samples, check, annealing)
