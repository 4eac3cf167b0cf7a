"""``python -m benchmarks.studies.boltzmann --data FOLDER --out FOLDER``: binary MNIST.

Restricted Boltzmann machines (thesis, eq. 3.4.7) on the ten digits, each pixel on or off,
trained by Jarzynski's weights, by persistent contrastive divergence and by contrastive
divergence, with block Gibbs throughout. With 16 hidden units log Z is exact, by enumeration;
with 128 it is bounded from both sides.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from benchmarks.harness import command_line, drawing
from benchmarks.harness.tables import describe, machine, markdown
from jarzynski_jax import annealing, free_energy, training
from jarzynski_jax.annealing import paths
from jarzynski_jax.data import load_mnist
from jarzynski_jax.density import check_exact
from jarzynski_jax.energies import restricted_boltzmann
from jarzynski_jax.energies.restricted_boltzmann import Machine
from jarzynski_jax.formatting import format_with_error
from jarzynski_jax.kernels import gibbs
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.training import Annealing, bound_along_path
from jarzynski_jax.types import Array, PRNGKey
from jarzynski_jax.walkers import Dynamics

_NUM_REPLICATES = 4
_MOST_ENUMERATED = 20
_NUM_SHOWN = 64


class Settings(NamedTuple):
    """Sizes; gradient descent at a rate that falls to zero by half a cosine.

    Weighted walkers start afresh every so many updates, and what that costs the others spend
    on a second move an update.
    """

    hidden: tuple[int, ...] = (16, 128)
    num_walkers: int = 2048
    num_updates: int = 5_000
    refresh_every: int = 250
    refresh_steps: int = 250
    batch_size: int = 256
    learning_rate: float = 0.1
    annealing_steps: int = 4000
    annealing_walkers: int = 256


STANDARD = Settings()
QUICK = Settings((8, 32), 256, 500, 100, 100, annealing_steps=400, annealing_walkers=64)

ALGORITHMS: dict[str, Callable[..., training.Objective]] = {
    "Jarzynski": training.jarzynski,
    "PCD": training.persistent_contrastive_divergence,
    "CD, two steps": training.contrastive_divergence,
}


class Fit(NamedTuple):
    """A machine, bounds of its test cross entropy, and where exact, that itself."""

    params: Machine
    bracket: free_energy.Bracket
    exact: float | None
    walkers: float | None
    images: np.ndarray


def main(
    data: Path, out: Path, quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
) -> None:
    """Train restricted Boltzmann machines on binary MNIST and bound their likelihood.

    Parameters
    ----------
    data
        Folder with MNIST's IDX files, gzipped or not.
    out
        Folder for boltzmann.md, boltzmann.json and pictures.
    quick
        Small machines, few updates.
    """
    settings = QUICK if quick else STANDARD
    train = _binary(load_mnist(data).images)
    test = _binary(load_mnist(data, part="test").images)
    out.mkdir(parents=True, exist_ok=True)
    rows, record = [], []
    for num_hidden in settings.hidden:
        fits = {}
        for name, build in ALGORITHMS.items():
            fit = fits[name] = fit_machine(build, num_hidden, train, test, settings)
            rows.append(_row(name, num_hidden, fit))
            bracket = fit.bracket._asdict()
            record.append(
                {"algorithm": name, "hidden": num_hidden, "exact": fit.exact} | bracket
            )
            print(" | ".join(rows[-1]), flush=True)
        _draw({name: fit.images for name, fit in fits.items()}, test, out, num_hidden)
    rows.append(
        ("independent pixels", "0", *(3 * [f"{_independent(train, test):.2f}"]), "", "")
    )
    header = (
        "trained by",
        "hidden",
        "lower bound",
        "upper bound",
        "exact",
        "walkers",
        "doubts",
    )
    preamble = f"{machine('jax')} {describe(settings)} Nats for a test image of 784 pixels."
    (out / "boltzmann.md").write_text(f"{preamble}\n\n{markdown(header, rows)}\n")
    (out / "boltzmann.json").write_text(json.dumps(record, indent=1))


def _binary(images: np.ndarray) -> np.ndarray:
    return (images > 0).reshape(len(images), -1).astype(np.float32)


def fit_machine(
    build: Callable[..., training.Objective],
    num_hidden: int,
    train: np.ndarray,
    test: np.ndarray,
    settings: Settings,
) -> Fit:
    """Train from seed 0; judge by walkers that took no part."""
    dynamics = block_gibbs(num_hidden)
    keys = jax.random.split(jax.random.key(0), 2)
    state, metrics = _train(keys[0], build, num_hidden, train, settings)
    bounds, images = _bound(keys[1], state.params, dynamics, jnp.asarray(train), settings)
    energies = jax.jit(jax.vmap(restricted_boltzmann.energy, (None, 0)))(state.params, test)
    bracket = free_energy.bracket(np.asarray(energies, np.float64), bounds)
    exact = None
    if num_hidden <= _MOST_ENUMERATED:
        log_z = restricted_boltzmann.log_partition_function(state.params)
        exact = float(jnp.mean(energies)) + float(log_z)
    walkers = None
    if build is training.jarzynski:
        walkers = float(metrics.training_log_partition_function[-1] + jnp.mean(energies))
    return Fit(state.params, bracket, exact, walkers, images)


def block_gibbs(num_hidden: int, num_moves: int = 1) -> Dynamics:
    return Dynamics(gibbs.as_move(num_hidden), num_moves, adaptive(systematic, 0.5))


def _refresh(dynamics: Dynamics, settings: Settings) -> training.Refresh:
    """Walkers from the machine without its couplings to the machine as it is."""

    def path_to(params: Machine) -> paths.Path:
        return restricted_boltzmann.parameter_path(restricted_boltzmann.base(params), params)

    return training.refresh_along_path(
        restricted_boltzmann.base_density,
        path_to,
        dynamics,
        settings.refresh_steps,
        settings.refresh_every,
    )


def _train(
    key: PRNGKey,
    build: Callable[..., training.Objective],
    num_hidden: int,
    train: np.ndarray,
    settings: Settings,
) -> tuple[training.TrainingState, training.Metrics]:
    is_weighted = build is training.jarzynski
    dynamics = block_gibbs(num_hidden, 1 if is_weighted else 2)
    keys = jax.random.split(key, 4)
    params = restricted_boltzmann.init(keys[0], train.shape[1], num_hidden, train)
    # Walkers start as exact samples of the machine without its couplings; the first update
    # takes them to the machine with them, and that step is in their weights.
    base = restricted_boltzmann.base(params)
    sample, log_z = check_exact(restricted_boltzmann.base_density(params))
    positions = sample(keys[1], settings.num_walkers)
    optimizer = optax.sgd(
        optax.cosine_decay_schedule(settings.learning_rate, settings.num_updates)
    )
    objective = build(restricted_boltzmann.energy, optimizer, dynamics)
    data = jnp.asarray(train)
    state = jax.jit(objective.init)(keys[2], base, positions, data, log_z)
    result = training.fit(
        keys[3],
        objective,
        state._replace(params=params),
        data,
        num_steps=settings.num_updates,
        batch_size=settings.batch_size,
        refresh=_refresh(dynamics, settings) if is_weighted else None,
    )
    return result.state, result.metrics


def _bound(
    key: PRNGKey, params: Machine, dynamics: Dynamics, train: Array, settings: Settings
) -> tuple[annealing.LogPartitionBounds, np.ndarray]:
    """Switch the couplings on and off again; also off from samples relaxed from the data."""
    base = restricted_boltzmann.base(params)
    bounds = bound_along_path(
        key,
        restricted_boltzmann.base_density(params),
        restricted_boltzmann.parameter_path(base, params),
        train,
        0.0,
        dynamics,
        Annealing(settings.annealing_steps, settings.annealing_walkers, _NUM_REPLICATES),
    ).bounds
    # Probabilities of the pixels, given hidden units: easier on the eye than pixels.
    some = bounds.end_points[:, : _NUM_SHOWN // _NUM_REPLICATES].reshape(_NUM_SHOWN, -1)
    return bounds, np.asarray(jax.vmap(_expected, (None, 0))(params, some))


def _expected(params: Machine, visible: Array) -> Array:
    hidden = jax.nn.sigmoid(params.hidden_bias + visible @ params.weights)
    return jax.nn.sigmoid(params.visible_bias + params.weights @ hidden)


def _independent(train: np.ndarray, test: np.ndarray) -> float:
    """Cross entropy of pixels that are on as often as in the training images, independently."""
    rate = (train.sum(axis=0) + 1) / (len(train) + 2)
    return float(-np.mean(test @ np.log(rate) + (1 - test) @ np.log1p(-rate)))


def _row(name: str, num_hidden: int, fit: Fit) -> tuple[str, ...]:
    found = fit.bracket
    return (
        name,
        str(num_hidden),
        format_with_error(found.lower, found.lower_error),
        format_with_error(found.upper, found.upper_error),
        "" if fit.exact is None else f"{fit.exact:.2f}",
        "" if fit.walkers is None else f"{fit.walkers:.2f}",
        "; ".join(found.doubts) or "none",
    )


def _draw(images: dict[str, np.ndarray], test: np.ndarray, out: Path, num_hidden: int) -> None:
    shown = {"test images": test[:_NUM_SHOWN], **images}
    figure, axes = drawing.panels(len(shown))
    for axis, (title, flat) in zip(axes, shown.items(), strict=True):
        drawing.show_images(axis, flat.reshape(-1, 28, 28), 0, 1)
        axis.set_title(title)
    figure.suptitle(f"{num_hidden} hidden units, annealed afresh: probabilities of the pixels")
    drawing.save(figure, out, f"boltzmann_{num_hidden}")


if __name__ == "__main__":
    command_line.start(main)
