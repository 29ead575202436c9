"""Ctrl-C at any moment of a stage or a command: one line, exit code 130, no traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from project_folder import environment

SCRIPT = """
import reconv, sys, time
print("imported", flush=True)
time.sleep({importing})
from reconv.interruption import interruptible
try:
    with interruptible(1):
        print("working", flush=True)
        try:
            time.sleep({working})
        except KeyboardInterrupt:
            if {converts}: raise ImportError("a compiled module failed")
            raise
        finally:
            print("closing", flush=True)
            time.sleep({closing})
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(130)
"""


def start(script: Path, **seconds: object) -> "subprocess.Popen[str]":
    script.parent.mkdir(exist_ok=True)
    usual = {"importing": 0, "working": 0, "closing": 0, "converts": False}
    script.write_text(SCRIPT.format(**usual | seconds))
    return subprocess.Popen(
        [sys.executable, str(script)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell's background job ignores Ctrl-C, and what it starts inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )


def interrupt_after(line: str, process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    while process.stdout.readline().strip() != line:
        assert process.poll() is None
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)


def test_during_imports_it_ends_at_once(folder: Path) -> None:
    process = start(folder / "pipeline" / "fetch.py", importing=60)
    interrupt_after("imported", process)

    assert process.communicate(timeout=20)[0].strip() == "reconv: interrupted. Run the same command again to resume."
    assert process.returncode == 130


@pytest.mark.parametrize("converts", [False, True], ids=["", "made into an ImportError"])
def test_in_the_body_it_is_raised(folder: Path, converts: bool) -> None:
    process = start(folder / "pipeline" / "fetch.py", working=60, converts=converts)
    interrupt_after("working", process)

    assert process.communicate(timeout=20)[0].split() == ["closing", "interrupted"]
    assert process.returncode == 130


def test_a_second_one_ends_what_closes(folder: Path) -> None:
    process = start(folder / "pipeline" / "fetch.py", working=60, closing=60)
    interrupt_after("working", process)
    interrupt_after("closing", process)  # a terminal's, passed on: it is the same one
    time.sleep(0.6)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)

    said = process.communicate(timeout=20)[0]
    assert said.strip() == "reconv: interrupted again: stopped at once. Run the same command again to resume."
    assert process.returncode == 130


def test_a_program_that_is_not_ours_keeps_its_own(folder: Path) -> None:
    process = start(folder / "notebook.py", importing=60)
    interrupt_after("imported", process)

    assert "KeyboardInterrupt" in process.communicate(timeout=20)[0]


@pytest.mark.parametrize("seconds", [0.05, 0.15, 0.4, 0.9])
@pytest.mark.parametrize("command", ["fetch.py", "train.py", "models", "doctor"])
def test_a_real_one_shows_no_traceback(project: Path, repository: Path, command: str, seconds: float) -> None:
    if command.endswith(".py"):
        words = [sys.executable, str(repository / "pipeline" / command), "cnn"]
    else:
        words = [str(Path(sys.executable).with_name("reconv")), command]
    process = subprocess.Popen(
        words,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    time.sleep(0.3)  # Python itself starts, on a machine with other work
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[0]

    assert "Traceback" not in said
    assert process.returncode in (130, -signal.SIGINT, 1), said  # 1: it had ended with a message of its own
