"""Energies against the step, H2's curve, densities, and walkers that tunnel."""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import drawing
from benchmarks.harness.tables import Results
from benchmarks.studies.quantum.references import HELIUM, HYDROGEN_MOLECULE

_KINDS = (("cost", "o"), ("growth", "s"), ("mixed", "^"))


def draw(results: Results, curve: dict[str, np.ndarray] | None, folder: Path) -> None:
    _draw_steps(results, folder)
    if "double_well" in results:
        _draw_tunnelling(results["double_well"], folder)
    molecules = {
        float(name.removeprefix("h2_at_")): found
        for name, found in results.items()
        if name.startswith("h2_at_")
    }
    if molecules:
        _draw_curve(molecules, curve, folder)
        _draw_densities(molecules, folder)


def _draw_steps(results: Results, folder: Path) -> None:
    shown = [
        (name, title, exact)
        for name, title, exact in (
            ("helium", "helium, exp(-2r₁ - 2r₂ + r₁₂/2)", HELIUM),
            ("helium_learned", "helium, learned wave", HELIUM),
            ("h2_at_1.401", "H₂ at R = 1.401, learned wave", HYDROGEN_MOLECULE),
        )
        if name in results
    ]
    figure, axes = drawing.panels(len(shown), squeeze=False)
    for axis, (name, title, exact) in zip(axes[0], shown, strict=True):
        _draw_at_steps(axis, results[name])
        axis.axhline(exact, color="0.0", linewidth=0.8, label="exact")
        axis.set(xlabel="step h (imaginary time)", title=title)
        axis.locator_params(axis="x", nbins=5)
    axes[0, 0].set(ylabel="energy (hartree)")
    axes[0, 0].legend(fontsize=8)
    drawing.save(figure, folder, "energies_against_the_step")


def _draw_at_steps(axis: Any, found: dict[str, np.ndarray]) -> None:
    steps = found["step_sizes"]
    labels = {
        "cost": "cost, a bound",
        "growth": "diffusion Monte Carlo, growth",
        "mixed": "diffusion Monte Carlo, mixed",
    }
    for shade, (kind, marker) in zip(("0.0", "0.5", "0.3"), _KINDS, strict=True):
        values, errors = found[f"{kind}_at_steps"].T
        axis.errorbar(
            steps,
            values,
            errors,
            fmt=marker,
            color=shade,
            capsize=3,
            fillstyle="none" if kind == "growth" else "full",
            label=labels[kind],
        )
    # At h = 0: the fits.
    for name, marker in (("cost", "o"), ("diffusion", "^")):
        axis.errorbar(0, *found[name], fmt=marker, color="0.0", capsize=3, markersize=9)
    value, error = found["variational"]
    axis.axhspan(value - error, value + error, color="0.75", label="variational, any step")


def _draw_curve(
    molecules: dict[float, dict[str, np.ndarray]],
    curve: dict[str, np.ndarray] | None,
    folder: Path,
) -> None:
    distances = np.array(sorted(molecules))
    figure, (left, right) = drawing.panels(2)
    numbers = {
        name: np.stack([molecules[of][name] for of in distances]).T
        for name in ("variational", "diffusion")
    }
    reference = None
    if curve is not None:
        reference = curve["larger"]
        left.plot(distances, curve["hartree_fock"], **drawing.STYLES[3], label="Hartree-Fock")
        left.plot(distances, reference, **drawing.STYLES[0], label="FCI, cc-pVQZ")
        right.axhline(0, color="0.0", label="FCI, cc-pVQZ")
        gap = 1e3 * (curve["smaller"] - reference)
        right.plot(distances, gap, **drawing.STYLES[2], label="FCI, cc-pVTZ")
    labels = "learned wave, variational", "diffusion Monte Carlo"
    for (values, errors), marker, label in zip(numbers.values(), "os", labels, strict=True):
        shade = "0.45" if marker == "o" else "0.0"
        style = {"fmt": marker, "color": shade, "capsize": 3, "label": label}
        left.errorbar(distances, values, errors, **style)
        if reference is not None:
            right.errorbar(distances, 1e3 * (values - reference), 1e3 * errors, **style)
    left.set(xlabel="R (bohr)", ylabel="energy (hartree)", title="H₂")
    right.set(xlabel="R (bohr)", ylabel="energy - FCI (millihartree)")
    left.legend(fontsize=8)
    right.legend(fontsize=8)
    drawing.save(figure, folder, "h2_curve")


def _draw_densities(molecules: dict[float, dict[str, np.ndarray]], folder: Path) -> None:
    distances = sorted(molecules)
    shown = sorted({distances[0], distances[len(distances) // 2], distances[-1]})
    figure, axes = drawing.panels(len(shown), squeeze=False, sharey=True)
    for axis, distance in zip(axes[0], shown, strict=True):
        x = molecules[distance]["samples"].reshape(-1, 3)
        # Around the axis of the protons the density is the same at all angles.
        across = np.hypot(x[:, 0], x[:, 1]) * np.where(np.arange(len(x)) % 2, 1, -1)
        weights = 1 / np.maximum(np.abs(across), 0.05)
        axis.hist2d(
            x[:, 2],
            across,
            bins=50,
            range=[[-3.5, 3.5], [-2.5, 2.5]],
            weights=weights,
            cmap="gray_r",
        )
        axis.plot([-distance / 2, distance / 2], [0, 0], "+", color="1.0", markersize=10)
        axis.set(xlabel="z (bohr)", title=f"R = {distance:g}", aspect="equal")
    axes[0, 0].set(ylabel="distance from the axis (bohr)")
    drawing.save(figure, folder, "h2_densities")


def _draw_tunnelling(found: dict[str, np.ndarray], folder: Path) -> None:
    figure, axis = drawing.panels(1)
    gap = found["exact"][1] - found["exact"][0]
    time, side = found["time"], found["side"]
    first = np.argmin(np.abs(time - 1))
    expected = side[first] * np.exp(-gap * (time - time[first]))
    axis.plot(time, side, "o", color="0.4", markersize=3, label="walkers from the right well")
    axis.plot(time, expected, color="0.0", label=f"exact gap, {gap:.4f}")
    axis.set(xlabel="imaginary time", ylabel="weighted mean of x", yscale="log")
    axis.set_title("x⁴ - 4x²: walkers tunnel")
    axis.legend(fontsize=8)
    drawing.save(figure, folder, "tunnelling")
