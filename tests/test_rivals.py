"""The comparison with other libraries, without any of them."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import jax.numpy as jnp
import pytest

from benchmarks.speed.rivals import clock, environment, measure, one_process, show
from benchmarks.speed.timing import Case, Timing

ROOT = Path(__file__).parents[1]


@pytest.fixture
def no_commands(monkeypatch):
    def fail(command, **_):
        raise AssertionError(f"must not run {command}")

    monkeypatch.setattr(subprocess, "run", fail)


FILES = (environment.REQUIREMENTS, environment.JAX_REQUIREMENTS)


def requirements(file):
    lines = file.read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_requirement_has_one_version(file):
    assert all(re.fullmatch(r"[a-z-]+==[0-9.]+", line) for line in requirements(file))


def test_rivals_are_no_dependency_of_ours():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    ours = [line for lines in (project["dependencies"], *extras) for line in lines]
    names = {re.match(r"[\w-]+", line).group() for line in ours}
    rivals = {"torch", "torchebm", "particles", "numba", "deepqmc", "folx", "thrml"}
    wanted = [line for file in FILES for line in requirements(file)]
    assert rivals <= {line.split("==")[0] for line in wanted}
    assert not rivals & names


def test_environment_is_reused_while_the_requirements_are_the_same(tmp_path, no_commands):
    (tmp_path / environment._STAMP).write_text(environment.REQUIREMENTS.read_text())
    assert environment.prepare(tmp_path, environment.REQUIREMENTS).is_relative_to(tmp_path)


@pytest.mark.parametrize("stamp", ["", "torch==1.0\n"], ids=["interrupted", "other versions"])
def test_environment_is_built_again_otherwise(tmp_path, monkeypatch, stamp):
    commands = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: commands.append(command))
    (tmp_path / environment._STAMP).write_text(stamp)
    python = environment.prepare(tmp_path, environment.REQUIREMENTS)
    assert [command[2] for command in commands] == ["venv", "pip"]
    assert commands[1][0] == str(python)
    assert (tmp_path / environment._STAMP).read_text() == environment.REQUIREMENTS.read_text()


def test_folder_of_something_else_is_left_alone(tmp_path, no_commands):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="another folder"):
        environment.prepare(tmp_path, environment.REQUIREMENTS)


def test_environment_does_not_see_our_packages(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "ours")
    assert "PYTHONPATH" not in environment._variables()


def test_first_repeat_is_not_counted_and_each_has_its_arguments():
    calls, arguments = [], iter(range(4))
    seconds = clock.time_repeats(calls.append, 3, 2, prepare=lambda: (next(arguments),))
    assert len(seconds) == 3
    assert calls == [0, 0, 1, 1, 2, 2, 3, 3]


def test_rival_and_ours_take_turns(monkeypatch):
    turns = []

    def run_module(python, module, *arguments):
        turns.append("rival")
        assert arguments == ("mixture", "--num-repeats=7")
        times = {"median_seconds": 0.002, "repeat_seconds": [0.002, 0.001, 0.003]}
        return json.dumps({"torchebm": {**times, "versions": {"torch": "2"}}})

    def compare(cases, num_rounds):
        turns.append("ours")
        return {"PCD": Timing(1.0, float(num_rounds), 1.0, 9.0)}

    monkeypatch.setattr(environment, "run_module", run_module)
    monkeypatch.setattr(measure, "compare", compare)
    problem = measure.Problem("training", "two modes", "module", ("mixture",), dict, 7)
    found = measure.measure(problem, Path("python"), 2)
    assert turns == ["rival", "ours"] * 2
    theirs = {"median": 2.0, "low": 1.0, "high": 3.0, "repeats": [2.0, 1.0, 3.0]}
    ours = {"median": 7.0, "low": 1.0, "high": 9.0}
    assert found["rounds"] == {"torchebm": [theirs] * 2, "PCD": [ours] * 2}
    assert found["versions"] == {"torch": "2"}


def rounds(**medians):
    """Times of as many rounds, each from half of its median to twice as much."""
    return {
        name: [{"median": x, "low": x / 2, "high": 2 * x} for x in found]
        for name, found in medians.items()
    }


def test_tables_have_medians_ranges_and_ratios():
    loop = {"its compiled loop": rounds(loop=[1.5])["loop"]}
    record = [
        {
            "group": "training",
            "name": "MLP",
            "versions": {"torch": "2", "torchebm": "0"},
            "rounds": rounds(
                Jarzynski=[1.0, 9.0, 2.0], PCD=[1.0] * 3, torchebm=[8.0, 7.0, 9.0]
            ),
        },
        {
            "group": "resampling",
            "name": "N = 10",
            "versions": {"numba": "1", "torch": "2"},
            "rounds": {**rounds(ours=[3.0], BlackJAX=[4.0], particles=[2.0]), **loop},
        },
    ]
    text = show.write(json.loads(json.dumps(record)), "On a machine.")
    assert text.startswith("On a machine.\n\n| case | Jarzynski (ms) |")
    assert "| MLP | 2 (0.5 to 18) | 1 (0.5 to 2) | 8 (3.5 to 18) | 0.25 | 0.125 |" in text
    assert text.endswith("| 0.75 | 1.5 | 2 |\n")
    assert show.versions(record) == "torch 2, torchebm 0, numba 1"


def test_both_sides_get_the_same_sizes():
    for sizes in (measure.QUICK, measure.STANDARD):
        for problem in measure.problems(sizes):
            size = problem.arguments[-1].removeprefix("--num-walkers=")
            assert problem.name.endswith(f"N = {size}")
            assert problem.group in show._COLUMNS


def test_rivals_in_jax_are_timed_in_one_process_with_ours(monkeypatch, capsys):
    sizes = []

    def build(num_walkers, num_steps):
        sizes.append((num_walkers, num_steps))
        return {name: Case(lambda x: x + 1, (jnp.zeros(2),)) for name in ("ours", "theirs")}

    options = ["--num-steps=5", "--num-walkers=7", "--num-repeats=3"]
    monkeypatch.setattr("sys.argv", ["module", *options])
    one_process.start(build, ("jax",))
    found = json.loads(capsys.readouterr().out)
    assert sizes == [(7, 5)]
    assert list(found) == ["ours", "theirs"]
    for times in found.values():
        assert len(times["repeat_seconds"]) == 3
        assert list(times["versions"]) == ["jax"]
