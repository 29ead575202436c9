"""Checks of what dvc.lock says about earlier stages against what each of them wrote down itself."""

from collections.abc import Iterator, Mapping
from typing import Any

from reconv.dvc.declared import Declared, upstream
from reconv.dvc.inputs import flat
from reconv.errors import ChangedError
from reconv.files import md5_of_file, read_json
from reconv.places import run_file

INPUTS = "inputs"
"""Key of a stage's run file. Earlier versions wrote none."""


def check_recorded(name: str, stages: Mapping[str, Declared], locked: Mapping[str, Any]) -> None:
    """Check that all stages that `name` depends on used what dvc.lock says that they used; `locked` is what it holds.

    This finds what changed between the end of a stage and DVC's reading of it.

    Raises:
        ChangedError: one of them did not; the message names it.
    """
    for one in sorted(upstream(name, stages) & locked.keys()):
        used = _used(one, locked[one])
        found = list(_differences(locked[one], used)) if used else []
        if found:
            raise ChangedError(
                "\n".join([f"dvc.lock does not say what the stage {one} used:", *found])
                + "\nIt changed as the stage ended, or `dvc commit` recorded it later. "
                f"Run `dvc repro --single-item --force {one}`, then run the same command again."
            )


def _used(name: str, entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what a stage wrote down; None if it is not the run that dvc.lock speaks of (of another branch, say)."""
    file = run_file(*name.split("@", maxsplit=1))
    md5 = {out["path"]: out.get("md5") for out in entry.get("outs", ())}.get(file.as_posix())
    if not file.exists() or (md5 and md5_of_file(file) != md5):
        return None
    used: Mapping[str, Any] | None = read_json(file).get(INPUTS)
    return used


def _differences(entry: Mapping[str, Any], used: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each value or dependency that differs in a stage's entry of dvc.lock."""
    params, recorded = flat(used["params"]), flat(entry.get("params", {}).get("params.yaml", {}))
    for key in sorted(params.keys() & recorded.keys()):
        if params[key] != recorded[key]:
            yield f"{key}: dvc.lock says {recorded[key]}, it used {params[key]}"
    digests = {dep["path"]: dep.get("md5") for dep in entry.get("deps", ())}
    for dep, md5 in used["deps"].items():
        if digests.get(dep, md5) != md5:
            yield f"{dep}: dvc.lock says MD5 {digests[dep]}, it used {md5}"
