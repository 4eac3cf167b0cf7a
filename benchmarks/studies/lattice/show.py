"""Pictures of the study."""

from pathlib import Path

import numpy as np

from benchmarks.harness import drawing
from benchmarks.harness.tables import Results
from benchmarks.studies.lattice.settings import Settings

_STYLES, _MARKERS = drawing.STYLES, drawing.MARKERS


def draw(results: Results, settings: Settings, folder: Path) -> None:
    _coverage(results, settings, folder)
    _fields(results, settings, folder)
    _gauge(results, settings, folder)
    _networks(results, settings, folder)


def covered_shape(settings: Settings) -> str:
    """The largest lattice on which a model of one sign was judged."""
    volumes = [
        (rows * columns, f"{rows}x{columns}")
        for rows, columns in settings.field_shapes
        if rows * columns <= settings.coverage_volume
    ]
    return max(volumes)[1]


def _coverage(results: Results, settings: Settings, folder: Path) -> None:
    """The share that a model of one sign covers, beside its effective sample sizes."""
    figure, (left, right) = drawing.panels(2)
    shape = covered_shape(settings)
    found = results[f"field_{shape}"]
    kappas = found["kappas"][1:]
    for name, label, style, marker in (
        ("gaussian", "Gaussian", _STYLES[0], "o"),
        ("folded", "its half space alone", _STYLES[3], "s"),
    ):
        left.errorbar(
            kappas,
            found[f"{name}_share"],
            found[f"{name}_share"] * found[f"{name}_error"],
            marker=marker,
            capsize=3,
            label=label,
            **style,
        )
    left.axhline(0.5, color="0.7", linewidth=0.8, zorder=0)
    left.axhline(1.0, color="0.7", linewidth=0.8, zorder=0)
    left.set(xlabel="κ", ylabel="share of the target that is covered, ŵ", ylim=(0, 1.2))
    left.legend()
    right.plot(kappas, found["gaussian_ess"], **_STYLES[0], marker="o", label="its own samples")
    right.plot(
        kappas,
        found["gaussian_forward_ess"],
        **_STYLES[2],
        marker="^",
        label="samples of the target",
    )
    right.set(xlabel="κ", ylabel="effective sample size, a fraction", ylim=(0, 1.05))
    right.legend(title=f"φ⁴, {shape}, λ = 0.022, by")
    drawing.save(figure, folder, "coverage")


def _fields(results: Results, settings: Settings, folder: Path) -> None:
    """Free energy, mean field, and what the errors of the two methods are."""
    figure, (left, middle, right) = drawing.panels(3)
    shapes = ["x".join(map(str, shape)) for shape in settings.field_shapes]
    for shape, style, marker in zip(shapes, _STYLES[::2], _MARKERS, strict=False):
        found = results[f"field_{shape}"]
        volume = np.prod([int(of) for of in shape.split("x")])
        log_z = found["log_z_0"] + np.cumsum(np.append(0, found["bar_steps"][0]))
        left.plot(found["kappas"], -log_z / volume, **style, label=f"{shape}, chain with BAR")
        left.plot(
            found["ends"],
            -found["brackets"][:, 4] / volume,
            color=style["color"],
            linestyle="none",
            marker=marker,
            label=f"{shape}, annealed",
        )
        mean = found["abs_m"]
        middle.errorbar(
            found["kappas"][1:],
            mean[:, 0],
            mean[:, 1],
            **style,
            marker=marker,
            capsize=3,
            label=shape,
        )
        susceptibility = volume * found["square_m"]
        right.errorbar(
            found["kappas"][1:],
            susceptibility[:, 0],
            susceptibility[:, 1],
            **style,
            marker=marker,
            capsize=3,
            label=shape,
        )
    left.set(xlabel="κ", ylabel="free energy a site, nats")
    middle.set(xlabel="κ", ylabel="⟨|M|⟩")
    right.set(xlabel="κ", ylabel="V ⟨M²⟩", yscale="log")
    left.legend(title="φ⁴, λ = 0.022")
    drawing.save(figure, folder, "fields")


def _gauge(results: Results, settings: Settings, folder: Path) -> None:
    """Autocorrelation times of chains, ⟨Q²⟩ of chains and of annealed walkers, a history."""
    figure, (left, middle, right) = drawing.panels(3)
    betas = np.array(settings.gauge_betas)
    most = settings.num_gauge_samples
    for number, length in enumerate(settings.gauge_lengths):
        found = results[f"gauge_{length}"]
        marker, label = _MARKERS[number], f"{length}x{length}"
        for name, what, style in (
            ("chain_tau", "Q", _STYLES[0]),
            ("chain_cosine_tau", "cos P", _STYLES[3]),
        ):
            tau = found[name]
            left.errorbar(
                betas, tau[:, 0], tau[:, 1], **style, marker=marker, label=f"{what}, {label}"
            )
        is_frozen = np.isnan(found["chain_tau"][:, 0])
        if np.any(is_frozen):
            left.plot(
                betas[is_frozen],
                np.full(is_frozen.sum(), most),
                color="0.0",
                linestyle="none",
                marker="^",
                markerfacecolor="none",
                label=f"Q, {label}: no change in all steps",
            )
        exact = found["exact"][:, 2]
        for name, what, style in (
            ("charge", "annealed", _STYLES[0]),
            ("chain_charge", "chains", _STYLES[3]),
        ):
            ratio = found[name] / exact[:, None]
            shift = 1 + 0.04 * (name == "chain_charge") + 0.02 * number
            middle.errorbar(
                betas * shift,
                ratio[:, 0],
                ratio[:, 1],
                color=style["color"],
                linestyle="none",
                marker=marker,
                markerfacecolor="none" if name == "chain_charge" else style["color"],
                capsize=3,
                label=f"{what}, {label}",
            )
    last = settings.gauge_lengths[-1]
    histories = results[f"gauge_{last}"]["history"]
    for row, shade, width in ((0, "0.65", 0.6), (-1, "0.0", 1.5)):
        right.plot(histories[row], color=shade, linewidth=width, label=f"β = {betas[row]:g}")
    left.set(xlabel="β", ylabel="τ of a chain, steps", yscale="log")
    middle.axhline(1, color="0.7", linewidth=0.8, zorder=0)
    middle.set(xlabel="β", ylabel="⟨Q²⟩ over its exact value")
    right.set(xlabel="step of a chain", ylabel=f"topological charge Q, {last}x{last}")
    for axis in (left, middle, right):
        axis.legend(fontsize=8)
    drawing.save(figure, folder, "gauge")


METHODS = {
    "nis": "network, importance sampling",
    "on": "network, annealed on",
    "heat_bath": "walkers, heat bath",
    "clusters": "clusters at stops in β, BAR",
}


def seconds_to_equal_error(found: dict[str, np.ndarray], name: str, wanted: float) -> float:
    """Of a processor: the error falls with the root of the time."""
    return float(found[f"{name}_seconds"]) * (float(found[name][1]) / wanted) ** 2


def _networks(results: Results, settings: Settings, folder: Path) -> None:
    """The loss of training above -log Z, and log Z by all methods."""
    figure, (left, right) = drawing.panels(2)
    for number, length in enumerate(settings.network_lengths):
        found = results[f"network_{length}"]
        exact = float(found["exact"])
        excess = found["loss"] + exact
        smooth = np.convolve(excess, np.ones(20) / 20, "valid")
        left.plot(np.maximum(smooth, 1e-4), **_STYLES[2 * number], label=f"{length}x{length}")
        rows = {"raw": "network, raw"} | METHODS
        for position, (name, label) in enumerate(rows.items()):
            value, error = (float(of) for of in found[name])
            right.errorbar(
                value - exact,
                position + 0.15 * number,
                xerr=error,
                marker=_MARKERS[number],
                color="0.0",
                capsize=3,
            )
            if number == 0:
                right.text(
                    -0.02,
                    position,
                    label,
                    transform=right.get_yaxis_transform(),
                    ha="right",
                    va="center",
                )
    left.set(xlabel="update", ylabel="loss + log Z: KL divergence, nats", yscale="log")
    left.legend(title="Ising, β = 0.44")
    right.axvline(0, color="0.7", linewidth=0.8, zorder=0)
    right.set(xlabel="log Z less its exact value, nats", yticks=[])
    drawing.save(figure, folder, "networks")
