"""What the disk refuses is one message with its place and remedy, in commands as in stages."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from project_folder import environment

from reconv.files import atomic, refusal, write_text

RECONV = str(Path(sys.executable).with_name("reconv"))


def assert_refused(words: list[str], *said: str) -> None:
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    shown = " ".join((done.stdout + done.stderr).split())
    for one in (*said, "then run the same command again."):
        assert " ".join(one.split()) in shown


def test_a_new_store_is_made_without_a_word_of_its_library(project: Path) -> None:
    done = subprocess.run([RECONV, "models"], env=environment(), capture_output=True, text=True, check=True)

    assert (project / "mlflow.db").exists()
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


def test_a_file_where_a_folder_should_be(project: Path, repository: Path) -> None:
    (project / ".reconv").touch()
    (project / "logs").touch()
    place = f"({(project / '.reconv').resolve()}).\nIt must be a folder: move the file away"

    assert_refused([RECONV, "inspect", "images"], place)
    assert_refused([RECONV, "retrain"], place)
    assert_refused(
        [sys.executable, str(repository / "pipeline" / "fetch.py")],
        f"stopped: File exists ({(project / 'logs').resolve()})",
    )


@pytest.mark.parametrize("options", ["-o size=4k", "-o ro"], ids=["full", "read-only"])
def test_a_folder_that_takes_nothing(project: Path, options: str) -> None:
    mounted = f"mkdir -p .reconv && mount -t tmpfs {options} tmpfs .reconv"
    available = subprocess.run(["unshare", "--mount", "sh", "-c", mounted], capture_output=True, check=False)
    if available.returncode:
        pytest.skip("a small file system cannot be mounted here")
    reason = "Read-only file system" if "ro" in options else "No space left on device"

    command = ["unshare", "--mount", "sh", "-c", f"{mounted} && exec {RECONV} inspect images"]
    assert_refused(command, reason, str(project.resolve() / ".reconv"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_named_by_the_file_that_was_written(folder: Path) -> None:
    with (
        pytest.raises(OSError, match="No space left") as refused,
        atomic(folder / "table.csv"),
        open("/dev/full", "w") as full,  # noqa: PTH123
    ):
        full.write("a")
        full.flush()

    assert refusal(refused.value) == (
        f"No space left on device ({folder / 'table.csv'}).\nFree space there, then run the same command again."
    )


def test_a_folder_where_a_file_should_be(folder: Path) -> None:
    (folder / "out.csv").mkdir()

    with pytest.raises(IsADirectoryError) as refused:
        write_text(folder / "out.csv", "a")

    assert f"({folder / 'out.csv'}).\nIt must be a file" in str(refusal(refused.value))
    assert [path.name for path in folder.iterdir()] == ["out.csv"]


def test_a_bug_is_not_taken_for_the_disk() -> None:
    assert refusal(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "x")) is None
    assert refusal(ValueError("x")) is None


def test_a_reader_that_leaves_is_not_an_error(project: Path) -> None:
    done = subprocess.run(
        f"{RECONV} doctor | head -1", shell=True, env=environment(), capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
