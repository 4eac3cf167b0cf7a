"""Run many independent jobs, one core each, and keep what each found.

A job is a name that a module knows how to run. What it found is in ``data/<name>.npz``; a
job whose file is there is not run again, so a study that was interrupted goes on. The files
belong to the settings (any NamedTuple of plain values), not to the code: after a change of the
code take another folder.
"""

import importlib
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

#: Memory maps from which on compiled programs are forgotten: Linux allows a process 65 530,
#: and every program has some.
_MANY_MAPS = 20_000


class JobDied(RuntimeError):
    """A job's process ended without a result."""


class Job(NamedTuple):
    """``module.run(name, settings)`` gives a dictionary of arrays."""

    module: str
    name: str

    def path(self, folder: Path) -> Path:
        return folder / "data" / f"{self.name}.npz"


def prepare(folder: Path, settings: Any) -> None:
    """Make the folder, or see that what is in it belongs to these settings."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    path, text = folder / "settings.json", json.dumps(settings._asdict(), indent=1)
    if path.exists() and path.read_text() != text:
        raise ValueError(
            f"{folder} holds a study with other settings (see {path}); take another folder"
        )
    path.write_text(text)


def run(
    todo: Sequence[Job], settings: Any, folder: Path, num_processes: int
) -> dict[str, dict[str, np.ndarray]]:
    """Run what has no file yet, and load what all of them found."""
    prepare(folder, settings)
    run_all(todo, settings, folder, num_processes)
    return load(todo, folder)


def run_all(jobs: Sequence[Job], settings: Any, folder: Path, num_processes: int) -> None:
    """Run the jobs that have no file yet, in as many processes.

    What a job raises is told at once, and raised when the others are done.
    """
    left = [job for job in jobs if not job.path(folder).exists()]
    # Workers start afresh: a process that has run JAX must not be forked.
    context = multiprocessing.get_context("spawn")
    has_core_each = 1 < num_processes <= (os.cpu_count() or 1)
    first_error: Exception | None = None
    with ProcessPoolExecutor(
        num_processes, context, initializer=_start_worker, initargs=(has_core_each,)
    ) as pool:
        futures = {pool.submit(_run, job, settings, folder): job for job in left}
        for done, future in enumerate(as_completed(futures), 1):
            name = futures[future].name
            try:
                outcome = f"{future.result():.0f} s"
            except BrokenProcessPool:
                raise JobDied(
                    f"the process of {name}, or of a job beside it, died, as "
                    f"for want of memory; what is done is in {folder}: run the same again, "
                    "with --processes 1 if it comes back"
                ) from None
            except Exception as error:  # of whatever kind: the others go on
                first_error = first_error or error
                outcome = f"failed, {error!r}"
            print(f"[{done}/{len(left)}] {name}: {outcome}", flush=True)
    if first_error is not None:
        raise first_error


def _start_worker(has_core_each: bool) -> None:
    """Give each of several workers one core: side by side they are faster so."""
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    if has_core_each and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        number = multiprocessing.current_process()._identity[0] - 1
        os.sched_setaffinity(0, {cores[number % len(cores)]})


def _end_with_parent(parent: int) -> None:
    """A study that is killed must not leave workers that go on for hours."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _run(job: Job, settings: Any, folder: Path) -> float:
    start = time.perf_counter()
    found = importlib.import_module(job.module).run(job.name, settings)
    # A file is there whole or not at all.
    part = job.path(folder).with_suffix(".part")
    with part.open("wb") as file:
        np.savez_compressed(file, **found)
    part.rename(job.path(folder))
    if _num_maps() > _MANY_MAPS:
        jax.clear_caches()
    return time.perf_counter() - start


def _num_maps() -> int:
    """Memory maps of this process; 0 where it is not told."""
    try:
        return len(Path("/proc/self/maps").read_text().splitlines())
    except OSError:
        return 0


def load(jobs: Sequence[Job], folder: Path) -> dict[str, dict[str, np.ndarray]]:
    found = {}
    for job in jobs:
        with np.load(job.path(folder)) as arrays:
            found[job.name] = dict(arrays)
    return found
