"""What MLflow's store can refuse, each with its own cause and remedy."""

import re
import traceback
from typing import NamedTuple

from reconv.errors import ReconvError, UnavailableError
from reconv.files import refusal
from reconv.masking import masked
from reconv.tracking.local_store import SQLITE

_PLACE = "MLFLOW_TRACKING_URI or resources.tracking_uri"
_PACKAGES = {"google": "google-cloud-storage", "azure": "azure-storage-blob", "psycopg2": "psycopg2-binary"}
"""Module -> the package that has it, where the names differ."""


class _Trouble(NamedTuple):
    what: str
    """It goes on from the store's name."""
    remedy: str


_LOGIN = _Trouble(
    "asks for a login, or refuses the one that it was given (401)",
    "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.",
)
_FORBIDDEN = _Trouble(
    "does not allow this user to do that (403)",
    "Ask whoever runs it for the right to edit the experiment and the registered model, or log in as another user.",
)
_WAIT = "Wait, then run the same command again."
_BUSY = _Trouble("takes no more requests for now (429)", _WAIT)
_DISK = "Free some space, then run the same command again."
_BY_TEXT = {
    "401 Client Error": _LOGIN,
    "403 Client Error": _FORBIDDEN,
    "too many 429 error": _BUSY,
    "Invalid Host header": _Trouble(
        "refuses the name in its address", "Add that name to the server's `--allowed-hosts`, or use another one."
    ),
    "CERTIFICATE_VERIFY_FAILED|SSLError": _Trouble(
        "has a certificate that this machine does not trust",
        "Set MLFLOW_TRACKING_SERVER_CERT_PATH to the file of its authority, or correct the address.",
    ),
    "database or disk is full|No space left|Errno 28": _Trouble("is on a disk that is full", _DISK),
    "attempt to write a readonly database": _Trouble("cannot be written to", "Correct the file's permissions."),
    "database is locked": _Trouble(
        "is locked by another process", "End that process or wait for it, then run the same command again."
    ),
    "no such (table|column)|UndefinedTable|UndefinedColumn|out-of-date database schema": _Trouble(
        "has tables of another version of MLflow", "Copy the database, then run `mlflow db upgrade` with its URI."
    ),
    "registered artifact repository for": _Trouble(
        "keeps its artifacts at an address that no installed package opens",
        "Correct the experiment's artifact location or the server's `--default-artifact-root`: file, http, s3, gs …",
    ),
    "must be in the 'active' state": _Trouble(
        "has deleted the experiment or a run meanwhile",
        "Restore it with `mlflow experiments restore` or `mlflow runs restore`, then run the same command again.",
    ),
}
_BY_CODE = {
    "UNAUTHENTICATED": _LOGIN,
    "CUSTOMER_UNAUTHORIZED": _LOGIN,
    "PERMISSION_DENIED": _FORBIDDEN,
    "TEMPORARILY_UNAVAILABLE": _Trouble("cannot answer for the moment (503)", _WAIT),
    "REQUEST_LIMIT_EXCEEDED": _BUSY,
    "RESOURCE_EXHAUSTED": _BUSY,
}
_NO_MLFLOW = "ENDPOINT_NOT_FOUND"
_SERVER_ERROR = re.compile(r"failed with error code (5\d\d)|too many (5\d\d) error|(5\d\d) Server Error")


def unavailable(uri: str, error: BaseException) -> BaseException:
    """Return what to raise for `error`: the error itself if it has a remedy already."""
    if isinstance(error, ReconvError) or refusal(error):
        return error
    return UnavailableError(explained(uri, error) or _unknown(uri, error))


def explained(uri: str, error: BaseException) -> str | None:
    """Say what the store at `uri` refused, and what to do; None if the error is not one of the store's, or is not one
    that a user can fix."""
    trouble = _trouble(uri, error)
    if trouble is None:
        return None
    what = f"{trouble.what} ({masked(reason_of(error), uri)})"
    return f"{_name(uri)} {what}.\n{trouble.remedy}"


def cause_of(uri: str, error: BaseException) -> str:
    """Say in one line why the store at `uri` refused, with the remedy if it is known."""
    trouble = _trouble(uri, error)
    reason = masked(reason_of(error), uri)
    return f"it {trouble.what}: {reason}. {trouble.remedy.rstrip('.')}" if trouble else reason


def refused_by_store(error: BaseException) -> str | None:
    """Say what to do about an error that nobody expected; None unless MLflow raised it and a user can fix it."""
    names = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    if not any(name.partition(".")[0] == "mlflow" for name in names):
        return None
    import mlflow

    return explained(mlflow.get_tracking_uri(), error)


def reason_of(error: BaseException) -> str:
    """Return its first line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _trouble(uri: str, error: BaseException) -> _Trouble | None:
    if isinstance(error, ModuleNotFoundError) and error.name:
        module = error.name.partition(".")[0]
        return _Trouble(f"needs the package {module}", f"Install it: `pip install {_PACKAGES.get(module, module)}`.")
    text = f"{error}\n{error.__cause__ or error.__context__ or ''}"
    for pattern, trouble in _BY_TEXT.items():
        if re.search(pattern, text):
            return trouble
    code = getattr(error, "error_code", "")
    if code == _NO_MLFLOW or "not in a valid JSON format" in text:
        return _other_server(uri)
    return _BY_CODE.get(code) or _of_request(text)


def _of_request(text: str) -> _Trouble | None:
    if failed := _SERVER_ERROR.search(text):
        status = next(filter(None, failed.groups()))
        return _Trouble(f"failed by itself ({status})", "See the server's log: its database or its disk may be full.")
    if re.search("failed with (timeout )?exception", text):
        return _Trouble("does not answer", f"Start the server, correct {_PLACE}, or unset both to use a local file.")
    return None


def _other_server(uri: str) -> _Trouble:
    """Tell an older MLflow from what is none: every MLflow since 1.x says its version."""
    from mlflow.tracking._tracking_service.utils import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        found = http_request(get_default_host_creds(uri), "/version", "GET", max_retries=0, timeout=5).text.strip()
    except Exception:  # whatever the client raises
        found = ""
    if re.fullmatch(r"\d+\.\d+[\w.]*", found):
        from mlflow.version import VERSION

        return _Trouble(f"is MLflow {found}, which lacks what this one ({VERSION}) asks for", "Upgrade the server.")
    return _Trouble(
        "answers, but not as MLflow does",
        f"Correct {_PLACE} (http://HOST:PORT, without the path of a page), or log in to the proxy before it.",
    )


def _name(uri: str) -> str:
    return f"MLflow's store {uri.removeprefix(SQLITE)}" if uri.startswith(SQLITE) else f"MLflow at {masked(uri)}"


def _unknown(uri: str, error: BaseException) -> str:
    what = f"{_name(uri)} cannot be used ({masked(reason_of(error), uri)})"
    if uri.startswith(SQLITE):
        return f"{what}.\nFix or move that file, or set {_PLACE} to another one."
    return f"{what}.\nStart the server, correct {_PLACE}, or unset both to use a local file."
