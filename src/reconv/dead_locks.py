"""DVC's locks in this folder: who holds them, and what a killed `dvc` left. Called before the next one is started.

DVC itself forgets a lock whose process id is gone. It waits for ever where that id is taken again, which is the rule in
containers, whose ids begin anew with each of them, or where nobody has collected the dead process yet.
"""

import fcntl
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from reconv.errors import BusyError
from reconv.files import lock_within

_WAIT_SECONDS = 20.0
_BUSY_WORDS = ("is busy, it is being blocked by", "Unable to acquire lock")
"""Parts of DVC's two messages about its locks."""
_TEMPORARY = Path(".dvc/tmp")
_REPOSITORY = _TEMPORARY / "lock"
_LOCKS, _GUARD = _TEMPORARY / "rwlock", _TEMPORARY / "rwlock.lock"
"""As dvc.rwlock keeps them, {"write": {path: holder}, "read": {path: [holder, …]}}, and the lock of that file."""


def forget_the_dead() -> None:
    """Free what no living `dvc` of this machine holds in this folder."""
    if not _LOCKS.exists():
        return
    with suppress(BlockingIOError), _GUARD.open("a") as guard:  # a process that holds it that long is alive
        lock_within(guard.fileno(), _WAIT_SECONDS)
        try:
            locks = json.loads(_LOCKS.read_text())
        except ValueError:  # torn by the end of its writer, and only good for stopping the next one
            locks = {}
        kept = {
            "write": {path: holder for path, holder in locks.get("write", {}).items() if _is_dvc(holder)},
            "read": {
                path: alive
                for path, holders in locks.get("read", {}).items()
                if (alive := [holder for holder in holders if _is_dvc(holder)])
            },
        }
        if kept != locks:
            _LOCKS.write_text(json.dumps(kept))


def check_not_busy() -> None:
    """Raise BusyError if a living `dvc` of this machine runs a stage in this folder."""
    if not _LOCKS.exists():
        return
    try:
        locks = json.loads(_LOCKS.read_text())
    except ValueError:
        return  # being written, or torn
    holders = [*locks.get("write", {}).values(), *(one for some in locks.get("read", {}).values() for one in some)]
    alive = {(holder["pid"], holder["cmd"]) for holder in holders if _is_dvc(holder)}
    if alive:
        raise busy(", ".join(f"`{Path(command).name}` (process {pid})" for pid, command in sorted(alive)))


def check_why(error: str = "") -> None:
    """Raise BusyError if a `dvc` that just failed, with `error` if that is known, failed because of another one."""
    check_not_busy()
    # The repository's own lock is free while a stage's command runs, and held while its outputs are hashed.
    if any(words in error for words in _BUSY_WORDS) or _is_locked(_REPOSITORY):
        raise busy("another `dvc`")


def busy(who: str) -> BusyError:
    return BusyError(f"{who} is running in this folder: wait for it to end, then run the same command again.")


def _is_locked(path: Path) -> bool:
    try:
        with path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _is_dvc(holder: dict[str, Any]) -> bool:
    try:
        return any("dvc" in word for word in psutil.Process(holder["pid"]).cmdline())  # of a dead one it is empty
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False
