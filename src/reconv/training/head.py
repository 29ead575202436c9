"""Whether the head of a cluster still answers. Ray waits a minute for it, then ends the process without a word."""

import socket
import time
from collections.abc import Callable
from threading import Thread

_LOOK_SECONDS = 2.0
_ANSWER_SECONDS = 5.0
_GONE = (
    "does not answer. If it is gone, Ray ends this stage within a minute: start a cluster again, then run the same "
    "command to go on."
)


def watch_head(address: str, say: Callable[[str], None]) -> None:
    """Say it when nothing answers any longer at HOST:PORT, and when something does again, until the process ends."""
    Thread(target=_watch, args=(address, say), name="watch the head", daemon=True).start()


def _watch(address: str, say: Callable[[str], None]) -> None:
    did_answer = True
    while True:
        time.sleep(_LOOK_SECONDS)
        if (answers := _answers(address)) != did_answer:
            did_answer = answers
            say(f"the cluster's head {address} {'answers again.' if answers else _GONE}")


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS):
            return True
    except OSError:
        return False
