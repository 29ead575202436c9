"""A real Ray cluster of this machine, whose parts can be killed or stopped."""

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

import psutil
from project_folder import environment, free_port

_RAY = Path(sys.executable).with_name("ray")
_NEVER_SECONDS = 180
_TRAINS = ("ray::train_and_report", "ray::ImplicitFunc", "ray::run_trial")


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
        node = self._busy_node()
        self._nodes.remove(node)
        _kill_tree(node)
        self.add_node()

    def kill_worker(self) -> None:
        for worker in self.workers()[:1]:
            worker.kill()

    @contextmanager
    def stopped_node(self) -> Iterator[None]:
        """The one that works does nothing meanwhile."""
        processes = _tree(self._busy_node())
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        yield
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def workers(self) -> list[psutil.Process]:
        """Processes that train."""
        return [worker for node in self._nodes[1:] for worker in _workers(node)]

    def stop(self) -> None:
        for node in reversed(self._nodes):
            _kill_tree(node)
        self._nodes.clear()

    def _busy_node(self) -> "subprocess.Popen[bytes]":
        return next((node for node in self._nodes[1:] if _workers(node)), self._nodes[1])

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


def _workers(node: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    found = []
    for process in _tree(node):
        with suppress(psutil.NoSuchProcess):
            if any(name in " ".join(process.cmdline()) for name in _TRAINS):
                found.append(process)
    return found


def _tree(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    return []


def _kill_tree(process: "subprocess.Popen[bytes]") -> None:
    for one in _tree(process):
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait(timeout=30)
