"""A job's outputs into a working copy with DVC, where something may have happened meanwhile."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from project_folder import commit_all, environment, git

from reconv.errors import SubmissionError
from reconv.submission.homecoming import DVC, bring_home, cache_folder, is_up_to_date
from reconv.submission.locked import locked_outputs, locked_stages
from reconv.submission.outputs import Outputs
from reconv.submission.records import JobRecord

# Each stage writes the number in its file: `first` a directory, `second` also a file that git keeps.
PIPELINE = """
stages:
  first:
    cmd: mkdir -p raw/deep && cp first raw/deep/number
    deps: [first]
    outs: [raw]
  second:
    cmd: cp second weights && cp second metrics.json
    deps: [second, raw]
    outs: [weights]
    metrics:
      - metrics.json:
          cache: false
  other:
    cmd: cp other made
    deps: [other]
    outs: [made]
"""
LOCK = Path("dvc.lock")


@dataclass
class Copies:
    home: Path
    job: Path
    storage: str

    @property
    def record(self) -> JobRecord:
        return JobRecord(self.storage, "reconv-1")

    def run_job(self, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
        """What the cluster does, in a folder with what was sent."""
        shutil.copytree(self.home, self.job, ignore=shutil.ignore_patterns(".git", "job", "storage", "cache", "tmp"))
        monkeypatch.chdir(self.job)
        (self.job / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
        self.record.begin()
        dvc("repro", "--quiet", *arguments)
        Outputs(self.storage, Path(".dvc/cache")).push(locked_outputs(LOCK))
        self.record.write_lock(LOCK.read_bytes())
        monkeypatch.chdir(self.home)

    def bring_home(self) -> list[str]:
        return bring_home(self.record, Outputs(self.storage, cache_folder()))


def dvc(*words: str) -> str:
    return subprocess.run(
        [*DVC, *words], env=environment(), check=True, timeout=60, capture_output=True, text=True
    ).stdout


@pytest.fixture
def copies(folder: Path) -> Copies:
    git(folder, "init", "--quiet")
    dvc("init", "--quiet")
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / ".gitignore").write_text("/job\n/storage\n")
    for name in ("first", "second", "other"):
        (folder / name).write_text("1")
    commit_all(folder)
    return Copies(folder, folder / "job", str(folder / "storage"))


def test_outputs_are_there_as_dvc_would_have_made_them(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    copies.run_job(monkeypatch)
    assert not is_up_to_date([])

    assert copies.bring_home() == ["first", "second", "other"]

    assert [Path(name).read_text() for name in ("raw/deep/number", "weights", "metrics.json")] == ["1"] * 3
    assert LOCK.read_bytes() == (copies.job / "dvc.lock").read_bytes()
    assert "up to date" in dvc("status")
    assert is_up_to_date([])
    assert is_up_to_date(["--quiet", "second"])


def test_what_was_interrupted_goes_on(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    copies.run_job(monkeypatch)
    copies.bring_home()
    shutil.rmtree("raw")
    Path("metrics.json").unlink()

    assert copies.bring_home() == []
    assert is_up_to_date([])


def test_stages_that_the_job_did_not_run_stay_as_they_are_here(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    copies.run_job(monkeypatch, "first")
    dvc("repro", "--quiet", "other")

    assert copies.bring_home() == ["first"]

    assert locked_stages(LOCK).keys() == {"first", "other"}
    assert is_up_to_date(["first"])
    assert is_up_to_date(["other"])


def test_what_the_job_made_takes_the_place_of_an_older_one(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    dvc("repro", "--quiet")
    for name in ("first", "second"):
        Path(name).write_text("2")
    copies.run_job(monkeypatch)

    assert copies.bring_home() == ["first", "second"]
    assert [Path(name).read_text() for name in ("raw/deep/number", "metrics.json", "made")] == ["2", "2", "1"]


@pytest.mark.parametrize("path", ["metrics.json", "weights"])
def test_what_was_changed_here_is_not_overwritten(copies: Copies, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    copies.run_job(monkeypatch)
    Path(path).write_text("mine")

    with pytest.raises(SubmissionError, match=f"(?s){path}.* then run the same command"):
        copies.bring_home()
    assert Path(path).read_text() == "mine"

    Path(path).unlink()
    copies.bring_home()
    assert is_up_to_date([])


@pytest.mark.parametrize("path", ["Makefile", "../planted", ".git/hooks/pre-commit"])
def test_a_planted_entry_writes_no_other_file(copies: Copies, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    copies.run_job(monkeypatch)
    honest = (copies.job / "dvc.lock").read_bytes()
    copies.record.write_lock(honest.replace(b"path: metrics.json", f"path: {path}".encode()))

    copies.bring_home()

    assert not Path(path).exists()


def test_arguments_that_dvc_does_not_understand_are_known_before_they_are_sent(copies: Copies) -> None:
    with pytest.raises(SubmissionError, match="nosuch"):
        is_up_to_date(["nosuch"])


def test_the_cache_is_dvcs(copies: Copies) -> None:
    assert cache_folder() == copies.home / ".dvc" / "cache"
