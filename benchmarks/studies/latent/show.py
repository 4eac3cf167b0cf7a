"""Pictures, a table of the digits, and one of the codes."""

from pathlib import Path

import numpy as np

from benchmarks.harness import drawing
from benchmarks.harness.tables import Results, describe, machine, markdown
from benchmarks.studies.latent.settings import Settings
from jarzynski_jax.formatting import format_with_error

LABELS = {
    "energy": "energy-based model",
    "mixture": "best mixture of full Gaussians",
    "flow": "masked autoregressive flow",
    "diffusion": "diffusion",
    "vae": "variational autoencoder",
    "gaussian": "one full Gaussian",
}
CODERS = ("gzip", "bz2", "PNG", "WebP")


def draw(results: Results, settings: Settings, folder: Path) -> None:
    images = results["images"]
    figure, axes = drawing.panels(3)
    for axis, name, title in (
        (axes[0], "data", "test images"),
        (axes[1], "samples", "samples of the autoencoder"),
    ):
        drawing.show_images(axis, images[name], 0, 1)
        axis.set_title(title)
    drawing.show_images(axes[2], results["diffusion"]["samples"], -1.6, 1.6)
    axes[2].set_title("digits with noise, samples of the diffusion")
    drawing.save(figure, folder, "samples")
    _draw_plane(results, folder)
    _draw_rates(results, settings, folder)
    _draw_excess(results, folder)


def _draw_plane(results: Results, folder: Path) -> None:
    """The two principal axes of the encoder's means, by class."""
    latents, labels = results["vae"]["latents"], results["vae"]["labels"]
    centred = latents - latents.mean(axis=0)
    plane = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    figure, axis = drawing.panels(1)
    for digit in range(10):
        for x, y in plane[labels == digit]:
            axis.text(x, y, str(digit), fontsize=7, ha="center", va="center")
    low, high = plane.min(axis=0), plane.max(axis=0)
    axis.set_xlim(low[0] - 0.3, high[0] + 0.3)
    axis.set_ylim(low[1] - 0.3, high[1] + 0.3)
    axis.set_xlabel("first principal axis of the latents")
    axis.set_ylabel("second")
    axis.set_title("digits of the test part, as the encoder sees them")
    drawing.save(figure, folder, "latent_plane")


def _draw_rates(results: Results, settings: Settings, folder: Path) -> None:
    images = results["images"]
    figure, axes = drawing.panels(2)
    axes[0].plot(
        settings.num_samples,
        images["bits_of_samples"],
        "o",
        color="0",
        label="bits back, K latents",
    )
    axes[0].plot(
        passes(settings),
        images["bits_of_steps"],
        "^",
        color="0.5",
        label="one latent, annealed",
    )
    axes[0].plot(
        settings.num_samples,
        images["bounds_of_samples"],
        **drawing.STYLES[2],
        label="importance-weighted bound",
    )
    some = images["negative_elbo"][: settings.num_swept].mean() / np.log(2)
    axes[0].axhline(some, **drawing.STYLES[3], label="minus the evidence lower bound")
    axes[0].set_xscale("log", base=2)
    axes[0].set_xlabel("passes of the decoder an image (K; a gradient: 2)")
    axes[1].plot(settings.latent_bits, images["bits_of_precisions"], "s-", color="0")
    axes[1].axhline(some, **drawing.STYLES[3])
    axes[1].set_xlabel("bits of a latent, b (K = 1)")
    for axis in axes:
        axis.set_ylabel("net bits an image")
    axes[0].legend()
    drawing.save(figure, folder, "rates")


def passes(settings: Settings) -> list[int]:
    """What n steps cost: n + 1 gradients by the latent, of two passes of the decoder each."""
    return [2 * (n + 1) for n in settings.coding_steps]


def _draw_excess(results: Results, folder: Path) -> None:
    normal = results["normal"]
    figure, axis = drawing.panels(1)
    for name, label, style in (
        ("posterior", "variance of the posterior", drawing.STYLES[0]),
        ("betas", "variance β", drawing.STYLES[2]),
    ):
        values = np.maximum(normal[name], 1e-12)
        axis.plot(normal["spreads"], values, **style, marker="o", label=label)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_ylim(1e-5, 1)
    axis.set_xlabel("standard deviation of the data")
    axis.set_ylabel("nats a dimension above the entropy")
    axis.set_title("1000 steps, exact noise; β costs nothing at 1")
    axis.legend()
    drawing.save(figure, folder, "excess")


def write_table(results: Results, settings: Settings, folder: Path) -> None:
    rows = [_row(name, results[name]) for name in LABELS if name in results]
    images = results["images"]
    num_pixels = images["data"][0].size
    codes = {
        "bits back": float(images["bits"]),
        **{name: float(images[f"bits_{name}"]) for name in CODERS},
    }
    parts = [
        machine("jax", "constriction", "flowjax"),
        describe(settings, "data"),
        _above_the_digits(float(results["mixture"]["test_error"])),
        markdown(["model", "lower", "upper", "-ELBO", "doubts"], rows),
        f"Binary images, {len(images['negative_elbo'])} of {num_pixels} pixels, bits a pixel:",
        markdown(
            ["code", "bits a pixel"],
            [[name, f"{bits / num_pixels:.4f}"] for name, bits in codes.items()],
        ),
        f"Bits back, the first {settings.num_swept} of them, bits an image:",
        markdown(
            ["latents or steps", "passes of the decoder", "bits", "CPU milliseconds"],
            _rates(images, settings),
        ),
    ]
    (folder / "table.md").write_text("\n\n".join(parts) + "\n")


def _rates(images: dict[str, np.ndarray], settings: Settings) -> list[list[str]]:
    kinds = [
        ("samples", [f"K = {k}" for k in settings.num_samples], list(settings.num_samples)),
        ("steps", [f"n = {n}" for n in settings.coding_steps], passes(settings)),
    ]
    return [
        [label, str(cost), f"{bits:.2f}", f"{milliseconds:.1f}"]
        for kind, labels, costs in kinds
        for label, cost, bits, milliseconds in zip(
            labels,
            costs,
            images[f"bits_of_{kind}"],
            images[f"milliseconds_of_{kind}"],
            strict=True,
        )
    ]


def _row(name: str, found: dict[str, np.ndarray]) -> list[str]:
    lower, lower_error, upper, upper_error = found["bounds"]
    bound = found.get("negative_elbo")
    return [
        LABELS[name],
        "" if np.isnan(lower) else format_with_error(lower, lower_error),
        format_with_error(upper, upper_error),
        "" if bound is None else f"{float(bound):.2f}",
        "; ".join(found.get("doubts", ())),
    ]


def _above_the_digits(test_error: float) -> str:
    return (
        "Cross entropy of the digits with noise, nats (standard errors of the bounds; the test "
        f"data add {test_error:.2f}, common to all rows that are of all of them):"
    )
