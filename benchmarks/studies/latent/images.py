"""Binary images: an autoencoder, its likelihood in a bracket, and what it codes to."""

import bz2
import gzip
import io
import math
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image
from scipy.special import logsumexp

from benchmarks.studies.latent.settings import Settings
from jarzynski_jax import data as data_lib
from jarzynski_jax import latent, training
from jarzynski_jax.latent import autoencoder, bits_back, latent_codec, saved_model, variational

#: Of the data that are judged, and of training.
_SEED = 0


def names() -> list[str]:
    return ["images"]


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    """Train, bound, bracket and code; nats and bits are of one image."""
    del name
    train, test = load(settings)
    architecture = saved_model.Architecture(
        test.shape[1:], settings.latent_dim, settings.hidden, "bernoulli", 2
    )
    vae, params = saved_model.build(architecture)
    model = latent.as_latent_model(vae)
    objective = variational.variational(
        model,
        optax.adam(optax.cosine_decay_schedule(1e-3, settings.num_updates, 0.02)),
        bound="closed_form",
        prepare=variational.binarize,
    )
    result = training.fit(
        jax.random.key(_SEED),
        objective,
        objective.init(jax.random.key(1), params, jnp.asarray(train)),
        jnp.asarray(train),
        num_steps=settings.num_updates,
        batch_size=settings.batch_size,
    )
    params, x = result.state.params, jnp.asarray(test, jnp.float32)
    key, count = jax.random.key(2), settings.num_bound_samples
    bound = latent.evidence_lower_bound(key, model, params, x, count)
    weighted = latent.importance_weighted_bound(key, model, params, x, count)
    found: dict[str, Any] = {
        "loss": result.metrics.loss,
        "negative_elbo": -np.asarray(bound),
        "importance_weighted": -np.asarray(weighted),
        "samples": np.asarray(autoencoder.sample(jax.random.key(3), vae, params, 64)),
        "data": test[:64],
    }
    times = jnp.linspace(0, 1, settings.annealing_steps + 1)[1:]
    # Of the test images, whose posterior nobody knows, and of images that the model draws, of
    # each of which one exact sample of the posterior is known.
    drawn, exact = latent.simulate(jax.random.key(4), model, params, settings.num_swept)
    for prefix, observed, known in (("test", x, None), ("drawn", drawn, exact)):
        bounds = latent.likelihood_bounds(
            *(jax.random.key(5), model, params, observed, times),
            exact=known,
            num_walkers=settings.annealing_walkers,
        )
        bracket = latent.likelihood_bracket(bounds, tolerance=1.0)
        found[f"{prefix}_bracket"] = np.array(
            [bracket.lower, bracket.lower_error, bracket.upper, bracket.upper_error]
        )
        found[f"{prefix}_test_error"] = np.array(bracket.test_error)
        found[f"{prefix}_doubts"] = np.array(bracket.doubts, dtype=str)
    return {**found, **_code(vae, params, test, settings), **generic_coders(test)}


def load(settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Grey levels in [0, 1] for training, float32, and binary test images."""
    if settings.data:
        folder = Path(settings.data)
        train, test = (
            data_lib.load_mnist(folder, "mnist", part).images for part in ("train", "test")
        )
    else:
        train, test = data_lib.load_split(data_lib.Source("digits"))
    grey = (test[: settings.num_test] + 1) / 2
    drawn = np.random.default_rng(_SEED).random(grey.shape) < grey
    return (train + 1) / 2, drawn.astype(np.int64)


def _code(vae: Any, params: Any, test: np.ndarray, settings: Settings) -> dict[str, Any]:
    """Bits an image: all images; on some, other precisions, latents, and steps of annealing."""
    start = time.process_time()
    codec = latent_codec.make_codec(vae, params)
    coded = bits_back.encode(codec, test)
    is_right = np.array_equal(bits_back.decode(codec, coded), test)
    found: dict[str, Any] = {
        "is_lossless": np.array(is_right),
        "cpu_seconds": np.array(time.process_time() - start),
        "bits": np.array(coded.num_bits / len(test)),
        "seed_bits": np.array(32 * coded.num_seed_words),
    }
    some = test[: settings.num_swept]

    def rates(name: str, codecs: list[latent_codec.Codec]) -> None:
        found[f"bits_of_{name}"], found[f"milliseconds_of_{name}"] = np.transpose(
            [_rate(codec, some, settings.num_seeds) for codec in codecs]
        )

    rates(
        "precisions",
        [latent_codec.make_codec(vae, params, bits) for bits in settings.latent_bits],
    )
    rates(
        "samples",
        [latent_codec.make_codec(vae, params, num_samples=k) for k in settings.num_samples],
    )
    annealed = [
        latent_codec.make_codec(vae, params, num_annealing_steps=n)
        for n in settings.coding_steps
    ]
    rates("steps", annealed)
    few = some[:20]
    again = bits_back.decode(annealed[-1], bits_back.encode(annealed[-1], few))
    found["is_annealing_lossless"] = np.array(np.array_equal(again, few))
    model, x = latent.as_latent_model(vae), jnp.asarray(some, jnp.float32)
    key, repeats = jax.random.key(6), settings.num_bound_samples
    # The bounds that those rates should come to, each as a mean of many.
    log_weights = latent.draw_log_weights(
        key, model, params, x, max(settings.num_samples) * repeats
    )
    found["bounds_of_samples"] = np.array(
        [
            -_bound(np.asarray(log_weights, np.float64), k) / math.log(2)
            for k in settings.num_samples
        ]
    )
    return found


def _rate(codec: latent_codec.Codec, images: np.ndarray, num_seeds: int) -> tuple[float, float]:
    """Net bits, and CPU milliseconds, of an image, in the mean over seeds."""
    bits_back.encode(codec, images[:1])  # compiled before time is taken
    start = time.process_time()
    bits = [bits_back.encode(codec, images, seed=seed).num_bits for seed in range(num_seeds)]
    seconds = time.process_time() - start
    return sum(bits) / num_seeds / len(images), 1000 * seconds / num_seeds / len(images)


def _bound(log_weights: np.ndarray, num_samples: int) -> float:
    """Importance-weighted bound with K samples, nats, averaged over disjoint sets of them."""
    num_sets = log_weights.shape[1] // num_samples
    sets = log_weights[:, : num_sets * num_samples].reshape(len(log_weights), num_sets, -1)
    return float(np.mean(logsumexp(sets, axis=2) - math.log(num_samples)))


def generic_coders(images: np.ndarray) -> dict[str, np.ndarray]:
    """Bits an image by coders that know no model, all images in one file."""
    packed = np.packbits(images.astype(np.uint8)).tobytes()
    height, width = len(images) * images.shape[1], images.shape[2]
    column = Image.fromarray(255 * images.astype(np.uint8).reshape(height, width))
    png = io.BytesIO()
    column.convert("1").save(png, "PNG", optimize=True)
    # WebP has no picture above 16383 pixels a side.
    num_rows = 16383 // images.shape[1]
    size = 0
    for first in range(0, len(images), num_rows):
        webp = io.BytesIO()
        part = images[first : first + num_rows].astype(np.uint8)
        picture = Image.fromarray(255 * part.reshape(-1, width))
        picture.save(webp, "WEBP", lossless=True, quality=100, method=6)
        size += webp.tell()
    bits = {
        "gzip": 8 * len(gzip.compress(packed, 9)),
        "bz2": 8 * len(bz2.compress(packed, 9)),
        "PNG": 8 * png.tell(),
        "WebP": 8 * size,
    }
    return {f"bits_{name}": np.array(total / len(images)) for name, total in bits.items()}
