"""What a stage reads: the parameters, code and data that dvc.yaml declares for it, as they are at one moment.

Small dependencies are compared by content, so that a file that was touched or restored is not a change; large ones by
each file's size and time; not by inode, which some network file systems give anew to a file that is unchanged.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pathspec import GitIgnoreSpec

from reconv.dvc.declared import Declared
from reconv.files import md5_of_file
from reconv.params import PARAMS_FILE

_READ_BYTES = 4 * 2**20  # of a dependency: 7 ms
_IGNORED = Path(".dvcignore")
_MISSING = "missing"


@dataclass(frozen=True)
class Inputs:
    params: dict[str, Any]
    """Declared key -> value."""
    files: dict[str, str]
    """Path -> MD5, or size and time of a large one."""
    digests: dict[str, str]
    """Dependency -> MD5 as in dvc.lock, of those that were read."""
    changed_at: dict[str, float]
    """Path -> when its content or place last changed, by the system's clock."""


def inputs_of(declared: Declared, values: Mapping[str, Any]) -> Inputs:
    """Look at what is declared; `values` is what params.yaml holds."""
    ignored = GitIgnoreSpec.from_lines(_IGNORED.read_text(encoding="utf-8").splitlines() if _IGNORED.exists() else ())
    files: dict[str, str] = {}
    digests: dict[str, str] = {}
    changed_at: dict[str, float] = {}
    for dep in declared.deps:
        found = dict(_files(dep, ignored))
        changed_at |= {path: stat.st_ctime for path, stat in found.items()}
        if sum(stat.st_size for stat in found.values()) > _READ_BYTES:
            files |= {path: f"{stat.st_size} {stat.st_mtime_ns}" for path, stat in found.items()}
            continue
        contents = {path: _md5(path) for path in found}
        files |= contents
        if contents and _MISSING not in contents.values():
            digests[dep] = _as_in_lock(dep, contents)
    return Inputs({key: _value(values, key) for key in declared.params}, files, digests, changed_at)


def changes(before: Inputs, after: Inputs) -> list[str]:
    """Say what differs between a stage's start and now, a line each."""
    lines = params_changes(before.params, after.params, "when this stage started")
    for path in sorted(before.files | after.files):
        if path not in after.files:
            lines.append(f"{path} was removed while this stage ran")
        elif path not in before.files:
            lines.append(f"{path} was added while this stage ran")
        elif before.files[path] != after.files[path]:
            lines.append(f"{path} was changed while this stage ran")
    return lines


def params_changes(before: Mapping[str, Any], after: Mapping[str, Any], when: str) -> list[str]:
    """Say which values of params.yaml differ, a line each; `when` says when they had the values in `before`."""
    old, new = flat(before), flat(after)
    return [
        f"{PARAMS_FILE}: {key} was {_shown(old, key)} {when}, is {_shown(new, key)} now"
        for key in sorted(old | new)
        if (key in old, old.get(key)) != (key in new, new.get(key))
    ]


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return `values` by dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def _files(dep: str, ignored: GitIgnoreSpec) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the files that DVC counts as `dep`, with their state."""
    paths = [dep] if Path(dep).is_file() else (f"{root}/{name}" for root, _, names in os.walk(dep) for name in names)
    for path in paths:
        if not ignored.match_file(path):
            try:
                yield path, Path(path).stat()
            except OSError:  # removed by now, or a link to nothing
                continue


def _md5(path: str) -> str:
    try:
        return md5_of_file(Path(path))
    except OSError:
        return _MISSING


def _as_in_lock(dep: str, contents: Mapping[str, str]) -> str:
    """Return the MD5 that DVC knows a file or folder by: a folder's is that of the list of its files."""
    if dep in contents:
        return contents[dep]
    listed = [{"md5": md5, "relpath": path.removeprefix(f"{dep}/")} for path, md5 in contents.items()]
    text = json.dumps(sorted(listed, key=lambda one: one["relpath"]), sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def _value(values: Mapping[str, Any], key: str) -> Any:
    found: Any = values
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _shown(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key], default=str) if key in values else _MISSING
