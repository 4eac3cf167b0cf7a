"""How large the comparison is."""

from typing import NamedTuple


class Settings(NamedTuple):
    """Walkers, budgets and seeds; all methods have as many walkers."""

    num_walkers: int = 512
    #: Gradients a walker.
    budgets: tuple[int, ...] = (128, 512, 2048)
    #: Step sizes tried, in units of the problem's.
    multiples: tuple[float, ...] = (0.125, 0.25, 0.5, 1.0, 1.5)
    #: How many of each method's options are tried.
    num_options: int = 6
    #: Seeds by which step size and option are chosen, and fresh ones by which they are judged.
    num_tuning_seeds: int = 12
    num_seeds: int = 32


STANDARD = Settings()
QUICK = Settings(
    num_walkers=64,
    budgets=(128,),
    multiples=(0.25, 1.0),
    num_options=1,
    num_tuning_seeds=2,
    num_seeds=4,
)
