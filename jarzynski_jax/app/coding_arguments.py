"""The arguments of the commands that train an autoencoder and code images by it."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from jarzynski_jax.latent.outputs import OutputName

__all__ = ["Compress", "Decompress", "TrainAutoencoder", "argument"]


def argument(help: str, hint: str = "(optional)", metavar: str | None = None) -> Any:
    """Describe an argument, with what is said of its default."""
    return tyro.conf.arg(help=help, help_behavior_hint=hint, metavar=metavar)


_IMAGES = "digits, mnist, fashion-mnist, or a .npy or .npz file of whole numbers"
_FOLDER = "Folder of IDX files of images; without it they are fetched"


@dataclasses.dataclass(frozen=True)
class TrainAutoencoder:
    """Train a variational autoencoder of images of whole numbers, for compress.

    Of a file 15 % are held out to tell the bound by; digits and mnist have their test part.
    """

    source: Annotated[tyro.conf.Positional[str], argument(_IMAGES, "(required)")]
    out: Annotated[Path, argument("The .npz file of the model", "(required)")]
    data: Annotated[Path | None, argument(_FOLDER)] = None
    binary: Annotated[
        bool, argument("Pixels become 0 or 1, drawn by their grey level at each update")
    ] = False
    levels: Annotated[int | None, argument("From 0 to one less; else as the file has")] = None
    output: Annotated[
        OutputName | None,
        argument(
            "Law of a pixel; else bernoulli of two levels, beta_binomial of more",
            metavar="NAME",
        ),
    ] = None
    latent_dim: Annotated[int, argument("Numbers of a latent", "(default: 40)")] = 40
    hidden: Annotated[
        tuple[int, ...],
        argument("Widths of the hidden layers", "(default: 100)", "INT [INT ...]"),
    ] = (100,)
    steps: Annotated[int, argument("Updates", "(default: 10000)")] = 10000
    batch_size: Annotated[int, argument("Images an update", "(default: 100)")] = 100
    learning_rate: Annotated[float, argument("Of Adam", "(default: 0.001)")] = 1e-3
    seed: Annotated[int, argument("Of all random numbers", "(default: 0)")] = 0
    overwrite: Annotated[bool, argument("Replace the file at --out")] = False


@dataclasses.dataclass(frozen=True)
class Compress:
    """Compress images without loss by a trained autoencoder: bits back.

    Of digits and mnist it is their test part. Needs the extra 'compression'. To be decompressed
    on such a machine, with the same versions, or it is refused.
    """

    model: Annotated[
        tyro.conf.Positional[Path], argument("From train-autoencoder", "(required)")
    ]
    source: Annotated[tyro.conf.Positional[str], argument(_IMAGES, "(required)")]
    out: Annotated[Path, argument("The compressed file", "(required)")]
    data: Annotated[Path | None, argument(_FOLDER)] = None
    binary: Annotated[bool, argument("Pixels above the middle grey level are 1, others 0")] = (
        False
    )
    num_samples: Annotated[
        int, argument("Latents an image; more are slower, and take fewer bits", "(default: 1)")
    ] = 1
    annealing_steps: Annotated[
        int,
        argument("Moves of one latent to the posterior, in place of many", "(default: 0)"),
    ] = 0
    latent_bits: Annotated[int, argument("Precision of a latent", "(default: 8)")] = 8
    overwrite: Annotated[bool, argument("Replace the file at --out")] = False


@dataclasses.dataclass(frozen=True)
class Decompress:
    """Decompress a file by the autoencoder that compressed it.

    A file that is damaged, or of another model, is refused, and nothing is written.
    """

    model: Annotated[
        tyro.conf.Positional[Path], argument("From train-autoencoder", "(required)")
    ]
    file: Annotated[tyro.conf.Positional[Path], argument("From compress", "(required)")]
    out: Annotated[Path, argument("The .npz file of the images", "(required)")]
    overwrite: Annotated[bool, argument("Replace the file at --out")] = False
