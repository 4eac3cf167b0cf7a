"""What the study claims of what is known."""

from typing import Any

import numpy as np

from benchmarks.harness import claims as harness
from benchmarks.harness.claims import Claim, is_true, within
from benchmarks.harness.tables import Results
from benchmarks.studies.nonequilibrium.fields import FIELDS
from benchmarks.studies.nonequilibrium.settings import Settings


def below(claim: str, value: Any, limit: float) -> Claim:
    return harness.below(claim, float(value), limit)


def above(claim: str, value: Any, limit: float) -> Claim:
    return harness.above(claim, float(value), limit)


def estimated(claim: str, estimate: np.ndarray, expected: Any) -> Claim:
    return within(claim, float(estimate[0]), float(estimate[1]), float(expected))


def claims(results: Results, settings: Settings) -> list[Claim]:
    return [*_of_chains(results), *_of_fields(results), *_of_machines(results, settings)]


def _of_chains(results: Results) -> list[Claim]:
    chains, driven, heat = (results[job] for job in ("chains", "driven", "thermostat"))
    coarse = chains["coarse"]
    return [
        below(
            "largest error of entropy production and times", np.abs(chains["gaps"]).max(), 1e-9
        ),
        below(
            "the uneven chain: largest error of nine numbers",
            np.abs(chains["uneven_gaps"]).max(),
            2e-12,
        ),
        below("integral theorem by enumeration, its error", abs(chains["integral"] - 1), 1e-12),
        below("mean production of five steps, its error", abs(chains["mean_gap"]), 1e-12),
        estimated("BAR of entropy production of paths", chains["bar"], 0.0),
        estimated("slope of the detailed theorem", chains["slope"], 1.0),
        below(
            "coarse less whole entropy production", (coarse[:, 1] - coarse[:, 0]).max(), 1e-12
        ),
        estimated("driven walkers: E[exp(-Σ)]", driven["integral"], 1.0),
        estimated("driven walkers: slope of Crooks' theorem", driven["slope"], 1.0),
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
    ceiling = results["ceiling"]
    best = float(ceiling["log_likelihood"].max())
    found = []
    if settings.data:
        for name, value, published, limit in (
            ("EM ceiling", best, -146.78, 0.02),
            ("a unit a class", float(ceiling["unit_a_class"]), -164.33, 0.01),
            ("independent pixels", float(ceiling["pixels"]), -205.31, 0.01),
        ):
            claim = f"{name}, MNIST's 0, 1, 2: gap to {published} nats"
            found.append(below(claim, abs(value - published), limit))
    for epsilon in settings.epsilons:
        of = results[f"machines_{epsilon:g}"]
        name = f"machines, eps = {epsilon:g}"
        gap = np.abs(of["rival_log_likelihood"] - of["log_likelihood"]).max()
        found += [
            below(f"{name}: best less the ceiling", of["log_likelihood"].max() - best, 0.1),
            below(f"{name}: reversible rival's likelihood, largest gap", gap, 0.01),
            below(f"{name}: its production", of["rival_entropy_production"].max(), 1e-5),
        ]
    return found
