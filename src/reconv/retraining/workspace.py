"""What there is to do in the project's folder, as the source and DVC tell; and doing it."""

import json
import subprocess
from collections.abc import Sequence

import pandas as pd

from reconv.artifacts import Manifest, RawSource
from reconv.data.files import LISTED
from reconv.data.sources import Say, fetch
from reconv.dead_locks import check_why, forget_the_dead
from reconv.errors import ReconvError, RetrainingError
from reconv.params import Params
from reconv.places import PREPARED, RAW
from reconv.repro import repro
from reconv.retraining.record import Changes, DataChange
from reconv.submission.homecoming import ALWAYS_RUN, DVC
from reconv.submission.locked import LOCK, locked_stages

_CODE = ("src/", "pipeline/")
_PARAMS = "params.yaml"


def refresh(params: Params, say: Say) -> DataChange | None:
    """Look at the source again, as the stage `fetch` does; what changed since it last did, None if nothing.

    Raises:
        DataError: it cannot be read, or the images cannot be had.
    """
    before = _listed()
    source = fetch(params.data.source, params.data.group, RAW, say, columns=params.data.columns)
    if before is None or before[0] == source.digest:
        return None
    after = _listed()
    assert after is not None
    return _difference(before[1], after[1])


def _listed() -> tuple[str, pd.DataFrame] | None:
    """Digest and files of data/raw; None if there is none yet. A published set has no files."""
    try:
        digest = RawSource.load(RAW / "source.json").digest
    except ReconvError:
        return None
    columns = ["path", "label", "split", "group", "sha256"]
    path = RAW / LISTED
    return digest, pd.read_parquet(path)[columns] if path.exists() else pd.DataFrame(columns=columns)


def _difference(before: pd.DataFrame, after: pd.DataFrame) -> DataChange:
    both = before.merge(after, on="path", how="outer", suffixes=("_before", "_after"), indicator=True)
    same_name = both[both["_merge"] == "both"]
    altered = pd.Series(False, same_name.index)
    for name in ("label", "split", "group", "sha256"):
        altered |= same_name[f"{name}_before"] != same_name[f"{name}_after"]
    return DataChange(
        added=int((both["_merge"] == "right_only").sum()),
        removed=int((both["_merge"] == "left_only").sum()),
        altered=int(altered.sum()),
    )


def what_changed(data: DataChange | None) -> Changes | None:
    """None if `dvc repro` would run nothing.

    Raises:
        BusyError: another `dvc` is running in this folder.
        RetrainingError: DVC cannot tell.
    """
    forget_the_dead()
    done = subprocess.run([*DVC, "status", "--json"], capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)
    except ValueError:
        check_why(done.stderr)
        raise RetrainingError(f"`dvc status`: {done.stderr.strip().removeprefix('ERROR: ')}") from None
    found.pop(ALWAYS_RUN, None)
    if not found:
        return None
    params: set[str] = set()
    code: set[str] = set()
    other: set[str] = set()
    behind: set[str] = set()
    for stage, entries in found.items():
        for entry in entries:
            if entry == "changed command":
                code.add("dvc.yaml")
                continue
            for path, how in entry.get("changed deps", {}).items():
                if path == _PARAMS:
                    params |= set(how)
                elif path.startswith(_CODE):
                    code.add(path)
                elif path != str(RAW):
                    behind.add(stage)
            other |= {stage for path in entry.get("changed outs", {}) if path != str(RAW)}
    if not (data or params or code or other):
        other = behind  # what an interruption or a dry run left to do
        if not other and _is_prepared():
            return None  # all that differs is which other files are in the source
    return Changes(data=data, params=tuple(sorted(params)), code=tuple(sorted(code)), other=tuple(sorted(other)))


def _is_prepared() -> bool:
    """Return whether data/prepared holds the images that data/raw lists."""
    try:
        return Manifest.load(PREPARED / "manifest.json").source_digest == RawSource.load(RAW / "source.json").digest
    except ReconvError:
        return False


def planned(targets: Sequence[str]) -> list[str]:
    """Stages that `dvc repro` would run, as far as is known before the first of them has run."""
    done = subprocess.run([*DVC, "repro", "--dry", *targets], capture_output=True, text=True, check=False)
    stages = [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")]
    return [stage for stage in stages if stage != ALWAYS_RUN]


def run(targets: Sequence[str]) -> list[str]:
    """Run it, its lines as they come; the stages that ran.

    Raises:
        BusyError: another one is running.
        RetrainingError: it failed.
    """
    before = locked_stages(LOCK)
    if code := repro(targets):
        raise RetrainingError(f"`dvc repro` ended with {code}: the lines above say why. The next run goes on.")
    return ran_since(before)


def ran_since(before: dict[str, object]) -> list[str]:
    """Stages whose entry in dvc.lock is another one by now."""
    return [name for name, entry in locked_stages(LOCK).items() if before.get(name) != entry]
