"""A trained autoencoder as one file, and the fingerprint that tells it from others."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jarzynski_jax.latent.autoencoder import Autoencoder, make_autoencoder
from jarzynski_jax.latent.outputs import OutputName, make_output
from jarzynski_jax.types import Params

__all__ = ["Architecture", "build", "fingerprint", "load_autoencoder", "save_autoencoder"]


class Architecture(NamedTuple):
    """All of an autoencoder of :func:`~jarzynski_jax.latent.make_autoencoder` but its numbers.

    shape
        Of an observation.
    latent_dim
        H.
    hidden
        Widths of the encoder's hidden layers.
    output, num_levels
        As :func:`~jarzynski_jax.latent.outputs.make_output` takes them.
    """

    shape: tuple[int, ...]
    latent_dim: int
    hidden: tuple[int, ...]
    output: OutputName
    num_levels: int | None = None


def build(architecture: Architecture, seed: int = 0) -> tuple[Autoencoder, Params]:
    """Make the autoencoder with fresh parameters; ValueError as ``make_autoencoder``."""
    shape, latent_dim, hidden, output, num_levels = architecture
    law = make_output(output, num_levels)
    return make_autoencoder(shape, latent_dim, hidden, law, rngs=nnx.Rngs(seed))


def fingerprint(architecture: Architecture, params: Params) -> str:
    """Return a digest of the architecture and of every parameter.

    Examples
    --------
    >>> small = Architecture((4,), 1, (), "bernoulli", 2)
    >>> one, other = (fingerprint(small, build(small, seed)[1]) for seed in (0, 1))
    >>> len(one), one == other
    (64, False)
    """
    digest = hashlib.sha256(json.dumps(architecture).encode())
    for name, leaf in _by_name(params).items():
        digest.update(f"{name} {leaf.dtype} {leaf.shape}".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def save_autoencoder(path: Path, architecture: Architecture, params: Params) -> None:
    """Write an ``.npz`` file of the parameters and the architecture.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "model.npz"
    >>> small = Architecture((4,), 1, (), "bernoulli", 2)
    >>> params = build(small)[1]
    >>> save_autoencoder(path, small, params)
    >>> architecture, model, again = load_autoencoder(path)
    >>> fingerprint(architecture, again) == fingerprint(small, params)
    True
    """
    # Before the file is opened, so that nothing is written of what cannot be.
    arrays: dict[str, Any] = _by_name(params)
    with path.open("wb") as file:
        np.savez(file, architecture=json.dumps(architecture._asdict()), **arrays)


def load_autoencoder(path: Path) -> tuple[Architecture, Autoencoder, Params]:
    """Read what :func:`save_autoencoder` wrote; ValueError if it cannot be read."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = json.loads(str(arrays["architecture"]))
            architecture = Architecture(
                tuple(found["shape"]),
                found["latent_dim"],
                tuple(found["hidden"]),
                found["output"],
                found["num_levels"],
            )
            model, template = build(architecture)
            params = _filled(template, dict(arrays))
    except Exception as error:  # zip, JSON, NumPy: each has its own for a file that is damaged
        raise ValueError(f"{path} cannot be read as a trained autoencoder: {error}") from error
    return architecture, model, params


def _by_name(params: Params) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {_name(path): np.asarray(leaf) for path, leaf in leaves}


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _filled(template: Params, arrays: dict[str, np.ndarray]) -> Params:
    def leaf(path: Any, like: jax.Array) -> jax.Array:
        found = arrays[_name(path)]
        if found.shape != like.shape:
            raise ValueError(
                f"{_name(path)} has the shape {found.shape} in place of {like.shape}"
            )
        return jnp.asarray(found)

    return jax.tree_util.tree_map_with_path(leaf, template)
