"""A Ray of this machine alone cannot be reached from others. In a process of its own: Ray reads its settings once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import psutil, time
from reconv.params import load_params
from reconv.training.cluster import ray_session
with ray_session(load_params().resources):
    time.sleep(3)  # its agents start after it
    this = psutil.Process()
    for process in [this, *this.children(recursive=True)]:
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                print(connection.laddr.ip)
"""


@pytest.mark.ray
@pytest.mark.slow
def test_a_local_session_listens_on_the_loopback_address(project: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}

    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)

    listening = done.stdout.split()
    assert len(listening) >= 4
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
