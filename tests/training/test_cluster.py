import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconv.errors import ParamsError, UnavailableError
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


@pytest.mark.ray
@pytest.mark.parametrize("has_ended", [False, True])
def test_auto_without_a_cluster_is_told_within_seconds(
    params: Params, monkeypatch: pytest.MonkeyPatch, folder: Path, closed_port: int, has_ended: bool
) -> None:
    """Where none was started, and where the last one that was is gone."""
    from ray._private import services

    monkeypatch.setattr(services, "find_gcs_addresses", set)  # of other programs on this machine
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    if has_ended:
        (folder / "ray").mkdir()
        (folder / "ray" / "ray_current_cluster").write_text(f"127.0.0.1:{closed_port}")
    said = (
        rf'answers at .*:{closed_port}, which "auto" stands for, .*RAY_ADDRESS'
        if has_ended
        else r'"auto", and no Ray cluster.*`ray start'
    )
    began = time.monotonic()

    with pytest.raises(UnavailableError, match=said), ray_session(params.resources):
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
from reconv.errors import ParamsError, UnavailableError
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


@pytest.mark.ray
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cpus_per_trial": 64_000}, r"resources\.cpus_per_trial is 64000, the most that a node has is \d+: lower it"),
        ({"gpus_per_trial": 0.5}, r"resources\.gpus_per_trial is 0\.5, the most that a node has is 0: lower it"),
        (
            {"memory_per_trial": 10**15},
            r"resources\.memory_per_trial is 1\.0PB, the most that a node has is .*B: lower it",
        ),
    ],
)
def test_what_no_node_has_is_refused_and_not_waited_for(
    make_params: Callable[..., Params], small_ray: str, monkeypatch: pytest.MonkeyPatch, changes: dict, said: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", small_ray)
    params = make_params({f"resources.{name}": value for name, value in changes.items()})

    with pytest.raises(ParamsError, match=said), ray_session(params.resources):
        pass


@pytest.mark.ray
def test_as_many_run_at_once_as_cores_and_declared_memory_allow(
    make_params: Callable[..., Params], small_ray: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", small_ray)
    rooms = {}
    for memory in (None, "400MB", "700MB"):
        with ray_session(make_params({"resources.memory_per_trial": memory}).resources) as session:
            rooms[memory] = session.room

    assert rooms == {None: 4, "400MB": 2, "700MB": 1}


@pytest.fixture(scope="module")
def small_ray() -> Iterator[str]:
    """The address of a node that counts four cores and 1 GB."""
    from ray.cluster_utils import Cluster

    options = {"num_cpus": 4, "memory": 10**9, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=options)
    yield cluster.address
    cluster.shutdown()
