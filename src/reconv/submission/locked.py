"""What dvc.lock says, and which outputs DVC leaves to git. Read here and on the cluster, where others may write."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from reconv.errors import SubmissionError
from reconv.yaml_files import read_yaml

LOCK = Path("dvc.lock")
_PIPELINE = Path("dvc.yaml")
_VARIABLE = re.compile(r"\$\{[^}]*\}")

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{32}(\.dir)?$")]
"""MD5, which names an object of DVC's cache; a directory's is that of the list of its files."""


class Output(BaseModel):
    path: str
    md5: Digest


class _LockedStage(BaseModel):
    outs: list[Output] = []


class _Lock(BaseModel):
    stages: dict[str, _LockedStage] = {}


def locked_outputs(lock: Path, stages: Iterable[str] | None = None) -> list[Output]:
    """Of all stages in a dvc.lock, or of some; none if there is no file.

    Raises:
        SubmissionError: it is no dvc.lock.
    """
    found = locked_stages(lock)
    try:
        known = _Lock.model_validate({"stages": found}).stages
    except ValidationError as error:
        problem = error.errors()[0]
        raise SubmissionError(
            f"{lock} is no dvc.lock of this version of DVC ({'.'.join(map(str, problem['loc']))}: {problem['msg']}): "
            "delete it, or put back the one that was committed."
        ) from None
    return [out for name in (known if stages is None else stages) for out in known[name].outs]


def locked_stages(lock: Path) -> dict[str, Any]:
    """Stage -> its entry, as DVC wrote it."""
    if not lock.exists():
        return {}
    value = read_yaml(lock)
    stages = value.get("stages") if isinstance(value, dict) else None
    return stages if isinstance(stages, dict) else {}


def kept_in_git(pipeline: Path = _PIPELINE) -> re.Pattern[str]:
    """Matches the paths of outputs that dvc.yaml declares with `cache: false`."""
    stages = (read_yaml(pipeline) or {}).get("stages", {})
    declared = [
        path
        for stage in stages.values()
        for kind in ("outs", "metrics", "plots")
        for entry in stage.get("do", stage).get(kind, [])
        if isinstance(entry, dict)
        for path, options in entry.items()
        if (options or {}).get("cache") is False
    ]
    patterns = ["[^/]+".join(map(re.escape, _VARIABLE.split(path))) for path in declared]
    return re.compile("|".join(patterns) or "(?!)")
