"""The command line: a small run from end to end, bad input, kill and resume.

Commands run in this process; those that are to be killed, or need devices of their own, do not.
"""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import made_up_images
import numpy as np
import pytest

import jarzynski_jax as jj
from jarzynski_jax.app import arguments, cli, shares
from jarzynski_jax.app.config import OPTIONS

pytestmark = pytest.mark.usefixtures("module_quick_to_compile")

SMALL = (
    *("--walkers", 64, "--held-out", 32, "--batch-size", 32, "--hidden", 8),
    *("--noise", 0.3, "--annealing-steps", 20, "--annealing-walkers", 32, "--steps", 100),
)


def _command(*arguments):
    return [sys.executable, "-m", "jarzynski_jax", *map(str, arguments)]


def _run_in_process_of_its_own(*arguments, cwd):
    return subprocess.run(
        _command(*arguments), cwd=cwd, capture_output=True, text=True, timeout=300
    )


def _run(*arguments, cwd):
    """Run a command as its process would, and return what that would have returned."""
    out, error = io.StringIO(), io.StringIO()
    streams = contextlib.redirect_stdout(out), contextlib.redirect_stderr(error)
    with streams[0], streams[1], contextlib.chdir(cwd):
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as end:  # of tyro, which reads the arguments
            status = end.code
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), error.getvalue())


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with a small data file of two clusters."""
    folder = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    centres = rng.choice([-1.0, 1.0], size=(80, 1))
    np.save(folder / "data.npy", centres + 0.2 * rng.normal(size=(80, 3)))
    return folder


@pytest.fixture(scope="module")
def finished_run(workplace, module_quick_to_compile):
    result = _run("train", "data.npy", *SMALL, cwd=workplace)
    assert result.returncode == 0, result.stderr
    return workplace / "runs" / "data", result


def test_train_prints_the_table_and_writes_everything(finished_run):
    folder, result = finished_run
    for words in ("energy-based model", "full Gaussian", "mixture", "entropy of the noise"):
        assert words in result.stdout
    written = {path.name for path in folder.iterdir()}
    assert written == {
        "base.npz",
        "checkpoints",
        "config.json",
        "curves.png",
        "metrics.csv",
        "report.json",
        "samples.png",
    }
    report = json.loads((folder / "report.json").read_text())
    assert report["updates"] == 100
    assert report["model"]["lower"] > report["noise"]


def test_evaluate_prints_the_table_again(finished_run):
    folder, first = finished_run
    result = _run("evaluate", folder, "--annealing-steps", 20, cwd=folder.parent)
    assert result.returncode == 0, result.stderr
    table = first.stdout[first.stdout.index("Cross entropy") : first.stdout.index("see ")]
    assert table.strip() in result.stdout
    assert result.stdout.strip().endswith(
        f"wrote {folder / 'evaluation-1.json'}, {folder / 'evaluation-1.png'}"
    )


def test_sample_writes_picture_and_arrays(finished_run, tmp_path):
    folder, _ = finished_run
    out = tmp_path / "mine.npz"
    result = _run(
        *("sample", folder, "--num-samples", 7, "--annealing-steps", 20, "--out", out),
        cwd=folder.parent,
    )
    assert result.returncode == 0, result.stderr
    assert np.load(out)["samples"].shape == (7, 3)
    assert out.with_suffix(".png").is_file()


def test_digits_are_images_from_end_to_end(tmp_path):
    out = tmp_path / "digits"
    result = _run("train", "digits", "--out", out, *SMALL, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads((out / "config.json").read_text())["step_size"] == pytest.approx(
        0.0198, rel=0.01
    )


@pytest.mark.parametrize("algorithm", ["pcd", "cd", "unweighted", "pool"])
def test_every_algorithm_runs(workplace, tmp_path, algorithm):
    chosen = ("--touched", 16) if algorithm == "pool" else ("--algorithm", algorithm)
    result = _run(
        *("train", workplace / "data.npy", "--out", tmp_path / "run", *SMALL, *chosen),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return made_up_images.write(tmp_path_factory.mktemp("idx"))


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_images_of_some_classes_from_end_to_end(images, tmp_path, network, monkeypatch):
    monkeypatch.setattr(shares, "_NUM_UPDATES", 100)  # the classifier need not be good
    chosen = ("--classes", "2,3,6", "--proportions", "4:2:1", "--shrink", 7)
    fresh = ("--refresh-every", 50, "--refresh-steps", 5, "--network", network)
    run = tmp_path / "run"
    result = _run(
        *("train", "mnist", "--data", images, *chosen, *SMALL, *fresh, "--out", run),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert "energy-based model, 100 updates" in result.stdout
    config = json.loads((run / "config.json").read_text())
    assert (config["classes"], config["proportions"]) == ([2, 3, 6], [4, 2, 1])
    assert config["dynamics"] == "kinetic"
    # The narrowest direction is that of the noise, and a little of the data.
    assert config["step_size"] == pytest.approx(0.4 * 0.3, rel=0.02)
    assert 0.1 < config["friction"] < 1 / 0.3
    assert config["principal_axes"] == (network == "mlp")
    assert (config["adam_b1"], config["moves"]) == (0.99, 4)
    report = json.loads((run / "report.json").read_text())
    assert report["num_test"] == 28
    assert report["shares"]["classes"] == [2, 3, 6]
    assert report["shares"]["data"] == [16 / 28, 8 / 28, 4 / 28]
    assert (run / "samples.png").is_file()
    if network == "conv":
        return
    result = _run("sample", run, "--num-samples", 8, "--annealing-steps", 5, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    with np.load(run / "samples-1.npz") as arrays:
        assert arrays["samples"].shape == (8, 4, 4)


def test_walkers_on_two_devices_learn_the_same(finished_run, workplace, tmp_path, monkeypatch):
    flags = "--xla_force_host_platform_device_count=2"
    monkeypatch.setenv("XLA_FLAGS", f"{os.environ['XLA_FLAGS']} {flags}")
    arguments = ("train", workplace / "data.npy", "--out", tmp_path / "run", *SMALL)
    result = _run_in_process_of_its_own(*arguments, "--devices", 2, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found, expected = (
        json.loads((folder / "report.json").read_text())["model"]["lower"]
        for folder in (tmp_path / "run", finished_run[0])
    )
    assert found == pytest.approx(expected, abs=1e-2)
    options = ("--overwrite", "--walkers", 63, "--devices", 2)
    result = _run_in_process_of_its_own(*arguments, *options, cwd=tmp_path)
    assert result.returncode == 2
    assert "must divide that of walkers, 63; got 2" in result.stderr
    assert (tmp_path / "run" / "report.json").is_file()


BAD_INPUT = {
    "missing file": (["train", "nothing.npy"], "there is no file"),
    "corrupt file": (["train", "corrupt.npz"], "cannot be read"),
    "NaN in the data": (["train", "nan.npy"], "NaN or infinite"),
    "wrong rank": (["train", "rank1.npy"], "shape (n, d), or of images, (n, h, w)"),
    "negative step size": (["train", "--step-size", "-0.1"], "step_size must be positive"),
    "momentum without end": (
        ["train", "--adam-b1", "1"],
        "adam_b1 must be at least 0 and less",
    ),
    "too many touched": (
        ["train", "--walkers", "64", "--touched", "65"],
        "between 1 and the number of walkers, 64; got 65",
    ),
    "touched without weights": (
        ["train", "--algorithm", "pcd", "--touched", "8"],
        "only the algorithm 'jarzynski'",
    ),
    "unknown algorithm": (["train", "--algorithm", "magic"], "magic"),
    "bad threshold": (["train", "--ess-threshold", "2"], "ess_threshold must be"),
    "no steps": (["train", "--steps", "0"], "steps must be at least 1"),
    "no annealing steps": (["train", "--annealing-steps", "0"], "annealing steps"),
    "folder that exists": (["train", "data.npy", "--out", "taken"], "is there already"),
    "overwriting no run": (
        ["train", "data.npy", "--out", "taken", "--overwrite"],
        "is not the folder of a run",
    ),
    "resume of nothing": (["train", "--resume", "taken"], "holds no run"),
    "evaluate nothing": (["evaluate", "nowhere"], "there is no run in nowhere"),
    "sample nothing": (["sample", "r/none"], "there is no run in r/none"),
    "nearly a name": (["train", "digit"], "no file digit; did you mean digits?"),
    "no checkpoints": (
        ["train", "--checkpoint-every", "0"],
        "checkpoint_every must be at least 1; got 0",
    ),
    "classes without labels": (
        ["train", "data.npy", "--classes", "2,3"],
        "numpy.savez('samples.npz', data=..., labels=...)",
    ),
    "classes that digits lack": (["train", "--classes", "2,11"], "got (2, 11)"),
    "folder of digits": (["train", "--data", "nowhere"], "files of ('mnist', 'fashion-mnist')"),
    "classes that are no numbers": (
        ["train", "mnist", "--classes", "2;3"],
        "whole numbers with ',' between them; got '2;3'",
    ),
    "no images": (["train", "mnist", "--data", "nowhere"], "train-images-idx3-ubyte"),
    "fresh walkers without weights": (
        ["train", "--algorithm", "pcd", "--refresh-every", "9"],
        "only weighted walkers can be fresh ones",
    ),
    "friction without velocities": (
        ["train", "--friction", "1"],
        "only kinetic walkers feel friction; got friction=1.0",
    ),
    "convolutions on principal axes": (
        ["train", "--network", "conv", "--principal-axes", "True"],
        "principal axes are for a network 'mlp' on a Gaussian of covariance 'full'",
    ),
    "negative friction": (
        ["train", "--dynamics", "kinetic", "--friction", "-1"],
        "friction must be positive",
    ),
    "too many devices": (["train", "--devices", "99"], "got 99"),
    "no command": ([], "Missing subcommand"),
}


#: As a process ends: of the command's own errors, and of those that tyro finds.
IN_A_PROCESS = ("negative step size", "no command")


@pytest.mark.parametrize(
    ("name", "run"),
    [
        *((name, _run) for name in BAD_INPUT),
        *((name, _run_in_process_of_its_own) for name in IN_A_PROCESS),
    ],
)
def test_bad_input_is_refused_and_nothing_is_touched(workplace, name, run):
    arguments, message = BAD_INPUT[name]
    (workplace / "corrupt.npz").write_bytes(b"PK no archive")
    np.save(workplace / "nan.npy", np.full((20, 2), np.nan))
    np.save(workplace / "rank1.npy", np.zeros(20))
    taken = workplace / "taken"
    taken.mkdir(exist_ok=True)
    (taken / "precious.txt").write_text("mine")
    before = sorted(workplace.rglob("*"))
    result = run(*arguments, cwd=workplace)
    assert result.returncode == 2, result.stderr
    assert message in " ".join((result.stdout + result.stderr).replace("│", " ").split())
    assert "Traceback" not in result.stderr
    assert sorted(workplace.rglob("*")) == before
    assert (taken / "precious.txt").read_text() == "mine"


def test_resume_refuses_other_options_data_and_checkpoints(finished_run, tmp_path):
    folder, _ = finished_run
    result = _run("train", "--resume", folder, "--walkers", 7, cwd=folder.parent)
    assert result.returncode == 2
    assert "leave out walkers" in result.stderr
    config_path = folder / "config.json"
    original = config_path.read_text()
    try:
        config = json.loads(original)
        config_path.write_text(json.dumps(config | {"seed": 99}))
        result = _run("train", "--resume", folder, cwd=folder.parent)
        assert result.returncode == 2
        assert "another configuration: seed was 0 and is 99" in result.stderr
        config_path.write_text(json.dumps(config | {"data_fingerprint": "0"}))
        result = _run("train", "--resume", folder, cwd=folder.parent)
        assert result.returncode == 2
        assert "has changed since" in result.stderr
    finally:
        config_path.write_text(original)


def test_divergence_ends_with_status_1_and_keeps_the_checkpoint(tmp_path):
    result = _run("train", "--step-size", 1, "--out", "run", *SMALL, cwd=tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    for words in ("stopped at update", "smaller step size", "checkpoint of update 0 is kept"):
        assert words in result.stderr
    assert "Traceback" not in result.stderr
    curves = Path("run", "curves.png")
    assert f"The curves up to there are in {curves}." in result.stderr
    assert (tmp_path / curves).stat().st_size > 10_000
    assert (tmp_path / "run" / "checkpoints" / "0").is_dir()


def _start(*arguments, cwd, stdout=subprocess.DEVNULL):
    return subprocess.Popen(
        _command(*arguments),
        cwd=cwd,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


def _start_training(workplace, folder, *options):
    arguments = ("train", "data.npy", "--out", folder, *SMALL, "--steps", 3000, *options)
    return _start(*arguments, cwd=workplace)


def _wait_for_updates(folder, process, num_updates):
    metrics = folder / "metrics.csv"
    for _ in range(2400):
        assert process.poll() is None, process.stderr.read()
        if metrics.is_file() and metrics.read_bytes().count(b"\n") > num_updates:
            return
        time.sleep(0.05)
    raise AssertionError("training does not get on")


def _everything(folder):
    """All metrics and the report: they depend on every bit of the state."""
    metrics = (folder / "metrics.csv").read_text()
    return metrics, json.loads((folder / "report.json").read_text())


def _interrupt(process, times=1):
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)  # else the two would be one
    # It is a second or two; to wait for what is running would take longer.
    assert process.wait(timeout=60) == 130


def test_interrupted_then_resumed_is_bit_for_bit_an_uninterrupted_run(
    workplace, tmp_path, as_users_compile
):
    whole = _start_training(workplace, tmp_path / "whole")
    assert whole.wait(timeout=300) == 0, whole.stderr.read()

    folder = tmp_path / "killed"
    # Several kills, so that some fall into the writing of a checkpoint or of the metrics.
    process = _start_training(workplace, folder)
    for num_updates in (300, 700, 1600):
        _wait_for_updates(folder, process, num_updates)
        if num_updates == 300:
            _interrupt(process, times=2)
            num_rows = (folder / "metrics.csv").read_bytes().count(b"\n") - 1
            assert (folder / "checkpoints" / str(num_rows)).is_dir()
        else:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        process = _start("train", "--resume", folder, cwd=tmp_path)
    assert process.wait(timeout=300) == 0, process.stderr.read()
    assert _everything(folder) == _everything(tmp_path / "whole")


def test_ctrl_c_saves_and_says_how_to_go_on(workplace, tmp_path):
    folder = tmp_path / "run"
    process = _start_training(workplace, folder, "--steps", 10**6)
    _wait_for_updates(folder, process, 100)
    _interrupt(process)
    assert f"jarzynski-jax train --resume {folder}" in process.stderr.read()
    assert (folder / "curves.png").is_file()


def _interrupt_at(words, *arguments, cwd):
    """Interrupt what is running when a line starts with these words; return its last words."""
    process = _start(*arguments, cwd=cwd, stdout=subprocess.PIPE)
    for line in process.stdout:
        if line.startswith(words):
            break
    _interrupt(process)
    return process.stderr.read()


def test_ctrl_c_while_bounding_ends_and_keeps_the_model(finished_run, workplace, tmp_path):
    folder = tmp_path / "run"
    arguments = ("train", "data.npy", "--out", folder, *SMALL, "--annealing-steps", 50_000)
    words = _interrupt_at("bounding log Z", *arguments, cwd=workplace)
    assert "everything up to update 100 is saved" in words
    assert f"jarzynski-jax train --resume {folder}" in words
    assert not (folder / "report.json").exists()
    result = _run("train", "--resume", folder, "--annealing-steps", 20, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert _everything(folder) == _everything(finished_run[0])


def test_ctrl_c_while_sampling_ends_and_writes_nothing(finished_run, tmp_path):
    arguments = ("sample", finished_run[0], "--annealing-steps", 200_000)
    out = tmp_path / "samples.npz"
    words = _interrupt_at("annealing walkers", *arguments, "--out", out, cwd=tmp_path)
    assert "interrupted; nothing was written" in words
    assert list(tmp_path.iterdir()) == []


def test_overwrite_replaces_a_run(finished_run, workplace, tmp_path):
    arguments = ["train", workplace / "data.npy", "--out", tmp_path / "run", *SMALL]
    shutil.copytree(finished_run[0], tmp_path / "run")
    assert _run(*arguments, cwd=tmp_path).returncode == 2
    assert _run(*arguments, "--overwrite", "--seed", 3, cwd=tmp_path).returncode == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["seed"] == 3


def test_help_reads_well(tmp_path, monkeypatch):
    """On two screens, an option a line."""
    monkeypatch.setenv("COLUMNS", "100")
    result = _run("train", "--help", cwd=tmp_path)
    assert result.returncode == 0
    for words in ("--step-size", "sqrt(2h)", "--hidden INT [INT ...]", "docs/command_line.md"):
        assert words in result.stdout
    assert "None" not in result.stdout
    lines = result.stdout.splitlines()
    assert len(lines) <= 100
    assert max(map(len, lines)) <= 100
    within = [line.strip("│ ") for line in lines if line.startswith("│")]
    assert all(line.startswith(("-", "[STR]")) for line in within), within


def test_every_option_has_its_place_in_the_help():
    """Options of a configuration are asked for by the command line, or on purpose not."""
    options = arguments.parse(["train"]).options
    assert OPTIONS.keys() - options.keys() == {"annealing_replicates"}
    assert {name for name, value in options.items() if value is None} == {
        *(name for name, option in OPTIONS.items() if option.by_data),
        *("touched", *arguments.ANEW),
    }


def test_the_version_is_told(tmp_path):
    result = _run_in_process_of_its_own("--version", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, f"jarzynski-jax {jj.__version__}\n")
