"""How large the study is."""

from typing import NamedTuple


class Settings(NamedTuple):
    """Sizes; an ensemble is R replicates of N walkers, whose spread tells the error."""

    # Ising: lengths of square lattices, steps from β = 0.
    ising_lengths: tuple[int, ...] = (4, 8, 16, 24)
    ising_betas: tuple[float, ...] = (0.2, 0.4, 0.44, 0.44068679350977147, 0.6)
    num_ising_replicates: int = 64
    #: So many times of them, of each length: log Z of a small lattice is small, and it is its
    #: relative error that is asked for.
    ising_multiples: tuple[int, ...] = (8, 4, 1, 1)
    num_ising_walkers: int = 64
    num_ising_steps: int = 2000
    # Autoregressive networks at β = 0.44: lengths, updates, samples of an update.
    network_lengths: tuple[int, ...] = (8, 16)
    num_features: int = 8
    num_updates: int = 2000
    num_training_samples: int = 256
    num_network_samples: int = 20_000
    num_network_steps: int = 64
    # φ⁴ at λ = 0.022: lattices, hopping parameters (the nested grid of this level).
    field_shapes: tuple[tuple[int, int], ...] = ((4, 4), (8, 8), (64, 8))
    grid_level: int = 1
    num_field_chains: int = 32
    num_field_samples: int = 2000
    num_field_steps: int = 2000
    #: Every how manieth of them has a bracket.
    bracket_stride: int = 2
    #: How many of these, the last ones, are annealed to from the best Gaussian.
    num_near_couplings: int = 7
    # Of the comparison at equal numbers of gradients.
    num_seeds: int = 8
    # Of a model that knows one sign of the field's mean; on lattices up to this volume.
    num_coverage_samples: int = 20_000
    coverage_volume: int = 64
    # U(1): lengths and inverse couplings.
    gauge_lengths: tuple[int, ...] = (8, 16)
    gauge_betas: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0, 7.0)
    num_gauge_steps: int = 1000
    num_gauge_samples: int = 20_000


FULL = Settings()
QUICK = Settings(
    ising_lengths=(8,),
    num_ising_replicates=32,
    ising_multiples=(1,),
    num_ising_walkers=32,
    num_ising_steps=200,
    network_lengths=(8,),
    num_features=2,
    num_updates=3000,
    num_training_samples=200,
    num_network_samples=4000,
    num_network_steps=32,
    field_shapes=((4, 4),),
    grid_level=0,
    num_field_chains=32,
    num_field_samples=300,
    num_field_steps=200,
    bracket_stride=3,
    num_near_couplings=1,
    num_seeds=3,
    num_coverage_samples=4000,
    gauge_lengths=(8,),
    gauge_betas=(1.0, 5.0),
    num_gauge_steps=150,
    num_gauge_samples=3000,
)
