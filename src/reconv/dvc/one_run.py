"""One `dvc` runs all of its stages with the same params.yaml and dvc.yaml.

DVC itself reads params.yaml again before each stage: a change made meanwhile (`dvc exp run -S` makes one even if it
fails) would be used by some of the stages.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from reconv.dvc.declared import PIPELINE
from reconv.dvc.inputs import params_changes
from reconv.errors import ChangedError
from reconv.files import read_json, sha256_of_file, write_json
from reconv.places import STATE

_RUNS = STATE / "dvc"
_NOT_USED = "resources"  # it changes no result
_SAME_SECONDS = 5.0  # by which a process's start may seem to move when the clock is set


def check_one_run(dvc: psutil.Process, values: Mapping[str, Any]) -> None:
    """Check that `values` of params.yaml are those that the first stage of this `dvc` found.

    Raises:
        ChangedError: they are not, or dvc.yaml is not.
    """
    _forget_ended()
    file = _RUNS / f"{dvc.pid}.json"
    params = {section: value for section, value in values.items() if section != _NOT_USED}
    pipeline = sha256_of_file(PIPELINE)
    if not file.exists():
        return write_json(file, {"began": dvc.create_time(), "params": params, "pipeline": pipeline})
    first = read_json(file)
    found = params_changes(first["params"], params, "when this `dvc` started")
    if first["pipeline"] != pipeline:
        found.append(f"{PIPELINE} was changed since this `dvc` started")
    if found:
        raise ChangedError(
            "\n".join(["all stages of one `dvc` run must use the same values, but:", *found])
            + "\nRun the same command again to use the new values, or restore the old ones first."
        )
    return None


def _forget_ended() -> None:
    """Remove the files of `dvc` processes that have ended."""
    for file in _RUNS.glob("*.json"):
        if not _is_alive(file):
            file.unlink(missing_ok=True)


def _is_alive(file: Path) -> bool:
    try:
        began: float = read_json(file)["began"]
        return abs(psutil.Process(int(file.stem)).create_time() - began) < _SAME_SECONDS
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False
