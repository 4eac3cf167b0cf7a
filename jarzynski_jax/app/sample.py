"""Samples of a run's model: walkers annealed from its base, resampled to equal weight."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax import annealing, resampling
from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax.app import plotting
from jarzynski_jax.app.evaluate import denoiser
from jarzynski_jax.app.model import Keys
from jarzynski_jax.app.report import Moves
from jarzynski_jax.app.restore import Run, restore
from jarzynski_jax.app.run_folder import RunFolder, write_whole
from jarzynski_jax.data import noise
from jarzynski_jax.energies import gaussian_base
from jarzynski_jax.progress import show_fraction
from jarzynski_jax.training.bounding import Annealing, check_annealing, path_from_base
from jarzynski_jax.types import Array

__all__ = ["Sampling", "WalkersDied", "count_living", "sample"]


class WalkersDied(RuntimeError):
    """Too few of the annealed walkers were alive at the end to draw samples from them."""

    def __init__(
        self, num_dead: int, num_walkers: int, num_samples: int, step_size: float
    ) -> None:
        self.num_dead, self.num_walkers = num_dead, num_walkers
        self.num_samples, self.step_size = num_samples, step_size
        fewer = "" if num_dead == num_walkers else ", or ask for fewer samples"
        super().__init__(
            f"{num_dead} of {num_walkers} annealed walkers died, so there are no {num_samples} "
            f"samples, and nothing was written: the step size, {step_size}, is too large, or "
            "the model's density is zero or not finite where they went. Train with a smaller "
            f"step size{fewer}."
        )

    def __reduce__(self) -> tuple[type["WalkersDied"], tuple[int, int, int, float]]:
        """How it comes out of another process."""
        return type(self), (self.num_dead, self.num_walkers, self.num_samples, self.step_size)


class Sampling(NamedTuple):
    """What :func:`sample` did.

    samples
        Path of the ``.npz`` file.
    picture
        Its path.
    updates
        How many updates the model was trained for.
    num_walkers
        How many were annealed.
    num_alive
        How many of them were alive at the end.
    num_steps
        How many steps they made.
    moves
        How they moved.
    """

    samples: Path
    picture: Path
    updates: int
    num_walkers: int
    num_alive: int
    num_steps: int
    moves: Moves


def sample(
    folder: RunFolder,
    num_samples: int,
    settings: Annealing,
    out: Path | None = None,
    overwrite: bool = False,
    update: int | None = None,
) -> Sampling:
    """Draw samples of a run's model by annealing walkers from its base.

    ValueError as :func:`~jarzynski_jax.app.restore.restore`, or if a number is not positive, or
    ``out`` is no ``.npz`` file, or it or its picture is there and not to be replaced.
    WalkersDied if no walker, or fewer than ``num_samples``, were alive at the end. Nothing is
    written.

    Parameters
    ----------
    num_samples
        How many; drawn from as many walkers, or from ``settings.walkers`` if these are more.
    settings
        Steps and walkers of the annealing run.
    out
        The ``.npz`` file to write: ``samples``, shape ``(num_samples, ...)``, of equal
        weight, in the units of the data. The picture goes beside it. If None,
        ``samples-1.npz`` in the folder of the run, or with the next number that is free.
    overwrite
        Whether ``out`` and its picture may be replaced.
    update
        Of which kept checkpoint; None for the last one.
    """
    if num_samples < 1:
        raise ValueError(f"the number of samples must be at least 1; got {num_samples}")
    if out is not None:
        _check_out(out, overwrite)
    check_annealing(settings)
    run = restore(folder, update)
    num_walkers = max(num_samples, settings.walkers)
    samples, num_alive = _anneal_samples(run, num_walkers, settings.steps)
    if num_alive < num_samples:
        num_dead, step_size = num_walkers - num_alive, run.config.step_size
        raise WalkersDied(num_dead, num_walkers, num_samples, step_size)
    samples = samples[:num_samples]
    # Chosen at the end, for other samples may have been drawn in the meantime.
    out = out or folder.new_samples()
    write_whole(out, lambda path: np.savez(path, samples=samples))
    picture = out.with_suffix(".png")
    plotting.plot_samples(_noisy_test(run), samples, picture, denoiser(run))
    return Sampling(
        samples=out,
        picture=picture,
        updates=int(run.state.step),
        num_walkers=num_walkers,
        num_alive=num_alive,
        num_steps=settings.steps,
        moves=Moves.of(run.config),
    )


def _noisy_test(run: Run) -> np.ndarray:
    problem = run.model.problem
    standard = problem.to_standard(run.data.samples.test)
    noisy = noise.add_noise(standard, run.config.noise, 1, run.config.seed)[:, 0]
    return problem.from_standard(noisy)


def _check_out(out: Path, overwrite: bool) -> None:
    if out.suffix != ".npz" or not out.parent.is_dir():
        raise ValueError(f"samples go to a .npz file in a folder that exists; got {out}")
    taken = [str(path) for path in (out, out.with_suffix(".png")) if path.exists()]
    if taken and not overwrite:
        are = "is" if len(taken) == 1 else "are"
        raise ValueError(
            f"{' and '.join(taken)} {are} there already; replace by --overwrite, or choose "
            "another --out"
        )


def _anneal_samples(run: Run, num_walkers: int, num_steps: int) -> tuple[np.ndarray, int]:
    """Anneal walkers and resample them to equal weight, in random order; count the living."""
    # Apart from those of the evaluation.
    keys = jax.random.split(jax.random.fold_in(Keys.of(run.config.seed).evaluation, 1), 4)
    base, dynamics = run.model.problem.base, run.model.annealing
    path = path_from_base(base, run.model.energy_fn, run.state.params)

    @partial(jax.jit, static_argnums=0)
    def anneal(progress: Callable[[float], None]) -> tuple[Array, Array]:
        positions = gaussian_base.sample(keys[0], base, num_walkers)
        walkers = walkers_lib.init(positions, path(0.0), dynamics.kernel_init)
        times = jnp.arange(1, num_steps + 1) / num_steps
        walkers, info = annealing.anneal(
            keys[1], walkers, path, times, dynamics, progress=progress
        )
        draw = resampling.from_log_weights(resampling.systematic)
        ancestors = draw(keys[2], walkers.log_weights, num_walkers)
        samples = walkers.position[jax.random.permutation(keys[3], ancestors)]
        return samples, count_living(walkers, info)

    with show_fraction("annealing walkers", num_steps) as progress:
        samples, num_alive = jax.device_get(anneal(progress))
    return run.model.problem.to_samples(samples), int(num_alive)


def count_living(walkers: walkers_lib.Walkers, info: annealing.AnnealingInfo) -> Array:
    """How many walkers the last step left alive, before it may have resampled them."""
    resampled_before = jnp.append(info.is_resampled[:-1], False)
    num_later = jnp.cumsum(resampled_before[::-1])[::-1]
    num_dead = jnp.sum(jnp.where(num_later == 0, info.num_dead, 0))
    num_finite = jnp.sum(jnp.isfinite(walkers.log_weights))
    return jnp.minimum(num_finite, walkers.log_weights.shape[0] - num_dead)
