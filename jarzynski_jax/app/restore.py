"""A run as its folder tells it: configuration, data, model, and a state of its training."""

from typing import NamedTuple

import numpy as np

from jarzynski_jax import data as data_lib
from jarzynski_jax.app.config import Config, read_config, settings_of_training
from jarzynski_jax.app.model import Model, build_model, state_template
from jarzynski_jax.app.problem import load_problem
from jarzynski_jax.app.run_folder import RunFolder
from jarzynski_jax.data import LabelledSplit, Source, Split
from jarzynski_jax.training import TrainingState, checkpoint

__all__ = ["Run", "fingerprint", "restore"]


class Run(NamedTuple):
    """What a run was when a checkpoint was written."""

    config: Config
    data: LabelledSplit
    model: Model
    state: TrainingState


def restore(folder: RunFolder, update: int | None = None) -> Run:
    """Read a run.

    ValueError if the folder holds no run or no such checkpoint, or its data or its checkpoint
    are not those of its configuration.

    Parameters
    ----------
    update
        Of which kept checkpoint; None for the last one.
    """
    config = read_config(folder)
    data = _read_data(folder, config)
    train = data.samples.train
    problem = load_problem(
        folder.base, config.principal_axes, data_lib.is_file(config.source), train.dtype
    )
    model = build_model(config, problem)
    template = state_template(model, config, train)
    settings = settings_of_training(config)
    state = checkpoint.restore(folder.checkpoints, template, settings, update)
    return Run(config, data, model, state)


def fingerprint(data: Split) -> str:
    """Tell data from others."""
    return data_lib.fingerprint(np.concatenate(data))


def _read_data(folder: RunFolder, config: Config) -> LabelledSplit:
    source = Source(
        config.source, config.folder, config.classes, config.proportions, config.shrink
    )
    data = data_lib.load_labelled_split(source)
    if fingerprint(data.samples) != config.data_fingerprint:
        raise ValueError(f"{config.source} has changed since the run in {folder.path} started")
    return data
