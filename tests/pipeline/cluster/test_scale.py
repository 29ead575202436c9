"""Scaling from zero, on Ray's own autoscaler with nodes that it fakes on this machine."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SCALE = Path(__file__).parents[3] / "pipeline" / "cluster" / "scale.py"


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from ray.cluster_utils import AutoscalingCluster

    kinds = {
        "gpu": {"resources": {"CPU": 1, "GPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
        "cpu": {"resources": {"CPU": 2}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    }
    cluster = AutoscalingCluster(head_resources={"CPU": 0}, worker_node_types=kinds)
    cluster.start()
    yield "auto"
    cluster.shutdown()


def scale(address: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "RAY_ADDRESS": address}
    command = [sys.executable, SCALE, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)


@pytest.mark.ray
@pytest.mark.slow
def test_what_is_asked_for_comes_and_what_cannot_come_is_told(address: str) -> None:
    come = scale(address, "--num-gpus=1", "--num-cpus=1", "--timeout-seconds=120")
    assert come.returncode == 0, come.stderr

    refused = scale(address, "--num-gpus=3", "--timeout-seconds=5")
    assert refused.returncode == 1
    assert "after 5 s there are still fewer than {'GPU': 3}" in refused.stderr
