"""The study of models with latents: its quick form, pictures, table and claims."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.studies.latent import digits, images, show
from benchmarks.studies.latent.settings import FULL, QUICK

ROOT = Path(__file__).parent.parent


def test_quick_study(tmp_path):
    """All of it by its command, at small sizes: what is claimed holds."""
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.studies.latent", "--quick", "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    pictures = {"samples", "latent_plane", "rates", "excess"}
    assert {path.stem for path in tmp_path.glob("*.png")} == pictures
    table = (tmp_path / "table.md").read_text()
    assert all(label in table for name, label in show.LABELS.items() if name != "energy")
    found = json.loads((tmp_path / "claims.json").read_text())
    assert len(found) > 20


def test_the_energy_is_of_the_full_form_alone():
    assert "energy" in digits.names(FULL)
    assert "energy" not in digits.names(QUICK)


def test_a_bound_with_two_of_four_weights():
    log_weights = np.log(np.array([[1.0, 3.0, 2.0, 2.0]]))
    assert images._bound(log_weights, 2) == pytest.approx(math.log(2))
    assert images._bound(log_weights, 1) == pytest.approx(math.log(12) / 4)


def test_generic_coders_pack_the_bits():
    bits = images.generic_coders(np.zeros((100, 8, 8), np.int64))
    assert bits["bits_gzip"] < 64
    rng = np.random.default_rng(0)
    noise = images.generic_coders(rng.integers(0, 2, (100, 8, 8)))
    assert all(value >= 64 for value in noise.values())
