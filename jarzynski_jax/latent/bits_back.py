r"""Bits back: lossless compression by a model with latents, at the rate of its bound.

To encode x on a stack: pop a latent z with q(z|x), which takes bits off; push x with p(x|z);
push z with the prior. The stack grows by :math:`\log_2 q - \log_2 p(x|z) - \log_2 p(z)`, in
the mean the negative evidence lower bound in bits. Decoding does the inverse of each step in
reverse order, so the last image comes out first, and at the end the seed words lie there again,
bit for bit.

With K latents the rate is the importance-weighted bound, which is lower: pop :math:`z_1, ...,
z_K` with q and one of their numbers, j, with odds :math:`w_i = p(x, z_i)/q(z_i|x)`; push the
others with q, x with p(x|z_j), z_j with the prior, and j, at log K. The stack grows by
:math:`-\log\frac1K\sum_i w_i`. It needs K times the seed words. With K = 1 it is the above.

What is popped is a sample of q only if the bits on the stack are uniform, and they are what was
pushed before. If the encoder's latents, over all images, are far from the prior, they are not,
and the rate is off the bound, by a tenth for an encoder that was never trained; with a trained
one by less than chance. The images come back in any case.

A latent is one of :math:`2^b` intervals of equal mass under the prior, so that z costs b bits
exactly; the decoder is given the median of the interval.

References: Townsend, Bird and Barber, 2019; Ruan, Ullrich, Severo, Townsend, Khisti, Doucet,
Makhzani and Maddison, *Improving lossless compression rates via Monte Carlo bits-back coding*,
2021.
"""

import hashlib
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr
from scipy.special import ndtri

from jarzynski_jax.latent.autoencoder import Autoencoder
from jarzynski_jax.latent.entropy_coder import BitStack, OutOfBits
from jarzynski_jax.latent.outputs import check_observations, log_probabilities
from jarzynski_jax.types import Array, Params

__all__ = ["Codec", "Coded", "decode", "encode", "make_codec", "pop_image", "push_image"]

#: Numbers of a network are coded by are rounded to multiples of this, so that a machine which
#: computes them a little otherwise mostly finds the same.
_GRID = 2.0**-12
#: No interval has less of the posterior.
_LEAST = 2.0**-24
#: Of seed words; beyond them something else is wrong.
_MOST_WORDS = 2**22


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
    """

    posterior: Callable[[np.ndarray], np.ndarray]
    likelihood: Callable[[np.ndarray], np.ndarray]
    prior: np.ndarray
    shape: tuple[int, ...]
    num_samples: int
    check: Callable[[np.ndarray], None]

    def probe(self) -> str:
        """A digest of what the networks say here: another machine must find the same."""
        images = np.zeros(self.shape, np.int64), np.ones(self.shape, np.int64)
        num_latents, num_symbols = self.prior.shape
        steps = np.arange(4)[:, None] * num_symbols // 4 + 7 * np.arange(num_latents)
        tables = [self.posterior(image) for image in images]
        tables += [self.likelihood(symbols % num_symbols) for symbols in steps]
        return hashlib.sha256(b"".join(table.tobytes() for table in tables)).hexdigest()


class Coded(NamedTuple):
    """Images on a stack.

    words
        The stack, uint32.
    num_images
        How many; they are stored, since a stack does not end.
    num_seed_words, seed
        Random words below them, made of the seed.
    num_bits
        By how much the images made the stack grow: what they cost, for the seed words are
        given back.
    """

    words: np.ndarray
    num_images: int
    num_seed_words: int
    seed: int
    num_bits: int


def make_codec(
    model: Autoencoder, params: Params, num_latent_bits: int = 8, num_samples: int = 1
) -> Codec:
    """Make the codec of a trained autoencoder, of whole numbers.

    Every evaluation of a network is of one image, by one compiled function, in float32.
    ValueError if the output is of real numbers, or a number is not positive.

    Parameters
    ----------
    num_latent_bits
        b, at most 16.
    num_samples
        K, latents an image.
    """
    if not 1 <= num_latent_bits <= 16:
        raise ValueError(f"num_latent_bits must be from 1 to 16; got {num_latent_bits}")
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1; got {num_samples}")
    if model.output.num_levels is None:
        raise ValueError(
            f"{model.output.name} is of real numbers, which cannot be coded without loss: "
            "train on whole numbers with bernoulli, beta_binomial or discretized_logistic"
        )
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    num_symbols = 2**num_latent_bits
    edges = jnp.asarray(ndtri(np.arange(1, num_symbols) / num_symbols), jnp.float32)
    medians = ndtri((np.arange(num_symbols) + 0.5) / num_symbols).astype(np.float32)

    @jax.jit
    def posterior(x: Array) -> Array:
        mean, scale = model.encode(params, x)
        mean, log_scale = _to_grid(mean), _to_grid(jnp.log(scale))
        return _interval_masses((edges - mean[:, None]) * jnp.exp(-log_scale)[:, None])

    @jax.jit
    def likelihood(z: Array) -> Array:
        found = log_probabilities(model.output, model.decode(params, z))
        return _to_grid(found.reshape(-1, found.shape[-1]))

    def masses(image: np.ndarray) -> np.ndarray:
        found = np.asarray(posterior(np.asarray(image, np.float32)), np.float64)
        return np.maximum(found, _LEAST)

    def levels(symbols: np.ndarray) -> np.ndarray:
        return np.exp(np.asarray(likelihood(medians[symbols]), np.float64))

    def check(images: np.ndarray) -> None:
        check_observations(model.output, model.shape, images)

    prior = np.full((model.latent_dim, num_symbols), 1 / num_symbols)
    return Codec(masses, levels, prior, model.shape, num_samples, check)


def _to_grid(numbers: Array) -> Array:
    return jnp.round(numbers / _GRID) * _GRID


def _interval_masses(edges: Array) -> Array:
    """Masses of N(0, 1) between ascending edges, ``(H, M - 1)`` of them: ``(H, M)``."""
    # From the side where the tail is small, so that nothing cancels.
    below, above = jnp.exp(log_ndtr(edges)), jnp.exp(log_ndtr(-edges))
    lower = jnp.pad(below, ((0, 0), (1, 0)))
    upper = jnp.pad(below, ((0, 0), (0, 1)), constant_values=1)
    lower_tail = jnp.pad(above, ((0, 0), (0, 1)))
    upper_tail = jnp.pad(above, ((0, 0), (1, 0)), constant_values=1)
    return jnp.where(upper < 0.5, upper - lower, upper_tail - lower_tail)


def push_image(stack: BitStack, codec: Codec, image: np.ndarray) -> None:
    """Encode one image; OutOfBits if the stack holds too little to pop its latents of."""
    posterior = codec.posterior(image)
    latents = [stack.pop(posterior) for _ in range(codec.num_samples)]
    levels = image.reshape(-1).astype(np.int64)
    chosen = 0
    if codec.num_samples > 1:
        chosen = int(stack.pop(_odds(codec, posterior, latents, levels))[0])
        for other in reversed(_without(latents, chosen)):
            stack.push(other, posterior)
    stack.push(levels, codec.likelihood(latents[chosen]))
    stack.push(latents[chosen], codec.prior)
    if codec.num_samples > 1:
        stack.push(np.array([chosen]), _flat(codec))


def pop_image(stack: BitStack, codec: Codec) -> np.ndarray:
    """Decode the last image that was pushed, int64: each step of :func:`push_image` undone."""
    chosen = int(stack.pop(_flat(codec))[0]) if codec.num_samples > 1 else 0
    latent = stack.pop(codec.prior)
    levels = stack.pop(codec.likelihood(latent)).astype(np.int64)
    image = levels.reshape(codec.shape)
    posterior = codec.posterior(image)
    if codec.num_samples > 1:
        latents = [stack.pop(posterior) for _ in range(codec.num_samples - 1)]
        latents.insert(chosen, latent)
        stack.push(np.array([chosen]), _odds(codec, posterior, latents, levels))
    else:
        latents = [latent]
    for each in reversed(latents):
        stack.push(each, posterior)
    return image


def _without(latents: list[np.ndarray], chosen: int) -> list[np.ndarray]:
    return latents[:chosen] + latents[chosen + 1 :]


def _flat(codec: Codec) -> np.ndarray:
    return np.full((1, codec.num_samples), 1 / codec.num_samples)


def _odds(
    codec: Codec, posterior: np.ndarray, latents: list[np.ndarray], levels: np.ndarray
) -> np.ndarray:
    """Weights of the latents, p(x, z)/q(z|x), shape ``(1, K)``."""

    def log_of(table: np.ndarray, symbols: np.ndarray) -> float:
        chosen = table[np.arange(len(symbols)), symbols] / table.sum(axis=1)
        return float(np.sum(np.log(chosen)))

    log_weights = np.array(
        [
            log_of(codec.likelihood(z), levels) + log_of(codec.prior, z) - log_of(posterior, z)
            for z in latents
        ]
    )
    # None so small that the coder would not know it.
    return np.maximum(np.exp(log_weights - log_weights.max()), _LEAST)[None]


def encode(
    codec: Codec,
    images: np.ndarray,
    *,
    num_seed_words: int | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Coded:
    """Encode images, shape ``(n, *shape)``, on one stack.

    Parameters
    ----------
    num_seed_words
        Random words to pop the first latents of. None for as many as it takes.
    seed
        Of the words.
    progress
        ``(number of images done) -> None``.

    Raises
    ------
    ValueError
        If images are none of the model. OutOfBits, which is one, if the seed words are too few.
    """
    codec.check(images)
    num_words = num_seed_words
    if num_words is None:
        num_latents, num_symbols = codec.prior.shape
        bits = codec.num_samples * num_latents * math.log2(num_symbols)
        num_words = 8 + math.ceil(bits / 32)
    while True:
        stack = BitStack(_seed_words(seed, num_words))
        try:
            for done, image in enumerate(images, 1):
                push_image(stack, codec, image)
                if progress is not None:
                    progress(done)
        except OutOfBits:
            if num_seed_words is not None or num_words > _MOST_WORDS:
                raise
            num_words *= 2
            continue
        num_bits = stack.num_bits - 32 * num_words
        return Coded(stack.sealed_words(), len(images), num_words, seed, num_bits)


def decode(
    codec: Codec, coded: Coded, *, progress: Callable[[int], None] | None = None
) -> np.ndarray:
    """Decode the images of :func:`encode`, int64, in their order.

    ValueError if the seed words do not come back bit for bit: the words are damaged, or of
    another model.
    """
    wrong = ValueError(
        "the seed words did not come back: the stack is damaged, or was made by another model"
    )
    stack = BitStack.from_sealed(coded.words)
    images = np.empty((coded.num_images, *codec.shape), np.int64)
    try:
        for done in range(1, coded.num_images + 1):
            images[-done] = pop_image(stack, codec)
            if progress is not None:
                progress(done)
        words = stack.words()
    except ValueError as error:
        raise wrong from error
    if not np.array_equal(words, _seed_words(coded.seed, coded.num_seed_words)):
        raise wrong
    return images


def _seed_words(seed: int, num_words: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**32, num_words, dtype=np.uint32)
