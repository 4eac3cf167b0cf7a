"""Data: arrays and image data sets from files, splits and mini-batches."""

from jarzynski_jax.data.arrays import (
    Split,
    draw_batch,
    fingerprint,
    load,
    load_array,
    load_digits,
    split,
)
from jarzynski_jax.data.cifar import load_cifar10
from jarzynski_jax.data.idx import load_idx
from jarzynski_jax.data.images import LabelledImages, select_classes, shrink
from jarzynski_jax.data.mnist import load_mnist
from jarzynski_jax.data.principal_axes import (
    PrincipalAxes,
    find_principal_axes,
    from_principal_axes,
    to_principal_axes,
)
from jarzynski_jax.data.sources import Source, is_image_set, load_split

__all__ = [
    "LabelledImages",
    "PrincipalAxes",
    "Source",
    "Split",
    "draw_batch",
    "find_principal_axes",
    "fingerprint",
    "from_principal_axes",
    "is_image_set",
    "load",
    "load_array",
    "load_cifar10",
    "load_digits",
    "load_idx",
    "load_mnist",
    "load_split",
    "select_classes",
    "shrink",
    "split",
    "to_principal_axes",
]
