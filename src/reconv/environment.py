"""What a command or a stage and the processes that it starts need of the environment, set where it is missing.

A schedule has no virtual environment on its path. A user id without a passwd entry (`docker run --user 12345`) has no
name and often no home folder that it can write to. DVC refuses a folder that is not in git (a downloaded .zip) unless
its configuration allows it.
"""

import getpass
import os
import sys
from pathlib import Path

from reconv.git import is_in_git
from reconv.places import STATE

_DVC_CONFIG = "DVC_SYSTEM_CONFIG_DIR"
_DVC_CONFIG_WITHOUT_GIT = Path(__file__).parent / "dvc" / "without_git"
_NAMES = ("USER", "LOGNAME")
NO_NAME = "user"
"""The name of a user that the system has none for."""


def complete_environment() -> None:
    """Set what is missing in this process's environment; what the user set stays."""
    first, paths = str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)
    if paths.partition(os.pathsep)[0] != first:
        os.environ["PATH"] = f"{first}{os.pathsep}{paths}"
    if not has_user_name():
        os.environ.update(dict.fromkeys(_NAMES, NO_NAME))
    _set_home()
    if not is_in_git() and not _has_system_config():
        os.environ[_DVC_CONFIG] = str(_DVC_CONFIG_WITHOUT_GIT)


def has_user_name() -> bool:
    """Return whether DVC, torch and MLflow will find a name for this user."""
    try:
        return bool(getpass.getuser())
    except (KeyError, OSError):  # OSError from Python 3.13 on
        return False


def _set_home() -> None:
    """Name a folder of the project where there is no home folder, or for caches where it cannot be written to."""
    if not os.environ.get("HOME"):
        os.environ.pop("HOME", None)
    try:
        is_writable = os.access(Path.home(), os.W_OK)
    except RuntimeError:  # neither HOME nor a passwd entry
        os.environ["HOME"] = str((STATE / "home").absolute())
    else:
        if not is_writable:
            os.environ.setdefault("XDG_CACHE_HOME", str((STATE / "cache").absolute()))


def _has_system_config() -> bool:
    """Return whether DVC has a configuration for the whole machine, which ours would replace."""
    folders = os.environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep)
    return _DVC_CONFIG in os.environ or (Path(folders[0]) / "dvc" / "config").exists()
