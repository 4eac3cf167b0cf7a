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

A latent is one of :math:`2^b` intervals of equal mass under the prior
(:mod:`jarzynski_jax.latent.latent_bins`). In place of many latents one may be annealed
(:mod:`jarzynski_jax.latent.annealed_bits_back`).

References: Townsend, Bird and Barber, 2019; Ruan, Ullrich, Severo, Townsend, Khisti, Doucet,
Makhzani and Maddison, *Improving lossless compression rates via Monte Carlo bits-back coding*,
2021.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jarzynski_jax.latent.annealed_bits_back import walk
from jarzynski_jax.latent.entropy_coder import BitStack, OutOfBits
from jarzynski_jax.latent.latent_bins import LEAST_MASS, log_mass
from jarzynski_jax.latent.latent_codec import Codec

__all__ = ["Coded", "decode", "encode", "pop_image", "push_image"]

#: Of seed words; beyond them something else is wrong.
_MOST_WORDS = 2**22


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
    latent = _annealed(stack, codec, image, posterior, latents[chosen], 1)
    stack.push(levels, codec.likelihood(latent))
    stack.push(latent, codec.prior)
    if codec.num_samples > 1:
        stack.push(np.array([chosen]), _flat(codec))


def pop_image(stack: BitStack, codec: Codec) -> np.ndarray:
    """Decode the last image that was pushed, int64: each step of :func:`push_image` undone."""
    chosen = int(stack.pop(_flat(codec))[0]) if codec.num_samples > 1 else 0
    latent = stack.pop(codec.prior)
    levels = stack.pop(codec.likelihood(latent)).astype(np.int64)
    image = levels.reshape(codec.shape)
    posterior = codec.posterior(image)
    latent = _annealed(stack, codec, image, posterior, latent, -1)
    if codec.num_samples > 1:
        latents = [stack.pop(posterior) for _ in range(codec.num_samples - 1)]
        latents.insert(chosen, latent)
        stack.push(np.array([chosen]), _odds(codec, posterior, latents, levels))
    else:
        latents = [latent]
    for each in reversed(latents):
        stack.push(each, posterior)
    return image


def _annealed(
    stack: BitStack,
    codec: Codec,
    image: np.ndarray,
    posterior: np.ndarray,
    latent: np.ndarray,
    sense: int,
) -> np.ndarray:
    """The latent at the other end of its walk, which it is led to, or back if sense is -1."""
    if codec.annealing is None:
        return latent
    times, tables = codec.annealing.times[::sense], (posterior, codec.prior)
    return walk(stack, codec.annealing, image, tables, latent, times)


def _without(latents: list[np.ndarray], chosen: int) -> list[np.ndarray]:
    return latents[:chosen] + latents[chosen + 1 :]


def _flat(codec: Codec) -> np.ndarray:
    return np.full((1, codec.num_samples), 1 / codec.num_samples)


def _odds(
    codec: Codec, posterior: np.ndarray, latents: list[np.ndarray], levels: np.ndarray
) -> np.ndarray:
    """Weights of the latents, p(x, z)/q(z|x), shape ``(1, K)``."""
    log_weights = np.array(
        [
            log_mass(codec.likelihood(z), levels)
            + log_mass(codec.prior, z)
            - log_mass(posterior, z)
            for z in latents
        ]
    )
    # None so small that the coder would not know it.
    return np.maximum(np.exp(log_weights - log_weights.max()), LEAST_MASS)[None]


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
        count = codec.num_samples + (len(codec.annealing.times) if codec.annealing else 0)
        bits = count * num_latents * math.log2(num_symbols)
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
