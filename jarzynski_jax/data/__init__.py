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

__all__ = [
    "LabelledImages",
    "Split",
    "draw_batch",
    "fingerprint",
    "load",
    "load_array",
    "load_cifar10",
    "load_digits",
    "load_idx",
    "load_mnist",
    "select_classes",
    "shrink",
    "split",
]
