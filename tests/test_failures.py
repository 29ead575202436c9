"""What `make test` does with a test that ends its process, hangs or fails: it ends soon, and names the test."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
RUN = [
    "--numprocesses",
    "2",
    "--dist",
    "loadfile",
    "--no-loadscope-reorder",
    "--max-worker-restart",
    "0",
    "-p",
    "failures",
]


@pytest.fixture
def tests(folder: Path) -> Path:
    """A folder with tests, of which the third file's pass."""
    Path("test_passing.py").write_text("def test_one(): pass\ndef test_two(): pass\ndef test_three(): pass\n")
    Path("pytest.ini").write_text(f"[pytest]\npythonpath = {HERE}\n")
    return folder


def pytest_of(*options: str, timeout: float = 100) -> tuple[int, str, float]:
    """Exit code, output and seconds."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options], capture_output=True, text=True, timeout=timeout, check=False
    )
    return done.returncode, done.stdout + done.stderr, time.monotonic() - began


def test_a_test_that_ends_its_process_fails_the_run_within_a_minute(tests: Path) -> None:
    Path("test_a.py").write_text(
        "import os\ndef test_before(): pass\ndef test_dies(): os._exit(3)\ndef test_after(): pass\n"
    )
    Path("test_b.py").write_text(
        "import time, pytest\n@pytest.mark.parametrize('n', range(60))\ndef test_slow(n): time.sleep(2)\n"
    )

    code, output, seconds = pytest_of(*RUN)

    assert code == 1, output
    assert "FAILED test_a.py::test_dies" in output
    assert "the process that ran test_a.py::test_dies died" in output
    assert seconds < 60


@pytest.mark.parametrize("how", ["signal", "none"])
def test_a_test_that_hangs_is_ended_with_the_stacks_of_its_threads(tests: Path, how: str) -> None:
    """Where the signal cannot end it, its process is ended."""
    Path("test_a.py").write_text(
        "import signal, time\n"
        "def test_hangs():\n"
        f"    if {how == 'none'}: signal.signal(signal.SIGALRM, signal.SIG_IGN)\n"
        "    time.sleep(1000)\n"
    )
    Path("short.py").write_text("import failures\nfailures._GRACE_SECONDS = 2\n")

    code, output, seconds = pytest_of(*RUN, "-p", "short", "--timeout", "3")

    assert code == 1, output
    assert "FAILED test_a.py::test_hangs" in output
    assert "time.sleep(1000)" in output or 'test_a.py", line 4 in test_hangs' in output
    assert seconds < 60


def test_a_failing_test_is_named_before_the_run_ends(tests: Path) -> None:
    Path("test_a.py").write_text("def test_fails(): assert 1 == 2\n")
    Path("test_b.py").write_text(
        "import os, time\ndef test_late():\n    time.sleep(8)\n    assert 'test_fails' in open('output').read()\n"
    )

    with Path("output").open("w") as output:
        done = subprocess.run([sys.executable, "-m", "pytest", *RUN], stdout=output, timeout=100, check=False)

    assert done.returncode == 1
    assert "1 failed, 4 passed" in Path("output").read_text()
