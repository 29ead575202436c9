"""DVC's objects on their way through a storage, in which others may have written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from project_folder import environment

from reconv.errors import SubmissionError, UnavailableError
from reconv.files import md5_of_file
from reconv.submission.locked import Output, kept_in_git, locked_outputs
from reconv.submission.outputs import Outputs

LOCK = Path("dvc.lock")


@pytest.fixture(params=["storage", "s3://parts/some/project"])
def url(request: pytest.FixtureRequest, folder: Path) -> str:
    if "://" in request.param:
        request.getfixturevalue("bucket")
        return str(request.param)
    return str(folder / request.param)


@pytest.fixture
def made(folder: Path) -> list[Output]:
    """A directory and a file, as `dvc add` leaves them in .dvc/cache, and as dvc.lock would name them."""
    (folder / "data" / "deep").mkdir(parents=True)
    for name in ("a", "deep/b"):
        (folder / "data" / name).write_text(f"content of {name}")
    (folder / "model").write_text("weights")
    dvc("init", "--quiet", "--no-scm")
    dvc("add", "--quiet", "data", "model")
    found = [(folder / f"{name}.dvc").read_text() for name in ("data", "model")]
    digests = [next(line.split()[-1] for line in text.splitlines() if "md5:" in line) for text in found]
    return [Output(path=path, md5=md5) for path, md5 in zip(("data", "model"), digests, strict=True)]


def dvc(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *words], env=environment(), check=True, timeout=60)


def test_what_is_sent_arrives_elsewhere_once(url: str, made: list[Output], folder: Path) -> None:
    here, there = Outputs(url, folder / ".dvc" / "cache"), Outputs(url, folder / "elsewhere")

    sent = here.push(made)
    there.fetch(made)

    assert sent == sum(path.stat().st_size for path in (folder / ".dvc/cache").rglob("*") if path.is_file())
    assert here.push(made) == 0
    assert contents(folder / "elsewhere") == contents(folder / ".dvc" / "cache")


def test_the_storage_is_a_remote_of_dvcs_own(made: list[Output], folder: Path) -> None:
    cache = folder / ".dvc" / "cache"
    Outputs(str(folder / "storage"), cache).push(made)
    before = contents(cache)
    cache.rename(folder / "old-cache")

    dvc("remote", "add", "--default", "storage", str(folder / "storage" / "dvc"))
    dvc("fetch", "--quiet")

    assert contents(cache) == before


def contents(cache: Path) -> dict[str, bytes]:
    return {str(p.relative_to(cache)): p.read_bytes() for p in (cache / "files").rglob("*") if p.is_file()}


def test_what_this_machine_lacks_is_left_out(url: str, made: list[Output], folder: Path) -> None:
    missing = next((folder / ".dvc" / "cache" / "files").rglob(f"*{md5_of_file(folder / 'data' / 'a')[2:]}"))
    missing.unlink()
    outputs, elsewhere = Outputs(url, folder / ".dvc" / "cache"), Outputs(url, folder / "elsewhere")

    outputs.push(made)
    elsewhere.fetch(made, allow_missing=True)

    assert [elsewhere.has(out) for out in made] == [False, True]
    with pytest.raises(SubmissionError, match="is missing"):
        elsewhere.fetch(made)


def test_an_altered_object_is_refused(made: list[Output], folder: Path) -> None:
    Outputs(str(folder / "storage"), folder / ".dvc" / "cache").push(made)
    model = folder / "storage" / "dvc" / "files" / "md5" / made[1].md5[:2] / made[1].md5[2:]
    model.chmod(0o644)
    model.write_text("planted")

    with pytest.raises(SubmissionError, match="is not what was written there: delete it"):
        Outputs(str(folder / "storage"), folder / "elsewhere").fetch(made)
    assert b"planted" not in contents(folder / "elsewhere").values()


@pytest.mark.parametrize("relpath", ["../planted", "deep/../../planted", "/planted", ""])
def test_a_list_that_leads_out_of_its_directory_is_refused(folder: Path, relpath: str) -> None:
    listed = folder / "list"
    listed.write_text(json.dumps([{"md5": "0" * 32, "relpath": relpath}]))
    hostile = Output(path="data", md5=f"{md5_of_file(listed)}.dir")
    stored = folder / "storage" / "dvc" / "files" / "md5" / hostile.md5[:2] / hostile.md5[2:]
    stored.parent.mkdir(parents=True)
    listed.rename(stored)

    with pytest.raises(SubmissionError, match="which is not in its directory"):
        Outputs(str(folder / "storage"), folder / "cache").fetch([hostile])
    assert not [path for path in (folder / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize("md5", ["../../../etc/passwd", "0" * 31, "0" * 32 + "\n", "0" * 32 + ".dir/.."])
def test_a_digest_that_is_a_path_is_refused(folder: Path, md5: str) -> None:
    LOCK.write_text(json.dumps({"stages": {"train": {"outs": [{"path": "model", "md5": md5}]}}}))

    with pytest.raises(SubmissionError, match=r"is no dvc\.lock"):
        locked_outputs(LOCK)


def test_only_what_dvc_yaml_declares_is_kept_in_git(repository: Path) -> None:
    declared = kept_in_git(repository / "dvc.yaml")

    assert declared.fullmatch("results/evaluate/cnn/metrics.json")
    for path in ("results/compare/verdict.json", "results/evaluate/../x/metrics.json", "Makefile", ".git/config", ""):
        assert not declared.fullmatch(path), path


def test_a_storage_that_cannot_be_written_to_says_so(made: list[Output], folder: Path) -> None:
    (folder / "file").write_text("in the way")

    with pytest.raises(UnavailableError, match=r"resources\.storage is .*, which cannot be used"):
        Outputs(str(folder / "file"), folder / ".dvc" / "cache").push(made)
