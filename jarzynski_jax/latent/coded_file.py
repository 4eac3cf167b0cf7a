"""Coded images as bytes: a header that is verified before anything is decoded.

``JJBB``, the length of the header as four bytes, the header in JSON, the words of the stack as
little-endian uint32.
"""

import hashlib
import json
from typing import Any

import numpy as np

from jarzynski_jax.latent.bits_back import Coded
from jarzynski_jax.latent.latent_codec import Codec

__all__ = ["from_bytes", "images_digest", "read_header", "to_bytes"]

_MAGIC = b"JJBB"
_VERSION = 2


def images_digest(images: np.ndarray) -> str:
    """Return a digest of whole numbers and their shape, whatever their dtype."""
    images = np.ascontiguousarray(images, np.int64)
    return hashlib.sha256(f"{images.shape}".encode() + images.tobytes()).hexdigest()


def to_bytes(coded: Coded, codec: Codec, model_fingerprint: str, images: np.ndarray) -> bytes:
    """Write coded images with all that decoding needs beside the model."""
    payload = coded.words.astype("<u4").tobytes()
    header = {
        "version": _VERSION,
        "model": model_fingerprint,
        "probe": codec.probe(),
        **_settings(codec),
        "num_images": coded.num_images,
        "num_seed_words": coded.num_seed_words,
        "seed": coded.seed,
        "num_bits": coded.num_bits,
        "dtype": np.asarray(images).dtype.str,
        "images": images_digest(images),
        "words": hashlib.sha256(payload).hexdigest(),
    }
    text = json.dumps(header).encode()
    return _MAGIC + len(text).to_bytes(4, "little") + text + payload


def _settings(codec: Codec) -> dict[str, Any]:
    annealing = codec.annealing
    return {
        "shape": list(codec.shape),
        "num_latent_symbols": codec.prior.shape[1],
        "num_samples": codec.num_samples,
        "num_annealing_steps": 0 if annealing is None else len(annealing.times),
        "step_size": None if annealing is None else annealing.step_size,
    }


def read_header(content: bytes) -> tuple[dict[str, Any], np.ndarray]:
    """Take header and words apart; ValueError if the file is none, truncated or damaged."""
    if content[:4] != _MAGIC:
        raise ValueError("this is no file of compressed images")
    length = int.from_bytes(content[4:8], "little")
    text, payload = content[8 : 8 + length], content[8 + length :]
    try:
        header = json.loads(text)
        version, digest = header["version"], header["words"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"the header cannot be read, the file is damaged: {error}") from error
    if version != _VERSION:
        raise ValueError(f"the file is of version {version}, and this program reads {_VERSION}")
    if hashlib.sha256(payload).hexdigest() != digest:
        raise ValueError("the checksum is wrong: the file is truncated or damaged")
    return header, np.frombuffer(payload, "<u4").astype(np.uint32)


def from_bytes(content: bytes, codec: Codec, model_fingerprint: str) -> Coded:
    """Read coded images for a codec of the same model.

    ValueError if the file is none, truncated or damaged, of another model or of other settings;
    or if this machine computes the networks otherwise than the one that wrote it, so that
    nothing could be decoded.
    """
    header, words = read_header(content)
    if header["model"] != model_fingerprint:
        raise ValueError(
            f"the file is of another model, with the fingerprint {header['model'][:16]}; got "
            f"{model_fingerprint[:16]}"
        )
    for name, value in _settings(codec).items():
        if header[name] != value:
            raise ValueError(f"the file was coded with {name}={header[name]}; got {value}")
    if header["probe"] != codec.probe():
        raise ValueError(
            "this machine computes the model's networks otherwise than the one that wrote the "
            "file: decode where it was encoded, or with the same versions of jax on such a CPU"
        )
    return Coded(
        words,
        header["num_images"],
        header["num_seed_words"],
        header["seed"],
        header["num_bits"],
    )
