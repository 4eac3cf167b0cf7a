"""How large the comparison of learned samplers is, in evaluations of the density.

An evaluation is a position at which the density is looked at, with its gradient or without.
"""

from typing import NamedTuple


class Budget(NamedTuple):
    """What all methods have alike, and how each spends it."""

    problems: tuple[str, ...] = ("forty_modes", "funnel", "many_well", "two_modes")
    methods: tuple[str, ...] = (
        "reverse_kl",
        "fab",
        "craft",
        "nets",
        "annealing",
        "annealing_all",
    )
    #: Evaluations to train with, and of one estimate afterwards.
    num_training: int = 1_000_000
    num_sampling: int = 100_000
    #: Independent estimates by one trained model.
    num_repeats: int = 16
    num_seeds: int = 1
    #: Reverse KL: samples an update.
    batch_size: int = 512
    #: FAB: walkers, stops of their path, updates for each time they go.
    num_walkers_of_fab: int = 256
    num_stops: int = 8
    anneal_every: int = 4
    #: CRAFT: layers, and walkers before each.
    num_layers: int = 16
    num_walkers_of_craft: int = 64
    #: NETS: steps, and walkers before each.
    num_steps: int = 32
    num_walkers_of_nets: int = 64
    #: Units of hidden layers, coupling layers of a flow.
    width: int = 64
    depth: int = 8
    learning_rate: float = 1e-3


STANDARD = Budget()
QUICK = Budget(
    problems=("forty_modes",),
    methods=("nets", "annealing_all"),
    num_training=52_000,
    num_sampling=10_000,
    num_repeats=8,
    num_seeds=1,
    batch_size=256,
    num_walkers_of_fab=64,
    num_stops=4,
    num_layers=8,
    num_walkers_of_craft=32,
    num_steps=16,
    num_walkers_of_nets=32,
    width=16,
    depth=2,
    learning_rate=3e-3,
)
