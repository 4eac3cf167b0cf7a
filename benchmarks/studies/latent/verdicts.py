"""What the study claims, and whether it holds."""

import math

import numpy as np

from benchmarks.harness import claims
from benchmarks.harness.claims import Claim
from benchmarks.harness.tables import Results
from benchmarks.studies.latent.exact import SPREADS
from benchmarks.studies.latent.settings import Settings
from benchmarks.studies.latent.show import CODERS, LABELS


def judge(results: Results, settings: Settings) -> list[Claim]:
    return [
        *_of_linear(results["linear"]),
        *_of_normal(results["normal"]),
        *_of_mixture(results["mixture_code"]),
        *_of_images(results["images"], settings),
        *_of_digits(results),
    ]


def _of_linear(found: dict[str, np.ndarray]) -> list[Claim]:
    lower, lower_error, upper, upper_error = (float(value) for value in found["bracket"])
    truth = float(found["truth"])
    room = 3 * math.hypot(lower_error, upper_error) + 1e-4
    exact = 5.408108146111
    excess = abs(float(found["negative_elbo"]) - exact)
    return [
        claims.below("linear autoencoder: -ELBO off the closed form, nats", excess, 1e-3),
        claims.below(
            "linear autoencoder: rate off the closed form, nats",
            abs(float(found["rate"]) - 1.151292546497),
            2e-3,
        ),
        claims.below(
            "linear autoencoder: largest error of |W|^2, which are 4 and 1",
            float(np.max(np.abs(found["strengths"] - [4, 1]))),
            5e-3,
        ),
        claims.below(
            "linear autoencoder: largest error of the encoder's variances, 0.2 and 0.5",
            float(np.max(np.abs(found["variances"] - [0.2, 0.5]))),
            1e-3,
        ),
        claims.is_true(
            "the bracket of log p(x) contains the exact value",
            lower - room < truth < upper + room,
            f"{truth:.5f} between {lower:.5f} and {upper:.5f}, within 3 errors",
        ),
        claims.below("width of that bracket, nats", abs(upper - lower), 0.01),
    ]


def _of_normal(found: dict[str, np.ndarray]) -> list[Claim]:
    # Of the standard deviations 0.1, 0.5, 1 and 2, from the closed form of each step.
    expected = dict(zip(SPREADS, (1.958786e-2, 1.09226e-3, 0.0, 8.5311e-4), strict=True))
    betas = max(
        abs(value - expected[spread])
        for spread, value in zip(found["spreads"].tolist(), found["betas"], strict=True)
    )
    return [
        claims.below(
            "diffusion of normal data, best variances: -ELBO less its closed form",
            float(np.max(np.abs(found["best"]))),
            1e-6,
        ),
        claims.below("the same with variance β: error of its excess", float(betas), 1e-6),
        claims.above(
            "least excess of the posterior's variance, nats a dimension",
            float(np.min(found["posterior"])),
            0.3,
        ),
    ]


def _of_mixture(found: dict[str, np.ndarray]) -> list[Claim]:
    return [
        claims.below(
            "mixture with its exact posterior: net bits less -sum log2 p(x)",
            abs(float(found["bits"] - found["exact"])),
            1.0 + 0.5,  # of the counter, and rounding of 12 800 symbols
        ),
        claims.is_true("its images come back", bool(found["is_lossless"]), "bit for bit"),
        claims.above("bits lost without bits back", float(found["lost"]), 20),
    ]


def _of_images(found: dict[str, np.ndarray], settings: Settings) -> list[Claim]:
    elbo = float(found["negative_elbo"].mean())
    weighted = float(found["importance_weighted"].mean())
    lower, _, upper, _ = found["test_bracket"]
    drawn_lower, _, drawn_upper, drawn_error = found["drawn_bracket"]
    bits, some = float(found["bits"]), found["bounds_of_samples"]
    last = float(found["bits_of_samples"][-1])
    elbo_of_some = float(found["negative_elbo"][: settings.num_swept].mean()) / math.log(2)
    listed = [
        claims.below(
            "binary images: importance-weighted bound less -ELBO, nats", weighted - elbo, 0
        ),
        claims.below("width of the bracket on test images, nats", float(upper - lower), 1.0),
        claims.above(
            "bracket of images that the model draws, upper less lower, nats",
            float(drawn_upper - drawn_lower),
            -3 * float(drawn_error),
        ),
        claims.is_true(
            "no doubt of either bracket",
            not (found["test_doubts"].size or found["drawn_doubts"].size),
            "none",
        ),
        claims.is_true("all images come back", bool(found["is_lossless"]), "bit for bit"),
        claims.below("bits back above -ELBO, relative", bits * math.log(2) / elbo - 1, 0.01),
        claims.below(
            f"bits back with {settings.num_samples[-1]} latents less -ELBO, bits an image",
            last - elbo_of_some,
            0,
        ),
        claims.below(
            "its distance from the importance-weighted bound, relative",
            abs(last / float(some[-1]) - 1),
            0.01,
        ),
        claims.below(
            f"bits back, {settings.coding_steps[-1]} steps of annealing, less -ELBO, bits",
            float(found["bits_of_steps"][-1]) - elbo_of_some,
            0,
        ),
        claims.is_true(
            "images coded with annealing come back",
            bool(found["is_annealing_lossless"]),
            "bit for bit",
        ),
        claims.below(
            "CPU seconds to code the images and back", float(found["cpu_seconds"]), 60
        ),
    ]
    for name in CODERS:
        rival = float(found[f"bits_{name}"])
        listed.append(claims.below(f"bits back over {name}", bits / rival, 1.0))
    if settings.data:
        listed.append(
            claims.below(
                "MNIST: bits a pixel above the published 0.19", bits / 784 - 0.19, 0.01
            )
        )
    return listed


def _of_digits(results: Results) -> list[Claim]:
    values = {name: results[name]["bounds"] for name in LABELS if name in results}
    listed: list[Claim] = [
        claims.below(
            f"digits: width of the bracket of the {name}, nats",
            float(values[name][2] - values[name][0]),
            limit,
        )
        for name, limit in [("vae", 1.0), ("diffusion", 2.0)]
        if not np.isnan(values[name][0])
    ]
    listed.append(
        claims.above(
            "digits: every upper bound above the entropy of the noise, least excess",
            float(min(row[2] for row in values.values())) - 13.76,
            0,
        )
    )
    if "energy" in values:
        others = min(values[name][2] for name in ("gaussian", "mixture", "flow"))
        listed.append(
            claims.below(
                "digits: energy-based model less the best exact density, nats",
                float(values["energy"][2] - others),
                0,
            )
        )
    return listed
