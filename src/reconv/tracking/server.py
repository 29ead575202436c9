"""The MLflow server, or the file that takes its place: where it is, whether it answers, a client of it."""

import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from reconv.files import atomic, lock_within
from reconv.params import ResourcesParams
from reconv.places import project
from reconv.tracking.local_store import OWN_STORE, check_local_store, file_of, follow_the_project
from reconv.tracking.local_store import SQLITE as _SQLITE
from reconv.tracking.remedies import unavailable

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_CONNECT_SECONDS = 10
_MAKE_SECONDS = 120.0
_MEMORY = Path("/dev/shm")
_CLIENT_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",  # nothing is sent anywhere that the user did not name
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # one for each trial that ends
}


def tracking_uri(resources: ResourcesParams) -> str:
    """Return MLFLOW_TRACKING_URI, else params.yaml's, else that of a file in the project's folder; a relative path is
    one in that folder."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or resources.tracking_uri
    if not uri:
        return f"{_SQLITE}{(project() / OWN_STORE).resolve()}"
    return uri if file_of(uri) is None else f"{_SQLITE}{(project() / uri.removeprefix(_SQLITE)).absolute()}"


def is_there(resources: ResourcesParams) -> bool:
    """Of a file, which is made when it is first used."""
    uri = tracking_uri(resources)
    return not uri.startswith(_SQLITE) or Path(uri.removeprefix(_SQLITE)).exists()


def check_tracking(resources: ResourcesParams, writes: bool = True) -> None:
    """A server that does not answer is known here within seconds; MLflow's client would retry for minutes.

    A stage does not start without one: its run could not be joined, and who named a server wants the records there. One
    that is lost later stops nothing.

    Raises:
        UnavailableError: no connection is accepted, or a local file cannot be used (for writing, if `writes`).
    """
    uri = tracking_uri(resources)
    check_local_store(uri, writes)
    try:
        check_answers(uri)
    except OSError as error:
        raise unavailable(uri, error) from None
    except ValueError:  # its text repeats a part of the password
        raise unavailable(uri, ValueError("not a valid URI: escape special characters in its password")) from None


def check_answers(uri: str) -> None:
    """Raises OSError: it is a server's, and no connection is accepted there."""
    parts = urlsplit(uri)
    if parts.scheme in ("http", "https") and parts.hostname:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname, port), timeout=_CONNECT_SECONDS).close()


def client_of(resources: ResourcesParams) -> "MlflowClient":
    """Raises UnavailableError: it does not answer."""
    check_tracking(resources, writes=False)  # reading is allowed where nothing can be written
    uri = tracking_uri(resources)
    try:
        return connect(uri)
    except Exception as error:  # whatever the store's client raises
        raise unavailable(uri, error) from None


def connect(uri: str) -> "MlflowClient":
    for name, value in _CLIENT_SETTINGS.items():
        os.environ.setdefault(name, value)
    import mlflow
    from mlflow.tracking import MlflowClient

    _make_store(uri)
    follow_the_project(uri)
    mlflow.set_tracking_uri(uri)
    return MlflowClient(uri)


def _make_store(uri: str) -> None:
    """Make a new file's tables in memory and move them to their place as a whole: migration by migration on a disk it
    takes up to 8 s instead of 2, and a process that is killed meanwhile leaves a store that cannot be opened."""
    path = Path(uri.removeprefix(_SQLITE))
    if not uri.startswith(_SQLITE) or "?" in uri or path.exists():
        return
    check_local_store(uri)
    from mlflow.tracking import MlflowClient

    with (
        _alone_in(path.parent),
        TemporaryDirectory(prefix="reconv-store-", dir=_MEMORY if _MEMORY.is_dir() else None) as folder,
    ):
        if path.exists():  # another process has made it meanwhile
            return
        made = Path(folder) / "mlflow.db"
        MlflowClient(f"{_SQLITE}{made}").search_experiments(max_results=1)
        with (
            atomic(path) as temporary,
            closing(sqlite3.connect(made)) as source,
            closing(sqlite3.connect(temporary)) as target,
        ):
            source.backup(target)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait for another process that makes a store in `folder`, if its file system has locks."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        lock_within(opened, _MAKE_SECONDS)
        yield
    finally:
        os.close(opened)
