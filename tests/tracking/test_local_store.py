"""What can be wrong with a local store: each has its own sentence and remedy, before MLflow is imported."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from project_folder import environment

from reconv.errors import UnavailableError
from reconv.tracking import local_store
from reconv.tracking.local_store import check_local_store
from reconv.tracking.server import connect

STORE = Path("mlflow.db")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A store as MLflow makes it."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    connect(f"sqlite:///{path}")
    return path.read_bytes()


def uri() -> str:
    return f"sqlite:///{STORE.resolve()}"


def at_revision(revision: str) -> Callable[[bytes], None]:
    def write(whole: bytes) -> None:
        STORE.write_bytes(whole)
        with closing(sqlite3.connect(STORE)) as store, store:
            store.execute("UPDATE alembic_version SET version_num = ?", (revision,))

    return write


def of_another_program(_: bytes) -> None:
    with closing(sqlite3.connect(STORE)) as store, store:
        store.execute("CREATE TABLE songs (title TEXT)")


def torn_in_the_middle(whole: bytes) -> None:
    STORE.write_bytes(whole[: len(whole) // 2])


def overwritten_inside(whole: bytes) -> None:
    at = len(whole) // 2
    STORE.write_bytes(whole[:at] + b"\xff" * 40_000 + whole[at + 40_000 :])


SPOILED: dict[str, tuple[Callable[[bytes], object], str, str]] = {
    "a folder": (lambda _: STORE.mkdir(), "is a folder, must be a file", "Move it away"),
    "a pipe": (lambda _: os.mkfifo(STORE), "is not a regular file", "Move it away"),
    "text": (
        lambda _: STORE.write_text("no database\n" * 99),
        "is damaged (file is not a database)",
        "Restore a backup",
    ),
    "torn": (torn_in_the_middle, "is damaged", "Restore a backup"),
    "overwritten": (overwritten_inside, "is damaged", "Restore a backup"),
    "another's": (of_another_program, "is not an MLflow store", "move it away"),
    "newer": (at_revision("ffffffffffff"), "was written by a newer MLflow", "Install that MLflow"),
    "older": (at_revision("451aebb31d03"), "was written by an older MLflow", "mlflow db upgrade sqlite:///"),
}


@pytest.mark.parametrize("state", SPOILED)
def test_each_state_has_its_sentence_and_remedy_at_once(whole: bytes, state: str) -> None:
    spoil, what, remedy = SPOILED[state]
    spoil(whole)
    began = time.monotonic()

    with pytest.raises(UnavailableError) as refused:
        check_local_store(uri())

    first, _, rest = str(refused.value).partition("\n")
    assert what in first
    assert str(STORE.resolve()) in first
    assert remedy in rest
    assert "server" not in str(refused.value)
    assert time.monotonic() - began < 1


def test_one_that_is_locked_is_named(whole: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    STORE.write_bytes(whole)
    monkeypatch.setattr(local_store, "_LOCK_SECONDS", 0.1)
    with closing(sqlite3.connect(STORE)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UnavailableError, match=r"locked by another process.*\n.*End that process"):
            check_local_store(uri())


def test_a_folder_that_is_missing_is_named() -> None:
    with pytest.raises(UnavailableError, match="is not a folder"):
        check_local_store("sqlite:////dev/null/mlflow.db")


def test_one_that_is_fine_new_or_empty_is_used(whole: bytes) -> None:
    check_local_store(uri())
    STORE.touch()
    check_local_store(uri())
    assert STORE.stat().st_size == 0
    STORE.write_bytes(whole)
    check_local_store(uri())
    assert STORE.read_bytes() == whole
    assert [path.name for path in Path().iterdir()] == ["mlflow.db"]


def test_the_newest_revision_is_the_one_that_mlflow_writes(whole: bytes) -> None:
    """Fails when MLflow keeps its migrations elsewhere."""
    known, newest = local_store._revisions()

    assert len(known) > 20
    STORE.write_bytes(whole)
    with closing(sqlite3.connect(STORE)) as store:
        assert store.execute("SELECT version_num FROM alembic_version").fetchone() == (newest,)


def test_stages_commands_and_doctor_say_the_same(project: Path, repository: Path) -> None:
    STORE.mkdir()
    said = []
    for command in (
        [sys.executable, str(repository / "pipeline" / "fetch.py")],
        [str(Path(sys.executable).with_name("reconv")), "models"],
        [str(Path(sys.executable).with_name("reconv")), "doctor"],
    ):
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1
        assert "Traceback" not in done.stdout + done.stderr
        said.append("mlflow.db is a folder, must be a file." in done.stdout + done.stderr)
    assert said == [True, True, True]
