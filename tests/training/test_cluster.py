import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reconv.errors import UnavailableError
from reconv.params import Params
from reconv.training.cluster import ray_session


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_cluster_that_does_not_answer_is_told_within_seconds(
    params: Params, monkeypatch: pytest.MonkeyPatch, closed_port: int, scheme: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"{scheme}127.0.0.1:{closed_port}")
    began = time.monotonic()

    with (
        pytest.raises(UnavailableError, match=rf"127\.0\.0\.1:{closed_port} .*RAY_ADDRESS or resources\.ray_address"),
        ray_session(params.resources),
    ):
        pass

    assert time.monotonic() - began < 5


def test_the_environment_goes_before_params_yaml(
    params: Params, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed_port}")
    resources = params.resources.model_copy(update={"ray_address": "127.0.0.1:1"})

    with pytest.raises(UnavailableError, match=str(closed_port)), ray_session(resources):
        pass


def test_an_unreachable_cluster_costs_no_import_of_torch(folder: Path, project: Path, closed_port: int) -> None:
    script = """
import sys
from reconv.errors import UnavailableError
from reconv.params import load_params
from reconv.training.cluster import ray_session
try:
    with ray_session(load_params().resources):
        pass
except UnavailableError:
    print(sorted({"torch", "ray", "mlflow"} & set(sys.modules)))
"""
    environment = {**os.environ, "RAY_ADDRESS": f"127.0.0.1:{closed_port}"}

    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.strip() == "[]"
