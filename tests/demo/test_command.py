"""`reconv demo` as a person runs it."""

import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from project_folder import environment

pytestmark = pytest.mark.slow


COMMAND = [str(Path(sys.executable).with_name("reconv")), "demo", "--no-open"]


@pytest.fixture
def started(bundle: Path) -> Iterator["subprocess.Popen[str]"]:
    running = subprocess.Popen(
        [*COMMAND, "--model", str(bundle), "--port", "0"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield running
    running.kill()
    running.communicate()


def test_it_says_where_the_page_is_until_it_is_interrupted(started: "subprocess.Popen[str]") -> None:
    assert started.stdout is not None
    lines = []
    while not (lines and lines[-1].startswith("http://127.0.0.1:")):
        lines.append(started.stdout.readline())
        assert lines[-1], started.communicate()[1]
    address, _, token = lines[-1].split()[0].partition("?token=")
    asking = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(asking, timeout=30) as reply:
        assert b"reconv demo" in reply.read()

    started.send_signal(signal.SIGINT)

    _, complaints = started.communicate(timeout=30)
    assert (started.returncode, complaints) == (0, "")
    assert lines[0].split()[:2] == ["from", "a"]
    assert "A folder holds one classifier" in lines[1]


def test_a_port_that_is_taken_is_one_message(bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*COMMAND, "--model", str(bundle), "--port", port],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"reconv: port {port} of 127.0.0.1 cannot be had")
