r"""The two weights of a learned drift, at few steps and at many: exact, and of continuous time.

NETS was published with :math:`dA = (\nabla\cdot b + b\cdot\nabla\ell + \partial_t\ell)\,dt`
along Euler's steps, which is right as the step h goes to 0. The escorted kernel weighs the same
walkers by the ratio of their forward and backward paths, which is right at any h.
"""

import math
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from benchmarks.harness import drawing
from benchmarks.harness.claims import Claim, above, within
from benchmarks.harness.statistics import mean_and_error
from benchmarks.harness.tables import Results
from benchmarks.studies.flows.settings import Settings
from jarzynski_jax import annealing, generators, walkers
from jarzynski_jax.kernels import escorted
from jarzynski_jax.kernels.move import Move
from jarzynski_jax.kernels.step_info import WeightInfo
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.types import Array, LogDensityFn, PRNGKey, Scalar
from jarzynski_jax.walkers import Dynamics

STEPS = (8, 32, 128)
_DIMENSION, _NUM, _DIFFUSION = 2, 256, 0.5
#: Of the path from N(0, 1) to N(1, 1/4).
_LOG_Z = -_DIMENSION / 2 * math.log(4)
_MATRIX = jnp.array([[0.3, -0.5], [0.6, 0.2]])


def names(settings: Settings) -> list[str]:
    """One job for both weights at all numbers of steps."""
    del settings
    return ["finite-steps"]


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    """Mean weights over Z of independent ensembles, ``(steps, replicates)``."""
    del name
    keys = jax.random.split(jax.random.key(13), settings.num_replicates)
    # One program for all: the ensembles with fewer steps stand still when they are at the end.
    over_kinds = jax.vmap(_mean_weight, (None, None, 0))
    over_steps = jax.vmap(over_kinds, (None, 0, None))
    every = jax.jit(
        lambda keys: jax.lax.map(
            lambda key: over_steps(key, jnp.array(STEPS), jnp.array([False, True])), keys
        )
    )
    exact, euler = np.transpose(every(keys), (2, 1, 0))
    return {"exact": exact, "euler": euler}


def path(t: Scalar) -> LogDensityFn:
    """Precision 1 + 3t, centre t."""
    return lambda x: -(1 + 3 * t) * jnp.sum(jnp.square(x - t)) / 2


def velocity(t: Array, x: Array) -> Array:
    """Most of the drift that carries the path along, and what no path asked for."""
    return 0.8 * (1 - 3 / (2 * (1 + 3 * t)) * (x - t)) + 0.3 * jnp.tanh(_MATRIX @ x)


def _mean_weight(rng_key: PRNGKey, num_steps: Array, is_euler: Array) -> Array:
    key_start, key_path = jax.random.split(rng_key)
    h, number = 1 / num_steps, jnp.arange(1, max(STEPS) + 1)
    escort = escorted.build_kernel()

    def kernel(
        key: PRNGKey,
        state: escorted.EscortedState,
        logdensity_fn: LogDensityFn,
        time: Array,
        is_moving: Array,
    ) -> tuple[escorted.EscortedState, WeightInfo]:
        drift = Partial(velocity, time)
        after, info = escort(key, state, logdensity_fn, drift, h, _DIFFUSION)
        increment = jnp.where(
            is_euler, h * _rate(time - h, state.position), info.log_weight_increment
        )
        after = jax.tree.map(lambda new, old: jnp.where(is_moving, new, old), after, state)
        increment = jnp.where(is_moving, increment, 0)
        return after, info._replace(log_weight_increment=increment)

    init = partial(escorted.init, velocity_fn=Partial(velocity, 0.0))
    dynamics = Dynamics(Move(init, kernel), 1, adaptive(systematic, 0.0))
    x = jax.random.normal(key_start, (_NUM, _DIMENSION))
    start = walkers.init(x, path(0.0), init)
    times = jnp.minimum(number * h, 1)
    step_args = times, number <= num_steps
    end, _ = annealing.anneal(key_path, start, path, times, dynamics, step_args)
    return jnp.mean(jnp.exp(end.log_weights - _LOG_Z))


def _rate(t: Array, x: Any) -> Array:
    """dA/dt of continuous time, where a step begins."""
    drift, of_drift = generators.divergence(partial(velocity, t), x)
    score, rate = jax.grad(path(t))(x), jax.grad(lambda t: path(t)(x))(t)
    return of_drift + drift @ score + rate


def claims(results: Results, settings: Settings) -> list[Claim]:
    """Exact weights are within four errors of 1 at any step; the others are not, at 32."""
    del settings
    found, of = [], results["finite-steps"]
    for number, num_steps in enumerate(STEPS):
        mean, error = mean_and_error(of["exact"][number])
        label = f"mean weight over Z, exact weights of a drift at {num_steps} steps"
        found.append(within(label, mean, error, 1.0, 4))
    mean, error = mean_and_error(of["euler"][STEPS.index(32)])
    label = "mean weight over Z, weights of continuous time at 32 steps: errors from 1"
    return [*found, above(label, abs(mean - 1) / error, 8)]


def draw(results: Results, folder: Path) -> None:
    """Mean weights with four errors against the number of steps."""
    figure, axis = drawing.panels(1)
    for kind, shade, label in (("exact", "0.0", "exact"), ("euler", "0.5", "continuous time")):
        means, errors = zip(*map(mean_and_error, results["finite-steps"][kind]), strict=True)
        bars = 4 * np.array(errors)
        axis.errorbar(STEPS, means, bars, color=shade, marker="o", capsize=4, label=label)
    axis.axhline(1, color="0.7", zorder=0)
    axis.set(xscale="log", xlabel="steps", ylabel="mean weight / Z, with 4 errors")
    axis.set_xticks(STEPS, map(str, STEPS))
    axis.legend(fontsize=8)
    drawing.save(figure, folder, "finite_steps")
