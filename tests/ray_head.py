"""A Ray head with a dashboard and a token, started by node.sh as a user starts it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from project_folder import free_port

NODE = Path(__file__).parents[1] / "pipeline" / "cluster" / "node.sh"
JOBS = "/api/jobs/"
_OPTIONS = ("--num-cpus=1", "--object-store-memory=100000000")
_CONNECT = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False); print(ray.cluster_resources()['CPU'])"


@dataclass
class Head:
    address: str
    port: int
    dashboard: int
    folder: Path
    environment: dict[str, str]

    @property
    def token(self) -> str:
        return (self.folder / "token").read_text()

    def ask(self, path: str, headers: dict[str, str], method: str = "GET", body: bytes | None = None) -> int:
        connection = HTTPConnection("127.0.0.1", self.dashboard, timeout=30)
        connection.request(method, path, body=body, headers={"Content-Type": "application/json", **headers})
        status = connection.getresponse().status
        connection.close()
        return status

    def node(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [NODE, *command], env=self.environment, capture_output=True, text=True, timeout=180, check=False
        )

    def connect(self, **changes: str) -> "subprocess.CompletedProcess[str]":
        environment = {**self.environment, **changes}
        command = [sys.executable, "-c", _CONNECT, f"{self.address}:{self.port}"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)

    def processes(self) -> list[psutil.Process]:
        """Of this head alone: its folder is on their command lines, or their parent is one of them."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if any(str(self.folder) in word for word in process.cmdline()):
                    found += [process, *process.children(recursive=True)]
        return list(set(found))


@contextmanager
def running_head(address: str, **changes: str) -> Iterator[Head]:
    """`changes` are of the nodes' environment."""
    # Ray's sockets are below it, and a socket's path has at most 107 characters: a test's own folder is too deep.
    with TemporaryDirectory(prefix="head-", ignore_cleanup_errors=True) as folder:
        yield from _running_in(Path(folder), address, changes)


def _running_in(folder: Path, address: str, changes: dict[str, str]) -> Iterator[Head]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    running = Head(address, free_port(), free_port(), folder, {})
    running.environment |= {
        **inherited,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_AUTH_TOKEN": "one that the environment had before",
        "RAY_TMPDIR": str(folder / "r"),
        "PORT": str(running.port),
        "DASHBOARD_PORT": str(running.dashboard),
        **changes,
    }
    try:
        own = [] if address == "127.0.0.1" else [address]
        started = running.node("head", *own, *_OPTIONS, f"--dashboard-agent-listen-port={free_port()}")
        assert started.returncode == 0, started.stdout + started.stderr
        assert running.token not in started.stdout + started.stderr
        running.environment["RAY_AUTH_MODE"] = "token"
        del running.environment["RAY_AUTH_TOKEN"]
        wait_for_dashboard(running)
        yield running
    finally:
        processes = running.processes()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=20)


def wait_for_dashboard(running: Head) -> None:
    for _ in range(120):
        with suppress(OSError):
            if running.ask(JOBS, {"Authorization": f"Bearer {running.token}"}) == 200:
                return
        time.sleep(0.5)
    raise AssertionError("the dashboard does not answer")
