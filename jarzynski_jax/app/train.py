"""A run is started, or gone on with, and trained to its end or to Ctrl-C."""

import dataclasses
import shutil

import numpy as np
from jax.sharding import Mesh

from jarzynski_jax import data as data_lib
from jarzynski_jax import interruption, training
from jarzynski_jax.app import plotting
from jarzynski_jax.app.config import Config, settings_of_training
from jarzynski_jax.app.model import Keys, Model, build_model, draw_exact, first_state
from jarzynski_jax.app.problem import fit_problem, save_problem
from jarzynski_jax.app.restore import restore
from jarzynski_jax.app.run_folder import RunFolder, write_json, write_whole
from jarzynski_jax.data import Split
from jarzynski_jax.training import TrainingState
from jarzynski_jax.training.sharding import spread_state

__all__ = ["resume", "start"]


def start(
    folder: RunFolder,
    config: Config,
    data: Split,
    overwrite: bool,
    mesh: Mesh | None = None,
) -> bool:
    """Start a run in a new folder and train.

    Returns whether it was trained to the end; False after Ctrl-C. ValueError if the folder is
    there, and not to be replaced or not a run; or the mesh does not divide the walkers.
    TrainingDiverged if training went wrong.

    Parameters
    ----------
    overwrite
        Whether an earlier run in that folder may be replaced.
    mesh
        Devices to spread walkers and data over; None for one.
    """
    problem = fit_problem(data.train, data_lib.is_file(config.source), vars(config))
    model = build_model(config, problem)
    keys = Keys.of(config.seed)
    held_out, _ = draw_exact(model, keys.held_out, config.held_out)
    state = first_state(model, data.train, keys.walkers, keys.init, config.walkers, held_out)
    if mesh is not None:
        state = spread_state(state, mesh)
    # Nothing is touched before everything that can be checked has been.
    with interruption.shielded():
        _make_room(folder, overwrite)
        write_whole(folder.base, lambda path: save_problem(path, problem))
        write_json(folder.config, dataclasses.asdict(config))
    return _fit(folder, config, model, state, data.train, mesh)


def resume(
    folder: RunFolder, mesh: Mesh | None = None, checkpoint_every: int | None = None
) -> bool:
    """Go on with a run from its last checkpoint; the mesh need not be that of the first part.

    ValueError if the folder holds no run, or its data or its checkpoint are not those of its
    configuration. TrainingDiverged if training went wrong.
    """
    config, (data, _), model, state = restore(folder)
    if checkpoint_every is not None:
        config = dataclasses.replace(config, checkpoint_every=checkpoint_every)
    return _fit(folder, config, model, state, data.train, mesh)


def _fit(
    folder: RunFolder,
    config: Config,
    model: Model,
    state: TrainingState,
    train: np.ndarray,
    mesh: Mesh | None,
) -> bool:
    try:
        result = training.fit(
            Keys.of(config.seed).training,
            model.objective,
            state,
            model.problem.to_positions(train),
            num_steps=config.steps,
            batch_size=config.batch_size,
            noise_scale=config.noise,
            folder=folder.path,
            config=settings_of_training(config),
            checkpoint_every=config.checkpoint_every,
            progress=True,
            mesh=mesh,
            refresh=_refresh(config, model),
        )
    except training.TrainingDiverged as error:
        _draw_curves(folder, model)
        error.add_note(f"The curves up to there are in {folder.curves}.")
        raise
    if int(result.state.step) > 0:  # it may be interrupted before
        _draw_curves(folder, model)
    return not result.is_interrupted


def _refresh(config: Config, model: Model) -> training.Refresh | None:
    if config.refresh_every == 0:
        return None
    return training.refresh_from_base(
        model.energy_fn,
        model.problem.base,
        model.annealing,
        config.refresh_steps,
        config.refresh_every,
    )


def _draw_curves(folder: RunFolder, model: Model) -> None:
    is_standard = model.problem.coordinates is not None
    units = "nats, in standard coordinates" if is_standard else "nats"
    with interruption.shielded():
        plotting.plot_curves(training.read_metrics(folder.metrics), folder.curves, units)


def _make_room(folder: RunFolder, overwrite: bool) -> None:
    path = folder.path
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        if not overwrite:
            raise ValueError(
                f"{path} is there already; go on with it by --resume {path}, replace it by "
                "--overwrite, or choose another --out"
            )
        if not folder.config.is_file():
            raise ValueError(f"{path} is not the folder of a run, so it is not overwritten")
        shutil.rmtree(path)
    path.mkdir(parents=True, exist_ok=True)
