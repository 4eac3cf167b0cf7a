"""Algorithm 3, the pool and their rivals: Figures 4.1, 4.2 and 4.4, and masses beside it."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import drawing
from benchmarks.harness.tables import Results
from benchmarks.studies.gaussian_mixture.report import Row

LABELS = {
    "algorithm_3": "Algorithm 3",
    "pool": "pool (Algorithm 4)",
    "pcd": "PCD",
    "cd": "CD",
    "unweighted": "unweighted",
    "score_matching": "score matching (Hutchinson)",
}
_VARIANTS = {
    "algorithm_3_on_weight": "Algorithm 3, resampled on A",
    "pool_late": "pool, ESS < 0.5",
}
_SOURCES = {
    "mass": "model, exactly",
    # Of a pool as each walker was weighed when it was last touched.
    "mass_of_training": "training walkers",
    "mass_of_held_out": "held-out walkers",
}


def draw(results: Results, folder: Path) -> None:
    _draw_training(results, folder)
    _draw_collapse(results, folder)
    _draw_masses(results, folder)


def _draw_training(results: Results, folder: Path) -> None:
    figure, (left, middle, right, last) = drawing.panels(4)
    for (name, label), style in zip(LABELS.items(), drawing.STYLES, strict=False):
        runs = results[name]
        update = runs["update"][0]
        drawing.plot_mean_and_range(left, update, runs["mass"], style, label)
        middle.plot(update, runs["distance_a"].mean(axis=0), **style, label=label)
        middle.plot(update, runs["distance_b"].mean(axis=0), **style)
        drawing.plot_mean_and_range(right, update, runs["divergence"], style, label)
    main = results["algorithm_3"]
    every = max(1, len(main["update"][0]) // 20)
    (crosses,) = right.plot(
        main["update"][0][::every],
        main["divergence_of_held_out"].mean(axis=0)[::every],
        "x",
        color="0.0",
        label="Algorithm 3, from held-out weights",
    )
    left.axhline(main["mass_of_data"].mean(), color="0.0", linewidth=0.6, label="data")
    left.set(xlabel="update", ylabel="p, mass of the mode at a", ylim=(-0.02, 1.02))
    middle.set(xlabel="update", ylabel="|a - a*| and, lower, |b - b*|", yscale="log")
    right.set(xlabel="update", ylabel="KL divergence (nats)", yscale="log", ylim=(1e-3, 40))
    left.legend(fontsize=8)
    right.legend(handles=[crosses], fontsize=8)
    _draw_deviations(main, last)
    drawing.save(figure, folder, "figure_4_1_and_4_2_algorithms")


def _draw_deviations(runs: dict[str, np.ndarray], axis: Any) -> None:
    """Where the KL divergence has gone below the noise of the data, its error has not."""
    update, errors = runs["update"][0], 2 * runs["divergence_error"].mean(axis=0)
    axis.fill_between(update, -errors, errors, color="0.88", label="± 2 standard errors")
    for name, style in (("held_out", drawing.STYLES[0]), ("training", drawing.STYLES[3])):
        deviations = runs[f"divergence_of_{name}"] - runs["divergence"]
        for deviation in deviations:
            axis.plot(update, deviation, **style)
        axis.lines[-1].set_label(f"from {name.replace('_', '-')} weights, one line a seed")
    axis.set(xlabel="update", ylabel="KL from weights - exact KL (nats)", title="Algorithm 3")
    axis.legend(fontsize=8)


def _draw_collapse(results: Results, folder: Path) -> None:
    runs = results["collapse"]
    figure, axes = drawing.panels(1, len(runs["mass"]), sharex=True, squeeze=False)
    for axis, mass in zip(axes[:, 0], runs["mass"], strict=True):
        axis.plot(runs["update"][0], mass, color="0.0", linewidth=1)
        axis.set(ylabel="p", ylim=(-0.05, 1.05))
    axes[0, 0].set_title("PCD, γ_z = 5, h = 0.2; one panel a seed")
    axes[-1, 0].set(xlabel="update")
    figure.set_figheight(1.6 * len(runs["mass"]) + 0.6)
    drawing.save(figure, folder, "figure_4_4_collapse")


def _draw_masses(results: Results, folder: Path) -> None:
    shown = ("algorithm_3", "pool", "pcd")
    figure, axes = drawing.panels(len(shown), sharey=True)
    for axis, name in zip(axes, shown, strict=True):
        runs = results[name]
        for (field, source), style in zip(_SOURCES.items(), drawing.STYLES, strict=False):
            drawing.plot_mean_and_range(axis, runs["update"][0], runs[field], style, source)
        data = runs["mass_of_data"].mean()
        axis.axhline(data, color="0.0", linewidth=0.6, label="data")
        axis.set(xlabel="update", title=LABELS[name], ylim=(-0.02, 0.6))
    axes[0].set(ylabel="mass of the mode at a")
    axes[0].legend(fontsize=8)
    drawing.save(figure, folder, "masses")


def rows(results: Results) -> list[Row]:
    return [
        *_rows_of_weighted(results),
        *_rows_of_rivals(results),
        *_rows_of_distances(results),
        *_rows_of_collapse(results),
        *_rows_of_masses(results),
    ]


def _rows_of_weighted(results: Results) -> list[Row]:
    found = []
    labels = {**LABELS, **_VARIANTS}
    for name in ("algorithm_3", "algorithm_3_on_weight", "pool", "pool_late"):
        runs = results[name]
        row = partial(Row, f"4.1, 4.2: {labels[name]}")
        error = final_mass_error(runs)
        difference = runs["divergence_of_held_out"] - runs["divergence"]
        distance = np.abs(difference).max(axis=1)
        in_errors = np.abs(difference / runs["divergence_error"]).max(axis=1)
        bias = (runs["divergence_of_training"] - runs["divergence"])[:, -1]
        is_near = np.all(np.abs(error) <= 0.01)
        what = "KL from held-out weights - exact KL, greatest over training"
        found += [
            row("p - p_data at the end", "within 0.01", error, is_near),
            row(f"{what} (nats)", "≤ 0.1", distance, np.all(distance <= 0.1)),
            row(f"{what} (own standard errors)", "≤ 4", in_errors, np.all(in_errors <= 4)),
            row("KL from training weights - exact KL at the end (nats)", "biased", bias),
        ]
    return found


def final_mass_error(runs: dict[str, np.ndarray]) -> np.ndarray:
    """p - p_data before the last update, one a seed."""
    return (runs["mass"] - runs["mass_of_data"])[:, -1]


def _rows_of_rivals(results: Results) -> list[Row]:
    part = "4.1, 4.2: "
    pcd = results["pcd"]["mass"][:, -1]
    cd = np.abs(final_mass_error(results["cd"]))
    return [
        Row(part + "PCD", "p at the end", "< 0.01", pcd, np.all(pcd < 0.01)),
        Row(part + "CD", "|p - p_data| at the end", "> 0.05", cd, np.all(cd > 0.05)),
        *(
            Row(part + LABELS[name], "p at the end", "", results[name]["mass"][:, -1])
            for name in ("cd", "unweighted", "score_matching")
        ),
    ]


def _rows_of_distances(results: Results) -> list[Row]:
    quantities = {
        "distance_a": "|a - a*| at the end",
        "distance_b": "|b - b*| at the end",
        "divergence": "exact KL at the end (nats)",
    }
    return [
        Row(f"4.1, 4.2: {label}", quantity, "", results[name][field][:, -1])
        for name, label in LABELS.items()
        for field, quantity in quantities.items()
    ]


def _rows_of_collapse(results: Results) -> list[Row]:
    """Count how often p goes between the modes, and see what held-out walkers say of it."""
    crossings = []
    for mass in results["collapse"]["mass"]:
        is_high = mass[(mass < 0.01) | (mass > 0.99)] > 0.5
        crossings.append(np.sum(is_high[1:] != is_high[:-1]))
    holds = all(count >= 2 for count in crossings)
    row = partial(Row, "4.4: PCD, γ_z = 5, h = 0.2")
    runs = results["collapse"]
    difference = runs["divergence_of_held_out"] - runs["divergence"]
    in_errors = np.abs(difference / runs["divergence_error"]).max(axis=1)
    what = "KL from held-out weights - exact KL, greatest over training"
    return [
        row("times p goes between below 0.01 and above 0.99", "≥ 2", crossings, holds),
        row(f"{what} (nats)", "fails", np.abs(difference).max(axis=1)),
        row(f"{what} (own standard errors)", "fails", in_errors),
        row(
            "own standard error, median over training (nats)",
            "",
            np.median(runs["divergence_error"], axis=1),
        ),
    ]


def _rows_of_masses(results: Results) -> list[Row]:
    return [
        Row(f"masses: {LABELS[name]}", f"mass at a: {source}", "", results[name][field][:, -1])
        for name in ("algorithm_3", "pool", "pcd")
        for field, source in {"mass_of_data": "data", **_SOURCES}.items()
    ]
