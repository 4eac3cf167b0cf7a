"""What to look for while an energy-based model is trained."""

from typing import NamedTuple

__all__ = ["Watch"]


class Watch(NamedTuple):
    """What to look for while an energy-based model is trained.

    num_features
        d, how many numbers a sample has. The energy of a sample spreads by about sqrt(d/2).
    entropy_floor
        Entropy of the noise that was added to the data, in nats; None if there is none.
    min_effective_sample_size
        A fraction: a chunk is collapsed if the median of the shadow ESS is below it.
    patience
        For how many chunks in a row a sign must stay.
    num_walkers
        How many training walkers move at an update, to tell which share of them died; None if
        it does not matter.
    """

    num_features: int
    entropy_floor: float | None = None
    min_effective_sample_size: float = 0.05
    patience: int = 3
    num_walkers: int | None = None
