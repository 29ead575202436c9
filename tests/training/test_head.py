import socket
import time

import pytest

from reconv.training import head
from reconv.training.head import watch_head


def test_it_is_said_once_that_a_head_is_gone_and_once_that_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "_LOOK_SECONDS", 0.02)
    said: list[str] = []

    def wait_for(count: int) -> None:
        deadline = time.monotonic() + 30
        while len(said) < count:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        watch_head(address, said.append)
        time.sleep(0.2)
        assert not said
    wait_for(1)
    with socket.create_server(("127.0.0.1", int(address.split(":")[1]))):
        wait_for(2)
        time.sleep(0.2)
    assert said[0].startswith(f"the cluster's head {address} does not answer. ")
    assert said[1] == f"the cluster's head {address} answers again."
