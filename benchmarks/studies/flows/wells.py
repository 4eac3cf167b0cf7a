"""Free energies of the two wells of a Boltzmann generator's test system, by any flow."""

import math
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flowjax.bijections import RationalQuadraticSpline
from flowjax.distributions import StandardNormal
from flowjax.flows import coupling_flow

from benchmarks.harness import drawing
from benchmarks.harness.claims import Claim, is_true, within
from benchmarks.harness.tables import Results
from benchmarks.studies.flows.settings import Settings
from jarzynski_jax import free_energy, targets, training
from jarzynski_jax.generators import Flow
from jarzynski_jax.interop.flowjax import from_flowjax
from jarzynski_jax.types import Array, Params

#: u = x^4 - 6 x^2 + x + y^2/2 (Noé, Olsson, Köhler and Wu, Science 365, 2019).
TARGET = targets.product([targets.double_well(-1.0), targets.gaussian([1.0])])
FLOWS = ("untrained", "half-trained", "trained", "by-divergence-alone")


@cache
def exact() -> float:
    """F_R - F_L, cut at x = 0, by the trapezoidal rule, exact to 1e-9 for so smooth a well."""
    x = np.linspace(-5, 5, 2_000_001)
    weight = np.exp(-(x**4) + 6 * x**2 - x)
    # The sample at the cut belongs half to each.
    left, right = weight[x < 0].sum(), weight[x > 0].sum()
    return float(np.log((left + weight[x == 0].sum() / 2) / (right + weight[x == 0].sum() / 2)))


def names(settings: Settings) -> list[str]:
    """One job for all stages, which are of one training."""
    del settings
    return ["wells"]


def _flow(num_layers: int) -> tuple[Flow, Params]:
    base: Any = StandardNormal  # its arguments are hidden from type checkers
    base = base((2,))
    return from_flowjax(
        coupling_flow(
            jax.random.key(0),
            base_dist=base,
            transformer=RationalQuadraticSpline(knots=8, interval=4),
            flow_layers=num_layers,
            nn_width=32,
            nn_depth=1,
            invert=False,
        )
    )


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    """Train by samples of both wells in equal parts and by the energy; look three times."""
    del name
    flow, params = _flow(settings.num_well_layers)
    key_data, key_fit, key_look = jax.random.split(jax.random.key(5), 3)
    assert TARGET.sample is not None
    of_target = TARGET.sample(key_data, 100_000)
    # Training has seen the first thousand of each well; the next ones are for BAR.
    is_left = of_target[:, 0] < 0
    data = jnp.concatenate([of_target[is_left][:1000], of_target[~is_left][:1000]])
    optimizer = optax.chain(optax.clip_by_global_norm(10.0), optax.adam(2e-3))
    objective = training.boltzmann_generator(flow, TARGET, optimizer, 128)
    half = settings.num_well_updates // 10
    stages = {"untrained": params}
    state = objective.init(key_fit, params)
    for stage, num_steps in (("half-trained", half), ("trained", settings.num_well_updates)):
        state = training.fit(
            key_fit, objective, state, data, num_steps=num_steps, batch_size=128
        ).state
        stages[stage] = state.params
    alone = training.reverse_kl(flow.sample_and_logdensity, TARGET, optimizer, 128)
    stages["by-divergence-alone"] = training.fit(
        key_fit, alone, alone.init(key_fit, params), num_steps=settings.num_well_updates
    ).state.params

    @jax.jit
    def draw(params: Params) -> tuple[Array, Array]:
        keys = jax.random.split(key_look, settings.num_well_samples)
        x, log_q = jax.vmap(flow.sample_and_logdensity, (0, None))(keys, params)
        return x[:, 0], jax.vmap(TARGET.logdensity_fn)(x) - log_q

    found: dict[str, np.ndarray] = {}
    for stage, params in stages.items():
        x, log_weights = draw(params)
        states = free_energy.macrostates(log_weights, {"left": x < 0, "right": x >= 0})
        difference = states.difference("left", "right")
        regions = states.regions.values()
        found[f"{stage}/difference"] = np.array(difference)
        found[f"{stage}/num_doubts"] = np.array(sum(len(of.doubts) for of in regions))
        found[f"{stage}/num_samples"] = np.array([of.num_samples for of in regions])
        found[f"{stage}/x"] = np.asarray(x[:20_000])
        found[f"{stage}/log_weights"] = np.asarray(log_weights[:20_000])
    both = _from_both_ends(flow, stages["trained"], draw(stages["trained"]), of_target)
    return {**found, **both}


def _from_both_ends(
    flow: Flow, params: Params, forward: tuple[Array, Array], of_target: Array
) -> dict[str, np.ndarray]:
    """Targeted free-energy perturbation: work through the map and, by its inverse, back."""
    x, log_weights = forward
    weigh = jax.jit(jax.vmap(lambda x: TARGET.logdensity_fn(x) - flow.logdensity(params, x)))
    wells = {"left": of_target[:, 0] < 0, "right": of_target[:, 0] >= 0}
    states = free_energy.macrostates(
        log_weights,
        {"left": x < 0, "right": x >= 0},
        {name: weigh(of_target[inside][1000:2000]) for name, inside in wells.items()},
    )
    doubts = [doubt for state in states.regions.values() for doubt in state.doubts]
    difference = np.array(states.difference("left", "right"))
    return {"both-ends/difference": difference, "both-ends/num_doubts": np.array(len(doubts))}


def claims(results: Results, settings: Settings) -> list[Claim]:
    """Within three errors from every flow that has samples in both wells; else a doubt."""
    del settings
    found, of = [], results["wells"]
    for stage in FLOWS:
        value, error = of[f"{stage}/difference"]
        is_doubted = of[f"{stage}/num_doubts"] > 0
        where = f"double well, {stage.replace('-', ' ')} flow"
        if is_doubted:
            found.append(
                is_true(
                    f"{where}: F_R - F_L is {value:.3g} ± {error:.2g}, and doubted; samples in "
                    f"the wells {of[f'{stage}/num_samples'].tolist()}",
                    stage != "trained",
                    "a doubt only where a well is hardly reached",
                )
            )
        else:
            found.append(within(f"{where}: F_R - F_L in nats", value, error, exact()))
    label = "double well, BAR through the trained flow, samples of both ends: F_R - F_L in nats"
    value, error = of["both-ends/difference"]
    found.append(within(label, value, error, exact()))
    return found


def draw(results: Results, folder: Path) -> None:
    """The free energy along x, by each flow, unweighted and weighted."""
    of = results["wells"]
    figure, axes = drawing.panels(len(FLOWS), sharey=True)
    grid = np.linspace(-2.6, 2.6, 400)
    energy = grid**4 - 6 * grid**2 + grid
    log_z = float(targets.double_well(-1.0).log_partition_function or math.nan)
    bins = np.linspace(-2.6, 2.6, 53)
    middle = (bins[1:] + bins[:-1]) / 2
    for axis, stage in zip(axes, FLOWS, strict=True):
        axis.plot(grid, energy + log_z, color="0.7", linewidth=4, label="exact")
        log_weights = of[f"{stage}/log_weights"]
        weights = np.exp(log_weights - log_weights.max())
        for style, label, share in (
            ("--", "flow", np.ones_like(weights)),
            ("-", "flow, weighted", weights),
        ):
            mass, _ = np.histogram(of[f"{stage}/x"], bins, weights=share / share.sum())
            with np.errstate(divide="ignore"):
                free = -np.log(mass / np.diff(bins))
            axis.plot(middle, free, style, color="0.0", label=label)
        value, error = of[f"{stage}/difference"]
        doubt = ", doubted" if of[f"{stage}/num_doubts"] else ""
        axis.set(
            title=f"{stage.replace('-', ' ')}: {value:.3f} ± {error:.3f}{doubt}",
            xlabel="x",
            ylim=(-1, 14),
        )
    axes[0].set_ylabel("free energy / nats")
    axes[0].legend(fontsize=8)
    drawing.save(figure, folder, "wells")
