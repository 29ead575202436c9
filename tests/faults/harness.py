"""A stage on a real Ray cluster of this machine, whose parts are killed while it runs; and what has to hold afterwards.

A harness that would also pass if trainings silently began anew would be worthless: what counts is the epoch after which
each went on, which its log file says.
"""

import re
import secrets
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile

import psutil
from project_folder import environment, free_port

_RAY = Path(sys.executable).with_name("ray")
_NEVER_SECONDS = 180
_EPOCH = re.compile(r"  epoch (\d+)  ")
_BEGINS = re.compile(r"  (?:begins|goes on after epoch (\d+)) on ")


class Cluster:
    """A head without a core and two nodes with one each, on the loopback address, with a token."""

    def __init__(self) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.environment = environment(
            RAY_ADDRESS=self.address,
            RAY_AUTH_MODE="token",
            RAY_AUTH_TOKEN=secrets.token_hex(32),
            RAY_gcs_rpc_server_reconnect_timeout_s="5",
        )
        self._nodes: list[subprocess.Popen[bytes]] = []
        self.start()

    def start(self) -> None:
        port = self.address.rsplit(":", 1)[1]
        self._ray("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false")
        for _ in range(2):
            self.add_node()

    def add_node(self) -> None:
        self._ray(f"--address={self.address}", "--num-cpus=1")

    def kill_node(self) -> None:
        """The one that works, if one does; another takes its place."""
        node = next((node for node in self._nodes[1:] if _workers(node)), self._nodes[1])
        self._nodes.remove(node)
        _kill_tree(node)
        self.add_node()

    def kill_worker(self) -> None:
        for node in self._nodes[1:]:
            for worker in _workers(node):
                worker.kill()
                return

    def stop(self) -> None:
        for node in reversed(self._nodes):
            _kill_tree(node)
        self._nodes.clear()

    def _ray(self, *options: str) -> None:
        """Started one after the other: of two at once, one may never join."""
        command = [_RAY, "start", "--block", "--node-ip-address=127.0.0.1", "--object-store-memory=100000000", *options]
        with NamedTemporaryFile() as said:
            node = subprocess.Popen(command, env=self.environment, stdout=said, stderr=said, cwd="/")
            self._nodes.append(node)
            deadline = time.monotonic() + _NEVER_SECONDS
            while b"Ray runtime started" not in Path(said.name).read_bytes():
                assert node.poll() is None, Path(said.name).read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)


def _workers(node: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Processes that train."""
    found = []
    for process in psutil.Process(node.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            title = " ".join(process.cmdline())
            if "ray::train_and_report" in title or "ray::ImplicitFunc" in title or "ray::run_trial" in title:
                found.append(process)
    return found


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    with suppress(psutil.NoSuchProcess):
        for one in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            with suppress(psutil.NoSuchProcess):
                one.kill()
    process.wait(timeout=30)


@dataclass
class Attempt:
    """A stage in a project's folder, started again until it succeeds."""

    project: Path
    cluster: Cluster
    script: Path
    log: str
    """Name of the stage's folder of log files."""
    process: subprocess.Popen[bytes] = field(init=False)
    nested: set[str] = field(default_factory=set)
    """Ids of the nested runs that were seen."""

    def start(self) -> None:
        command = [sys.executable, str(self.script), "cnn"]
        with (self.project / "output").open("ab") as output:
            self.process = subprocess.Popen(
                command, cwd=self.project, env=self.cluster.environment, stdout=output, stderr=output
            )

    def wait_for_epochs(self, count: int) -> bool:
        """Until so many are reported in all; False if the stage ends before."""
        deadline = time.monotonic() + _NEVER_SECONDS
        while self.process.poll() is None:
            if sum(len(set(epochs)) for epochs in self.epochs().values()) >= count:
                self.nested |= self.nested_runs()
                return True
            assert time.monotonic() < deadline, f"{count} epochs are not reached"
            time.sleep(0.05)
        return False

    def finish(self) -> None:
        """Run it to its end, by the same command where it was killed."""
        for _ in range(3):
            if self.process.wait(timeout=_NEVER_SECONDS) == 0:
                return
            self.start()
        raise AssertionError((self.project / "output").read_text())

    def kill_driver(self) -> None:
        self.process.kill()
        self.process.wait()
        self.start()

    def kill_head(self) -> None:
        """Which is lost with its nodes; the stage has to notice, and not to hang."""
        self.cluster.stop()
        assert self.process.wait(timeout=_NEVER_SECONDS) != 0
        self.cluster.start()
        self.start()

    def epochs(self) -> dict[str, list[int]]:
        """Log file -> epochs that it tells of."""
        return {
            path.name: [int(found[1]) for found in map(_EPOCH.search, path.read_text().splitlines()) if found]
            for path in (self.project / "logs" / self.log).glob("*.log")
        }

    def nested_runs(self) -> set[str]:
        return set(_rows(self.project, "SELECT run_uuid FROM tags WHERE key = 'reconv.key'"))

    def assert_nothing_was_lost(self) -> None:
        """Every nested run once, none made anew, every epoch's metrics once; no training began again before its last
        reported epoch."""
        keys = _rows(
            self.project,
            "SELECT tags.value FROM tags JOIN runs USING (run_uuid) "
            "WHERE key = 'reconv.key' AND lifecycle_stage = 'active'",
        )
        assert len(keys) == len(set(keys)) > 0
        assert self.nested <= self.nested_runs()
        twice = "SELECT run_uuid, key, step FROM metrics WHERE key = 'train/loss' GROUP BY 1, 2, 3 HAVING COUNT(*) > 1"
        assert _rows(self.project, twice) == []
        for path in (self.project / "logs" / self.log).glob("*.log"):
            _assert_it_went_on(path)


def _assert_it_went_on(path: Path) -> None:
    last = 0
    for line in path.read_text().splitlines():
        if begins := _BEGINS.search(line):
            after = int(begins[1] or 0)
            assert after >= last - 1, f"{path.name}: epoch {last} was reported, but its worker began after {after}"
        if epoch := _EPOCH.search(line):
            last = max(last, int(epoch[1]))


def _rows(project: Path, query: str) -> list[str]:
    with sqlite3.connect(f"file:{project}/mlflow.db?mode=ro", uri=True) as store:
        return [row[0] for row in store.execute(query)]


FAULTS: dict[str, Callable[[Attempt], None]] = {
    "worker": lambda attempt: attempt.cluster.kill_worker(),
    "node": lambda attempt: attempt.cluster.kill_node(),
    "driver": Attempt.kill_driver,
    "head": Attempt.kill_head,
}
"""What is killed, by kill -9."""
COMMON = ("worker", "node", "driver") * 3 + ("head",)
"""A lost head takes half a minute to replace."""
