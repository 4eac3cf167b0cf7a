"""How large the study of flows is: quick, or in full."""

from typing import NamedTuple

from benchmarks.studies.flows import budget
from benchmarks.studies.flows.budget import Budget


class Settings(NamedTuple):
    """Sizes of its parts; every part also has the comparison's own budget, if it takes one."""

    # A continuous flow on a square torus, m² = -4: lengths with their quartic couplings, so
    # that the correlation length is about a quarter of the length (8: between its neighbours).
    lengths: tuple[int, ...] = (6, 8, 12)
    quartics: tuple[float, ...] = (6.975, 6.1, 5.276)
    num_flow_updates: tuple[int, ...] = (500, 500, 500)
    flow_batch: int = 128
    num_flow_steps: int = 20
    #: Features, kernels in time, sines, harmonics in time: the fastest has five steps.
    flow_features: tuple[int, int, int, int] = (20, 9, 49, 4)
    has_aliased_flow: bool = True
    num_aliased_updates: int = 1000
    num_looks: int = 10
    num_flow_samples: int = 2048
    # Langevin steps behind the flow, of so many walkers; steps of plain annealing.
    num_langevin_steps: int = 16
    num_walkers: int = 512
    annealing_steps: tuple[int, ...] = (16, 128, 1024, 8192)
    # A coupling flow on a torus, λ = 0.022, in the symmetric and in the broken phase.
    lattice: tuple[int, int] = (64, 8)
    kappas: tuple[float, ...] = (0.2, 0.3)
    num_coupling_layers: int = 6
    coupling_width: int = 8
    num_coupling_updates: int = 1500
    num_coupling_samples: int = 20_000
    num_reference_steps: int = 1000
    # The double well of Boltzmann generators.
    num_well_layers: int = 4
    num_well_updates: int = 2000
    num_well_samples: int = 50_000
    # Replicates of mean weights at random parameters.
    num_replicates: int = 400
    # Learned samplers beside annealing.
    comparison: Budget = budget.STANDARD


FULL = Settings()

QUICK = Settings(
    lengths=(4,),
    quartics=(8.0,),
    num_flow_updates=(200,),
    has_aliased_flow=False,
    flow_batch=64,
    num_flow_steps=12,
    flow_features=(6, 6, 12, 3),
    num_looks=4,
    num_walkers=256,
    annealing_steps=(256,),
    lattice=(4, 4),
    kappas=(0.3,),
    num_coupling_layers=2,
    coupling_width=8,
    num_coupling_updates=300,
    num_coupling_samples=4000,
    num_reference_steps=500,
    num_well_layers=4,
    num_well_updates=400,
    num_well_samples=20_000,
    num_replicates=100,
    comparison=budget.QUICK,
)
