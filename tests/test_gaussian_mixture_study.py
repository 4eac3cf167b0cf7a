"""The Gaussian-mixture study: it runs by its command, and its pieces are what they say."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zscore import assert_unbiased, replicate

from benchmarks.harness import jobs
from benchmarks.studies.gaussian_mixture import divergences, line, model, scaling
from benchmarks.studies.gaussian_mixture.__main__ import main
from benchmarks.studies.gaussian_mixture.report import EXACT, Row, write_tables
from benchmarks.studies.gaussian_mixture.settings import QUICK, STANDARD
from jarzynski_jax import walkers
from jarzynski_jax.energies import mixture
from jarzynski_jax.kernels import ula

ROOT = Path(__file__).parent.parent
FIGURES = {
    "example_3_bias_of_the_time_step",
    "figure_2_4_divergences",
    "figure_3_1_translated_well",
    "figure_4_1_and_4_2_algorithms",
    "figure_4_2_and_4_3_thresholds",
    "figure_4_4_collapse",
    "figure_4_5_no_resampling",
    "figure_4_6_resamplers",
    "log_z_error",
    "masses",
    "section_4_2_one_dimension",
}


def study(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.studies.gaussian_mixture", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_quick_study(tmp_path, capsys):
    """All of it at small sizes; then again, when everything is there already."""
    result = study("--quick", "--out", tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert {path.stem for path in tmp_path.glob("*.png")} == FIGURES
    with (tmp_path / "table.csv").open() as file:
        table = list(csv.DictReader(file))
    assert {row["part"][:4] for row in table} >= {
        "2.4:",
        "3.1:",
        "4.1,",
        "4.2:",
        "4.3:",
        "4.4:",
    }
    # What holds even at these sizes: the weights mend the time step's bias and the lag.
    exact = [row for row in table if row["part"].startswith(EXACT)]
    assert {row["holds"] for row in exact} == {"yes", ""}
    claimed = json.loads((tmp_path / "claims.json").read_text())
    assert len(claimed) == sum(row["holds"] == "yes" for row in exact) > 0
    assert (tmp_path / "table.md").read_text().count("\n| ") > 100

    main(tmp_path, quick=True)
    assert "[1/" not in capsys.readouterr().out
    with pytest.raises(ValueError, match="other settings"):
        main(tmp_path)


def test_quick_and_thesis_exclude_each_other(tmp_path):
    result = study("--quick", "--thesis", "--out", tmp_path / "new")
    assert result.returncode == 1
    assert "not both" in result.stderr
    assert not (tmp_path / "new").exists()


def test_mass_of_walkers_is_exactly_that_of_the_model():
    params = {"a": jnp.full(3, -0.4), "b": jnp.full(3, 0.7), "z": jnp.array(-0.6)}

    def mass(key):
        x = mixture.sample(key, params, 500)
        ensemble = walkers.init(x, lambda x: -mixture.energy(params, x), ula.init)
        return model.first_mode_mass(params, ensemble)

    assert_unbiased(replicate("mass", mass), float(mixture.mode_masses(params)[0]))


def test_first_model_and_data():
    target = model.data_params(5)
    assert float(mixture.mode_masses(target)[0]) == pytest.approx(model.TARGET_MASS)
    first = model.first_params(jax.random.key(0), 5)
    assert first["a"][0] == pytest.approx(-0.1)
    assert float(jnp.abs(first["b"][1:]).max()) < 0.05


def test_divergences_of_modes_far_apart():
    """KL = -½ log 4σ(1 - σ) when no sample is between the modes; Fisher is next to nothing."""
    found = divergences.run("divergences", QUICK)
    share = 1 / (1 + np.exp(-divergences.LOG_ODDS))
    expected = -np.log(4 * share * (1 - share)) / 2
    np.testing.assert_allclose(found["exact_kullback_leibler"], expected, atol=2e-3)
    assert found["exact_fisher"].max() < 2e-3
    assert found["fisher"].shape == (QUICK.num_seeds, 3, len(divergences.LOG_ODDS))


def test_equations_of_one_dimension():
    """Their solutions at the fixed point (eq. 4.2.13) and on the line (eq. 4.2.9)."""
    runs = {"z": np.zeros((1, 200)), "q_star": np.array([0.74]), "q_start": np.array([0.52])}
    z = line._solve(line._jarzynski, runs, 100.0)[0]
    assert z[-1] == pytest.approx(line.logit(0.74) + np.log(0.52 / 0.48), abs=1e-4)
    drift = line._solve(line._unweighted, runs, 10.0)[0]
    assert drift[-1] == pytest.approx((0.52 - 0.74) * 10)


def test_exponent_of_a_power_law():
    rng = np.random.default_rng(0)
    x = np.array([10.0, 100.0, 1000.0])
    errors = [value**-0.5 * rng.normal(size=(400, 3)) for value in x]
    exponent, error = scaling._exponent(x, errors)
    assert abs(exponent + 0.5) < 4 * error
    assert 0 < error < 0.05


def test_tables(tmp_path):
    rows = [
        Row("1", "|a|", "≤ 1", [0.5, 0.7], True),
        Row("2", "b", "", [2.0]),
        Row("3", "c", "0", np.array([1.0, 3.0]), np.False_),
    ]
    write_tables(rows, tmp_path, "A preamble.")
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[0] == "A preamble."
    assert lines[4] == "| 1 | \\|a\\| | ≤ 1 | 2 | 0.6 | 0.1414 | 0.5 | 0.7 | yes |"
    assert lines[5].endswith("| nan | 2 | 2 |  |")
    assert lines[6].endswith("| NO |")
    with (tmp_path / "table.csv").open() as file:
        assert [row["quantity"] for row in csv.DictReader(file)] == ["|a|", "b", "c"]


def test_a_folder_belongs_to_its_settings(tmp_path):
    jobs.prepare(tmp_path, QUICK)
    jobs.prepare(tmp_path, QUICK)
    with pytest.raises(ValueError, match="other settings"):
        jobs.prepare(tmp_path, STANDARD)
