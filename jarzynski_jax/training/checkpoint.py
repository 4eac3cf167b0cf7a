"""Checkpoints, by Orbax.

A checkpoint is written beside the last one and becomes visible only when it is whole, so a
kill at any moment leaves the last one. It carries the configuration that it belongs to.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jarzynski_jax import interruption

__all__ = ["best_step", "latest_step", "restore", "save"]

_NUM_KEPT = 3


@contextmanager
def _manager(folder: Path) -> Iterator[Any]:
    import orbax.checkpoint as ocp

    # Orbax reports each save at length on the root of absl's logging.
    logging.getLogger("absl").setLevel(logging.ERROR)

    def cross_entropy(metrics: Mapping[str, float]) -> float:
        return metrics["cross_entropy"]

    policies = ocp.checkpoint_managers
    best = policies.BestN(
        get_metric_fn=cross_entropy,
        reverse=True,  # the last in order, the smallest, is kept
        n=1,
        keep_checkpoints_without_metrics=False,
    )
    options = ocp.CheckpointManagerOptions(
        best_fn=cross_entropy,
        best_mode="min",
        preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(_NUM_KEPT), best]),
        enable_async_checkpointing=False,
    )
    with ocp.CheckpointManager(folder.absolute(), options=options) as manager:
        yield manager


def save(
    folder: Path, state: Any, config: Mapping[str, Any], cross_entropy: float | None = None
) -> None:
    """Save a training state; the last three are kept, and the best.

    One that is there already is left; ValueError if there is another of as many updates.

    Parameters
    ----------
    folder
        Where the checkpoints are; made if need be.
    state
        A named tuple with a field ``step``, on any device.
    config
        What the state belongs to; anything that JSON can hold.
    cross_entropy
        How good the state is: the smaller, the better. None if that is not known.

    Examples
    --------
    >>> import pathlib, tempfile, jax.numpy as jnp
    >>> from jarzynski_jax.training import TrainingState
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> state = TrainingState(jnp.array(7), jnp.ones(2), (), (), None)
    >>> save(folder, state, {"seed": 0})
    >>> latest_step(folder), restore(folder, state, {"seed": 0}).params.tolist()
    (7, [1.0, 1.0])
    """
    import orbax.checkpoint as ocp

    step = int(state.step)
    with interruption.shielded(), _manager(folder) as manager:
        if step in manager.all_steps():
            _check_same(folder, state, config, step)
        else:
            manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state), config=ocp.args.JsonSave(dict(config))
                ),
                metrics=None if cross_entropy is None else {"cross_entropy": cross_entropy},
            )


def _check_same(folder: Path, state: Any, config: Mapping[str, Any], step: int) -> None:
    if jax.process_count() > 1:  # none has all of it
        return
    saved, given = (jax.tree.leaves(of) for of in (restore(folder, state, config, step), state))
    if not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(saved, given, strict=True)):
        raise ValueError(
            f"{folder} has a checkpoint of update {step} with another state: of another run. "
            "Resume from it, or take another folder"
        )


def latest_step(folder: Path) -> int | None:
    """Return the step of the last whole checkpoint, or None if there is none.

    Examples
    --------
    >>> import pathlib
    >>> print(latest_step(pathlib.Path("nowhere")))
    None
    """
    if not folder.is_dir():
        return None
    with _manager(folder) as manager:
        return manager.latest_step()


def best_step(folder: Path) -> int | None:
    """Return the step of the kept checkpoint whose cross entropy is smallest, if any is known.

    Examples
    --------
    >>> import pathlib, tempfile, jax.numpy as jnp
    >>> from jarzynski_jax.training import TrainingState
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for step, cross_entropy in enumerate((3.0, 1.0, 2.0)):
    ...     save(folder, TrainingState(jnp.array(step), 0.0, (), (), None), {}, cross_entropy)
    >>> best_step(folder)
    1
    """
    if not folder.is_dir():
        return None
    with _manager(folder) as manager:
        return manager.best_step()


def restore(
    folder: Path, template: Any, config: Mapping[str, Any], step: int | None = None
) -> Any:
    """Restore a whole checkpoint, on one device, of whatever devices it was saved from.

    :func:`~jarzynski_jax.training.fit` spreads it over a mesh again.

    Parameters
    ----------
    folder
        Where the checkpoints are.
    template
        A state of the same structure, shapes and dtypes; its values do not matter.
    config
        What the state should belong to.
    step
        The number of updates of a checkpoint that is kept; None for the last one.

    Returns
    -------
    Any
        The state.

    Raises
    ------
    ValueError
        If there is no whole checkpoint, or none of that step, or it belongs to another
        configuration.

    """
    import orbax.checkpoint as ocp

    if latest_step(folder) is None:
        raise ValueError(f"there is no checkpoint in {folder}")
    with _manager(folder) as manager:
        kept = sorted(manager.all_steps())
        step = kept[-1] if step is None else step
        if step not in kept:
            best = manager.best_step()
            mark = " (lowest held-out cross entropy)"
            marked = (f"{number}{mark if number == best else ''}" for number in kept)
            raise ValueError(
                f"no checkpoint of update {step} is kept in {folder}; those that are: "
                f"{', '.join(marked)}"
            )
        saved = manager.restore(step, args=ocp.args.Composite(config=ocp.args.JsonRestore()))
        differences = _differences(saved["config"], config)
        if differences:
            raise ValueError(
                f"the checkpoint in {folder} belongs to another configuration: {differences}"
            )
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        abstract = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), template
        )
        restored = manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
        )
    return restored["state"]


def _differences(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    def normal(value: Any) -> Any:
        return json.loads(json.dumps(value))  # as it comes back: lists, at any depth

    keys = sorted({*saved, *wanted})
    return ", ".join(
        f"{key} was {saved.get(key)!r} and is {wanted.get(key)!r}"
        for key in keys
        if normal(saved.get(key)) != normal(wanted.get(key))
    )
