"""A configuration from data: what was not chosen is what is usual for such data."""

import math
from typing import Any

import jax
import numpy as np

from jarzynski_jax import data as data_lib
from jarzynski_jax.app.config import OPTIONS, Config, can_be_rotated, check_options
from jarzynski_jax.app.model import build_dynamics
from jarzynski_jax.app.pilot import find_pilot_step_size
from jarzynski_jax.app.problem import Problem, fit_problem
from jarzynski_jax.app.restore import fingerprint
from jarzynski_jax.data import Source, Split

__all__ = ["make_config"]


def make_config(data: Split, source: Source, **chosen: Any) -> Config:
    """Fill in what follows from the data, and check what can be checked without running.

    TypeError if there is no such option. ValueError if an option makes no sense.

    Parameters
    ----------
    **chosen
        Options of :class:`~jarzynski_jax.app.config.Config`. What is None or not given is as
        the table of docs/command_line.md says.

    Examples
    --------
    >>> data = data_lib.split(np.random.default_rng(0).normal(size=(60, 2)), 0.15)
    >>> config = make_config(data, Source("data.npy"), step_size=0.5)
    >>> config.dynamics, config.walkers, config.step_size
    ('kinetic', 2048, 0.5)
    """
    options = _complete(chosen, source, data)
    check_options(options)
    problem = fit_problem(data.train, data_lib.is_file(source.name), options)
    if options["friction"] is None and options["dynamics"] == "kinetic":
        options["friction"] = _rounded(_friction(problem, options["principal_axes"]))
    if options["learning_rate"] is None:
        options["learning_rate"] = _rounded(_learning_rate(problem, source, data))
    if options["step_size"] is None:
        options["step_size"] = _rounded(_step_size(problem, source, data, options))
    where = source._asdict()
    return Config(
        source=where.pop("name"), data_fingerprint=fingerprint(data), **where, **options
    )


def _complete(chosen: dict[str, Any], source: Source, data: Split) -> dict[str, Any]:
    """All options; None where the numbers of the data decide, or nothing was chosen."""
    unknown = chosen.keys() - OPTIONS.keys()
    if unknown:
        raise TypeError(f"there is no option {', '.join(sorted(unknown))}")
    options = {name: _built_in(chosen.get(name)) for name in OPTIONS}
    for name, option in OPTIONS.items():
        if options[name] is None:
            options[name] = option.default
    for name, value in _usual(options, source, data).items():
        if options[name] is None:
            options[name] = value
    return options


def _built_in(value: Any) -> Any:
    """Numbers and sequences as config.json gives them back."""
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        value = value.tolist()
    return tuple(value) if isinstance(value, list) else value


def _usual(options: dict[str, Any], source: Source, data: Split) -> dict[str, Any]:
    """What is usual for such data, and does not follow from their numbers."""
    is_digits = source.name == "digits"
    width = 128 if is_digits or data.train.ndim == 2 else 256
    return {
        "noise": 0.1 if data_lib.is_file(source.name) else 0.3,
        "dynamics": "langevin" if is_digits else "kinetic",
        "steps": 10_000 if is_digits else 4_000,
        "walkers": 4096 if is_digits else 2048,
        "moves": 1 if is_digits else 4,
        "adam_b1": 0.9 if is_digits else 0.99,
        "adam_eps": 1e-2 if is_digits else 1e-3,
        "standardize": not is_digits,
        "principal_axes": not is_digits and can_be_rotated(options),
        "hidden": (64,) if options["network"] == "conv" else (width, width),
    }


def _friction(problem: Problem, is_rotated: bool) -> float:
    """One over the largest width that kinetic walkers see: preconditioned on principal axes."""
    largest, smallest = float(np.max(problem.variances)), float(np.min(problem.variances))
    return 1 / math.sqrt(math.sqrt(largest * smallest) if is_rotated else largest)


def _learning_rate(problem: Problem, source: Source, data: Split) -> float:
    # The step size is set by the narrowest direction, the distance to go by the others: where
    # they are far apart the walkers are slow, and the model has to wait for them.
    smallest, mean = float(np.min(problem.variances)), float(np.mean(problem.variances))
    narrowness = math.sqrt(smallest / mean)
    # A hidden unit of an MLP goes the further in a step, the more numbers it sees. (For
    # ConvNets nothing else was tried.)
    fastest = 2e-3 * min(1, 14 / math.sqrt(problem.num_features))
    if source.name == "digits":
        fastest = 1.5e-3
    elif data.train.ndim == 2:
        fastest = max(fastest, 7e-3 / math.sqrt(problem.num_features))
    return fastest * min(1, 2.5 * narrowness)


def _step_size(problem: Problem, source: Source, data: Split, options: dict[str, Any]) -> float:
    if data_lib.is_file(source.name):
        train = np.asarray(problem.to_positions(data.train))
        dynamics = build_dynamics(problem.base, {**options, "step_size": 1.0})
        return find_pilot_step_size(train, options["noise"], dynamics)
    # Of digits and MNIST the noise is the narrowest part: one Gaussian tells as much.
    smallest = float(np.min(problem.variances))
    if options["dynamics"] == "langevin":
        return 0.22 * smallest
    # The variance of kinetic walkers' log-weights goes with the dimension, times h to the
    # fourth.
    return 0.4 * min(1, (120 / problem.num_features) ** 0.25) * math.sqrt(smallest)


def _rounded(number: float) -> float:
    """To three digits, for others to read."""
    return float(f"{number:.3g}")
