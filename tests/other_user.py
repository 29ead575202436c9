"""A user id that the system has no name for, as `docker run --user 12345` makes one."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

USER_ID = 12345
_NAMES = ("USER", "LOGNAME", "LNAME", "USERNAME")
# It may read what only root may: the interpreter is often in root's home folder.
_DROP = [
    *("setpriv", f"--reuid={USER_ID}", f"--regid={USER_ID}", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
]


def can_become_another_user() -> bool:
    """Return whether this process may start one as another user."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return False
    return subprocess.run([*_DROP, "true"], capture_output=True, check=False).returncode == 0


needs_another_user = pytest.mark.skipif(not can_become_another_user(), reason="needs root and setpriv")


def as_nobody(command: list[str]) -> list[str]:
    """Return a command that runs `command` as a user without a name."""
    return ["env", *(f"--unset={name}" for name in _NAMES), *_DROP, *command]


def give_to_nobody(folder: Path) -> None:
    subprocess.run(["chown", "--recursive", str(USER_ID), str(folder)], check=True)
