"""Ctrl-C while something is at stake: waited for, and left by those who insist."""

import signal
import subprocess
import sys
import time

import pytest

from jarzynski_jax import interruption

#: Five updates are unsaved until a file is there.
PROGRAM = """
import sys, time
from pathlib import Path
from jarzynski_jax import interruption

def work():
    with interruption.watched() as watched:
        watched.num_unsaved = 5
        print("working", flush=True)
        while not Path(sys.argv[1]).exists():
            time.sleep(0.01)
    return 7 if watched.is_asked else 8

sys.exit(interruption.run(work, lambda left: f"lost {left.num_unsaved}"))
"""


@pytest.fixture
def process(tmp_path):
    """Work that was interrupted twice, and was given notice of what would be lost."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, tmp_path / "saved"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "working\n"
    _press(process)
    _press(process)
    assert process.stderr.readline() == "\n"
    assert "waiting until 5 updates can be saved" in process.stderr.readline()
    yield process
    process.kill()
    process.wait()


def _press(process):
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)  # else two would be one


def test_what_is_at_stake_is_saved(process, tmp_path):
    (tmp_path / "saved").touch()
    assert process.wait(timeout=60) == 7


def test_a_third_ctrl_c_leaves_at_once(process):
    _press(process)
    assert process.wait(timeout=60) == 130
    assert "lost 5" in process.stderr.read()


@pytest.mark.parametrize(("num_unsaved", "num_survived"), [(0, 1), (5, 2)])
def test_in_the_main_thread_ctrl_c_interrupts_later(num_unsaved, num_survived):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with interruption.watched() as watched:
            watched.num_unsaved = num_unsaved
            for _ in range(num_survived):
                signal.raise_signal(signal.SIGINT)
            assert watched.num_asked == num_survived
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_exceptions_pass():
    def work():
        raise KeyError("of the work")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyError, match="of the work"):
        interruption.run(work, lambda left: "")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "numbers.txt"
    path.write_text("old")

    def fail():
        with interruption.writing(path) as unfinished:
            unfinished.write_text("ne")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_text() == "old"
