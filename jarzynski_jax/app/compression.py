"""Autoencoders of whole numbers from the command line: trained, and images coded by them."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jarzynski_jax import data as data_lib
from jarzynski_jax import latent, training
from jarzynski_jax.app.run_folder import write_whole
from jarzynski_jax.latent import bits_back, coded_file, latent_codec, saved_model, variational
from jarzynski_jax.latent.outputs import OutputName
from jarzynski_jax.progress import show_progress

__all__ = [
    "Compression",
    "TrainedAutoencoder",
    "WholeNumbers",
    "compress",
    "decompress",
    "load_to_compress",
    "load_whole_numbers",
    "train_autoencoder",
]

_TEST_FRACTION = 0.15
#: Levels of the data sets that have a name.
_LEVELS = {"digits": 17, "mnist": 256, "fashion-mnist": 256}
_NUM_BOUND_SAMPLES = 20
_MOST_JUDGED = 1000

Result = TypeVar("Result")


class WholeNumbers(NamedTuple):
    """Images of whole numbers in two parts, int64, and how many levels they have."""

    train: np.ndarray
    test: np.ndarray
    num_levels: int


class TrainedAutoencoder(NamedTuple):
    """What training came to: minus the bound on test images, nats an image, and its error."""

    negative_elbo: float
    error: float
    num_test: int
    num_pixels: int
    is_interrupted: bool


class Compression(NamedTuple):
    """What coding came to; ``num_bits`` without the seed words, which are given back."""

    num_images: int
    num_pixels: int
    num_bits: int
    num_bytes: int


def load_whole_numbers(
    source: str, folder: Path | None = None, num_levels: int | None = None
) -> WholeNumbers:
    """Load images as whole numbers from 0 up, to train on and to judge by.

    ``source`` is as of :class:`jarzynski_jax.data.Source`: the digits have 17 levels, MNIST and
    its like 256; of a file it is an array ``(n, ...)`` of whole numbers, whose levels are those
    that it holds if ``num_levels`` is None. ValueError if there are no such.

    Examples
    --------
    >>> found = load_whole_numbers("digits")
    >>> found.train.shape, found.num_levels, int(found.train.max())
    ((1527, 8, 8), 17, 16)
    """
    named = _LEVELS.get(source)
    if named is None:
        values = _whole(_read(Path(source)), source)
        train, test = data_lib.split(values, _TEST_FRACTION)
        return WholeNumbers(train, test, num_levels or max(int(values.max()) + 1, 2))
    if num_levels not in (None, named):
        raise ValueError(f"{source} has {named} levels; got num_levels={num_levels}")
    place = None if folder is None else str(folder)
    split = data_lib.load_split(data_lib.Source(source, place))
    train, test = (
        np.round((np.asarray(part, np.float64) + 1) / 2 * (named - 1)).astype(np.int64)
        for part in split
    )
    return WholeNumbers(train, test, named)


def _read(path: Path) -> np.ndarray:
    """Read an array of a file of NumPy in its own dtype."""
    if path.suffix not in (".npy", ".npz") or not path.is_file():
        raise ValueError(
            f"images must be digits, mnist, fashion-mnist or a .npy or .npz file; got {path}"
        )
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            names = list(loaded)
            if len(names) != 1:
                raise ValueError(f"it must hold one array; it holds {names}")
            return loaded[names[0]]
    except Exception as error:  # zip, NumPy: each has its own for a file that is damaged
        raise ValueError(f"{path} cannot be read as a file of NumPy: {error}") from error


def _whole(values: np.ndarray, source: str) -> np.ndarray:
    if values.ndim < 2 or values.size == 0 or values.dtype.kind not in "buif":
        raise ValueError(
            f"{source} must hold whole numbers of shape (n, ...); it holds {values.dtype} of "
            f"shape {values.shape}"
        )
    if not np.all(np.isfinite(values)) or np.any((values != np.round(values)) | (values < 0)):
        raise ValueError(f"{source} must hold whole numbers from 0 up, and holds others")
    return values.astype(np.int64)


def load_to_compress(source: str, folder: Path | None, is_binary: bool) -> np.ndarray:
    """Load the images of a file, all of them in their own dtype, or the test part of a set.

    If ``is_binary``, pixels are 1 where their grey level is above the middle, else 0.
    """
    if source in _LEVELS:
        images, num_levels = load_whole_numbers(source, folder)[1:]
    else:
        images = _read(Path(source))
        num_levels = int(_whole(images, source).max()) + 1 if is_binary else 0
    return (2 * images >= num_levels).astype(np.uint8) if is_binary else images


def train_autoencoder(
    images: WholeNumbers,
    out: Path,
    *,
    latent_dim: int = 40,
    hidden: tuple[int, ...] = (100,),
    output: OutputName | None = None,
    is_binary: bool = False,
    num_steps: int = 10000,
    batch_size: int = 100,
    learning_rate: float = 1e-3,
    seed: int = 0,
    overwrite: bool = False,
) -> TrainedAutoencoder:
    """Train an autoencoder on images, and write it to ``out``.

    Parameters
    ----------
    output
        ``"bernoulli"`` for two levels and ``"beta_binomial"`` for more if None.
    is_binary
        Whether pixels become 0 or 1, drawn by their grey levels anew at each update.

    Raises
    ------
    ValueError
        If a number makes no sense, or ``out`` is there and not to be replaced, or no ``.npz``.
    """
    _check_out(out, overwrite, ".npz")
    num_levels = 2 if is_binary else images.num_levels
    name: OutputName = output or ("bernoulli" if num_levels == 2 else "beta_binomial")
    architecture = saved_model.Architecture(
        images.train.shape[1:], latent_dim, hidden, name, num_levels
    )
    vae, params = saved_model.build(architecture, seed)
    model = latent.as_latent_model(vae)
    schedule = optax.cosine_decay_schedule(learning_rate, num_steps, 0.02)
    objective = variational.variational(
        model,
        optax.adam(schedule),
        bound="closed_form",
        prepare=variational.binarize if is_binary else None,
    )
    scale = images.num_levels - 1 if is_binary else 1
    data = jnp.asarray(images.train, jnp.float32) / scale
    key_init, key_fit, key_test, key_bound = jax.random.split(jax.random.key(seed), 4)
    state = objective.init(key_init, params, data)
    result = training.fit(
        key_fit,
        objective,
        state,
        data,
        num_steps=num_steps,
        batch_size=batch_size,
        progress=True,
    )
    test = jnp.asarray(images.test[:_MOST_JUDGED], jnp.float32) / scale
    if is_binary:
        test = variational.binarize(key_test, test)
    found = TrainedAutoencoder(0.0, 0.0, len(test), test[0].size, result.is_interrupted)
    if result.is_interrupted:
        return found
    params = result.state.params
    bound = latent.evidence_lower_bound(key_bound, model, params, test, _NUM_BOUND_SAMPLES)
    values = -np.asarray(bound, np.float64)
    error = float(np.std(values) / np.sqrt(len(values)))
    write_whole(out, lambda path: saved_model.save_autoencoder(path, architecture, params))
    return found._replace(negative_elbo=float(values.mean()), error=error)


def compress(
    model: Path,
    images: np.ndarray,
    out: Path,
    *,
    num_samples: int = 1,
    num_latent_bits: int = 8,
    num_annealing_steps: int = 0,
    overwrite: bool = False,
) -> Compression:
    """Compress images without loss by a trained autoencoder, and write the file ``out``.

    ValueError if they are none of the model, the file is there and not to be replaced, or
    constriction is not installed.
    """
    _check_out(out, overwrite)
    architecture, vae, params = saved_model.load_autoencoder(model)
    codec = latent_codec.make_codec(
        vae, params, num_latent_bits, num_samples, num_annealing_steps=num_annealing_steps
    )
    codec.check(images)
    coded = _with_progress(
        "compressing", len(images), lambda show: bits_back.encode(codec, images, progress=show)
    )
    mark = saved_model.fingerprint(architecture, params)
    content = coded_file.to_bytes(coded, codec, mark, images)
    write_whole(out, lambda path: path.write_bytes(content))
    return Compression(len(images), images[0].size, coded.num_bits, len(content))


def decompress(model: Path, file: Path, out: Path, *, overwrite: bool = False) -> Compression:
    """Decompress a file by the model that made it, to an ``.npz`` file with ``images``.

    They have the dtype that they had. ValueError if the file is truncated, damaged or of
    another model, or this machine computes the model otherwise; nothing is written then.
    """
    _check_out(out, overwrite, ".npz")
    architecture, vae, params = saved_model.load_autoencoder(model)
    if not file.is_file():
        raise ValueError(f"there is no file {file}")
    content = file.read_bytes()
    header, _ = coded_file.read_header(content)
    codec = latent_codec.make_codec(
        vae,
        params,
        header["num_latent_symbols"].bit_length() - 1,
        header["num_samples"],
        num_annealing_steps=header["num_annealing_steps"],
        step_size=header["step_size"],
    )
    coded = coded_file.from_bytes(content, codec, saved_model.fingerprint(architecture, params))
    images = _with_progress(
        "decompressing",
        coded.num_images,
        lambda show: bits_back.decode(codec, coded, progress=show),
    )
    if coded_file.images_digest(images) != header["images"]:
        raise ValueError(
            "the images are not those that were compressed: their checksum is wrong"
        )
    images = images.astype(header["dtype"])
    write_whole(out, lambda path: np.savez(path, images=images))
    return Compression(len(images), images[0].size, coded.num_bits, len(content))


def _with_progress(
    title: str, total: int, work: Callable[[Callable[[int], None]], Result]
) -> Result:
    with show_progress(title, "images", total) as show:
        try:
            return work(lambda done: show(done, ""))
        except ImportError as error:
            raise ValueError(str(error)) from error


def _check_out(out: Path, overwrite: bool, suffix: str | None = None) -> None:
    if not out.parent.is_dir() or suffix not in (None, out.suffix):
        wanted = f"a {suffix} file" if suffix else "a file"
        raise ValueError(f"the result goes to {wanted} in a folder that exists; got {out}")
    if out.exists() and not overwrite:
        raise ValueError(f"{out} is there already; replace it by --overwrite")
