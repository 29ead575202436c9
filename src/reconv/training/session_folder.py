"""The folder of a local Ray session: private to this user, with a short path, removed when the session ends.

On its own Ray takes TMPDIR/ray, makes it writable by everyone (even the target of a link that another user planted
there), and never removes what a session leaves. Called by cluster and, at the end of a stage, by stage.
"""

import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir, mkdtemp

import psutil

from reconv.errors import UnavailableError

_PREFIX = "rv-ray-"
_IN_IT = "/rv-ray-12345678/r/session_2026-01-01_00-00-00_123456_4194304/sockets/plasma_store"
_MOST_BYTES = 107 - len(_IN_IT)
"""The bound for the path of the folder that holds it: the path of a Unix socket has at most 107 bytes."""
_REMOVAL_SECONDS = 1.0
_STARTED = re.compile(r"Started worker process with pid (\d+)")  # as Ray's raylet logs it

_own: dict[Path, int] = {}
"""Folder -> descriptor that holds its lock. Another process that gets it knows that the owner is gone."""


def new_session_folder() -> Path:
    """Make a session's folder, and remove the folders that this user's killed processes left.

    Raises:
        UnavailableError: no temporary folder can be used.
    """
    for place in usable_places():
        with suppress(OSError):
            _remove_abandoned(place)
            return _new_in(place)
    raise _no_place()


def usable_places() -> list[Path]:
    """Return the temporary folders that can hold a session's, the first choice first.

    Raises:
        UnavailableError: there is none.
    """
    places = [*_places()]
    if not places:
        raise _no_place()
    return places


def why_workers_died() -> str:
    """Return why the last worker process that this process's session started ended before it could work; empty if it
    did not."""
    logs = next((folder / "r" / "session_latest" / "logs" for folder in _own), None)
    if logs is None or not (raylet := logs / "raylet.out").exists():
        return ""
    started = _STARTED.findall(raylet.read_text(encoding="utf-8", errors="replace"))
    if not started or _is_alive(int(started[-1])) or any(logs.glob(f"python-core-worker-*_{started[-1]}.log")):
        return ""
    errors = [*logs.glob(f"worker-*-{started[-1]}.err"), logs / "raylet.err"]  # a shell's error goes to the latter
    lines = [line for path in errors for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((line.strip() for line in reversed(lines) if line.strip()), "they leave no message")


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _no_place() -> UnavailableError:
    return UnavailableError(
        f"Ray needs a temporary folder that can be written to and has a path of at most {_MOST_BYTES} bytes; none of "
        f"these is one: {', '.join(map(str, _places(is_any=True)))}. Set TMPDIR to such a folder."
    )


def remove_session_folders() -> None:
    """Remove the folders that this process made. A Ray process that is being killed may still write for some
    milliseconds; the next session removes what it leaves."""
    while _own:
        folder, lock = _own.popitem()
        deadline = time.monotonic() + _REMOVAL_SECONDS
        shutil.rmtree(folder, ignore_errors=True)
        while folder.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
            shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _places(is_any: bool = False) -> Iterator[Path]:
    named = (os.environ.get("RAY_TMPDIR"), gettempdir(), "/tmp", os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm")
    for name in dict.fromkeys(named):
        if not name or not Path(name).is_dir():
            continue
        if is_any or (len(os.fsencode(name)) <= _MOST_BYTES and os.access(name, os.W_OK | os.X_OK)):
            yield Path(name).absolute()


def _new_in(place: Path) -> Path:
    """Make a private folder and return one inside it, since Ray makes its own folder writable by everyone."""
    folder = Path(mkdtemp(prefix=_PREFIX, dir=place))
    with suppress(FileNotFoundError):
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            os.close(lock)
            folder.rmdir()
            raise
        if folder.exists():
            _own[folder] = lock
            return folder / "r"
        os.close(lock)
    return _new_in(place)  # another process removed it as abandoned before it was locked


def _remove_abandoned(place: Path) -> None:
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
