"""The study of ground states: its systems at tiny sizes, its claims and figures."""

import json
import math

import numpy as np
import pytest

from benchmarks.harness import claims
from benchmarks.studies.quantum import bosons, electrons, figures, gaussians, small
from benchmarks.studies.quantum.references import (
    DIAGONALISED,
    HELIUM,
    helium_energy,
    hydrogen_molecule_curve,
    two_bosons,
)
from benchmarks.studies.quantum.results import claims_of
from benchmarks.studies.quantum.settings import QUICK, STANDARD

TINY = QUICK._replace(populations=2, walkers=100, blocks=40, warmup=10)


def _three_numbers(exact, bound):
    """What a system's report looks like, with exact energies."""
    steps = np.array([0.01, 0.02])
    at_steps = np.array([[exact, 1e-4], [exact, 1e-4]])
    return {
        "cost": np.array([bound, 1e-3]),
        "variational": np.array([bound, 1e-4]),
        "diffusion": np.array([exact, 1e-4]),
        "cost_at_steps": np.array([[bound, 1e-3], [bound, 1e-3]]),
        "growth_at_steps": at_steps,
        "mixed_at_steps": at_steps,
        "step_sizes": steps,
        "doubts": np.array([], dtype=np.str_),
        "samples": np.random.default_rng(0).normal(size=(50, 2, 3)),
    }


@pytest.fixture(scope="module")
def results():
    oscillator = small.run("oscillator", TINY)
    hydrogen = {**_three_numbers(-0.5, -0.5), "diffusion": np.array([-0.5, 1e-9])}
    return {
        "oscillator": oscillator,
        "hydrogen": hydrogen,
        "helium": _three_numbers(HELIUM, helium_energy(2.0, 0.5)),
        "helium_learned": _three_numbers(HELIUM, -2.9034),
        "h2_at_1": _three_numbers(-1.12454, -1.124),
        "h2_at_1.401": _three_numbers(-1.174475931, -1.1743),
        "bosons_2_3": _three_numbers(bosons.expected(2, 3)[0], 2.32),
        "bosons_3_6": _three_numbers(bosons.expected(3, 6)[0], 4.4),
        "bosons_4_0": _three_numbers(4.0, 4.0),
    }


def test_claims_and_figures(results, tmp_path):
    claims.conclude(claims_of(results), tmp_path)
    rows = json.loads((tmp_path / "claims.json").read_text())
    assert all(row["holds"] for row in rows)
    assert any("wrong sign" in row["claim"] for row in rows)
    curve = {name: np.array([-1.1, -1.17]) for name in ("hartree_fock", "smaller", "larger")}
    figures.draw(results, curve, tmp_path)
    names = {path.stem for path in tmp_path.glob("*.png")}
    assert names == {"energies_against_the_step", "h2_curve", "h2_densities"}


def test_canary_an_energy_that_is_wrong_fails(results, tmp_path, capsys):
    wrong = {**results, "helium": _three_numbers(-2.90, -2.8555)}
    with pytest.raises(SystemExit):
        claims.conclude(claims_of(wrong), tmp_path)
    assert "do not hold" in capsys.readouterr().err


def test_systems():
    assert electrons.names(QUICK) == ["helium"]
    assert "h2_at_1.401" in electrons.names(STANDARD)
    assert len(bosons.names(STANDARD)) == 18
    assert "double_well" in small.names(STANDARD)
    assert bosons.expected(4, 0) == (4.0, 0.0)


def test_h2_by_full_configuration_interaction():
    """In bohr, between the exact energy and Hartree-Fock's, and two bases agree."""
    pytest.importorskip("pyscf")
    found = hydrogen_molecule_curve((1.401,), ("cc-pvdz", "cc-pvtz"))
    assert found["hartree_fock"][0] == pytest.approx(-1.1336, abs=2e-3)
    assert math.isclose(found["smaller"][0], found["larger"][0], abs_tol=0.02)
    assert found["larger"][0] == pytest.approx(-1.174476, abs=3e-3)


def test_two_bosons_of_gaussians_have_the_energy_of_the_radial_equation():
    for g in (0.0, 3.0, 15.0):
        energy, fell_by = gaussians.boson_energy(2, g)
        assert energy == pytest.approx(two_bosons(g), abs=2e-6)
        assert fell_by < 5e-5


@pytest.mark.parametrize("n", [3, 4])
def test_bosons_that_repel_each_other_from_afar_are_oscillators(n):
    """A wide Gaussian is c (1 - r²/s²) but for 1/s²: ω² = 1 - 2cN/s² among each other."""

    def excess(width):
        square = 0.7
        strength = (1 - square) * width**2 / (2 * n)
        basis = gaussians.matrices(n, 60, width)
        energy = gaussians.lowest_energy(basis, strength * np.pi * width**2)
        return energy - 1 - (n - 1) * square**0.5 - strength * n * (n - 1) / 2

    near, far = excess(50.0), excess(100.0)
    assert abs(far) < 2e-4
    assert far == pytest.approx(near / 4, rel=0.01)


@pytest.mark.parametrize(("n", "num", "fell_by"), [(3, 60, 1e-3), (4, 80, 5e-3)])
def test_bosons_of_gaussians_are_bounds_that_sink_below_the_published_one(n, num, fell_by):
    """From other random exponents too; without repulsion the first function is exact."""
    basis, other = (gaussians.matrices(n, num, seed=seed) for seed in (0, 1))
    half = gaussians.Matrices(*(of[: num // 2, : num // 2] for of in basis))
    assert gaussians.lowest_energy(basis, 0.0) == pytest.approx(n, abs=1e-9)
    energy = gaussians.lowest_energy(basis, 6.0)
    assert 0 < gaussians.lowest_energy(half, 6.0) - energy < fell_by
    assert energy == pytest.approx(gaussians.lowest_energy(other, 6.0), abs=fell_by)
    assert energy < DIAGONALISED[n, 6] - 3e-3


def test_canary_bosons_that_are_not_symmetrised(monkeypatch):
    """Gaussians of one order of the particles alone: of so few, a worse bound."""
    monkeypatch.setattr(gaussians, "permutations", lambda items: [tuple(items)])
    energy = gaussians.lowest_energy(gaussians.matrices(3, 20, seed=5), 6.0)
    monkeypatch.undo()
    gaussians.matrices.cache_clear()
    symmetric = gaussians.lowest_energy(gaussians.matrices(3, 20, seed=5), 6.0)
    assert energy > symmetric + 1e-3
