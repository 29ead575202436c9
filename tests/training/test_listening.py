"""A Ray of this machine alone: not reached from others, and of no use to other users of this one. In a process of its
own: Ray reads its settings once.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """
import json, psutil, time
from pathlib import Path
from reconv.params import load_params
from reconv.training.cluster import ray_session
with ray_session(load_params().resources):
    time.sleep(5)  # its agents start after it
    this = psutil.Process()
    listening = {
        (one.laddr.ip, one.laddr.port)
        for process in [this, *this.children(recursive=True)]
        for one in process.net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    }
    print(json.dumps(sorted(listening)), flush=True)
    input()
"""
# One that only reads, and those that run or change something, of each of Ray's services.
CALLS = [
    "NodeInfoGcsService/GetAllNodeInfo",
    "InternalKVGcsService/InternalKVKeys",
    "JobInfoGcsService/AddJob",
    "ActorInfoGcsService/CreateActor",
    "NodeManagerService/GetNodeStats",
    "NodeManagerService/RequestWorkerLease",
    "CoreWorkerService/PushTask",
    "CoreWorkerService/Exit",
    "ObjectManagerService/Push",
    "ObjectManagerService/Pull",
    "ReporterService/GetTraceback",
]
PATHS = ["/", "/metrics", "/get_or_create_runtime_env", "/api/jobs/", "/api/job_agent/jobs/", "/logs"]


def by_grpc(port: int, call: str) -> str:
    """The status that who has no token gets."""
    import grpc

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            channel.unary_unary(f"/ray.rpc.{call}")(b"", timeout=5)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def by_http(port: int, path: str) -> Any:
    """Status and beginning of the answer to who has no token; None where no HTTP is spoken."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(6)
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


@pytest.mark.ray
@pytest.mark.slow
def test_a_local_session_listens_on_the_loopback_address_and_refuses_who_has_no_token(project: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    running = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    listening = json.loads(running.stdout.readline())
    ports = [port for _, port in listening]

    statuses = {call: {by_grpc(port, call) for port in ports} for call in CALLS}
    answers = {by_http(port, path) for port in ports for path in PATHS}
    running.communicate("\n", timeout=60)

    assert running.returncode == 0
    assert len(ports) >= 4
    assert {address.removeprefix("::ffff:") for address, _ in listening} == {"127.0.0.1"}
    # Unimplemented by the other ports, unavailable at those that speak HTTP.
    assert {call for call in CALLS if "UNAUTHENTICATED" not in statuses[call]} == set()
    assert set().union(*statuses.values()) <= {"UNAUTHENTICATED", "UNIMPLEMENTED", "UNAVAILABLE"}
    # Counts for Prometheus are all that is told.
    assert {status for status, begin in filter(None, answers) if begin != b"# HELP"} == {401}
