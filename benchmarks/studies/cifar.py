"""``python -m benchmarks.studies.cifar --data FOLDER --out FOLDER``: CIFAR-10, thesis §4.3.3.

Its network (128 features), numbers of walkers, noise, learning rate and epochs, and what it
leaves to the code published with the paper: 60 moves an update, batches of 512, Adam without
momentum at a rate that falls to zero in a line. But with exact weights at temperature 1:
Langevin's noise goes with its step, no pixel is boxed in and no gradient is clipped; and
Adam's eps is 1e-3, for 1e-8 blows up what is mere noise. For an accelerator; with ``--quick`` a
few updates on made-up images of that shape show that it runs.
"""

from pathlib import Path
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import nnx

from benchmarks.harness import command_line, drawing
from jarzynski_jax import training
from jarzynski_jax.data import load_cifar10, noise
from jarzynski_jax.energies import (
    ConvNet,
    OnGaussianBase,
    fit_gaussian_base,
    functional,
    gaussian_base,
    thesis_cifar_layers,
)
from jarzynski_jax.training import checkpoint
from jarzynski_jax.types import Array
from jarzynski_jax.walkers import langevin

_SHAPE = (32, 32, 3)
_NOISE = 0.03


class Settings(NamedTuple):
    """The thesis', but for the step size: h is a fifth of the variance of the noise.

    ``num_moves`` is how many Langevin moves a touched walker makes at an update.
    """

    num_features: int
    num_walkers: int
    num_touched: int
    num_moves: int
    batch_size: int
    num_epochs: int
    learning_rate: float
    step_size: float


STANDARD = Settings(128, 4096, 256, 60, 512, 600, 1e-4, 0.2 * _NOISE**2)
QUICK = Settings(4, 32, 8, 2, 16, 1, 1e-4, 0.2 * _NOISE**2)


def main(
    out: Path,
    data: Path | None = None,
    quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Train by the pool algorithm, and draw walkers.

    Parameters
    ----------
    out
        Folder for metrics, checkpoints and a picture. What was interrupted goes on there.
    data
        Folder of CIFAR-10's binary version.
    quick
        A few updates of a small network on made-up images.
    """
    if (data is None) != quick:
        raise ValueError("give either --data FOLDER, of CIFAR-10's binary version, or --quick")
    settings = QUICK if quick else STANDARD
    images = _made_up(64) if data is None else load_cifar10(data).images
    result = train(images, settings, out)
    assert result.state.walkers is not None  # the pool
    _draw(np.asarray(result.state.walkers.position[:64]), out)
    print(f"wrote {out / 'metrics.csv'} and {out / 'walkers.png'}")
    if result.is_interrupted:
        print(f"interrupted at update {int(result.state.step)}; the same command goes on")


def train(images: np.ndarray, settings: Settings, out: Path) -> training.FitResult:
    base = fit_gaussian_base(images, "diagonal", _NOISE)
    network = ConvNet(_SHAPE, thesis_cifar_layers(settings.num_features), rngs=nnx.Rngs(0))
    energy_fn, params = functional(OnGaussianBase(base, network))
    num_updates = max(settings.num_epochs * len(images) // settings.batch_size, 1)
    schedule = optax.linear_schedule(settings.learning_rate, 0.0, num_updates)
    objective = training.jarzynski_pool(
        energy_fn,
        optax.adam(schedule, b1=0.0, eps=1e-3),
        langevin(settings.step_size, settings.num_moves),
        settings.num_touched,
        training.Watch(images[0].size, noise.noise_entropy(images[0].size, _NOISE)),
    )
    keys = jax.random.split(jax.random.key(0), 3)
    positions, log_z = gaussian_base.exact_start(
        keys[0], base, energy_fn, params, settings.num_walkers
    )
    state = objective.init(keys[1], params, positions, images, log_z)
    config = {"settings": list(settings)}
    if checkpoint.latest_step(out / "checkpoints") is not None:
        state = checkpoint.restore(out / "checkpoints", state, config)
    return training.fit(
        keys[2],
        objective,
        state,
        jnp.asarray(images),
        num_steps=num_updates,
        batch_size=settings.batch_size,
        noise_scale=_NOISE,
        folder=out,
        config=config,
        progress=True,
    )


def _made_up(count: int) -> np.ndarray:
    """Smooth colours in [-1, 1]."""
    coarse = jax.random.uniform(jax.random.key(0), (count, 4, 4, 3), minval=-1.0)
    smooth: Array = jax.image.resize(coarse, (count, *_SHAPE), "cubic")
    return np.asarray(jnp.clip(smooth, -1, 1))


def _draw(images: np.ndarray, out: Path) -> None:
    figure, axis = drawing.panels(1)
    drawing.show_images(axis, images, -1, 1)
    drawing.save(figure, out, "walkers")


if __name__ == "__main__":
    command_line.start(main)
