"""Pictures of the study."""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.drawing import MARKERS, STYLES, panels, save
from benchmarks.harness.tables import Results
from benchmarks.studies.nonequilibrium.fields import INTERVAL
from benchmarks.studies.nonequilibrium.settings import Settings

_SHADES = ("0.0", "0.55")


def draw(results: Results, settings: Settings, out: Path) -> None:
    _draw_machines(results, settings, out)
    _draw_units(results, settings, out)
    _draw_correlators(results, out)
    _draw_theorems(results, out)


#: What is drawn against entropy production: its name, its limits, whether by its logarithm.
_AXES = (
    ("log_likelihood", "log-likelihood (nats an image)", None, "linear"),
    ("relaxation_time", "relaxation time (double steps)", (0.1, 1e5), "log"),
    ("divergence", "KL divergence of shares of digits (nats)", (1e-5, 10), "log"),
    ("persistence", "Tr M/L, how often a state stays", (0, 1), "linear"),
)


def _draw_machines(results: Results, settings: Settings, out: Path) -> None:
    figure, axes = panels(2, 2)
    axes = axes.ravel()
    ceiling = results["ceiling"]
    for number, epsilon in enumerate(settings.epsilons):
        of = results[f"machines_{epsilon:g}"]
        # So that what is nearly reversible stays in the picture.
        sigma = np.maximum(of["entropy_production"], 1e-3)
        style: dict[str, Any] = {"color": _SHADES[number], "marker": MARKERS[number]}
        style |= {"linestyle": "none", "markersize": 5}
        style["label"] = f"machines, RMSprop's eps {epsilon:g}"
        if number:  # hollow, so that nothing is hidden behind it
            style["markerfacecolor"] = "none"
        for axis, (name, _, limits, _) in zip(axes, _AXES, strict=True):
            axis.plot(sigma, of[name] if limits is None else of[name].clip(*limits), **style)
    leader = results[f"machines_{settings.epsilons[0]:g}"]
    top = int(np.argmax(leader["log_likelihood"]))
    star = {"color": "0.0", "marker": "*", "linestyle": "none", "markersize": 13}
    for axis, (name, label, limits, scale) in zip(axes, _AXES, strict=True):
        # Of the same law, the rival has the same shares.
        value = leader[name if name == "divergence" else f"rival_{name}"][top]
        value = value if limits is None else np.clip(value, *limits)
        axis.plot(1e-3, value, **star, label="reversible rival of the best")
        axis.set(ylabel=label, yscale=scale)
    for height, label, line in (
        (ceiling["log_likelihood"].max(), "best mixture, by EM", "--"),
        (ceiling["unit_a_class"], "one unit a class", "-."),
        (ceiling["pixels"], "independent pixels", ":"),
    ):
        axes[0].axhline(float(height), color="0.0", linestyle=line, linewidth=1, label=label)
    axes[0].legend(fontsize=7)
    axes[1].axhline(50, color="0.7", linewidth=1)
    axes[3].axhline(1 / settings.num_hidden, color="0.7", linewidth=1)
    for axis in axes:
        axis.set(
            xlabel="entropy production σ (nats a double step)", xscale="log", xlim=(5e-4, 3e3)
        )
    save(figure, out, "machines")


def _draw_units(results: Results, settings: Settings, out: Path) -> None:
    """What the hidden units of the best, a middling and the worst machine draw."""
    of = results[f"machines_{settings.epsilons[0]:g}"]
    order = np.argsort(of["log_likelihood"])[::-1]
    figure, axes = panels(3)
    chosen = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
    for axis, (name, index) in zip(axes, chosen.items(), strict=True):
        means = of["means"][index]
        side = int(np.sqrt(means.shape[1]))
        rows = means.reshape(2, -1, side, side).transpose(0, 2, 1, 3)
        axis.imshow(rows.reshape(2 * side, -1), cmap="gray", vmin=0, vmax=1)
        axis.axis("off")
        law = ", ".join(f"{p:.2f}" for p in np.exp(of["log_law"][index]))
        sigma = of["entropy_production"][index]
        title = f"{name}: {of['log_likelihood'][index]:.1f} nats, σ = {sigma:.2g}\n{law}"
        axis.set_title(title, fontsize=8)
    save(figure, out, "units")


def _draw_correlators(results: Results, out: Path) -> None:
    seen, lattice = results["correlators"], results["lattice"]
    figure, axes = panels(3)
    t = INTERVAL * np.arange(seen["free_mean"].shape[0])
    titles = {
        "round": "gas, B = 1 + r²/2: the same field",
        "uneven": "gas, B = 1 + x/2 + 4y/5: control",
    }
    for axis, (name, title) in zip(axes, titles.items(), strict=False):
        mean, error = seen[f"{name}_mean"], seen[f"{name}_error"]
        for (a, b, sign), marker, shade in (
            ((0, 1, 1), "o", "0.0"),
            ((1, 0, -1), "s", "0.6"),
        ):
            label = r"$C_{xy}(t)$" if sign > 0 else r"$-C_{yx}(t)$"
            axis.errorbar(
                t,
                sign * mean[:, a, b],
                2 * error[:, a, b],
                color=shade,
                marker=marker,
                markersize=4,
                linewidth=1,
                label=label,
            )
        axis.set(xlabel="t", ylabel="correlators of velocities", title=title)
        axis.legend(fontsize=8)
    for (name, title), style in zip(
        {"even": "V even in y", "uneven": "V uneven: control"}.items(), STYLES[:2], strict=True
    ):
        there, back = lattice[f"{name}_there"], lattice[f"{name}_back"]
        axes[2].plot(lattice["times"], there, **style, label=rf"$C_{{xy}}$, {title}")
        axes[2].plot(
            lattice["times"][::3],
            -back[::3],
            color=style["color"],
            linestyle="none",
            marker="x",
            label=rf"$-C_{{yx}}$, {title}",
        )
    axes[2].set(xlabel="t", ylabel="Kubo's correlators of currents", title="lattice, 6 x 6")
    axes[2].legend(fontsize=7)
    save(figure, out, "correlators")


def _draw_theorems(results: Results, out: Path) -> None:
    chains, heat = results["chains"], results["thermostat"]
    figure, (left, right) = panels(2)
    values, of_value = np.unique(chains["forward"].round(6), return_counts=True)
    back, of_back = np.unique(-chains["reverse"].round(6), return_counts=True)
    common, here, there = np.intersect1d(values, back, return_indices=True)
    counts = of_value[here], of_back[there]
    error = np.sqrt(1 / counts[0] + 1 / counts[1])
    left.errorbar(
        common, np.log(counts[0] / counts[1]), 2 * error, color="0.0", fmt="o", markersize=3
    )
    left.plot(common, common, color="0.6", label="the theorem")
    left.set(
        xlabel="entropy production of five steps, Σ (nats)",
        ylabel=r"$\log\,p_F(\Sigma)/p_R(-\Sigma)$",
    )
    left.legend(fontsize=8)
    for trace, shade, label in zip(
        heat["traces"][[3, 1]], ("0.7", "0.0"), ("three thermostats", "one"), strict=True
    ):
        right.plot(trace[:, 0], trace[:, 1], ",", color=shade)
        right.plot([], [], "o", color=shade, label=label)
    right.set(xlabel="x", ylabel="v", title="an oscillator's trajectory", aspect="equal")
    right.legend(fontsize=8)
    save(figure, out, "theorems")
