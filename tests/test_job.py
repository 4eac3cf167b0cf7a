"""What a job fills in, and that its files tell samples in the coordinates of the data."""

import contextlib
import io
import json
import pickle
import shutil
from dataclasses import asdict

import jax.numpy as jnp
import made_up_images
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jarzynski_jax import data, free_energy, interruption, training, walkers
from jarzynski_jax.annealing import AnnealingInfo
from jarzynski_jax.app import cli, evaluate, printing, run_folder, sample, train
from jarzynski_jax.app.config import read_config
from jarzynski_jax.app.defaults import make_config
from jarzynski_jax.app.model import build_model
from jarzynski_jax.app.problem import fit_problem
from jarzynski_jax.app.report import Moves, Report, read_report
from jarzynski_jax.app.run_folder import RunFolder
from jarzynski_jax.data.noise import noise_entropy
from jarzynski_jax.kernels import ula
from jarzynski_jax.training import Annealing, checkpoint

SMALL = ("--walkers", "32", "--held-out", "16", "--batch-size", "16", "--hidden", "4")
TINY = np.random.default_rng(0).normal(size=(60, 2))


def _make(folder, samples, **changes):
    np.save(folder / "data.npy", samples)
    source = data.Source(str(folder / "data.npy"), None, (), (), 1)
    parts = data.load_split(source)
    return make_config(parts, source, **changes), parts


@pytest.fixture
def samples():
    """Two clusters along (1, 1, 0), far from the origin, shape (400, 3)."""
    rng = np.random.default_rng(0)
    along = rng.choice([-1.0, 1.0], size=(400, 1)) * np.array([1.0, 1.0, 0.0])
    return along + 0.2 * rng.normal(size=(400, 3)) + np.array([5.0, -3.0, 1.0])


@pytest.mark.parametrize("is_rotated", [False, True])
def test_friction_is_one_over_the_largest_width(tmp_path, samples, is_rotated):
    """On principal axes C = s / min(s); the largest width of C^(-1/2) x is (max min)^(1/2)."""
    options = {"noise": 0.3, "dynamics": "kinetic", "principal_axes": is_rotated}
    config, parts = _make(tmp_path, samples, **options)
    standard = (parts.train - parts.train.mean(axis=0)) / parts.train.std(axis=0)
    covariance = np.cov(standard, rowvar=False, bias=True) + 0.09 * np.eye(3)
    widths = np.sqrt(np.linalg.eigvalsh(covariance))
    slowest = np.sqrt(widths[-1] * widths[0]) if is_rotated else widths[-1]
    assert config.friction == pytest.approx(1 / slowest, rel=0.01)


def test_a_file_has_the_step_size_of_its_narrow_parts(tmp_path):
    """Two clusters, and one of the same covariance."""
    rng = np.random.default_rng(0)
    narrow = 0.1 * rng.normal(size=(400, 2)) + rng.choice([-1.0, 1.0], size=(400, 2))
    wide = np.sqrt(1.01) * rng.normal(size=(400, 2))
    steps = [_make(tmp_path, samples)[0].step_size for samples in (narrow, wide)]
    assert steps[0] < 0.3 * steps[1]


def test_kinetic_steps_are_shorter_in_many_dimensions(tmp_path):
    """Of MNIST 0.4 (120 / d)^(1/4) of the smallest standard deviation, which is the noise."""
    source = data.Source("mnist", str(made_up_images.write(tmp_path)))
    config = make_config(data.load_split(source), source)
    assert config.step_size == pytest.approx(0.4 * (120 / 784) ** 0.25 * 0.3, rel=0.01)


@pytest.mark.parametrize(("shrink", "learning_rate"), [(1, 1e-3), (2, 2e-3), (4, 2e-3)])
def test_the_learning_rate_of_images_goes_with_their_side(tmp_path, shrink, learning_rate):
    """In proportion above 14 pixels."""
    source = data.Source("mnist", str(made_up_images.write(tmp_path)), (), (), shrink)
    config = make_config(data.load_split(source), source)
    assert config.learning_rate == pytest.approx(learning_rate)


@given(
    st.fixed_dictionaries(
        {
            "noise": st.floats(0, 1e3),
            "step_size": st.floats(1e-300, 1e300),
            "learning_rate": st.floats(1e-12, 1e3).map(np.float64),
            "adam_eps": st.floats(2**-20, 1, width=32).map(np.float32),
            "hidden": st.lists(st.integers(1, 512), min_size=1).map(tuple)
            | st.lists(st.integers(1, 512), min_size=1).map(np.array),
            "seed": st.integers(0, 2**32 - 1),
            "walkers": st.integers(1, 2**40).map(np.int64),
            "annealing_steps": st.none() | st.integers(1, 10**6),
            "standardize": st.sampled_from([None, True, False, np.True_]),
        }
    )
)
def test_a_configuration_is_what_json_gives_back(a_folder, options):
    parts = data.split(TINY, 0.15)
    config = make_config(parts, data.Source("data.npy"), **options)
    a_folder.config.write_text(json.dumps(asdict(config)))
    assert read_config(a_folder) == config
    assert config.adam_eps == float(options["adam_eps"])
    assert config.hidden == tuple(options["hidden"])


@pytest.fixture(scope="module")
def a_folder(tmp_path_factory):
    return RunFolder(tmp_path_factory.mktemp("config"))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_that_are_none_are_refused_before_training(tmp_path, samples, seed):
    with pytest.raises(ValueError, match=r"less than 2\*\*32; got"):
        _make(tmp_path, samples, seed=seed)


def test_options_that_are_none_are_told():
    with pytest.raises(TypeError, match="there is no option setps, wlakers"):
        make_config(data.split(TINY, 0.15), data.Source("data.npy"), wlakers=3, setps=1)


@pytest.mark.parametrize(
    "name", ["algorithm", "dynamics", "network", "covariance", "resampler"]
)
def test_names_that_are_none_are_told(name):
    with pytest.raises(ValueError, match=f"{name} must be one of .*; got 'magic'"):
        make_config(data.split(TINY, 0.15), data.Source("data.npy"), **{name: "magic"})


def test_the_order_of_columns_makes_no_difference(tmp_path, samples):
    order = np.array([2, 0, 1])
    plain, found = (_fitted(tmp_path, x) for x in (samples, samples[:, order]))
    np.testing.assert_array_equal(found.coordinates.mean, plain.coordinates.mean[order])
    np.testing.assert_array_equal(found.coordinates.scale, plain.coordinates.scale[order])
    np.testing.assert_array_equal(
        found.to_positions(samples[:, order]), plain.to_positions(samples)[:, order]
    )
    covariance = _covariance(plain.base)[np.ix_(order, order)]
    np.testing.assert_allclose(_covariance(found.base), covariance, atol=1e-5)


def _fitted(folder, samples):
    config, parts = _make(folder, samples, principal_axes=False)
    return fit_problem(parts.train, True, vars(config))


def _covariance(base):
    return np.asarray(base.scale) @ np.asarray(base.scale).T


@pytest.mark.parametrize("dynamics", ["langevin", "kinetic"])
def test_annealed_walkers_move_once_a_step(tmp_path, samples, dynamics):
    """However often those in training do: the steps of annealing are what they cost."""
    config, parts = _make(tmp_path, samples, dynamics=dynamics, hidden=(4,), moves=3)
    model = build_model(config, fit_problem(parts.train, True, vars(config)))
    assert model.annealing.num_moves == 1


def test_samples_of_a_rotated_model_are_where_the_data_are(tmp_path, samples):
    small = {"walkers": 64, "held_out": 32, "batch_size": 32, "hidden": (8,), "steps": 30}
    config, parts = _make(
        tmp_path, samples, noise=0.3, dynamics="kinetic", principal_axes=True, **small
    )
    folder = RunFolder(tmp_path / "run")
    assert train.start(folder, config, parts, overwrite=False)
    report, _ = evaluate.evaluate(folder, Annealing(steps=30, walkers=32))
    # After so few updates the model is little more than the Gaussian, in any coordinates.
    assert report.model.upper == pytest.approx(report.gaussian, abs=0.3)
    sample.sample(folder, 4000, Annealing(steps=30, walkers=32), tmp_path / "samples.npz")
    drawn = np.load(tmp_path / "samples.npz")["samples"]
    np.testing.assert_allclose(drawn.mean(axis=0), samples.mean(axis=0), atol=0.15)
    covariance = np.cov(samples, rowvar=False) + np.diag(0.09 * np.var(samples, axis=0))
    np.testing.assert_allclose(np.cov(drawn, rowvar=False), covariance, atol=0.2)


def _train_tiny(folder, samples):
    np.save(folder / "data.npy", samples)
    run, printed = folder / "run", io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = cli.main(
            [
                *("train", str(folder / "data.npy"), "--out", str(run), *SMALL),
                *("--annealing-steps", "30", "--steps", "20", "--noise", "0.3"),
            ]
        )
    assert code == 0
    return run, printed.getvalue()


OFFSETS = np.array([1e6, -3e7])


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    """A run of a few updates, and what was printed."""
    return _train_tiny(tmp_path_factory.mktemp("tiny"), TINY)


@pytest.fixture(scope="module")
def moved_run(tmp_path_factory):
    """The same run on the same data in other units."""
    return _train_tiny(tmp_path_factory.mktemp("moved"), 1000 * TINY + OFFSETS)[0]


def _samples(run, folder, count=512):
    out = folder / f"{run.parent.name}.npz"
    code = cli.main(["sample", str(run), "--num-samples", str(count), "--out", str(out)])
    assert code == 0
    return np.load(out)["samples"]


def test_nothing_depends_on_the_units_of_a_file(tiny_run, moved_run, tmp_path):
    run, printed = tiny_run
    plain, moved = (json.loads((r / "config.json").read_text()) for r in (run, moved_run))
    different = {name for name in plain if plain[name] != moved[name]}
    assert different == {"source", "data_fingerprint"}
    metrics = [training.read_metrics(r / "metrics.csv") for r in (run, moved_run)]
    np.testing.assert_allclose(
        metrics[0]["cross_entropy"], metrics[1]["cross_entropy"], atol=1e-3
    )
    shift = 2 * np.log(1000)
    plain, moved = _report(run), _report(moved_run)
    for name in ("lower", "upper", "relaxed"):
        assert moved["model"][name] == pytest.approx(plain["model"][name] + shift, abs=2e-3)
    for name in ("gaussian", "mixture", "noise", "log_volume"):
        assert moved[name] == pytest.approx(plain[name] + shift, abs=1e-4)
    assert moved["mixture_difference"] == pytest.approx(plain["mixture_difference"], abs=2e-3)
    assert "are of standard coordinates" in printed
    plain, moved = (_samples(r, tmp_path) for r in (run, moved_run))
    assert moved.dtype == np.float64
    np.testing.assert_allclose((moved - OFFSETS) / 1000, plain, atol=1e-3)
    # After so few updates the model is little more than the Gaussian: 0.09 of noise is added.
    assert np.std(plain, axis=0) == pytest.approx(1.044 * np.std(TINY, axis=0), rel=0.15)
    assert np.mean(plain, axis=0) == pytest.approx(np.mean(TINY, axis=0), abs=0.25)


def test_the_floor_of_a_file_is_in_its_units(tiny_run):
    """Noise of 0.3 standard deviations of the training part of each column."""
    report = _report(tiny_run[0])
    scale = data.split(TINY, 0.15).train.std(axis=0)
    expected = sum(noise_entropy(1, 0.3 * width) for width in scale)
    assert report["noise"] == pytest.approx(expected)
    gaussian = noise_entropy(1, 1.0) * 2 + np.sum(np.log(scale))
    assert report["gaussian"] == pytest.approx(gaussian, abs=0.8)  # of nine test samples


def test_a_run_without_standard_coordinates_is_refused(tiny_run, capsys):
    run, _ = tiny_run
    original = (run / "base.npz").read_bytes()
    with np.load(run / "base.npz") as arrays:
        kept = {name: value for name, value in arrays.items() if "standard" not in name}
    assert kept.keys() == {
        *("mean", "scale", "inverse_scale", "axes_mean", "axes_axes"),
    }
    try:
        np.savez(run / "base.npz", **kept)
        assert cli.main(["evaluate", str(run)]) == 2
    finally:
        (run / "base.npz").write_bytes(original)
    assert "base.npz cannot be read" in capsys.readouterr().err


def _report(run):
    return json.loads((run / "report.json").read_text())


def test_a_run_is_bounded_as_it_was_started(tiny_run, capsys):
    run, printed = tiny_run
    words = "4 replicates of 512 walkers and 30 steps each way: kinetic dynamics, step size"
    assert words in printed
    first = _report(run)
    assert first["annealing"] == {"steps": 30, "walkers": 512, "replicates": 4}
    assert first["moves"]["dynamics"] == "kinetic"
    config = json.loads((run / "config.json").read_text())
    assert config["annealing_steps"] == 30
    assert cli.main(["train", "--resume", str(run), "--annealing-steps", "0"]) == 2
    assert "annealing steps must be at least 1; got 0" in capsys.readouterr().err
    (run / "report.json").rename(run / "first.json")  # as if it had been stopped before it
    (run / "samples.png").rename(run / "first.png")
    try:
        assert cli.main(["train", "--resume", str(run)]) == 0
        assert _report(run) == first
    finally:
        (run / "first.json").rename(run / "report.json")
        (run / "first.png").rename(run / "samples.png")


def _files(run):
    return {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}


def test_a_finished_run_is_not_bounded_again(tiny_run, capsys, monkeypatch):
    run, printed = tiny_run
    before = _files(run)

    def bound(*_, **__):
        raise AssertionError("bounded again")

    monkeypatch.setattr(evaluate, "bound_from_base", bound)
    for options in ((), ("--annealing-steps", "30")):
        assert cli.main(["train", "--resume", str(run), *options]) == 0
        again = capsys.readouterr().out
        assert again == printed[printed.index(again[:40]) :]
    assert _files(run).keys() == before.keys()
    assert _files(run)["report.json"] == before["report.json"]


def test_nothing_that_a_run_made_is_overwritten(tiny_run, tmp_path, capsys):
    original, _ = tiny_run
    run = tmp_path / "run"
    shutil.copytree(original, run)
    before = _files(run)
    before.pop("curves.png")  # drawn again when training goes on
    run_as = (str(run), "--annealing-steps")
    assert cli.main(["evaluate", *run_as, "31"]) == 0
    assert cli.main(["train", "--resume", *run_as, "32"]) == 0
    assert cli.main(["sample", *run_as, "5", "--num-samples", "7"]) == 0
    assert cli.main(["sample", *run_as, "5", "--num-samples", "9"]) == 0
    said = capsys.readouterr().out
    new = {f"{name}-{number}.{end}" for name, end in _NEW for number in (1, 2)}
    after = _files(run)
    assert after.keys() - before.keys() == new | {"curves.png"}
    assert {name: after[name] for name in before} == before
    assert all(name in said for name in new)
    for number, steps in ((1, 31), (2, 32)):
        found = json.loads(after[f"evaluation-{number}.json"])
        assert found["annealing"] == {"steps": steps, "walkers": 512, "replicates": 4}
        assert (found["updates"], found["moves"]) == (20, _report(run)["moves"])
    assert [len(np.load(run / f"samples-{n}.npz")["samples"]) for n in (1, 2)] == [7, 9]


_NEW = (("evaluation", "json"), ("evaluation", "png"), ("samples", "npz"), ("samples", "png"))


def test_samples_replace_a_file_only_if_told_to(tiny_run, tmp_path, capsys):
    run, _ = tiny_run
    out = tmp_path / "mine.npz"
    out.with_suffix(".png").write_text("a picture of something else")
    arguments = ["sample", str(run), "--num-samples", "7", "--out", str(out)]
    assert cli.main(arguments) == 2
    assert "mine.png is there already; replace by --overwrite" in capsys.readouterr().err
    assert out.with_suffix(".png").read_text() == "a picture of something else"
    assert not out.exists()
    assert cli.main([*arguments, "--overwrite"]) == 0
    assert cli.main(arguments) == 2
    assert "mine.npz and" in capsys.readouterr().err


def test_an_earlier_checkpoint_can_be_evaluated_and_sampled(tiny_run, tmp_path, capsys):
    original, _ = tiny_run
    run = tmp_path / "run"
    shutil.copytree(original, run)
    assert cli.main(["evaluate", str(run), "--checkpoint", "0"]) == 0
    found = json.loads((run / "evaluation-1.json").read_text())
    assert found["updates"] == 0
    # Before training the model is the Gaussian, whose log Z is known.
    assert found["model"]["lower"] == pytest.approx(found["gaussian"], abs=0.02)
    for command in ("evaluate", "sample"):
        capsys.readouterr()
        assert cli.main([command, str(run), "--checkpoint", "7"]) == 2
        said = capsys.readouterr().err
        assert "no checkpoint of update 7 is kept" in said
        assert "those that are: 0, 20 (lowest held-out cross entropy)" in said
    samples = [tmp_path / name for name in ("first.npz", "last.npz")]
    for out, chosen in zip(samples, (("--checkpoint", "0"), ()), strict=True):
        assert cli.main(["sample", str(run), "--out", str(out), *chosen]) == 0
    first, last = (np.load(path)["samples"] for path in samples)
    assert not np.array_equal(first, last)


def test_checkpoints_are_as_dense_as_they_should_be(tmp_path, samples):
    config, parts = _make(tmp_path, samples, **TINY_OPTIONS, steps=300, checkpoint_every=100)
    folder = RunFolder(tmp_path / "run")
    assert train.start(folder, config, parts, overwrite=False)
    kept = {int(path.name) for path in folder.checkpoints.iterdir()}
    assert {100, 200, 300} <= kept
    assert json.loads(folder.config.read_text())["checkpoint_every"] == 100
    with pytest.raises(ValueError, match="checkpoint_every must be at least 1; got 0"):
        train.resume(folder, checkpoint_every=0)
    assert train.resume(folder, checkpoint_every=50)


TINY_OPTIONS = {"walkers": 64, "held_out": 32, "batch_size": 32, "hidden": (8,)}


@pytest.mark.filterwarnings("error:loadtxt")
def test_a_run_interrupted_before_its_first_update_has_no_curves(
    tmp_path, samples, monkeypatch
):
    config, parts = _make(tmp_path, samples, walkers=32, held_out=16, hidden=(4,))
    pressed = interruption.Interruption(num_asked=1)
    monkeypatch.setattr(interruption, "_of_the_process", pressed)
    folder = RunFolder(tmp_path / "run")
    assert not train.start(folder, config, parts, overwrite=False)
    assert checkpoint.latest_step(folder.checkpoints) == pressed.last_saved == 0
    assert not folder.curves.exists()


def test_a_run_from_before_these_settings_goes_on(tiny_run):
    run, _ = tiny_run
    original = (run / "config.json").read_text()
    config = json.loads(original)
    for name in ("annealing_steps", "annealing_walkers", "annealing_replicates"):
        del config[name]
    try:
        (run / "config.json").write_text(json.dumps(config))
        assert evaluate.settings_of(RunFolder(run)) == Annealing()
        assert cli.main(["evaluate", str(run), "--annealing-steps", "30"]) == 0
    finally:
        (run / "config.json").write_text(original)


def test_sample_says_what_it_did(tiny_run, tmp_path, capsys):
    run, _ = tiny_run
    out = tmp_path / "mine.npz"
    assert cli.main(["sample", str(run), "--num-samples", "7", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "7 samples from 512 walkers, 512 of them alive, annealed in 30 steps" in said
    assert str(out) in said


@pytest.fixture(scope="module")
def dead_run(tmp_path_factory):
    """A run whose step size kills all walkers that are annealed, and what was printed."""
    folder = tmp_path_factory.mktemp("dead")
    np.save(folder / "data.npy", np.random.default_rng(0).normal(size=(40, 2)))
    run, printed = folder / "run", io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = cli.main(
            [
                *("train", str(folder / "data.npy"), "--out", str(run), *SMALL),
                *("--annealing-steps", "60", "--steps", "1", "--step-size", "2000"),
                *("--dynamics", "langevin", "--moves", "1"),
            ]
        )
    assert code == 3
    return run, printed.getvalue()


def test_dead_walkers_are_not_shown_as_samples(dead_run):
    run, printed = dead_run
    assert "NOT TO BE BELIEVED" in printed
    assert not (run / "samples.png").exists()
    assert "samples.png" not in printed


def test_a_report_that_is_not_believed_has_its_status(dead_run, capsys):
    run, _ = dead_run
    doubts = _report(run)["model"]["doubts"]
    assert doubts
    assert cli.main(["train", "--resume", str(run)]) == 3
    said = capsys.readouterr().out
    assert all(f"NOT TO BE BELIEVED: {doubt}." in said for doubt in doubts)


def test_reports_are_strict_json_and_come_back(dead_run, tmp_path):
    run, _ = dead_run

    def refuse(token):
        raise AssertionError(token)

    text = (run / "report.json").read_text()
    values = json.loads(text, parse_constant=refuse)
    assert values["model"]["lower"] == "-Infinity"
    report = read_report(RunFolder(run))
    assert report.model.lower == -np.inf
    assert isinstance(report.model, free_energy.Bracket)
    assert report.annealing == Annealing(60, 512, 4)
    run_folder.write_json(tmp_path / "again.json", report)
    assert (tmp_path / "again.json").read_text() == text


def test_dead_walkers_are_no_samples(dead_run, capsys):
    run, _ = dead_run
    before = sorted(run.iterdir())
    arguments = ("--num-samples", "50", "--annealing-steps", "60")
    assert cli.main(["sample", str(run), *arguments]) == 1
    assert sorted(run.iterdir()) == before
    said = capsys.readouterr().err
    for words in ("512 of 512 annealed walkers died", "2000", "smaller step size"):
        assert words in said
    assert "fewer samples" not in said


def test_fewer_living_walkers_than_samples_are_an_error():
    error = sample.WalkersDied(3, 10, 8, 0.1)
    assert "3 of 10" in str(error)
    assert "ask for fewer samples" in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.num_dead) == (str(error), 3)


@pytest.mark.parametrize(
    ("is_resampled", "num_dead", "log_weights", "num_alive"),
    [
        ([0, 0, 0], [0, 0, 0], [0.0] * 8, 8),
        ([0, 0, 0], [1, 0, 2], [-np.inf] * 3 + [0.0] * 5, 5),
        ([0, 1, 0], [1, 2, 1], [-np.inf] + [0.0] * 7, 7),
        ([0, 0, 1], [1, 0, 5], [0.0] * 8, 2),  # copies of two in the last step
        ([0, 1, 1], [1, 0, 5], [0.0] * 8, 3),
        ([0, 0, 0], [0, 0, 0], [-np.inf] * 8, 0),  # dead from the start
    ],
)
def test_the_living_are_counted_before_they_are_copied(
    is_resampled, num_dead, log_weights, num_alive
):
    nothing = jnp.zeros(3)
    info = AnnealingInfo(nothing, nothing, jnp.array(is_resampled, bool), jnp.array(num_dead))
    ensemble = walkers.init(jnp.zeros(8), lambda x: -(x**2), ula.init)
    ensemble = ensemble._replace(log_weights=jnp.array(log_weights))
    assert int(sample.count_living(ensemble, info)) == num_alive


def test_what_is_better_is_said_to_lie_below(capsys):
    bracket = free_energy.Bracket(34.0978, 0.0049, 34.2, 0.0, None, 0.2871, ())
    report = Report(
        *(bracket, 42.13, 34.86, 20, 30, (-61.2871, 3.0312), 13.76, 270, 100),
        *(-2.5, Annealing(), Moves("kinetic", 0.12, 0.5)),
    )
    printing.print_report(report)
    printed = capsys.readouterr().out
    assert "the mixture lies 61.3 ± 3.0 below the model's upper bound" in printed
    assert "34.0978 ± 0.0049" in printed
    assert "0.29, common to all rows" in printed
    assert "0.10 nats apart" in printed
    assert "metrics.csv and curves.png are of standard coordinates: higher by 2.50" in printed
    assert (
        "512 walkers and 4000 steps each way: kinetic dynamics, step size 0.12, fric" in printed
    )
