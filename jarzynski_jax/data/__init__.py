"""Data: arrays and image data sets from files, splits and mini-batches."""

from jarzynski_jax.data.arrays import (
    Split,
    as_samples,
    draw_batch,
    fingerprint,
    load,
    load_array,
    load_digits,
    load_labels,
    split,
)
from jarzynski_jax.data.cifar import load_cifar10
from jarzynski_jax.data.idx import load_idx
from jarzynski_jax.data.images import LabelledImages, select_classes, shrink
from jarzynski_jax.data.mnist import load_mnist
from jarzynski_jax.data.noise import add_noise, noise_entropy
from jarzynski_jax.data.principal_axes import (
    PrincipalAxes,
    find_principal_axes,
    from_principal_axes,
    to_principal_axes,
)
from jarzynski_jax.data.sources import (
    LabelledSplit,
    Source,
    is_file,
    is_image_set,
    load_labelled_split,
    load_split,
)
from jarzynski_jax.data.standard import (
    StandardCoordinates,
    find_standard_coordinates,
    from_standard,
    log_volume,
    to_standard,
)

__all__ = [
    "LabelledImages",
    "LabelledSplit",
    "PrincipalAxes",
    "Source",
    "Split",
    "StandardCoordinates",
    "add_noise",
    "as_samples",
    "draw_batch",
    "find_principal_axes",
    "find_standard_coordinates",
    "fingerprint",
    "from_principal_axes",
    "from_standard",
    "is_file",
    "is_image_set",
    "load",
    "load_array",
    "load_cifar10",
    "load_digits",
    "load_idx",
    "load_labelled_split",
    "load_labels",
    "load_mnist",
    "load_split",
    "log_volume",
    "noise_entropy",
    "select_classes",
    "shrink",
    "split",
    "to_principal_axes",
    "to_standard",
]
