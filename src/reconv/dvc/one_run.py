"""One `dvc` runs all of its stages with the same params.yaml and dvc.yaml.

DVC itself reads params.yaml again before each stage: a change made meanwhile (`dvc exp run -S` makes one even if it
fails) would be used by some of the stages.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from reconv.dvc.declared import PIPELINE
from reconv.dvc.inputs import params_changes
from reconv.errors import ChangedError, DataError
from reconv.files import digest_of, read_json, write_json
from reconv.places import STATE
from reconv.yaml_files import read_yaml

_RUNS = STATE / "dvc"
_NOT_USED = "resources"  # it changes no result
_USED = ("vars", "stages")
_SAME_SECONDS = 5.0  # by which a process's start may seem to move when the clock is set


def check_one_run(dvc: psutil.Process, values: Mapping[str, Any]) -> None:
    """Check that `values` of params.yaml are those that the first stage of this `dvc` found. A program that runs DVC
    through its Python interface is left out: it may do so again and again, with other values.

    Raises:
        ChangedError: they are not, or the stages in dvc.yaml are not.
    """
    _forget_ended()
    if not _is_command(dvc):
        return None
    file = _RUNS / f"{dvc.pid}.json"
    params = {section: value for section, value in values.items() if section != _NOT_USED}
    content = read_yaml(PIPELINE)
    pipeline = digest_of([content.get(key) for key in _USED])  # neither comments nor plots
    if not file.exists():
        return write_json(file, {"began": dvc.create_time(), "params": params, "pipeline": pipeline})
    first = read_json(file)
    found = params_changes(first["params"], params, "when this `dvc` started")
    if first["pipeline"] != pipeline:
        found.append(f"the stages in {PIPELINE} were changed since this `dvc` started")
    if found:
        raise ChangedError(
            "\n".join(["all stages of one `dvc` run must use the same values, but:", *found])
            + "\nRun the same command again to use the new values, or restore the old ones first."
        )
    return None


def _is_command(dvc: psutil.Process) -> bool:
    """Return whether it is `dvc` or `python -m dvc`."""
    with suppress(psutil.Error):
        return any(Path(part).stem == "dvc" for part in dvc.cmdline())
    return False


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
    except (psutil.NoSuchProcess, DataError):  # or another stage has just removed the file
        return False
