"""A stage runs once at a time in a project's folder, and no longer than the `dvc` that started it. Called by `stage`.

A `dvc` that is killed leaves its stage behind, and the next `dvc repro` would start the same stage beside it.
"""

import fcntl
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import TextIO

import psutil

from reconv.errors import BusyError
from reconv.interruption import raise_once
from reconv.places import LOCKS

_LOOK_SECONDS = 1.0
# Ctrl-C's own is ignored in what a script or cron runs in the background, and SIGUSR1 is Ray Tune's.
_SIGNAL = signal.SIGUSR2
_END_SECONDS = 60.0  # to bring the records to MLflow and to leave Ray
_WAIT_SECONDS = 90.0


@contextmanager
def run_alone(
    name: str, say: Callable[[str], None], wait_seconds: float = _WAIT_SECONDS, folder: Path = LOCKS
) -> Iterator[None]:
    """Wait for another process that runs the stage `name` with its lock in `folder` to end, as one does whose `dvc` was
    killed.

    Raises:
        BusyError: it is there after `wait_seconds`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("a+", encoding="utf-8") as file:  # the system frees the lock of a process that dies
        _lock(file, name, say, wait_seconds)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        yield


def _lock(file: TextIO, name: str, say: Callable[[str], None], wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    has_said = False
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read()
            if time.monotonic() >= deadline:
                raise BusyError(
                    f"another one runs {name} in this project ({holder}): let it end, or kill it, then run the same "
                    "command."
                ) from None
            if not has_said:
                say(f"waits for another one to end that runs {name} in this project ({holder})")
                has_said = True
            time.sleep(0.1)


def running_stage() -> str | None:
    """Return the name of a stage that another process runs in this folder; None if there is none."""
    for path in sorted(LOCKS.glob("*")):
        if path.name == "retrain":  # the caller's own
            continue
        with path.open("r", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return f"{path.name} ({file.read()})"
    return None


def end_with_dvc(say: Callable[[str], None]) -> None:
    """Interrupt this process as Ctrl-C does when the `dvc` that started it is gone; nothing if none did. For the main
    thread."""
    dvc = parent_dvc()
    if dvc is not None:
        signal.signal(_SIGNAL, raise_once)
        Thread(target=_interrupt_after, args=(dvc, say), name="end with dvc", daemon=True).start()


def parent_dvc() -> psutil.Process | None:
    """Return the `dvc` that started this stage, or None.

    It is the nearest ancestor outside the stage: there may be a shell in between, which outlives it.
    """
    stage = os.environ.get("DVC_STAGE")  # which dvc gives to all that it starts
    if stage is None:
        return None
    for ancestor in psutil.Process().parents():
        with suppress(psutil.AccessDenied):
            if ancestor.environ().get("DVC_STAGE") == stage:
                continue
        return ancestor
    return None


def _interrupt_after(dvc: psutil.Process, say: Callable[[str], None]) -> None:
    while _is_alive(dvc):
        time.sleep(_LOOK_SECONDS)
    with suppress(OSError, ValueError):  # the terminal may be gone as well
        say("the dvc that started this stage is gone: it ends as well.")
    os.kill(os.getpid(), _SIGNAL)
    time.sleep(_END_SECONDS)
    os._exit(1)  # in something that does not end


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
