"""Shares of classes among samples, and runs on labelled files of one's own that tell them."""

import contextlib
import io
import json
import math

import numpy as np
import pytest
from scipy import stats

from jarzynski_jax.app import cli
from jarzynski_jax.app.plotting import plot_samples
from jarzynski_jax.app.shares import find_shares
from jarzynski_jax.data.noise import add_noise

CENTRES = {2: (-2.0, 0.0), 3: (2.0, 0.0), 6: (0.0, 3.0)}


def _draw(labels, rng):
    return np.array([CENTRES[label] for label in labels]) + 0.1 * rng.normal(
        size=(len(labels), 2)
    )


def test_shares_are_those_of_the_samples():
    """Of classes far apart; the errors are those of the replicates' shares."""
    rng = np.random.default_rng(0)
    train, test = rng.choice([2, 3, 6], 300), np.repeat([6, 3, 2], [10, 20, 40])
    counts = np.array([[10, 60, 30], [20, 50, 30], [10, 40, 50]])
    drawn = [_draw(np.repeat([2, 3, 6], part), rng) for part in counts]
    noisy = add_noise(_draw(test, rng), 0.2, 3, seed=1)
    found = find_shares(_draw(train, rng), train, noisy, test, np.array(drawn), 0.2)
    assert found.classes == (2, 3, 6)
    assert found.accuracy == 1
    np.testing.assert_allclose(found.data, np.array([4, 2, 1]) / 7)
    np.testing.assert_allclose(found.classified, found.data)
    np.testing.assert_allclose(found.model, counts.mean(axis=0) / 100)
    np.testing.assert_allclose(found.error, stats.sem(counts / 100, axis=0))
    # Twos are too few, so the distance is how far each replicate's share of them is.
    away, error = found.total_variation
    assert away == pytest.approx(4 / 7 - found.model[0])
    assert error == pytest.approx(found.error[0])


def test_the_classifier_has_learned_with_noise():
    r"""Classes at ±1 of no width with noise 1: at best a fraction :math:`\Phi(1)` is right."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 300)
    places = 2.0 * labels[:, None] - 1
    noisy = add_noise(places, 1.0, 40, seed=1)
    samples = rng.normal([[-1.0]], 1.0, size=(1, 6000, 1))
    found = find_shares(places, labels, noisy, labels, samples, 1.0)
    assert found.accuracy == pytest.approx(stats.norm.cdf(1), abs=0.01)
    assert found.model[0] == pytest.approx(stats.norm.cdf(1), abs=0.04)
    assert found.error == (math.inf, math.inf)


@pytest.mark.parametrize(
    ("labels", "samples", "message"),
    [
        (np.ones(10, int), np.zeros((1, 5, 2)), r"two classes or more; got labels \[1\]"),
        (
            np.arange(10) % 2,
            np.zeros((0, 5, 2)),
            r"samples of the model; got shape \(0, 5, 2\)",
        ),
    ],
)
def test_what_has_no_shares_is_refused(labels, samples, message):
    data = np.zeros((10, 2))
    with pytest.raises(ValueError, match=message):
        find_shares(data, labels, data[:, None], labels, samples, 0.1)


@pytest.fixture
def colours(tmp_path):
    """Red and green images of 6x8 in noise, channels first, and some of another class."""
    labels = np.repeat([0, 1, 4], [60, 40, 20])
    rng = np.random.default_rng(0)
    images = 200 * np.eye(5)[labels, :3, None, None] + rng.integers(0, 50, (120, 3, 6, 8))
    path = tmp_path / "images.npz"
    np.savez(path, data=images.astype(np.uint8), labels=labels)
    return path


def test_a_labelled_file_of_colour_images_from_end_to_end(colours, tmp_path):
    run, printed = tmp_path / "run", io.StringIO()
    small = "--walkers 32 --held-out 16 --batch-size 16 --hidden 4 --step-size 0.1"
    small += " --annealing-steps 10 --annealing-walkers 16"
    asked = "--classes 0,1 --proportions 3:1 --shrink 2 --steps 20 --noise 0.3"
    arguments = ["train", str(colours), "--out", str(run), "--network", "conv"]
    with contextlib.redirect_stdout(printed):
        assert cli.main([*arguments, *small.split(), *asked.split()]) == 0
    assert "Shares of the classes" in printed.getvalue()
    assert "right on 100.0 % of the test data" in printed.getvalue()
    shares = json.loads((run / "report.json").read_text())["shares"]
    assert shares["classes"] == [0, 1]
    # Of 60 and 20 chosen, 15 % of each are for the test.
    assert shares["data"] == [0.75, 0.25]
    assert sum(shares["model"]) == pytest.approx(1)
    with contextlib.redirect_stdout(printed):
        arguments = ["--num-samples", "20", "--annealing-steps", "10"]
        assert cli.main(["sample", str(run), *arguments, "--out", str(run / "mine.npz")]) == 0
    with np.load(run / "mine.npz") as arrays:
        drawn = arrays["samples"]
    assert drawn.shape == (20, 3, 4, 3)
    # In the units of the file, where the blue of both classes is below 50.
    means = drawn.mean(axis=(0, 1, 2))
    np.testing.assert_allclose(means, [25 + 150, 25 + 50, 25], atol=60)


@pytest.mark.parametrize("num_channels", [3, 4])
def test_colours_are_drawn(tmp_path, num_channels):
    from matplotlib.image import imread

    data, samples = np.zeros((2, 100, 5, 5, num_channels))
    data[..., [0, -1]] = samples[..., [1, -1]] = 7.0  # red, or opaque red; and green
    if num_channels == 3:
        data[..., -1] = samples[..., -1] = 0
    plot_samples(data, samples, tmp_path / "colours.png")
    picture = imread(tmp_path / "colours.png")[..., :3]
    left, right = np.split(picture, 2, axis=1)
    for half, colour in ((left, [1, 0, 0]), (right, [0, 1, 0])):
        assert np.mean(np.all(half == colour, axis=-1)) > 0.4
