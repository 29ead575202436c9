"""What a killed `dvc` leaves locked. Called before a schedule or a person starts the next one.

DVC itself forgets a lock whose process id is gone. It waits for ever where that id is taken again, which is the rule in
containers, whose ids begin anew with each of them, or where nobody has collected the dead process yet.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from reconv.files import lock_within

_WAIT_SECONDS = 20.0
_TEMPORARY = Path(".dvc/tmp")
_LOCKS, _GUARD = _TEMPORARY / "rwlock", _TEMPORARY / "rwlock.lock"
"""As dvc.rwlock keeps them, {"write": {path: holder}, "read": {path: [holder, …]}}, and the lock of that file."""


def forget_the_dead() -> None:
    """Free what no living `dvc` of this machine holds in this folder."""
    if not _LOCKS.exists():
        return
    with suppress(BlockingIOError), _GUARD.open("a") as guard:  # a living `dvc` that holds it that long is not dead
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


def _is_dvc(holder: dict[str, Any]) -> bool:
    try:
        return any("dvc" in word for word in psutil.Process(holder["pid"]).cmdline())  # of a dead one it is empty
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False
