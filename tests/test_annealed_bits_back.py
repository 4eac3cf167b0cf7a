"""Bits back with annealing: its rate is the annealing weight, and falls to -log p(x).

All 64 images of a small model have a known p(x), by a sum over symbols of the latents. Its
encoder is off by 1.2 of its standard deviations. Each image has a stack of its own, whose bits
are uniform: with such an encoder those that other images left are not.
"""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zscore import BASE_SEED, Z_LIMIT, test_key

from jarzynski_jax import latent, walkers
from jarzynski_jax.annealing import anneal, tempering_path
from jarzynski_jax.kernels import invariant, metropolis, ula
from jarzynski_jax.latent import (
    annealed_bits_back,
    bits_back,
    coded_file,
    latent_bins,
    latent_codec,
    outputs,
)
from jarzynski_jax.latent.entropy_coder import BitStack, OutOfBits
from jarzynski_jax.latent.latent_model import log_normal
from jarzynski_jax.resampling import adaptive, systematic

NUM_IMAGES = 300
SHAPE = (3, 2)
WEIGHTS = np.random.default_rng(7).normal(0, 2, (6, 2)).astype(np.float32)


def _encode(params, x):
    precision = jnp.eye(2) + params.T @ params / 4
    mean = jnp.linalg.solve(precision, params.T @ (x.reshape(-1) - 0.5))
    scale = 1 / jnp.sqrt(jnp.diagonal(precision))
    return mean + 1.2 * scale, scale


def _decode(params, z):
    return (params @ z).reshape(*SHAPE, 1)


VAE = latent.Autoencoder(_encode, _decode, outputs.bernoulli(), SHAPE, 2)


@pytest.fixture(scope="module")
def images():
    """Images that the model draws, and -log2 p of each, with latents of 2^8 intervals."""
    medians = latent_bins.make_bins(8).medians
    z = np.stack(np.meshgrid(medians, medians), -1).reshape(-1, 2)
    logits = z @ WEIGHTS.T
    every = np.array(list(np.ndindex(*(2,) * 6)))
    log_p = np.log1p(np.exp(-np.abs(logits))) + np.maximum(logits, 0)
    odds = np.mean(np.exp(logits @ every.T - log_p.sum(axis=1, keepdims=True)), axis=0)
    rng = np.random.default_rng(BASE_SEED)
    drawn = rng.choice(64, NUM_IMAGES, p=odds / odds.sum())
    assert abs(odds.sum() - 1) < 1e-5
    return every[drawn].reshape(-1, *SHAPE), -np.log2(odds[drawn])


def make_codec(num_steps, **kwargs):
    return latent_codec.make_codec(VAE, WEIGHTS, num_annealing_steps=num_steps, **kwargs)


def bits(codec, images):
    """Of each image."""
    coded = [
        bits_back.encode(codec, image[None], seed=NUM_IMAGES * BASE_SEED + index)
        for index, image in enumerate(images)
    ]
    return np.array([each.num_bits for each in coded])


@pytest.fixture(scope="module")
def works(images):
    """Of 6 steps: minus the log-weights of the library's own annealing, bits, (images, 64)."""
    model, codec = latent.as_latent_model(VAE), make_codec(6)
    mala = metropolis.adjust(ula.as_move())
    move = invariant.as_move(ula.init, mala, codec.annealing.step_size)
    dynamics = walkers.Dynamics(move, resampler=adaptive(systematic, 0.0))
    times = jnp.array([*codec.annealing.times, 1.0])

    @jax.jit
    def log_weights(key, data):
        def of_one(inputs):
            key, x = inputs
            key_start, key_run = jax.random.split(key)
            path = tempering_path(log_normal, lambda noise: model.log_weight(WEIGHTS, x, noise))
            noise = jax.random.normal(key_start, (64, 2))
            start = walkers.init(noise, path(0.0), move.init)
            return anneal(key_run, start, path, times, dynamics)[0].log_weights

        return jax.lax.map(of_one, (jax.random.split(key, len(data)), data))

    found = log_weights(test_key("works"), jnp.asarray(images[0], jnp.float32))
    return -np.asarray(found, np.float64) / math.log(2)


def is_as_annealed(found, works):
    """Within chance, P(|z| > 4.5) = 7e-6 by the spread of the works, and the bins, 0.5 %."""
    chance = math.sqrt(works.var(axis=1).mean() / len(works))
    return abs(found.mean() - works.mean()) < Z_LIMIT * chance + 0.005 * works.mean()


def test_the_rate_is_the_annealing_weight(images, works):
    assert is_as_annealed(bits(make_codec(6), images[0]), works)


def assert_loses(codec, images, works):
    found = bits(codec, images[0])
    assert not is_as_annealed(found, works)
    assert found.mean() > works.mean()


def test_canary_a_step_back_of_another_size_loses(images, works):
    codec = make_codec(6)
    right, wrong = codec.annealing, make_codec(6, step_size=0.3).annealing
    calls = itertools.count()  # forward, backward, forward, ...

    def proposal(*args):
        return (wrong if next(calls) % 2 else right).proposal(*args)

    assert_loses(codec._replace(annealing=right._replace(proposal=proposal)), images, works)


def test_canary_a_gradient_of_the_wrong_sign_loses(images, works):
    codec = make_codec(6)
    right = codec.annealing

    def score(image, symbols):
        found, gradient = right.score(image, symbols)
        return found, -gradient

    assert_loses(codec._replace(annealing=right._replace(score=score)), images, works)


def test_the_rate_falls_from_the_bound_to_the_likelihood(images):
    """Above -log2 p(x) but for chance, and with 24 steps a fifth of what the encoder loses."""
    data, costs = images[0][:120], images[1][:120]
    excess = [bits(make_codec(n), data) - costs for n in (0, 6, 24)]
    bound, some, many = (each.mean() for each in excess)
    assert bound > 1.5
    assert some < bound / 2
    assert -Z_LIMIT * excess[2].std() / math.sqrt(120) < many < bound / 5


def test_all_images_come_back_and_so_does_the_seed(images):
    codec, every = make_codec(3), np.array(list(np.ndindex(*(2,) * 6))).reshape(-1, *SHAPE)
    words = np.random.default_rng(BASE_SEED).integers(0, 2**32, 40, dtype=np.uint32)
    stack = BitStack(words)
    for image in every:
        bits_back.push_image(stack, codec, image)
    for image in every[::-1]:
        assert np.array_equal(bits_back.pop_image(stack, codec), image)
    assert np.array_equal(stack.words(), words)


def test_proposals_are_not_popped_of_what_was_just_pushed():
    """One move after the other would go back and forth, for a move is its own inverse."""
    codec, image = make_codec(1, step_size=0.3), np.zeros(SHAPE, np.int64)
    tables, start = (codec.posterior(image), codec.prior), np.array([128, 128])
    words = np.random.default_rng(BASE_SEED).integers(0, 2**32, 60, dtype=np.uint32)
    stack = BitStack(words)
    first = annealed_bits_back.walk(stack, codec.annealing, image, tables, start, (0.5,))
    again = annealed_bits_back.walk(stack, codec.annealing, image, tables, first, (0.5,))
    assert np.array_equal(again, start)
    assert np.array_equal(stack.words(), words)
    end = annealed_bits_back.walk(stack, codec.annealing, image, tables, start, (0.5,) * 10)
    assert not np.array_equal(end, start)


def test_grey_levels_come_back():
    law = outputs.discretized_logistic(9)
    vae = VAE._replace(
        decode=lambda params, z: jnp.stack([params @ z / 4, params @ z / 4 - 1], -1).reshape(
            *SHAPE, 2
        ),
        output=law,
    )
    rng = np.random.default_rng(BASE_SEED)
    data = np.concatenate([rng.integers(0, 9, (10, *SHAPE)), np.full((1, *SHAPE), 8)])
    codec = latent_codec.make_codec(vae, WEIGHTS, num_annealing_steps=2)
    assert np.array_equal(bits_back.decode(codec, bits_back.encode(codec, data)), data)


def test_a_file_of_other_settings_is_refused(images):
    codec, mark = make_codec(2), "0" * 64
    content = coded_file.to_bytes(
        bits_back.encode(codec, images[0][:5]), codec, mark, images[0]
    )
    again = coded_file.from_bytes(content, codec, mark)
    assert np.array_equal(bits_back.decode(codec, again), images[0][:5])
    for other, said in (
        (make_codec(3), "num_annealing_steps=2; got 3"),
        (make_codec(0), "num_annealing_steps=2; got 0"),
        (make_codec(2, step_size=0.1), "step_size=1.08.*; got 0.1"),
        (make_codec(2, num_latent_bits=7), "num_latent_symbols=256; got 128"),
    ):
        with pytest.raises(ValueError, match=said):
            coded_file.from_bytes(content, other, mark)


def test_bad_input_is_refused(images):
    for wrong, said in (
        ({"num_steps": -1}, "num_steps must be at least 1; got -1"),
        ({"num_steps": 2, "step_size": 0.0}, "must be positive and finite; got 0.0"),
        (
            {"num_steps": 2, "num_samples": 3},
            "num_samples must be 1 with num_annealing_steps=2",
        ),
        ({"num_steps": 0, "step_size": 0.1}, "step_size is of annealing, without steps"),
    ):
        with pytest.raises(ValueError, match=said):
            make_codec(**wrong)
    with pytest.raises(OutOfBits, match="more seed words"):
        bits_back.encode(make_codec(8), images[0][:1], num_seed_words=3)
