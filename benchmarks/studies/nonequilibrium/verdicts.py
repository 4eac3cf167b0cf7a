"""What the study claims, and its verdicts on the claims of the paper about the machines."""

from typing import Any

import numpy as np

from benchmarks.harness import claims as harness
from benchmarks.harness.claims import Claim, is_true, within
from benchmarks.harness.tables import Results, markdown
from benchmarks.studies.nonequilibrium.fields import FIELDS
from benchmarks.studies.nonequilibrium.settings import Settings

#: Entropy production, in nats a double step, below which a machine counts as nearly reversible.
SMALL = 1.0


def below(claim: str, value: Any, limit: float) -> Claim:
    return harness.below(claim, float(value), limit)


def above(claim: str, value: Any, limit: float) -> Claim:
    return harness.above(claim, float(value), limit)


def estimated(claim: str, estimate: np.ndarray, expected: Any) -> Claim:
    return within(claim, float(estimate[0]), float(estimate[1]), float(expected))


def claims(results: Results, settings: Settings) -> list[Claim]:
    return [*_of_chains(results), *_of_fields(results), *_of_machines(results, settings)]


def _of_chains(results: Results) -> list[Claim]:
    chains, heat = results["chains"], results["thermostat"]
    coarse = chains["coarse"]
    return [
        below(
            "largest error of entropy production and times", np.abs(chains["gaps"]).max(), 1e-9
        ),
        below("integral theorem by enumeration, its error", abs(chains["integral"] - 1), 1e-12),
        below("mean production of five steps, its error", abs(chains["mean_gap"]), 1e-12),
        estimated("BAR of entropy production of paths", chains["bar"], 0.0),
        estimated("slope of the detailed theorem", chains["slope"], 1.0),
        below(
            "coarse less whole entropy production", (coarse[:, 1] - coarse[:, 0]).max(), 1e-12
        ),
        below(
            "error of the thermostat's log-determinant", abs(heat["end"][3] - 1.00218807), 2e-9
        ),
        below("drift of the conserved energy", abs(heat["drift"]), 1e-9),
        above(
            "one thermostat: gap of <x²> from two starts",
            abs(heat["averages"][0] - heat["averages"][1]),
            0.3,
        ),
        below(
            "three thermostats: error of <x²> from both starts",
            np.abs(heat["averages"][2:] - 1).max(),
            0.05,
        ),
    ]


def _of_fields(results: Results) -> list[Claim]:
    reversals, oblique = results["reversals"], results["oblique"]
    lattice, crooks, seen = results["lattice"], results["crooks"], results["correlators"]
    is_listed = np.array_equal(reversals["listed"], [20, 76, 1384])
    numbers = [number for _, number in FIELDS.values()]
    is_counted = np.array_equal(reversals["counts"], numbers)
    t = 0.5 * np.arange(seen["free_mean"].shape[0])
    free = (seen["free_mean"][:, 0, 1] + np.sin(t)) / seen["free_error"][:, 0, 1]
    sums = [
        np.abs(lattice[f"{name}_there"] + lattice[f"{name}_back"]).max()
        for name in ("bare", "even", "uneven")
    ]
    return [
        is_true("reversals in 3, 4 and 6 dimensions", is_listed, "20, 76 and 1384"),
        is_true(
            "those that go with each field", is_counted, str([n for _, n in FIELDS.values()])
        ),
        is_true("sampling agrees with polynomials", bool(reversals["agreed"].all()), "always"),
        below("worst trajectory that is reversed", reversals["kept"], 1e-11),
        above("best trajectory that must not be", reversals["broken"], 1e-3),
        below("free charge: largest z-score of C_xy + sin ωt", np.abs(free).max(), 4.5),
        below(
            "round field: largest z-score of C_xy + C_yx",
            np.abs(seen["round_scores"]).max(),
            4.5,
        ),
        above("uneven field, the control: the same", np.abs(seen["uneven_scores"]).max(), 4.5),
        *(
            within(f"oblique trap: C_xy + C_yx at t = {time}", value, error, exact)
            for time, value, error, exact in zip(
                (0.5, 2), oblique["sums"], oblique["errors"], oblique["exact"], strict=True
            )
        ),
        below("lattice: largest |C_xy + C_yx|", max(sums[:2]), 1e-14),
        above("lattice with an uneven potential: the same", sums[2], 0.02),
        estimated("BAR at the same field", crooks["same"], crooks["same_exact"]),
        estimated("its Crooks slope", crooks["same_slope"], 1.0),
        estimated("BAR with the field turned", crooks["turned"], crooks["turned_exact"]),
        above(
            "the same field without a reversal: errors off",
            abs(crooks["control"][0] - crooks["turned_exact"]) / crooks["control"][1],
            4.5,
        ),
    ]


def _of_machines(results: Results, settings: Settings) -> list[Claim]:
    ceiling = float(results["ceiling"]["log_likelihood"].max())
    found = []
    if settings.data:
        error = abs(ceiling + 146.78)
        found.append(below("EM ceiling of MNIST's 0, 1, 2: gap to -146.78 nats", error, 0.02))
    for epsilon in settings.epsilons:
        of = results[f"machines_{epsilon:g}"]
        name = f"machines, eps = {epsilon:g}"
        gap = np.abs(of["rival_log_likelihood"] - of["log_likelihood"]).max()
        found += [
            below(f"{name}: best less the ceiling", of["log_likelihood"].max() - ceiling, 0.1),
            below(f"{name}: reversible rival's likelihood, largest gap", gap, 0.01),
            below(f"{name}: its production", of["rival_entropy_production"].max(), 1e-5),
        ]
    return found


def table(results: Results, settings: Settings) -> str:
    """The paper's claims, each with what came out for each setting of the optimizer."""
    header = ("claim of the paper", *(f"eps = {epsilon:g}" for epsilon in settings.epsilons))
    columns = [_verdicts(results[f"machines_{epsilon:g}"]) for epsilon in settings.epsilons]
    rows = [(claim, *(column[claim] for column in columns)) for claim in columns[0]]
    ceiling = results["ceiling"]["log_likelihood"]
    note = (
        f"Of {len(ceiling)} starts of EM the best has {ceiling.max():.2f} nats an image, the "
        f"median {np.median(ceiling):.2f}, the worst {ceiling.min():.2f}."
    )
    return f"{note}\n\n{markdown(header, rows)}\n"


def _verdicts(of: dict[str, np.ndarray]) -> dict[str, str]:
    likelihood, sigma = of["log_likelihood"], of["entropy_production"]
    tau, divergence = of["relaxation_time"], of["divergence"]
    number, worst = len(sigma), np.sort(likelihood)[: max(1, len(sigma) // 3)]
    is_low, is_small = likelihood <= worst[-1], sigma < SMALL
    best = likelihood.max()
    order = np.argsort(sigma)
    half = order[number // 2 :]
    is_even = divergence < 0.05
    below_chance = int(np.sum(of["persistence"] < 1 / of["log_law"].shape[1]))
    ranks = np.corrcoef(np.argsort(order), np.argsort(np.argsort(likelihood)))[0, 1]
    num_each = [np.bincount(units, minlength=3) for units in of["classes"]]
    num_even = sum(np.array_equal(counts, [2, 2, 2]) for counts in num_each)
    near = np.sum((likelihood > best - 5) & is_small)
    return {
        "likelihood, least / median / best": " / ".join(
            f"{v:.2f}" for v in (likelihood.min(), np.median(likelihood), best)
        ),
        "entropy production, least / median / most": " / ".join(
            f"{v:.2g}" for v in (sigma.min(), np.median(sigma), sigma.max())
        ),
        "rank correlation of the two": f"{ranks:.2f}",
        "low likelihood only when nearly reversible": (
            f"of the worst third {int(np.sum(is_low & is_small))} of {int(is_low.sum())} have "
            f"σ < {SMALL:g}"
        ),
        "high likelihood only far from equilibrium": (
            f"{int(near)} machines within 5 nats of the best have σ < {SMALL:g}; the "
            "reversible rival has the same likelihood and σ = 0"
        ),
        "even shares of digits (KL < 0.05) only for large σ": (
            f"{int(is_even.sum())} have them, {int(np.sum(is_even & is_small))} of these with "
            f"σ < {SMALL:g}"
        ),
        "τ about 50 for large σ": (
            f"median of the upper half {np.median(tau[half]):.3g}, from "
            f"{tau[half].min():.2g} to {tau[half].max():.3g}"
        ),
        "Tr M/L below 1/L for all": f"{below_chance} of {number}",
        "two variants of each digit": (f"{num_even} of {number}"),
    }
