"""When to resample: five thresholds (Figures 4.2, 4.3), and on which weight."""

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.harness import drawing
from benchmarks.harness.tables import Results
from benchmarks.studies.gaussian_mixture.algorithms import final_mass_error
from benchmarks.studies.gaussian_mixture.report import Row
from benchmarks.studies.gaussian_mixture.variants import MAIN_THRESHOLD, THRESHOLDS


def draw(results: Results, folder: Path) -> None:
    figure, (left, middle, right) = drawing.panels(3)
    for (c, threshold), style in zip(THRESHOLDS.items(), drawing.STYLES, strict=False):
        runs = results[f"threshold_{threshold:.2f}"]
        update, label = runs["update"][0], f"c = {c}: ESS < {threshold:.2f}"
        left.plot(update, runs["mass"].mean(axis=0), **style, label=label)
        middle.plot(update, runs["divergence"].mean(axis=0), **style)
        right.plot(update, runs["shadow_effective_sample_size"][0], **style)
    left.set(xlabel="update", ylabel="p, mass of the mode at a")
    middle.set(xlabel="update", ylabel="KL divergence (nats)", yscale="log")
    right.set(xlabel="update", ylabel="shadow ESS, fraction of N (seed 0)", ylim=(0, 1.02))
    left.legend(fontsize=8)
    drawing.save(figure, folder, "figure_4_2_and_4_3_thresholds")


def rows(results: Results) -> list[Row]:
    return [*_rows_of_thresholds(results), *_rows_of_shadow(results)]


def _rows_of_thresholds(results: Results) -> list[Row]:
    found = []
    for threshold in THRESHOLDS.values():
        runs = results[f"threshold_{threshold:.2f}"]
        row = partial(Row, f"4.3: ESS < {threshold:.2f}")
        error = final_mass_error(runs)
        ess = runs["shadow_effective_sample_size"].min(axis=1)
        found += [
            row("p - p_data at the end", "within 0.01", error, np.all(np.abs(error) <= 0.01)),
            row("least shadow ESS", "", ess),
            row("resamplings", "", runs["num_resampled"].sum(axis=1)),
        ]
    return found


def _rows_of_shadow(results: Results) -> list[Row]:
    found = []
    for name, label in (("algorithm_3", "shadow weight"), ("algorithm_3_on_weight", "A")):
        runs = results[name]
        row = partial(Row, f"ESS < {MAIN_THRESHOLD:.3f} on {label}")
        training, held_out = (
            (runs[f"divergence_of_{source}"] - runs["divergence"])[:, -1]
            for source in ("training", "held_out")
        )
        found += [
            row("resamplings", "", runs["num_resampled"].sum(axis=1)),
            row("roots left of the training walkers", "", runs["num_roots"][:, -1]),
            row("p - p_data at the end", "", final_mass_error(runs)),
            row("training walkers' log Z - log Z at the end (nats)", "", training),
            row("held-out walkers' log Z - log Z at the end (nats)", "", held_out),
        ]
    return found
