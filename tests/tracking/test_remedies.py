"""What an MLflow store refuses has its own cause and remedy, in commands and in stages."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from mlflow.tracking import MlflowClient
from project_folder import environment

from reconv.cli.main import main
from reconv.errors import UnavailableError
from reconv.params import Params
from reconv.tracking.opening import open_stage_run
from reconv.tracking.server import connect

Answer = tuple[int, str]


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """answering(403, "text", version=""): MLFLOW_TRACKING_URI is a server that gives every request this answer."""
    answers: dict[str, Answer] = {}

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            status, text = answers.get(self.path, answers["any"])
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    def set_answer(status: int, text: str, version: str = "") -> None:
        answers.update({"any": (status, text), "/version": (200, version) if version else (status, text)})

    yield set_answer
    server.shutdown()
    server.server_close()


def command(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def refused(code: str) -> str:
    return json.dumps({"error_code": code, "message": "no"})


# What the server answers, and what is said.
CASES: dict[str, tuple[tuple[int, str, str], str, str]] = {
    "no login": ((401, "You are not authenticated.", ""), "asks for a login", "MLFLOW_TRACKING_USERNAME"),
    "no right": ((403, refused("PERMISSION_DENIED"), ""), "does not allow this user", "right to edit"),
    "a proxy's no": ((403, "<html>Forbidden</html>", ""), "does not allow this user", "right to edit"),
    "another name": ((403, "Invalid Host header - rebinding", ""), "refuses the name", "--allowed-hosts"),
    "a page": ((200, "<html>Log in</html>", ""), "answers, but not as MLflow does", "log in to the proxy"),
    "another path": ((404, "Not found", ""), "answers, but not as MLflow does", "without the path of a page"),
    "too old": ((404, "Not found", "1.20.0"), "is MLflow 1.20.0, which lacks", "Upgrade the server."),
    "broken": ((500, "oops", ""), "failed by itself (500)", "See the server's log"),
    "busy": ((429, refused("REQUEST_LIMIT_EXCEEDED"), ""), "takes no more requests", "Wait"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_refusal_has_its_own_remedy(project: Path, answering: Callable[..., None], case: str) -> None:
    answer, what, remedy = CASES[case]
    answering(*answer)

    done = command("models")

    assert (done.exit_code, type(done.exception)) == (1, SystemExit), done.output
    first, _, rest = done.stderr.partition("\n")
    assert what in first
    assert remedy in rest
    assert "Start the server" not in done.stderr


def test_a_server_that_is_away_is_to_be_started(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")

    assert "Start the server" in command("models").stderr


def test_a_stage_says_the_same(params: Params, answering: Callable[..., None]) -> None:
    answering(401, "You are not authenticated.")

    with pytest.raises(UnavailableError, match="asks for a login"), open_stage_run(params, "fetch", None, print):
        pass


@pytest.mark.slow
def test_a_deleted_experiment_is_named_and_can_be_restored_by_what_is_said(project: Path, repository: Path) -> None:
    """By the stage's script, and MLflow's own command."""

    def fetch() -> "subprocess.CompletedProcess[str]":
        script = str(repository / "pipeline" / "fetch.py")
        return subprocess.run(
            [sys.executable, script], env=environment(), capture_output=True, text=True, check=False, timeout=300
        )

    uri = f"sqlite:///{project / 'mlflow.db'}"
    connect(uri)
    client = MlflowClient(uri)
    client.delete_experiment(client.create_experiment("folder-images"))

    looked = command("doctor")
    assert "experiment folder-images (ID 1) was deleted" in looked.stdout
    assert looked.exit_code == 1

    stopped = fetch()

    assert stopped.returncode == 1
    assert "experiment folder-images (ID 1) was deleted" in stopped.stdout
    assert "Start the server" not in stopped.stdout
    remedy = stopped.stdout.split("`")[1]
    subprocess.run(remedy, shell=True, env=environment(), check=True, timeout=300, capture_output=True)
    assert fetch().returncode == 0


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("postgresql+psycopg2://127.0.0.1:1/runs", "needs the package psycopg2"),
        ("nonsense://here", "cannot be used"),
    ],
)
def test_an_address_that_nothing_opens_is_named(project, monkeypatch, uri: str, said: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setitem(sys.modules, "psycopg2", None)

    done = command("models")

    assert (done.exit_code, type(done.exception)) == (1, SystemExit), done.output
    assert said in done.stderr
