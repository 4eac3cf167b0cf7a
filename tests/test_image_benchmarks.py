"""The image experiments: their pieces are right, and CIFAR-10's runs on made-up images."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import made_up_images
import numpy as np
import pytest

from benchmarks.studies import boltzmann
from benchmarks.studies.mnist import (
    claims,
    classifier,
    moves,
    problem,
    recipe,
    references,
    run,
    settings,
    show,
    variants,
)
from benchmarks.studies.mnist.__main__ import main
from benchmarks.studies.mnist.classifier import frechet_distance
from jarzynski_jax import training
from jarzynski_jax.energies import gaussian_base

ROOT = Path(__file__).parent.parent


@pytest.fixture
def hardly_taught(monkeypatch):
    """The classifier learns for a moment: its shares are there, however wrong."""
    classifier._train_and_keep.cache_clear()
    monkeypatch.setattr(classifier, "_NUM_UPDATES", 100)
    yield
    classifier._train_and_keep.cache_clear()


def _tiny(data: Path) -> settings.Settings:
    """Images of 4x4 pixels, and hardly any annealing."""
    return settings.quick(str(data))._replace(
        factor=7, num_samples=140, annealing_steps=8, annealing_walkers=16
    )


def test_cifar_runs_on_made_up_images(tmp_path, quick_to_compile):
    """And the same command goes on, from an end to nothing more."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.studies.cifar",
        "--quick",
        "--out",
        tmp_path / "run",
    ]
    for _ in range(2):
        result = subprocess.run(
            list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=300
        )
        assert result.returncode == 0, result.stderr
        assert (tmp_path / "run" / "walkers.png").is_file()
        assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 5


def test_the_frechet_distance_of_gaussians():
    """Of N(0, 1) and N(m, s²), independent coordinates: |m|² + d (1 - s)²."""
    rng = np.random.default_rng(0)
    left = rng.normal(size=(200_000, 3))
    right = 0.5 + 2 * rng.normal(size=(200_000, 3))
    np.testing.assert_allclose(frechet_distance(left, right), 0.75 + 3, rtol=0.02)
    np.testing.assert_allclose(frechet_distance(left, left), 0, atol=1e-6)


def test_errors_of_shares_are_relative():
    arrays = {
        "test_shares": np.array([0.5, 0.3, 0.2]),
        "walker_shares": np.array([0.6, 0.3, 0.1]),
    }
    np.testing.assert_allclose(show.share_error(arrays, "walker"), [0.2, 0, -0.5], atol=1e-12)


def test_annealed_and_relaxed_walkers_are_compared():
    """Shares of replicates are averaged; the error is half the root of summed variances."""
    arrays = {
        "annealed_shares": np.array([[0.5, 0.3, 0.2], [0.7, 0.3, 0.0]]),
        "relaxed_shares": np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]),
        "test_shares": np.array([0.5, 0.35, 0.15]),
    }
    np.testing.assert_allclose(show.shares(arrays, "annealed"), [0.6, 0.3, 0.1])
    error = np.sqrt(0.01 + 0.01) / 2
    np.testing.assert_allclose(show.distance_of_shares(arrays), [0.1, error])
    np.testing.assert_allclose(show.distance_from_data(arrays), 0.1)


def test_claims_of_the_weighted_model():
    """Better than the mixtures by 2 nats and worse than PCD by 1, and its bracket is open."""
    chosen = settings.quick("folder")._replace(algorithms=("jarzynski", "pcd"), num_seeds=1)
    values = np.linspace(0.0, 1.0, 11)
    model = {
        "lower": np.array([4.0, 0.3]),
        "upper": np.array([6.0, 0.4]),
        "doubts": np.array(""),
        "values": values,
    }
    others = {name: {"values": values + 2} for name in ("mixture", "factors")}
    results = {"jarzynski_0": model, "pcd_0": {"values": values - 1}, **others}
    width, believed, mixture, pcd = claims.find(results, chosen)
    assert not width.holds
    assert (width.value, width.error) == (2.0, pytest.approx(0.5))
    assert believed.holds
    assert mixture.holds
    assert not pcd.holds
    assert (mixture.value, pcd.value) == (pytest.approx(2), pytest.approx(-1))


@pytest.mark.parametrize(
    ("apart", "error", "known"),
    [(0.02, 0.02, "yes"), (0.07, 0.02, "NO"), (0.11, 0.05, "NO"), (0.02, 0.05, "too noisy")],
)
def test_large_errors_are_no_agreement(apart, error, known):
    assert show._agreement(apart, error) == known


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("shrink", "at least 1"),
        ("seeds", "at least 1"),
        ("learning_rate", "positive and finite"),
    ],
)
def test_bad_options_are_told_at_once(tmp_path, option, expected):
    with pytest.raises(ValueError, match=f"{option} must be {expected}; got 0"):
        main(tmp_path, tmp_path / "out", **{option: 0})
    assert not (tmp_path / "out").exists()


def test_images_for_convolutions_are_not_rotated(tmp_path):
    folder = str(made_up_images.write(tmp_path))
    chosen = settings.quick(folder)._replace(network="conv", num_samples=140)
    loaded = problem.load(chosen)
    assert loaded.axes is None
    model = problem.build_model(chosen, loaded.base, seed=0, num_moves=1)
    images = loaded.to_positions(loaded.train[:2])
    energies = jax.vmap(model.energy_fn, (None, 0))(model.params, images)
    assert images.shape == (2, 14, 14)
    # At first there is nothing but the Gaussian.
    ground = jax.vmap(partial(gaussian_base.energy, loaded.base))(jnp.asarray(images))
    np.testing.assert_allclose(energies, ground, rtol=1e-5)


def test_shortfall_of_the_training_walkers():
    """Test images cost 10 nats and training images 2 less; the walkers said 5 at the end."""
    said = np.concatenate([np.full(50, 100.0), np.full(100, 5.0)])
    arrays = {
        "upper": np.array([10.0, 0.1]),
        "overfit": np.array(2.0),
        "cross_entropy": said,
    }
    assert show.shortfall(arrays) == 3


def test_every_variant_changes_a_setting():
    chosen = recipe.baseline("folder")
    for variant in recipe.VARIANTS:
        changed = chosen._replace(**variant.changes), variant.seed
        assert (changed != (chosen, 0)) == (variant.label != "none")


def test_rivals_get_the_gradients_of_fresh_walkers():
    """3999 // 500 = 7 times 500 steps beside 4000 updates are 7500 moves: two an update."""
    chosen = recipe.baseline("folder")
    assert settings.num_rival_moves(chosen) == 2
    assert settings.num_rival_moves(chosen._replace(refresh_every=0)) == 1
    pool = chosen._replace(num_walkers=8192)  # four times as many to refresh
    assert settings.num_rival_moves(pool) == 5


def test_trials_of_more_moves_are_tabulated(tmp_path, hardly_taught):
    data = made_up_images.write(tmp_path)
    chosen = _tiny(data)._replace(num_walkers=64, num_touched=64, num_updates=10)
    number = moves.TRIALS.index(moves.Trial("jarzynski", 4, 5e-4, 0.9))
    arrays = moves.run(moves.names()[number], chosen)
    row = (*moves.label(moves.TRIALS[number], chosen), *moves.columns(arrays))
    assert row[:5] == ("weighted walkers", "64", "4", "0.0005", "0.9")
    assert float(row[5].split()[0]) < 50  # of 16 pixels


def test_a_run_that_diverged_is_a_row_with_its_reason():
    arrays = {"trouble": np.array("update 3: no")}
    row = variants.row(("one", "two"), arrays, moves.columns, 5)
    assert row == ("one", "two", "update 3: no", "", "")


@pytest.mark.parametrize("form", [settings.standard, settings.quick])
def test_pcd_takes_the_gradients_of_the_weighted_walkers(form):
    chosen = form("folder")
    own = chosen._replace(**dict(chosen.pcd))
    gradients = own.num_touched * settings.num_rival_moves(own) * own.num_updates
    assert gradients == chosen.num_touched * chosen.num_moves * chosen.num_updates


def test_the_experiment_from_end_to_end(tmp_path, hardly_taught):
    """On made-up images of 4x4 pixels, with PCD's walkers in place of the unweighted ones."""
    data = made_up_images.write(tmp_path)
    chosen = _tiny(data)._replace(
        num_walkers=64,
        num_touched=64,
        num_updates=20,
        refresh_every=10,
        refresh_steps=5,
        num_components=(1, 2),
        num_epochs=2,
    )
    results = {name: run.run(name, chosen) for name in ("jarzynski_0", "pcd_0")}
    results |= {name: references.run(name, chosen) for name in references.names()}
    results["unweighted_0"] = results["pcd_0"]
    for name in references.names():
        assert results[name]["values"].shape == results["pcd_0"]["values"].shape == (28,)
    # One Gaussian is the mixture of one, and where the model starts.
    gaussian = results["gaussian"]["values"].mean()
    assert abs(results["jarzynski_0"]["upper"][0] - gaussian) < 2
    show.write_tables(results, chosen, tmp_path, "Preamble.")
    show.draw(results, chosen, problem.load(chosen).test, tmp_path)
    table = (tmp_path / "table.md").read_text()
    for label in show.LABELS.values():
        assert label in table
    for name in ("shares", "samples", "ordered", "curves"):
        assert (tmp_path / f"{name}.png").is_file()


def test_a_boltzmann_machine_of_binary_images():
    """Stripes, on or off together: better than pixels alone, and the bounds are right."""
    rng = np.random.default_rng(0)
    stripes = np.repeat(rng.random((600, 4)) < 0.5, 16, axis=1)
    images = (stripes ^ (rng.random(stripes.shape) < 0.05)).astype(np.float32)
    chosen = boltzmann.Settings((6,), 200, 300, 100, 100, 64, 0.1, 200, 50)
    fit = boltzmann.fit_machine(training.jarzynski, 6, images[:500], images[500:], chosen)
    assert fit.exact < 40 < boltzmann._independent(images[:500], images[500:])
    assert abs(fit.bracket.lower - fit.exact) < 0.3
    assert abs(fit.bracket.upper - fit.exact) < 0.3
