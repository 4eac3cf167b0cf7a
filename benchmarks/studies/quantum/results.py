"""What the study claims."""

import math

import numpy as np

from benchmarks.harness.claims import Claim, above, below, is_true, within
from benchmarks.harness.tables import Results
from benchmarks.studies.quantum import bosons
from benchmarks.studies.quantum.references import (
    DIAGONALISED,
    HELIUM,
    HYDROGEN_MOLECULE,
    PUBLISHED_COST,
    helium_energy,
)
from benchmarks.studies.quantum.small import STRENGTHS


def claims_of(results: Results) -> list[Claim]:
    return [
        *_of_oscillator(results["oscillator"]),
        *_of_hydrogen(results["hydrogen"]),
        *_of_helium(results["helium"]),
        *(_of_wells(results["double_well"]) if "double_well" in results else []),
        *_of_learned(results),
        *(claim for name, found in results.items() for claim in _of_bosons(name, found)),
    ]


def _of_oscillator(found: dict[str, np.ndarray]) -> list[Claim]:
    expected = float(found["expected"])
    growth = [
        _within(f"oscillator, drift -{strength:g} x: growth energy", pair, expected)
        for strength, pair in zip(STRENGTHS, found["growth"], strict=True)
    ]
    value, error = found["wrong_sign"]
    missed = abs(value - expected) > 3 * error
    return [*growth, is_true("oscillator: the wrong sign of v.dB fails", missed, "fails")]


def _of_hydrogen(found: dict[str, np.ndarray]) -> list[Claim]:
    value, error = found["diffusion"]
    return [
        below("hydrogen with its cusp: error of the energy", error, 1e-6),
        below("hydrogen with its cusp: |E + 1/2|", abs(value + 0.5), 1e-6),
    ]


def _of_helium(found: dict[str, np.ndarray]) -> list[Claim]:
    what = "helium, exp(-2 r1 - 2 r2 + r12/2)"
    exact = helium_energy(2.0, 0.5)
    return [
        _within(f"{what}: variational energy", found["variational"], exact),
        _within(f"{what}: diffusion Monte Carlo", found["diffusion"], HELIUM),
        is_true(f"{what}: no doubts", found["doubts"].size == 0, "none"),
    ]


def _of_wells(found: dict[str, np.ndarray]) -> list[Claim]:
    ground, excited = found["exact"][:2]
    return [
        _within("x^4 - 4 x^2: diffusion Monte Carlo", found["diffusion"], ground),
        _within("x^4 - 4 x^2: gap, from walkers that tunnel", found["gap"], excited - ground),
    ]


def _of_learned(results: Results) -> list[Claim]:
    claims = []
    for name, what, system, exact in (
        ("helium_learned", "helium, learned", "helium", HELIUM),
        ("h2_at_1.401", "H2 at R = 1.401, learned", "h2", HYDROGEN_MOLECULE),
    ):
        if name not in results:
            continue
        found = results[name]
        value, error = found["variational"]
        limit = PUBLISHED_COST[system]
        claims += [
            below(f"{what}: variational energy below the published cost", value, limit, error),
            above(f"{what}: variational energy, 3 errors up", value + 3 * error, exact, error),
            _within(f"{what}: diffusion Monte Carlo", found["diffusion"], exact),
            below(f"{what}: error of diffusion Monte Carlo", found["diffusion"][1], 1e-3),
        ]
    return claims


def _of_bosons(name: str, found: dict[str, np.ndarray]) -> list[Claim]:
    if not name.startswith("bosons_"):
        return []
    n, g = map(int, name.removeprefix("bosons_").split("_"))
    what = f"{n} bosons, g = {g}"
    exact, uncertainty = bosons.expected(n, g)
    value, error = found["diffusion"]
    pair = np.array([value, max(math.hypot(error, uncertainty), 1e-6)])
    claims = [_within(f"{what}: diffusion Monte Carlo", pair, exact)]
    if (n, g) in DIAGONALISED:
        published = DIAGONALISED[n, g]
        claims.append(below(f"{what}: exact, below the published bound", exact, published))
    return claims


def _within(claim: str, pair: np.ndarray, expected: float) -> Claim:
    """Of a value with its error."""
    return within(claim, float(pair[0]), float(pair[1]), expected)
