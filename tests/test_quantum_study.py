"""The study of ground states: its systems at tiny sizes, its claims and figures."""

import json
import math

import numpy as np
import pytest

from benchmarks.harness import claims
from benchmarks.studies.quantum import bosons, electrons, figures, small
from benchmarks.studies.quantum.references import HELIUM, helium_energy, hydrogen_molecule_curve
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
        "bosons_2_3": _three_numbers(bosons.expected(2, 3), 2.32),
        "bosons_4_15": _three_numbers(7.65, 7.7),
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
    assert bosons.expected(4, 15) is None


def test_h2_by_full_configuration_interaction():
    """In bohr, between the exact energy and Hartree-Fock's, and two bases agree."""
    pytest.importorskip("pyscf")
    found = hydrogen_molecule_curve((1.401,), ("cc-pvdz", "cc-pvtz"))
    assert found["hartree_fock"][0] == pytest.approx(-1.1336, abs=2e-3)
    assert math.isclose(found["smaller"][0], found["larger"][0], abs_tol=0.02)
    assert found["larger"][0] == pytest.approx(-1.174476, abs=3e-3)
