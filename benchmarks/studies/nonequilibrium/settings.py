"""Sizes of the study."""

from typing import NamedTuple


class Settings(NamedTuple):
    """The machines are those of Baiesi and Rosso, arXiv:2512.11415, where sizes allow.

    ``data`` is a folder with MNIST's IDX files, or empty for scikit-learn's 8x8 digits.
    ``decay`` and ``epsilons`` are RMSprop's, a run of all machines for each eps, which is
    added to the root of the mean square, as in PyTorch: the paper tells neither. 1e-8 is
    PyTorch's default.
    """

    data: str
    num_replicas: int = 36
    num_hidden: int = 6
    num_updates: int = 3600
    num_steps: int = 48
    first_batch: int = 16
    last_batch: int = 160
    learning_rate: float = 0.1
    decay: float = 0.9
    epsilons: tuple[float, ...] = (1e-1, 1e-8)
    report_samples: int = 2000
    em_starts: int = 36
    em_steps: int = 200
    num_walkers: int = 40_000
    num_paths: int = 40_000


def standard(data: str) -> Settings:
    return Settings(data)


def quick(data: str) -> Settings:
    return Settings(
        data,
        num_replicas=12,
        num_updates=600,
        epsilons=(1e-1,),
        report_samples=500,
        em_starts=12,
        em_steps=80,
        num_walkers=4000,
        num_paths=4000,
    )
