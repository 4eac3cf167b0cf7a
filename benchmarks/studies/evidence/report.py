"""What came out: summaries, claims, a table and a picture."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.ticker import NullFormatter

from benchmarks.harness import claims, drawing
from benchmarks.harness.claims import Claim
from benchmarks.harness.tables import Results, describe, machine, markdown
from benchmarks.studies.evidence.methods import METHODS
from benchmarks.studies.evidence.models import LABELS
from benchmarks.studies.evidence.settings import Settings

__all__ = ["Summary", "claims_of", "draw", "ratio", "summary", "write_table"]

_OURS = ("ours", "ours_with_nuts")
#: Where forward runs alone are known to be wrong, without a doubt.
_SPIKE = "spike"
_EQUAL: dict[str, Any] = {"color": "0.75", "linewidth": 1}
#: What panels show, so that they can be compared.
_SECONDS, _ERRORS = (0.08, 500.0), (0.003, 10.0)
#: A claim on time is made from so many dimensions on.
_MIN_DIMENSION = 10


class Summary(NamedTuple):
    """Of a method's runs on a model; errors in nats, seconds of all cores of a process.

    Medians are without the first run, which compiles, unless it is the only one: then
    ``compilation`` is NaN, and the seconds are with it.
    """

    num_runs: int
    root_mean_square_error: float
    bias: float
    stated_error: float
    num_doubted: int
    cpu_seconds: float
    seconds: float
    compilation: float
    num_calls: float

    @property
    def seconds_at_equal_error(self) -> float:
        """CPU seconds for an error of one nat: the square of an error goes as one over time."""
        return self.cpu_seconds * self.root_mean_square_error**2


def summary(arrays: dict[str, np.ndarray], method: str) -> Summary | None:
    """None if the method did not run."""
    if f"{method}_error" not in arrays:
        return None
    error = arrays[f"{method}_log_evidence"] - arrays["log_evidence"]
    cpu, wall = arrays[f"{method}_cpu_seconds"], arrays[f"{method}_seconds"]
    is_alone = len(cpu) == 1
    median = float(np.median(cpu if is_alone else cpu[1:]))
    return Summary(
        num_runs=len(cpu),
        root_mean_square_error=_root_mean_square(error),
        bias=float(error.mean()),
        stated_error=_root_mean_square(arrays[f"{method}_error"]),
        num_doubted=int(np.sum(arrays[f"{method}_doubts"] != "")),
        cpu_seconds=median,
        seconds=float(np.median(wall if is_alone else wall[1:])),
        compilation=float("nan") if is_alone else float(cpu[0]) - median,
        num_calls=float(np.median(arrays[f"{method}_num_calls"])),
    )


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def best_rival(arrays: dict[str, np.ndarray], settings: Settings) -> str | None:
    """Of least time at equal error."""
    times = {
        method: found.seconds_at_equal_error
        for method in settings.methods
        if method not in _OURS and (found := summary(arrays, method)) is not None
    }
    return min(times, key=lambda method: times[method], default=None)


def ratio(
    arrays: dict[str, np.ndarray], ours: str, theirs: str, num_draws: int = 2000
) -> tuple[float, float, float]:
    """Time at equal error, ours over theirs, with its 90 % interval by the bootstrap."""
    rng = np.random.default_rng(0)
    found = [summary(arrays, method) for method in (ours, theirs)]
    assert found[0] is not None
    assert found[1] is not None
    seconds = found[0].cpu_seconds / found[1].cpu_seconds
    errors = [
        arrays[f"{method}_log_evidence"] - arrays["log_evidence"] for method in (ours, theirs)
    ]

    def squares(drawn: list[np.ndarray]) -> float:
        return float(np.mean(np.square(drawn[0])) / np.mean(np.square(drawn[1])))

    draws = [
        seconds * squares([rng.choice(error, error.size) for error in errors])
        for _ in range(num_draws)
    ]
    low, high = np.quantile(draws, [0.05, 0.95])
    return seconds * squares(errors), float(low), float(high)


def claims_of(results: Results, settings: Settings) -> list[Claim]:
    """Right within the errors, or doubted; from ten dimensions on half of the best's time."""
    return [claim for model in settings.models for claim in _claims(model, results, settings)]


def _claims(model: str, results: Results, settings: Settings) -> Iterator[Claim]:
    arrays, label = results[model], LABELS[model]
    for method in _OURS:
        # Of the spike forward runs alone know nothing: that is told, and not claimed.
        if method not in settings.methods or (model, method) == (_SPIKE, "ours"):
            continue
        yield _claim_of_truth(arrays, method, f"{label}: {METHODS[method].label}")
    ours = next((method for method in _OURS if method in settings.methods), None)
    rival = best_rival(arrays, settings)
    if ours is None or rival is None or model == _SPIKE or _dimension(label) < _MIN_DIMENSION:
        return
    value, low, high = ratio(arrays, ours, rival)
    yield claims.below(
        f"{label}: time at equal error, ours over {METHODS[rival].label}'s "
        f"(90 %: {low:.2g} to {high:.2g})",
        value,
        0.5,
    )


def _claim_of_truth(arrays: dict[str, np.ndarray], method: str, what: str) -> Claim:
    """Of the mean over runs that are not doubted, by the errors that the runs stated."""
    is_doubted = arrays[f"{method}_doubts"] != ""
    if np.all(is_doubted):
        return claims.is_true(what, True, "doubted at every seed")
    values = arrays[f"{method}_log_evidence"][~is_doubted]
    stated = arrays[f"{method}_error"][~is_doubted]
    known = float(arrays["log_evidence_error"])
    error = np.hypot(_root_mean_square(stated) / np.sqrt(len(stated)), known)
    return claims.within(what, values.mean(), error, float(arrays["log_evidence"]))


def _dimension(label: str) -> int:
    return int(label.rpartition(" = ")[2])


def write_table(results: Results, settings: Settings, folder: Path) -> None:
    header = (
        "model",
        "method",
        "runs",
        "RMS error",
        "bias",
        "own error",
        "doubted",
        "CPU s",
        "wall s",
        "compilation, CPU s",
        "calls",
        "CPU s × error²",
    )
    rows = [
        (LABELS[model], METHODS[method].label, *_cells(results[model], method))
        for model in settings.models
        for method in settings.methods
    ]
    preamble = (
        f"{machine('jax', 'numpyro', 'blackjax')} {describe(settings, 'models', 'methods')}\n\n"
        "Errors are in nats, about the exact log evidence; own error is what a method says its "
        "error is. Seconds are medians without the first run, whose excess is the compilation; "
        "of one run alone they are with it. Methods run by turns, in one process on one core. "
        "A call of ours is of the likelihood with its gradient."
    )
    (folder / "table.md").write_text(f"{preamble}\n\n{markdown(header, rows)}\n")


def _cells(arrays: dict[str, np.ndarray], method: str) -> tuple[str, ...]:
    found = summary(arrays, method)
    if found is None:
        return (str(arrays[f"{method}_left_out"]), *[""] * 9)
    return (
        str(found.num_runs),
        *(
            f"{number:.2g}"
            for number in (found.root_mean_square_error, found.bias, found.stated_error)
        ),
        str(found.num_doubted),
        *(
            f"{number:.3g}" if np.isfinite(number) else ""
            for number in (
                found.cpu_seconds,
                found.seconds,
                found.compilation,
                found.num_calls,
                found.seconds_at_equal_error,
            )
        ),
    )


def draw(results: Results, settings: Settings, folder: Path) -> None:
    """Draw errors against time, a panel a model, with lines of equal time at equal error."""
    num_columns = min(len(settings.models) + 1, 5)
    num_rows = -(-(len(settings.models) + 1) // num_columns)
    figure, axes = drawing.panels(
        num_columns, num_rows, squeeze=False, sharex=True, sharey=True
    )
    axes[0, 0].set(xscale="log", yscale="log")
    for axis in axes.flat[len(settings.models) :]:
        axis.set_axis_off()
    handles: dict[str, Any] = {}
    for axis, model in zip(axes.flat, settings.models, strict=False):
        handles |= _draw_model(axis, results[model], settings)
        axis.set(title=LABELS[model], xlabel="CPU seconds a run, without compilation")
        axis.tick_params(labelbottom=True)
        for ticks in (axis.xaxis, axis.yaxis):
            ticks.set_minor_formatter(NullFormatter())
        axis.title.set_fontsize(10)
    for axis in axes[:, 0]:
        axis.set(ylabel="RMS error of log Z (nats)")
    axes.flat[-1].legend(handles.values(), handles.keys(), loc="center")
    drawing.save(figure, folder, "evidence")


def _draw_model(axis: Any, arrays: dict[str, np.ndarray], settings: Settings) -> dict[str, Any]:
    """Hollow are nested samplers; a line is of equal time at equal error, through ours."""
    handles: dict[str, Any] = {}
    for (name, method), marker in zip(METHODS.items(), drawing.MARKERS, strict=False):
        found = summary(arrays, name)
        if name not in settings.methods or found is None:
            continue
        is_ours = name in _OURS
        (handles[method.label],) = axis.plot(
            found.cpu_seconds,
            found.root_mean_square_error,
            marker,
            color="0.0" if is_ours else "0.45",
            fillstyle="full" if is_ours else "none",
            markersize=9,
            markeredgewidth=1.5,
            zorder=3,
        )
    x = np.array([1e-2, 1e3])
    ours = next(found for name in _OURS if (found := summary(arrays, name)) is not None)
    axis.plot(x, np.sqrt(ours.seconds_at_equal_error / x), **_EQUAL)
    axis.set(xlim=_SECONDS, ylim=_ERRORS)
    return handles
