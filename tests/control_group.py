"""A control group of Linux whose processes have little memory, where one can be made."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_CGROUPS = Path("/sys/fs/cgroup")
_EMPTY_SECONDS = 30


@contextmanager
def limited_group(limit_bytes: int) -> Iterator[Path]:
    """Its folder: its processes have so much memory together, files' pages included."""
    entries = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    old = next((_CGROUPS / "memory" / path.lstrip("/") for _, names, path in entries if names == "memory"), None)
    new = _CGROUPS / next((path.lstrip("/") for number, _, path in entries if number == "0"), "")
    group = (old or new) / f"reconv-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"this machine lets no control group be made ({error})")
    try:
        try:
            (group / ("memory.limit_in_bytes" if old else "memory.max")).write_text(str(limit_bytes))
        except OSError as error:
            pytest.skip(f"this machine lets no memory be limited ({error})")
        yield group
    finally:
        deadline = time.monotonic() + _EMPTY_SECONDS
        while (group / "cgroup.procs").read_text() and time.monotonic() < deadline:
            time.sleep(0.2)  # what its processes have left behind ends
        group.rmdir()
