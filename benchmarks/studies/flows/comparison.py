"""Learned samplers beside plain annealing at equal numbers of evaluations of the density."""

import time
from pathlib import Path

import jax
import numpy as np

from benchmarks.harness import drawing
from benchmarks.harness.claims import Claim, below, is_true, within
from benchmarks.harness.statistics import mean_and_error
from benchmarks.harness.tables import Results, markdown
from benchmarks.studies.flows.budget import Budget
from benchmarks.studies.flows.comparison_rows import Row, row
from benchmarks.studies.flows.samplers import SAMPLERS
from benchmarks.studies.flows.settings import Settings
from benchmarks.studies.flows.tasks import TASKS, Task
from jarzynski_jax import annealing
from jarzynski_jax.density import check_exact
from jarzynski_jax.types import Array, PRNGKey
from jarzynski_jax.weights import log_mean_exp, weighted_mean

LABELS = {
    "reverse_kl": "reverse KL",
    "fab": "FAB",
    "craft": "CRAFT",
    "nets": "NETS",
    "annealing": "annealing",
    "annealing_all": "annealing, whole budget",
}


def names(settings: Settings) -> list[str]:
    """Of all jobs."""
    budget = settings.comparison
    return [
        f"{problem}-{method}-{seed}"
        for problem in budget.problems
        for method in budget.methods
        for seed in range(budget.num_seeds if method in SAMPLERS else 1)
    ]


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    """Train, if there is something to train, and estimate many times afterwards."""
    budget = settings.comparison
    problem, method, seed = name.split("-")
    task = TASKS[problem]
    key = jax.random.fold_in(jax.random.key(int(seed)), list(LABELS).index(method))
    key_train, key_runs = jax.random.split(key)
    start = time.process_time()
    found = (
        _learned(key_train, key_runs, method, task, budget)
        if method in SAMPLERS
        else _annealed(key_runs, method, task, budget)
    )
    _, log_z = check_exact(task.problem.target)
    draws, _ = check_exact(task.problem.target)
    exact = jax.jit(lambda key: jax.vmap(task.regions)(draws(key, 500_000)).mean(axis=0))
    return {
        **found,
        "log_z_errors": np.asarray(found["log_z"]) - float(log_z),
        "exact_shares": np.asarray(exact(jax.random.key(7))),
        "cpu_seconds": np.array(time.process_time() - start),
    }


def _learned(
    key_train: PRNGKey, key_runs: PRNGKey, method: str, task: Task, budget: Budget
) -> dict[str, np.ndarray]:
    trained = SAMPLERS[method](key_train, task.problem, budget)

    def estimate(key: PRNGKey) -> tuple[Array, Array]:
        x, log_weights = trained.sample(key)
        shares = weighted_mean(log_weights, jax.vmap(task.regions)(x))
        return log_mean_exp(log_weights), shares

    keys = jax.random.split(key_runs, budget.num_repeats)
    log_z, shares = jax.jit(lambda keys: jax.lax.map(estimate, keys))(keys)
    losses = trained.losses
    stride = max(len(losses) // 200, 1)
    whole = len(losses) // stride * stride
    return {
        "log_z": np.asarray(log_z),
        "shares": np.asarray(shares),
        "num_walkers": np.array(trained.num_walkers),
        "num_sampling": np.array(trained.num_evaluations),
        "num_training": np.array(trained.num_evaluations_training),
        "losses": losses[:whole].reshape(-1, stride).mean(axis=1),
    }


#: So many are a walker's: some hundred and fifty steps, and the pilot and the runs back.
_NUM_EACH = 256


def _annealed(key: PRNGKey, method: str, task: Task, budget: Budget) -> dict[str, np.ndarray]:
    """The one call, its pilot and its runs back included; untuned."""
    num_gradients = budget.num_sampling
    if method == "annealing_all":
        num_gradients += budget.num_training
    # A multiple of 32, as eight replicates need, of one walker in four that goes back.
    num_walkers = max(num_gradients // _NUM_EACH // 32, 1) * 32
    # Once: of another function the runs would be compiled anew.
    base = task.problem.base
    log_z, shares, spent = [], [], []
    for repeat in jax.random.split(key, budget.num_repeats):
        found = annealing.estimate(
            repeat,
            base,
            task.problem.target,
            num_gradients=num_gradients,
            num_walkers=num_walkers,
        )
        log_z.append(found.log_partition_function)
        indicators = jax.vmap(task.regions)(found.samples)
        shares.append(weighted_mean(found.log_weights, indicators))
        spent.append(found.num_gradients)
    return {
        "log_z": np.array(log_z),
        "shares": np.array(shares),
        "num_walkers": np.array(num_walkers),
        "num_sampling": np.array(np.mean(spent)),
        "num_training": np.array(0),
        "losses": np.zeros(0),
    }


#: What was found, where it was run: groups of methods, those with the least error first.
BEST: dict[str, tuple[tuple[str, ...], ...]] = {
    "forty_modes": (("fab",), ("annealing_all",)),
    "funnel": (("fab", "reverse_kl"), ("annealing_all", "craft")),
    "two_modes": (("fab",), ("annealing_all",)),
    "many_well": (("annealing_all",),),
}
#: Walkers that are annealed do not enter its neck, and nothing tells them so.
_NOT_SEEN = "funnel"


def claims(results: Results, settings: Settings) -> list[Claim]:
    """What is claimed of every problem that was run."""
    budget, made = settings.comparison, []
    for problem in budget.problems:
        rows = {method: row(results, problem, method) for method in budget.methods}
        made += _claims_of(problem, rows, results, budget)
    return made


def _claims_of(
    problem: str, rows: dict[str, Row], results: Results, budget: Budget
) -> list[Claim]:
    label, whole = TASKS[problem].label, rows["annealing_all"]
    made = [
        is_true(
            f"{label}: no method spends more evaluations than it has",
            all(
                rows[method].num_training <= budget.num_training
                and rows[method].num_sampling <= budget.num_sampling
                for method in rows
                if method in SAMPLERS
            )
            and whole.num_sampling <= budget.num_training + budget.num_sampling,
            "true",
        )
    ]
    if problem != _NOT_SEEN:
        ratios = np.exp(results[f"{problem}-annealing_all-0"]["log_z_errors"])
        what = f"{label}: annealing with all evaluations, mean of Z over the exact one"
        made.append(within(what, *mean_and_error(ratios), 1.0, 4.5))
    groups = [[method for method in group if method in rows] for group in BEST.get(problem, ())]
    expected = next((group for group in groups if group), None)
    if expected is not None:
        made.append(
            is_true(
                f"{label}: the least error of log Z is that of "
                + " or ".join(LABELS[method] for method in expected),
                min(rows, key=lambda method: rows[method].log_z) in expected,
                "so",
            )
        )
    losses = results[f"{problem}-nets-0"]["losses"]
    made.append(
        below(
            f"{label}: squared residual of NETS at the end, over that at the start",
            float(np.mean(losses[-20:]) / np.mean(losses[:5])),
            0.5,
        )
    )
    return made


def table(results: Results) -> str:
    """All rows, in Markdown."""
    problems, methods = _present(results)
    header = ["target", "method", "error of log Z", "of shares", "ESS", "training", "sampling"]
    lines = []
    for problem in problems:
        for method in methods:
            found = row(results, problem, method)
            lines.append(
                [
                    TASKS[problem].label,
                    LABELS[method],
                    f"{found.log_z:.2g} ± {found.log_z_error:.1g}",
                    f"{found.shares:.2g}",
                    f"{found.ess:.2g}",
                    f"{found.num_training:.3g}",
                    f"{found.num_sampling:.3g}",
                ]
            )
    return markdown(header, lines)


def _present(results: Results) -> tuple[list[str], list[str]]:
    """Problems and methods; there are results of other parts of the study, too."""
    parts = [name.split("-") for name in results]
    ours = [part for part in parts if part[0] in TASKS]
    problems, methods = (list(dict.fromkeys(part[index] for part in ours)) for index in (0, 1))
    return problems, methods


def draw(results: Results, folder: Path) -> None:
    """Errors of log Z and of shares, all repeats, a panel for each target; and a table."""
    problems, methods = _present(results)
    (folder / "comparison.md").write_text(table(results) + "\n")
    figure, axes = drawing.panels(len(problems), 2, squeeze=False)
    for column, problem in enumerate(problems):
        for index, method in enumerate(methods):
            found = [
                one for name, one in results.items() if name.startswith(f"{problem}-{method}-")
            ]
            errors = np.concatenate([np.abs(one["log_z_errors"]) for one in found])
            gaps = np.concatenate([one["shares"] - one["exact_shares"] for one in found])
            for axis, values in (
                (axes[0][column], errors),
                (axes[1][column], np.sqrt(np.mean(gaps**2, axis=1))),
            ):
                values = np.maximum(values, 1e-5)
                shift = np.linspace(-0.2, 0.2, len(values))
                axis.plot(
                    values,
                    index + shift,
                    drawing.MARKERS[index],
                    color="0.55",
                    markersize=3.5,
                    markerfacecolor="none",
                )
                rms = np.sqrt(np.mean(values**2))
                axis.plot([rms, rms], [index - 0.35, index + 0.35], color="0", linewidth=2)
        for axis, what in ((axes[0][column], "log Z, nats"), (axes[1][column], "shares")):
            axis.set_xscale("log")
            labels = [LABELS[method] for method in methods] if column == 0 else []
            axis.set_yticks(range(len(labels)), labels)
            axis.invert_yaxis()
            axis.set_xlabel(f"error of {what}")
        axes[0][column].set_title(TASKS[problem].label)
    drawing.save(figure, folder, "comparison")
