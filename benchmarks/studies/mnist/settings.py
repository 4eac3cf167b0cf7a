"""How large the experiment is."""

import math
from typing import Any, NamedTuple

from jarzynski_jax.app.config import NetworkName

ALGORITHMS = ("jarzynski", "pcd", "unweighted")


class Settings(NamedTuple):
    """What decides how it goes.

    data
        Folder of MNIST's IDX files.
    factor
        Images are averaged over blocks of so many pixels a side.
    num_samples
        Training images in all.
    noise
        σ of the Gaussian noise on pixels in [-1, 1].
    network
        "conv", the six-layer ConvNet of the thesis, or "mlp", 256-256.
    is_standardized
        Whether it sees standardized images; an "mlp" sees them without their mean in any case.
    num_walkers, num_touched, num_moves
        Weighted walkers, and how many of them move how often at an update. The other algorithms
        have as many walkers as that, if ``pcd`` says nothing else.
    refresh_every, refresh_steps
        Updates after which weighted walkers are annealed afresh, 0 for never, and in how many
        steps. The other algorithms make more moves an update instead
        (:func:`num_rival_moves`), so that none takes fewer gradients in training than the
        weighted walkers do.
    num_updates, batch_size, learning_rate, adam_b1, adam_eps
        Of Adam, whose rate decays to 2 % by half a cosine.
    step_size, friction, preconditioning, ess_threshold
        Of the walkers, which move by kinetic Langevin: h in units of C^(1/2) and friction in
        units of one over the largest standard deviation of C^(-1/2) x, with the preconditioner
        C of ``problem.build_dynamics``, from 0, all directions alike (always so with a
        ConvNet), to 1, as the images vary. Infinite friction is unadjusted Langevin.
    annealing_steps, annealing_walkers, num_replicates
        Of the runs that bound log Z, each way.
    num_components
        Candidates for the mixture of Gaussians.
    num_epochs
        Of the flow.
    pcd
        What PCD has in place of the settings above, by name, found for it: what suits weighted
        walkers need not suit walkers that nothing corrects. It takes as many gradients.
    num_seeds, algorithms
        Runs of each, and of which: of "jarzynski", "pcd" and "unweighted", the first first.
    """

    data: str
    factor: int
    num_samples: int
    noise: float
    network: NetworkName
    is_standardized: bool
    num_walkers: int
    num_touched: int
    num_moves: int
    refresh_every: int
    refresh_steps: int
    num_updates: int
    batch_size: int
    learning_rate: float
    adam_b1: float
    adam_eps: float
    step_size: float
    friction: float
    preconditioning: float
    ess_threshold: float
    annealing_steps: int
    annealing_walkers: int
    num_replicates: int
    num_components: tuple[int, ...]
    num_epochs: int
    pcd: tuple[tuple[str, Any], ...]
    num_seeds: int
    algorithms: tuple[str, ...]


def num_rival_moves(settings: Settings) -> int:
    """Moves an update that spend what fresh walkers cost."""
    if settings.refresh_every == 0:
        return settings.num_moves
    num_refreshes = (settings.num_updates - 1) // settings.refresh_every
    num_walkers_each = settings.num_walkers / settings.num_touched
    num_moves = num_refreshes * settings.refresh_steps * settings.num_moves * num_walkers_each
    return settings.num_moves + math.ceil(num_moves / settings.num_updates)


def standard(data: str, factor: int = 1) -> Settings:
    """28x28, or as many pixels as shrinking by a factor leaves."""
    return Settings(
        data=data,
        factor=factor,
        num_samples=9800,
        noise=0.3,
        network="mlp",
        is_standardized=True,
        # Moves keep walkers up with the model; the model learns the walkers alone as it would
        # learn data that are too few.
        num_walkers=2048,
        num_touched=2048,
        num_moves=4,
        refresh_every=0,
        refresh_steps=500,
        num_updates=4000,
        batch_size=512,
        # One step moves a hidden unit the further, the more pixels it sees. (At 28x28, walkers
        # that were not preconditioned lost models that learned at 5e-4 and at 1e-3.)
        learning_rate=1e-3 * min(factor, 2),
        # Spread over 100 updates, a gradient meets walkers that have moved on.
        adam_b1=0.99,
        adam_eps=1e-3,
        # The variance of the log-weights goes with the number of pixels, times h to the fourth.
        step_size=min(0.25 * math.sqrt(factor), 0.4),
        friction=1.0,
        preconditioning=0.5,
        ess_threshold=0.5,
        annealing_steps=4000 // factor,
        annealing_walkers=256,
        num_replicates=4,
        num_components=(1, 5, 10, 20, 30, 50),
        num_epochs=300,
        pcd=(("adam_b1", 0.9),),
        num_seeds=3,
        algorithms=ALGORITHMS,
    )


def quick(data: str, factor: int = 2) -> Settings:
    """14x14, one seed, fewer walkers and updates."""
    return standard(data, factor)._replace(
        num_walkers=1024,
        num_touched=1024,
        num_updates=2500,
        num_components=(1, 5),
        num_epochs=50,
        num_seeds=1,
    )
