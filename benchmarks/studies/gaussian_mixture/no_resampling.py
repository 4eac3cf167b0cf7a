"""Long training without resampling (Figure 4.5)."""

from functools import partial
from pathlib import Path

from benchmarks.harness import drawing
from benchmarks.harness.tables import Results
from benchmarks.studies.gaussian_mixture.report import Row

_LABELS = {"no_resampling": "rates × h", "no_resampling_fast": "rates not × h"}


def draw(results: Results, folder: Path) -> None:
    figure, (left, right) = drawing.panels(2)
    for (name, label), style in zip(_LABELS.items(), drawing.STYLES[::2], strict=False):
        runs = results[name]
        update, thin = runs["update"][0], {**style, "color": "0.6"}
        drawing.plot_mean_and_range(left, update, runs["mass"], style, f"model, {label}")
        of_training = runs["mass_of_training"].mean(axis=0)
        left.plot(update, of_training, **thin, label=f"training walkers, {label}")
        ess = runs["shadow_effective_sample_size"]
        drawing.plot_mean_and_range(right, update, ess, style, f"training, {label}")
        held_out = runs["held_out_shadow_effective_sample_size"].mean(axis=0)
        right.plot(update, held_out, **thin, label=f"held-out, {label}")
    data = results["no_resampling"]["mass_of_data"].mean()
    left.axhline(data, color="0.0", linewidth=0.6, label="data")
    left.set(xlabel="update", ylabel="mass of the mode at a", ylim=(-0.02, 0.62))
    right.set(xlabel="update", ylabel="shadow ESS (fraction of N)", ylim=(0, 1.02))
    left.legend(fontsize=8)
    right.legend(fontsize=8)
    drawing.save(figure, folder, "figure_4_5_no_resampling")


def rows(results: Results) -> list[Row]:
    found = []
    for name, label in _LABELS.items():
        runs = results[name]
        row = partial(Row, f"4.5: no resampling, {label}")
        ess = runs["shadow_effective_sample_size"]
        found += [
            row("least shadow ESS", "", ess.min(axis=1)),
            row("shadow ESS at the end", "", ess[:, -1]),
            row("p at the end", "", runs["mass"][:, -1]),
            row("mass at a of the training walkers at the end", "",
                runs["mass_of_training"][:, -1]),
            row("mass at a of the held-out walkers at the end", "as p",
                runs["mass_of_held_out"][:, -1]),
        ]  # fmt: skip
    return found
