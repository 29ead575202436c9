"""A PostgreSQL and an MLflow server of one's own, for tests and benchmarks. Both die with their context."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
from mlflow.tracking import MlflowClient

_POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
_START_SECONDS = 120
_STOP_SECONDS = 20


def missing_for_postgres() -> str | None:
    """What this machine lacks."""
    if not _POSTGRES and not shutil.which("initdb"):
        return "PostgreSQL is not installed"
    if os.getuid() == 0 and not shutil.which("runuser"):
        return "PostgreSQL does not run as root, and runuser is missing"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "psycopg is not installed"
    return None


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """The URI of an empty data base whose files lie in `folder`."""
    made = Postgres(folder)
    try:
        made.start()
        yield made.uri
    finally:
        made.stop()


class Postgres:
    """An empty data base whose files lie in `folder`; can be killed and started again with what it holds."""

    def __init__(self, folder: Path) -> None:
        binaries = _POSTGRES[-1] if _POSTGRES else Path(str(shutil.which("initdb"))).parent
        as_user: list[str] = []
        folder.mkdir(parents=True)
        if os.getuid() == 0:
            as_user = ["runuser", "-u", "postgres", "--"]
            shutil.chown(folder, "postgres")
            for parent in folder.parents:  # pytest's folders are closed to others
                if not parent.stat().st_mode & 0o001:
                    parent.chmod(parent.stat().st_mode | 0o001)
        data, self._port = folder / "data", free_port()
        initdb = [*as_user, str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        subprocess.run(initdb, check=True, capture_output=True, cwd="/")
        self.uri = f"postgresql://postgres@127.0.0.1:{self._port}/postgres"
        self._command = [*as_user, str(binaries / "postgres"), "-D", str(data), "-k", "", "-p", str(self._port)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Again and again while what is left of a killed one holds its memory."""
        deadline = time.monotonic() + _START_SECONDS
        nowhere = subprocess.DEVNULL
        while True:
            self._process = subprocess.Popen(self._command, stdout=nowhere, stderr=nowhere, cwd="/")
            if _is_up(self._port, self._process, deadline):
                return
            if time.monotonic() > deadline:
                raise RuntimeError("PostgreSQL does not start")
            time.sleep(0.5)

    def kill(self) -> None:
        """With its workers, at once."""
        if self._process is not None:
            processes = [*psutil.Process(self._process.pid).children(recursive=True), self._process]
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.wait()
            psutil.wait_procs(processes[:-1], _STOP_SECONDS)  # it does not start beside what is left of itself
            self._process = None

    def stop(self) -> None:
        if self._process is not None:
            _stop(self._process)
            self._process = None


class MlflowServer:
    """Can be killed and started again at the same address."""

    def __init__(self, store: str, folder: Path, port: int | None = None, workers: int = 4) -> None:
        self.port = port or free_port()
        self._workers = workers
        self.uri = f"http://127.0.0.1:{self.port}"
        self._store = store
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "MlflowServer":
        # One process makes the tables; the server's workers would get in each other's way.
        MlflowClient(self._store).search_experiments(max_results=1)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Begin to start it, which takes some ten seconds."""
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self._store, "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", str(self._workers)]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=environment, cwd=self._folder, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self) -> None:
        """Until it answers."""
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_healthy():
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no MLflow server:\n{(self._folder / 'server.log').read_text()[-3000:]}")
            time.sleep(0.2)

    def kill(self) -> None:
        """With its workers, at once."""
        if self._process is not None:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_up(port: int, process: subprocess.Popen[bytes], deadline: float) -> bool:
    """Wait until it takes connections, or has ended."""
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
            return True
        time.sleep(0.1)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
