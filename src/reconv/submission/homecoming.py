"""A job's outputs into the working copy, as DVC would have made them. What was changed here meanwhile is not lost."""

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reconv.dead_locks import check_why
from reconv.errors import SubmissionError
from reconv.files import md5_of_file, write_bytes
from reconv.submission.locked import LOCK, Output, kept_in_git, locked_outputs, locked_stages
from reconv.submission.outputs import Outputs
from reconv.submission.records import JobRecord
from reconv.yaml_files import write_yaml

DVC = (sys.executable, "-m", "dvc")
ALWAYS_RUN = "registry"
"""The stage that DVC always runs, for a moment: it asks MLflow's registry."""
_RUNS = re.compile(rf"Running stage '(?!{ALWAYS_RUN}')")


def cache_folder() -> Path:
    """Of DVC, which several projects may share."""
    return Path(_dvc("cache", "dir").strip()).absolute()


def is_up_to_date(arguments: Sequence[str]) -> bool:
    """Whether `dvc repro` would run nothing.

    Raises:
        SubmissionError: it understands the arguments, or dvc.yaml, no better here than it would there.
    """
    words = ("repro", "--dry", *(word for word in arguments if word not in ("-q", "--quiet")))
    # It fails where a stage needs what an earlier one would make, but says before that one would run.
    return not _RUNS.search(_dvc(*words, enough=_RUNS))


def bring_home(record: JobRecord, outputs: Outputs) -> list[str]:
    """Put the outputs of the stages that the job finished in their places, and their entries into dvc.lock.

    Entries of other stages stay as they are here. The outputs are fetched before anything is changed, so that the same
    call goes on after an interruption.

    Returns:
        The stages that were not here yet.

    Raises:
        SubmissionError: files that would be overwritten are neither those that the job began with nor its own, or what
            is in the storage is not what was sent.
        UnavailableError: the storage cannot be used.
    """
    with TemporaryDirectory(prefix="reconv-") as folder:
        begun_with, finished = record.copied_to(Path(folder))
        before, after = locked_stages(begun_with), locked_stages(finished)
        made = [name for name, entry in after.items() if before.get(name) != entry]
        if not made:
            return []
        fetched = locked_outputs(finished, made)
        declared = kept_in_git()  # no other file of the working copy is written to but by DVC
        in_git = [out for out in fetched if declared.fullmatch(out.path)]
        _refuse_to_overwrite(in_git, [*locked_outputs(begun_with), *locked_outputs(LOCK), *fetched])
        outputs.fetch(fetched)
        here = locked_stages(LOCK)
        _update_lock(here, before, {name: after[name] for name in made}, finished.read_bytes())
    for out in in_git:
        write_bytes(Path(out.path), outputs.content(out))
    _check_out(made)
    return [name for name in made if here.get(name) != after[name]]


def _refuse_to_overwrite(outputs: Sequence[Output], known: Sequence[Output]) -> None:
    contents = {(out.path, out.md5) for out in known}
    for out in outputs:
        here = Path(out.path)
        if here.exists() and (out.path, md5_of_file(here)) not in contents:
            raise SubmissionError(
                f"{here} was changed after the job was sent, and its own would take its place: move yours away, or "
                f"`git checkout {here}`, then run the same command."
            )


def _update_lock(here: dict[str, Any], before: Mapping[str, Any], made: Mapping[str, Any], whole: bytes) -> None:
    """The job's own file where nothing else changed, to the byte."""
    if here in (before, {**before, **made}):
        write_bytes(LOCK, whole)
    else:
        write_yaml(LOCK, {"schema": "2.0", "stages": {**here, **made}})


def _check_out(stages: Sequence[str]) -> None:
    try:
        _dvc("checkout", *stages)
    except SubmissionError as error:
        raise SubmissionError(
            f"the outputs are in DVC's cache, but not in their places: {error}\nMove away what is yours, or "
            "`dvc checkout --force`, then run the same command."
        ) from None


def _dvc(*words: str, enough: re.Pattern[str] | None = None) -> str:
    """What it prints. A failure is none if it printed `enough` before."""
    done = subprocess.run([*DVC, *words], capture_output=True, text=True, check=False)
    if done.returncode and (enough is None or not enough.search(done.stdout)):
        check_why(done.stderr)
        raise SubmissionError(f"`dvc {' '.join(words)}`: {done.stderr.strip().removeprefix('ERROR: ')}")
    return done.stdout
