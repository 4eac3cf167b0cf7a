"""Sizes of the study."""

from typing import NamedTuple


class Settings(NamedTuple):
    """How many walkers, for how long; which systems.

    populations, walkers
        R and N of every run.
    blocks, warmup
        Of ten steps each, at every step size.
    step_sizes
        Of helium, in units of imaginary time; others are scaled to their own.
    updates
        Of learning an electrons' wave; 0 to leave learned waves out.
    distances
        Of H2's protons, in bohr.
    bosons
        Pairs (N, g).
    boson_updates
        Of learning their waves.
    double_well
        Whether walkers tunnel.
    """

    populations: int
    walkers: int
    blocks: int
    warmup: int
    step_sizes: tuple[float, ...]
    updates: int
    distances: tuple[float, ...] = ()
    bosons: tuple[tuple[int, int], ...] = ()
    boson_updates: int = 1000
    double_well: bool = False


QUICK = Settings(4, 400, 200, 50, (0.01, 0.02), 0)
STANDARD = Settings(
    populations=4,
    walkers=500,
    blocks=400,
    warmup=100,
    step_sizes=(0.005, 0.01, 0.02),
    updates=2000,
    distances=(1.0, 1.2, 1.401, 1.6, 2.0, 2.4, 2.8),
    bosons=tuple((n, g) for n in (2, 3, 4) for g in (0, 3, 6, 9, 12, 15)),
    double_well=True,
)
