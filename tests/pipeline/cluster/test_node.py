"""A Ray head as node.sh starts it: what listens where, and who gets an answer."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from ray_head import JOBS, NODE, Head, running_head

FOLDER = Path(__file__).parents[3] / "pipeline" / "cluster"


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with running_head("127.0.0.1") as running:
        running.environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        yield running


pytestmark = [pytest.mark.slow, pytest.mark.ray]


@pytest.mark.parametrize("path", [JOBS, "/api/version", "/nodes?view=summary", "/api/v0/logs", "/api/cluster_status"])
def test_the_dashboard_answers_nobody_without_the_token(head: Head, path: str) -> None:
    assert head.ask(path, {}) == 401
    assert head.ask(path, {"Authorization": "Bearer "}) in (401, 403)
    assert head.ask(path, {"Authorization": "Bearer " + "0" * 64}) == 403
    assert head.ask(path, {"Cookie": "ray-authentication-token=" + "0" * 64}) == 403


def test_nobody_starts_a_job_without_the_token(head: Head) -> None:
    job = b'{"entrypoint": "touch planted"}'

    assert head.ask(JOBS, {}, "POST", job) == 401
    assert head.ask(JOBS, {"Authorization": "Bearer wrong"}, "POST", job) == 403


def test_the_token_opens_it(head: Head) -> None:
    assert head.ask(JOBS, {"Authorization": f"Bearer {head.token}"}) == 200


def test_a_driver_connects_with_the_token_alone(head: Head, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("0" * 64, encoding="utf-8")

    changes = [{}, {"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "wrong")}]
    with ThreadPoolExecutor() as at_once:  # who is refused tries for 20 s
        member, *outsiders = at_once.map(lambda values: head.connect(**values), changes)

    assert member.stdout.strip() == "1.0", member.stderr
    assert [done.returncode for done in outsiders] == [1, 1]
    assert all("InvalidAuthToken" in done.stderr for done in outsiders)


def test_everything_listens_on_the_loopback_address(head: Head) -> None:
    listening = {
        connection.laddr
        for process in head.processes()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }

    assert {head.port, head.dashboard} < {address.port for address in listening}
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_the_token_is_its_owners_alone_and_nowhere_else(head: Head) -> None:
    assert stat.S_IMODE((head.folder / "token").stat().st_mode) == 0o600
    assert len(head.token) == 64

    logs = [path for path in (head.folder / "r").rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(logs) > 5
    assert [path for path in logs if head.token.encode() in path.read_bytes()] == []
    assert not [process for process in head.processes() if head.token in " ".join(process.cmdline())]


def test_a_second_node_joins_and_brings_what_a_job_waits_for() -> None:
    outer = [
        entry.address
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family == socket.AF_INET and not entry.address.startswith("127.")
    ]
    if not outer:
        pytest.skip("this machine has no address but the loopback's")
    with running_head(outer[0]) as head:
        address = f"{head.address}:{head.port}"
        scale = [sys.executable, FOLDER / "scale.py", "--num-gpus=1"]
        environment = {**head.environment, "RAY_ADDRESS": address}
        refused = subprocess.run(
            [*scale, "--timeout-seconds=1"], env=environment, capture_output=True, text=True, check=False
        )
        assert refused.returncode == 1
        assert "after 1 s there are still fewer than {'GPU': 1}" in refused.stderr
        with subprocess.Popen(scale, env=environment) as waiting:
            joined = head.node("join", address, head.address, "--num-cpus=1", "--num-gpus=1")
            assert joined.returncode == 0, joined.stdout + joined.stderr
            assert waiting.wait(60) == 0
        assert head.connect().stdout.strip() == "2.0"


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("known to all", encoding="utf-8")
    (tmp_path / "token").chmod(0o644)

    for command in (["head"], ["join", "127.0.0.1:1", "127.0.0.1"]):
        done = node(tmp_path, *command)
        assert done.returncode == 1
        assert "token can be read by others: chmod 600" in done.stderr


def test_joining_needs_the_heads_token(tmp_path: Path) -> None:
    done = node(tmp_path, "join", "127.0.0.1:1", "127.0.0.1")

    assert done.returncode == 1
    assert "token is missing: copy the head's" in done.stderr
    assert not (tmp_path / "token").exists()


def node(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
    return subprocess.run([NODE, *command], env=environment, capture_output=True, text=True, timeout=60, check=False)
