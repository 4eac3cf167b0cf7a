"""How large the study is."""

from typing import NamedTuple


class Settings(NamedTuple):
    """Sizes; an ensemble is R replicates of N walkers, whose spread tells the error."""

    # Ising: lengths of square lattices, steps from β = 0.
    ising_lengths: tuple[int, ...] = (4, 8, 16, 24)
    ising_betas: tuple[float, ...] = (0.2, 0.4, 0.44, 0.44068679350977147, 0.6)
    num_ising_replicates: int = 64
    num_ising_walkers: int = 64
    num_ising_steps: int = 2000
    # Autoregressive networks at β = 0.44: lengths, updates, samples of an update.
    network_lengths: tuple[int, ...] = (8, 16)
    num_features: int = 16
    num_updates: int = 4000
    num_training_samples: int = 256
    num_network_samples: int = 20_000
    num_network_steps: int = 64
    # φ⁴ at λ = 0.022: lattices, hopping parameters (the nested grid of this level).
    field_shapes: tuple[tuple[int, int], ...] = ((4, 4), (8, 8), (64, 8))
    grid_level: int = 1
    num_field_chains: int = 32
    num_field_samples: int = 2000
    num_field_steps: int = 2000
    # The same budgets of gradients for both, and seeds.
    num_gradients: tuple[int, ...] = (400_000, 400_000, 4_000_000)
    num_seeds: int = 8
    # A model of one sign of the field's mean.
    coverage_shape: tuple[int, int] = (8, 8)
    num_coverage_samples: int = 20_000
    # U(1): lengths and inverse couplings.
    gauge_lengths: tuple[int, ...] = (8, 16)
    gauge_betas: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0, 7.0)
    num_gauge_steps: int = 4000
    num_gauge_samples: int = 20_000


FULL = Settings()
QUICK = Settings(
    ising_lengths=(4, 8),
    num_ising_replicates=32,
    num_ising_walkers=32,
    num_ising_steps=200,
    network_lengths=(8,),
    num_features=4,
    num_updates=300,
    num_training_samples=200,
    num_network_samples=4000,
    num_network_steps=32,
    field_shapes=((4, 4),),
    grid_level=0,
    num_field_chains=32,
    num_field_samples=300,
    num_field_steps=200,
    num_gradients=(100_000,),
    num_seeds=3,
    coverage_shape=(8, 8),
    num_coverage_samples=4000,
    gauge_lengths=(8,),
    gauge_betas=(1.0, 3.0, 7.0),
    num_gauge_steps=400,
    num_gauge_samples=3000,
)
TINY = QUICK._replace(
    ising_lengths=(4,),
    ising_betas=(0.2, 0.4),
    num_ising_replicates=8,
    num_ising_steps=50,
    network_lengths=(4,),
    num_updates=60,
    num_network_samples=1000,
    num_network_steps=8,
    num_field_samples=50,
    num_field_steps=50,
    num_gradients=(40_000,),
    num_seeds=2,
    coverage_shape=(4, 4),
    gauge_lengths=(4,),
    gauge_betas=(1.0,),
    num_gauge_steps=50,
    num_gauge_samples=200,
)
