"""The comparison as a table and as a plot of error against work."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import NullLocator

from benchmarks.harness import drawing
from benchmarks.harness.tables import Results, markdown
from benchmarks.studies.log_partition.comparison import root_mean_square
from benchmarks.studies.log_partition.methods import METHODS
from benchmarks.studies.log_partition.problems import LABELS
from benchmarks.studies.log_partition.settings import Settings

_OURS = tuple(name for name, method in METHODS.items() if method.is_ours)
_THEIRS = tuple(name for name, method in METHODS.items() if not method.is_ours)


class Verdict(NamedTuple):
    """Our best beside BlackJAX's best on one problem at one budget.

    ``ratio`` is ours over theirs in root mean square error, ``low`` and ``high`` its 90 %
    interval by the bootstrap over seeds.
    """

    problem: str
    budget: int
    ours: str | None
    theirs: str | None
    ratio: float
    low: float
    high: float

    @property
    def text(self) -> str:
        if self.ours is None or self.theirs is None:
            return "alone" if self.ours else "unable"
        if self.high < 1:
            return "more accurate"
        if self.low > 1:
            return "LESS accurate"
        return "level, lower error" if self.ratio <= 1 else "level, higher error"


def verdicts(results: Results, settings: Settings) -> list[Verdict]:
    """Compare the best, as the tuning seeds have it, by the seeds that judge."""
    found = []
    for problem in LABELS:
        for budget in settings.budgets:
            arrays = results[f"{problem}_{budget}"]
            ours, theirs = _best(arrays, _OURS), _best(arrays, _THEIRS)
            if ours is None or theirs is None:
                found.append(Verdict(problem, budget, ours, theirs, np.nan, np.nan, np.nan))
                continue
            ratio = _ratio(arrays[f"{ours}_error"], arrays[f"{theirs}_error"])
            found.append(Verdict(problem, budget, ours, theirs, *ratio))
    return found


def _best(arrays: dict[str, np.ndarray], methods: Sequence[str]) -> str | None:
    able = [name for name in methods if f"{name}_error" in arrays]
    return min(able, key=lambda name: float(arrays[f"{name}_tuning_error"]), default=None)


def _ratio(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float, float]:
    rng = np.random.default_rng(0)
    draws = [
        root_mean_square(rng.choice(ours, ours.size))
        / root_mean_square(rng.choice(theirs, theirs.size))
        for _ in range(2000)
    ]
    low, high = np.quantile(draws, [0.05, 0.95])
    return root_mean_square(ours) / root_mean_square(theirs), float(low), float(high)


def write_tables(results: Results, settings: Settings, folder: Path, preamble: str) -> None:
    """Write ``table.md``: who is best where, and every method on every problem."""
    best = [
        (
            LABELS[verdict.problem],
            str(verdict.budget),
            METHODS[verdict.ours].label if verdict.ours else "none within the budget",
            METHODS[verdict.theirs].label if verdict.theirs else "none within the budget",
            f"{verdict.ratio:.2f} ({verdict.low:.2f} to {verdict.high:.2f})",
            verdict.text,
        )
        for verdict in verdicts(results, settings)
    ]
    header = ("target", "budget", "our best", "BlackJAX's best", "error, ours / theirs", "ours")
    rows = [row for problem in LABELS for row in _rows(results, settings, problem)]
    columns = (
        "target",
        "budget",
        "method",
        "gradients",
        "RMS error",
        "bias",
        "spread",
        "greatest",
        "milliseconds",
        "step size",
        "option",
    )
    text = "\n\n".join([preamble, markdown(header, best), markdown(columns, rows)])
    (folder / "table.md").write_text(f"{text}\n")


def _rows(results: Results, settings: Settings, problem: str) -> list[tuple[str, ...]]:
    rows = []
    for budget in settings.budgets:
        arrays = results[f"{problem}_{budget}"]
        for name, method in METHODS.items():
            start = (LABELS[problem], str(budget), method.label)
            if f"{name}_error" not in arrays:
                rows.append((*start, "no choice within the budget", *[""] * 7))
                continue
            error = arrays[f"{name}_error"]
            numbers = (
                arrays[f"{name}_num_gradients"].mean(),
                root_mean_square(error),
                error.mean(),
                error.std(ddof=1),
                np.abs(error).max(),
                1000 * np.median(arrays[f"{name}_seconds"]),
                float(arrays[f"{name}_step_size"]),
            )
            option = str(arrays[f"{name}_option"])
            rows.append((*start, *(f"{number:.3g}" for number in numbers), option))
    return rows


def draw(results: Results, settings: Settings, folder: Path) -> None:
    """Draw root mean square errors against gradients, a panel a problem."""
    num_columns = 4
    figure, axes = drawing.panels(num_columns, -(-len(LABELS) // num_columns))
    for axis in axes.flat[len(LABELS) :]:
        axis.set_axis_off()
    for axis, problem in zip(axes.flat, LABELS, strict=False):
        for (name, method), style, marker in zip(
            METHODS.items(), drawing.STYLES, drawing.MARKERS, strict=False
        ):
            shown = [results[f"{problem}_{budget}"] for budget in settings.budgets]
            shown = [arrays for arrays in shown if f"{name}_error" in arrays]
            work = [arrays[f"{name}_num_gradients"].mean() for arrays in shown]
            error = [root_mean_square(arrays[f"{name}_error"]) for arrays in shown]
            axis.loglog(work, error, **style, marker=marker, label=method.label)
        axis.set(title=LABELS[problem], xlabel="gradients a walker")
        axis.set_xticks(settings.budgets, [str(budget) for budget in settings.budgets])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.title.set_fontsize(10)
    for axis in axes[:, 0]:
        axis.set(ylabel="RMS error of log Z (nats)")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    axes.flat[-1].legend(handles, labels, loc="center")
    drawing.save(figure, folder, "log_partition")
