"""Limits of a call: real processes that loop, take memory, crash or are killed."""

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from reconv.data.processes import Limited, LimitError, Limits
from reconv.errors import DataError, ImageError

LIMITS = Limits(seconds=0.3, memory_bytes=200 * 2**20)


def do(what: str, number: int = 0) -> int:
    if what == "loop in C":
        re.match(r"(a+)+$", "a" * 60 + "b")  # holds the interpreter's lock
    elif what == "take memory":
        return len(bytearray(number))
    elif what == "wrap a lack of memory":
        try:
            bytearray(2**40)
        except MemoryError:
            raise ImageError("cannot be decoded ()") from None
    elif what == "raise":
        raise ImageError("is no image")
    elif what == "sleep":
        time.sleep(number)
    elif what == "end":
        os.kill(os.getpid(), number)
    return os.getpid()


@pytest.fixture
def limited() -> "Limited[[str, int], int]":
    return Limited(do, LIMITS)


def test_calls_share_a_process_that_is_not_this_one(limited: "Limited[..., int]") -> None:
    first = limited("nothing")

    assert first == limited("nothing") != os.getpid()


@pytest.mark.parametrize(
    ("what", "number", "said"),
    [
        ("loop in C", 0, r"needs more than 0\.3 s of processor time"),
        ("take memory", 2**30, r"needs more than 0\.195 GiB of memory"),
        ("wrap a lack of memory", 0, r"needs more than 0\.195 GiB of memory"),
        ("end", signal.SIGSEGV, r"crashes the library that reads it \(SIGSEGV\)"),
    ],
)
def test_what_exceeds_a_limit_is_ended_and_the_next_call_answered(
    limited: "Limited[..., int]", what: str, number: int, said: str
) -> None:
    before = limited("nothing")

    with pytest.raises(LimitError, match=said):
        limited(what, number)

    assert limited("nothing") != before
    assert not psutil.pid_exists(before)


def test_waiting_and_what_was_sent_count_towards_no_limit(limited: "Limited[..., int]") -> None:
    limited("sleep", 1)

    assert Limited(len, LIMITS)(bytes(300 * 2**20)) == 300 * 2**20


def test_an_error_of_the_function_leaves_the_process(limited: "Limited[..., int]") -> None:
    before = limited("nothing")

    with pytest.raises(ImageError, match="is no image"):
        limited("raise")

    assert limited("nothing") == before


def test_a_process_that_the_machine_kills_is_no_fault_of_the_file(limited: "Limited[..., int]") -> None:
    with pytest.raises(DataError, match="a process that read images died") as raised:
        limited("end", signal.SIGKILL)

    assert not isinstance(raised.value, ImageError)
    assert limited("nothing")


def test_threads_share_as_many_processes_as_there_are_cores(limited: "Limited[..., int]") -> None:
    with ThreadPoolExecutor(8) as threads:
        used = set(threads.map(lambda _: limited("nothing"), range(50)))

    assert len(used) <= (os.cpu_count() or 1)


def ask(program: str) -> str:
    """Return what a new process prints that has `do` and a `limited` of it."""
    begin = f"import resource, signal; from {Path(__file__).stem} import LIMITS, Limited, LimitError, do; "
    return subprocess.run(
        [sys.executable, "-c", begin + program],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    ).stdout.strip()


@pytest.mark.parametrize(
    "shield", ["pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPROF})", "signal(signal.SIGPROF, signal.SIG_IGN)"]
)
def test_a_parent_that_shields_itself_from_the_signal_does_not_lift_the_limit(shield: str) -> None:
    said = ask(
        f"""signal.{shield}
try:
    Limited(do, LIMITS)("loop in C")
except LimitError as error:
    print(error)"""
    )

    assert said == "needs more than 0.3 s of processor time"


def test_a_lower_limit_of_the_whole_system_is_kept() -> None:
    said = ask("resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31)); print(len(Limited(bytes, LIMITS)(5)))")

    assert said == "5"


def test_ctrl_c_in_a_terminal_reaches_only_this_process(limited: "Limited[..., int]") -> None:
    assert os.getpgid(limited("nothing")) != os.getpgid(0)


def test_a_process_that_cannot_start_is_an_error_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    limited = Limited(do, LIMITS)

    for _ in range(5):
        with pytest.raises(DataError, match="a process that read images died"):
            limited("x" * 10**6)


_CALL = """
import sys, time
from reconv.data.processes import Limited, Limits
limited = Limited(eval, Limits(60, 2**30))
print(limited("__import__('os').getpid()"), flush=True)
time.sleep(60 if sys.argv[1] == "sleep" else 0)
"""


@pytest.mark.parametrize("how", ["end", "sleep"])
def test_no_process_outlives_its_parent(how: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", _CALL, how], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    if how == "sleep":
        assert psutil.pid_exists(child)
        parent.kill()

    parent.communicate(timeout=30)

    deadline = time.monotonic() + 10
    while psutil.pid_exists(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(child)
