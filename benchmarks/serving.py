"""The champion behind a server, one image a request: against what one would write oneself with FastAPI and torch.

params.yaml's CNN, images of 28 x 28 x 1 as JSON, on the loopback address; servers and clients share the cores. Each
client is a process with one connection that is kept, and sends the next request when the last is answered.

- reconv: the registered model behind `mlflow models serve`, as the documentation has it.
- FastAPI and torch: one route, pydantic for the request, the same classifier, the answer as the same JSON, uvicorn
  (peers/fastapi_server.py).
"""

import http.client
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import chdir, contextmanager, suppress
from itertools import chain
from pathlib import Path

import numpy as np
import psutil

from benchmarks.bundles import bundle_in
from benchmarks.measure import OURS, ROOT, Effort, Row, ratio
from benchmarks.servers import free_port

TITLE = "Serving: one image a request"

_PLAIN = "FastAPI and torch"
_WARM_UP = 30


def measure(effort: Effort) -> list[Row]:
    seconds, repeats = (15, 3) if effort == "full" else (2, 1)
    rows = []
    with tempfile.TemporaryDirectory(prefix="reconv-serving-") as folder, chdir(folder):
        bundle = bundle_in(Path("served"), 28, 1).resolve()
        with _mlflow(bundle) as ours, _fastapi(bundle) as plain:
            ports = {OURS: ours, _PLAIN: plain}
            for clients in (1, 4):
                found: dict[str, list[list[float]]] = {name: [] for name in ports}
                for turn in range(repeats):
                    for name in list(ports) if turn % 2 == 0 else reversed(list(ports)):
                        found[name].append(_load(ports[name], clients, seconds))
                rows += _rows(found, clients, seconds)
    return rows


def _rows(found: dict[str, list[list[float]]], clients: int, seconds: int) -> list[Row]:
    with_clients = f"{clients} client{'s' if clients > 1 else ''}"
    rows = []
    measures = {
        f"requests a second, {with_clients}": ("1/s", lambda latencies: len(latencies) / seconds),
        f"p50 latency, {with_clients}": ("ms", lambda latencies: 1000 * float(np.percentile(latencies, 50))),
        f"p99 latency, {with_clients}": ("ms", lambda latencies: 1000 * float(np.percentile(latencies, 99))),
    }
    for what, (unit, of) in measures.items():
        values = {name: [of(latencies) for latencies in runs] for name, runs in found.items()}
        print(f"  {what}: {values}", file=sys.stderr, flush=True)
        rows.append(Row(what, unit, OURS, values[OURS]))
        better = ratio(values[OURS], values[_PLAIN], lower_is_better=unit == "ms")
        rows.append(Row(what, unit, _PLAIN, values[_PLAIN], ratio=better))
    return rows


def _load(port: int, clients: int, seconds: int) -> list[float]:
    """Latencies of all requests that were answered, in seconds."""
    with multiprocessing.get_context("spawn").Pool(clients) as pool:
        return [*chain.from_iterable(pool.map(_client, [(port, seconds)] * clients, chunksize=1))]


def _client(task: tuple[int, int]) -> list[float]:
    port, seconds = task
    image = np.random.default_rng(os.getpid()).integers(0, 256, (1, 28, 28, 1), dtype=np.uint8)
    body, kind = json.dumps({"inputs": image.tolist()}), {"Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    latencies = []
    end = time.perf_counter() + 1e9
    while (began := time.perf_counter()) < end:
        connection.request("POST", "/invocations", body, kind)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        latencies.append(time.perf_counter() - began)
        if len(latencies) == _WARM_UP and end > began + seconds:
            end = time.perf_counter() + seconds
            latencies = []
    return latencies


@contextmanager
def _mlflow(bundle: Path) -> Iterator[int]:
    """The model as `register` logs it, without a registry."""
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{Path('mlflow.db').resolve()}")
    with mlflow.start_run():
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(ROOT / "src" / "reconv" / "serving" / "pyfunc.py"),
            artifacts={"classifier": str(bundle)},
            signature=False,
            pip_requirements=["mlflow"],
        )
    port = free_port()
    command = [str(Path(sys.executable).with_name("mlflow")), "models", "serve", "--env-manager", "local", "-m"]
    command += [info.model_uri, "--host", "127.0.0.1", "--port", str(port)]
    with _running(command, port, "/health", MLFLOW_TRACKING_URI=mlflow.get_tracking_uri()):
        yield port


@contextmanager
def _fastapi(bundle: Path) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.peers.fastapi_server", str(bundle), str(port)]
    with _running(command, port, "/health", PYTHONPATH=str(ROOT)):
        yield port


@contextmanager
def _running(command: list[str], port: int, path: str, **variables: str) -> Iterator[None]:
    bin_folder = Path(sys.executable).parent
    environment = {**os.environ, **variables, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
    with Path("server.log").open("ab") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(600):
            assert server.poll() is None, Path("server.log").read_text()
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5):
                break
            time.sleep(0.2)
        yield
    finally:
        for process in [*psutil.Process(server.pid).children(recursive=True), server]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        server.wait()
