"""Fast checks of a local MLflow store: on its own, MLflow's client retries for minutes, then blames a server."""

import importlib.util
import os
import re
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from reconv.errors import UnavailableError
from reconv.files import digest_of
from reconv.places import RECORDS, project

SQLITE = "sqlite:///"
OWN_STORE, ARTIFACTS = "mlflow.db", "mlartifacts"
"""The store in the project's folder, and the folder of its artifacts beside it."""
_LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Where MLflow keeps absolute paths: table and column."""
_ANOTHER = "set MLFLOW_TRACKING_URI or resources.tracking_uri to another one"
_ASIDE = f"Restore a backup, move it away (the next run makes a new one), or {_ANOTHER}."
_LOCK_SECONDS = 10
_CHECK_SECONDS = 0.3  # only a part of a store of hundreds of megabytes is checked
_REVISION = re.compile(r"^(down_)?revision = [\"'](\w+)[\"']", re.MULTILINE)


def check_local_store(uri: str, writes: bool = True) -> None:
    """Check the file of an SQLite store; do nothing if it does not exist yet, or for a server.

    Raises:
        UnavailableError: MLflow could not use it, or could not write to it if `writes`.
    """
    path = file_of(uri)
    if path is None:
        return
    _check_place(path, writes)
    if path.exists() and path.stat().st_size:  # MLflow makes its tables in an empty file
        _check_revision(path, _revision_of(path, writes))


def file_of(uri: str) -> Path | None:
    """Return the file of an SQLite store; None for a server, and for a URI with options."""
    if not uri.startswith(SQLITE) or "?" in uri or ":memory:" in uri:
        return None
    return Path(uri.removeprefix(SQLITE)).absolute()


def records_of(uri: str) -> Path:
    """Return the folder of all records on their way to MLflow at `uri`, which may hold a password and is not written
    down."""
    return project() / RECORDS / digest_of(uri)[:16]


def follow_the_project(uri: str) -> None:
    """Lead the artifacts of the project's own store to the folder beside it if the project was moved or copied: MLflow
    stores absolute paths, and would write to the former folder. Do nothing for another store, or one that cannot be
    written to.
    """
    path = file_of(uri)
    if path != project().resolve() / OWN_STORE or not all(os.access(one, os.W_OK) for one in (path, path.parent)):
        return
    if not path.stat().st_size:  # MLflow makes its tables in an empty file
        return
    with closing(sqlite3.connect(path, timeout=_LOCK_SECONDS, isolation_level=None)) as store:
        if not _former_folders(store, path.parent):
            return
        store.execute("BEGIN IMMEDIATE")  # and look again: another process may have done it meanwhile
        for former in _former_folders(store, path.parent):
            with suppress(OSError):  # there are none
                records_of(f"{SQLITE}{former / OWN_STORE}").rename(records_of(uri))
            for before, after in ((former.as_uri(), path.parent.as_uri()), (str(former), str(path.parent))):
                for table, column in _LOCATIONS:
                    store.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                        (after, len(before) + 1, len(before) + 1, f"{before}/"),
                    )
        store.execute("COMMIT")


def _former_folders(store: sqlite3.Connection, here: Path) -> set[Path]:
    """Return the folders that the project was in. One with artifacts and without a store is another project's, which
    keeps its records here."""
    found = set()
    for name, location in store.execute("SELECT name, artifact_location FROM experiments"):
        end = f"/{ARTIFACTS}/{name}"
        if location and location.startswith("file://") and location.endswith(end):
            found.add(Path("/", unquote(urlsplit(location.removesuffix(end)).path)))
    exists = os.path.exists  # False also where a folder cannot be looked into
    return {one for one in found - {here} if exists(one / OWN_STORE) or not exists(one / ARTIFACTS)}


def _check_place(path: Path, writes: bool) -> None:
    if path.is_dir():
        raise _unusable(path, "is a folder, must be a file", f"Move it away, or {_ANOTHER}.")
    if path.exists() and not path.is_file():
        raise _unusable(path, "is not a regular file", f"Move it away, or {_ANOTHER}.")
    if not path.parent.is_dir():
        raise _unusable(path, f"cannot be made: {path.parent} is not a folder", f"Make it, or {_ANOTHER}.")
    if path.exists() and not os.access(path, os.R_OK):
        raise _unusable(path, "cannot be read", f"Correct its permissions, or {_ANOTHER}.")
    # SQLite keeps a journal beside the file.
    refused = next((place for place in (path, path.parent) if place.exists() and not os.access(place, os.W_OK)), None)
    if writes and refused:
        what = "cannot be written to" if refused == path else f"cannot be written to: {refused} is read-only"
        raise _unusable(path, what, f"Correct its permissions, or {_ANOTHER}.")


def _revision_of(path: Path, writes: bool) -> str | None:
    """Return the revision of MLflow's tables, None if there is none."""
    deadline = time.monotonic() + _CHECK_SECONDS
    mode = "rw" if writes else "ro"
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, timeout=_LOCK_SECONDS)) as store:
            tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if "alembic_version" not in tables:
                return None
            revision = next(iter(store.execute("SELECT version_num FROM alembic_version").fetchone() or ()), None)
            if writes:
                store.execute("BEGIN IMMEDIATE")
                store.rollback()
            store.set_progress_handler(lambda: time.monotonic() > deadline, 1000)
            _quick_check(store)
            return revision
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            raise _unusable(
                path,
                f"has been locked by another process for {_LOCK_SECONDS} s",
                f"End that process (`fuser {path}` names it), then run the same command again.",
            ) from None
        raise _unusable(path, f"is damaged ({error})", _ASIDE) from None


def _quick_check(store: sqlite3.Connection) -> None:
    try:
        found = store.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):  # it is large, and fine so far
            return
        raise
    if found != "ok":
        raise sqlite3.DatabaseError(found.splitlines()[-1])


def _check_revision(path: Path, revision: str | None) -> None:
    if revision is None:
        raise _unusable(path, "is not an MLflow store: its tables are missing", _ASIDE)
    known, newest = _revisions()
    if known and revision not in known:
        raise _unusable(
            path,
            f"was written by a newer MLflow (its tables are at {revision}, this MLflow's at {newest})",
            f"Install that MLflow (`make setup` with its requirements.lock), or {_ANOTHER}.",
        )
    if known and revision != newest:
        raise _unusable(
            path,
            f"was written by an older MLflow (its tables are at {revision}, this MLflow's at {newest})",
            f"Copy the file, then run `mlflow db upgrade {SQLITE}{path}`.",
        )


def _revisions() -> tuple[set[str], str]:
    """Return the revisions that the installed MLflow knows, and the newest; none if MLflow stores them elsewhere."""
    spec = importlib.util.find_spec("mlflow")  # which does not import it
    folder = Path(spec.origin).parent / "store/db_migrations/versions" if spec and spec.origin else Path()
    found = [pair for path in folder.glob("*_*.py") for pair in _REVISION.findall(path.read_text(encoding="utf-8"))]
    known = {name for down, name in found if not down}
    newest = known - {name for down, name in found if down}
    return (known, newest.pop()) if len(newest) == 1 else (set(), "")


def _unusable(path: Path, what: str, remedy: str) -> UnavailableError:
    return UnavailableError(f"MLflow's store {path} {what}.\n{remedy}")
